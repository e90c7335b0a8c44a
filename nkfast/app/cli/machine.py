"""What this installation is and where it keeps things: ``paths``, ``version``."""

from nkfast import __version__
from nkfast.app.cli.program import JSON, print_record, verb

__all__ = ["COMMANDS"]


@verb()
@JSON
def paths(as_json: bool) -> None:
    """Show the directories that nkfast keeps things in. NKFAST_HOME moves them."""
    from nkfast.directories import nonce_directory, state_directory

    print_record({"state": str(state_directory()), "nonces": str(nonce_directory())}, as_json)


@verb()
@JSON
def version(as_json: bool) -> None:
    """Show the version and what this installation runs on."""
    import platform

    from nkfast.app.loop import loop_name
    from nkfast.core import signing

    record = {
        "nkfast": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "event_loop": loop_name(),
        "signing": signing.backend(),
    }
    print_record(record, as_json)


COMMANDS = (paths, version)
