"""What every way to the venue has in common: who we say we are, and TLS that is verified."""

import ssl

from nkfast.errors import ConfigError

__all__ = ["USER_AGENT", "refuse_unverified"]

#: The venue's front refuses the stock agents of HTTP libraries.
USER_AGENT = "nkfast (trading client)"


def refuse_unverified(context: ssl.SSLContext) -> None:
    """Raise `ConfigError` for a context that does not verify certificate and host name."""
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ConfigError(
            "ssl_context must verify certificate and host name: for an authority of your own use "
            "ssl.create_default_context(cafile=...)"
        )
