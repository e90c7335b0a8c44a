"""Tells people what a guard has to do; a process that was killed tells nobody itself.

Nothing here may keep the guard from guarding: where nobody can be told, it says so and goes on.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path

import click

from nkfast.app.alerts import alerting
from nkfast.app.config.alerts import AlertSettings
from nkfast.app.config.bot import load_config
from nkfast.app.instance import Instance
from nkfast.app.logs import say
from nkfast.errors import ConfigError

__all__ = ["alerted"]

#: What a person has to know at once.
_URGENT = frozenset(
    {"alarm", "clearing", "cleared", "none_open", "read_failed", "cancel_failed"}
    | {"heart_beats_again", "heartbeat_unreadable"}
)


@contextmanager
def alerted(instance: Instance, secrets: tuple[str, ...]) -> Iterator[Callable[[str, str], None]]:
    """Give what is to be told an event and its words, inside the block.

    They go where the configuration of the instance's newest run says in ``[alerts]``.
    """
    with ExitStack() as stack:
        try:
            settings = _settings(instance)
            stack.enter_context(
                alerting(settings, instance=instance.name, mode="guard", secrets=secrets)
            )
        except ConfigError as error:
            click.echo(f"nobody is alerted: {error.message}", err=True)
        yield lambda event, words: say("life", words, error=event) if event in _URGENT else None


def _settings(instance: Instance) -> AlertSettings:
    record = instance.last_run()
    if record is None or not record.config:
        return AlertSettings()
    # Nobody beats for the guard: it is not watched itself.
    return load_config(Path(record.config)).alerts.model_copy(update={"silence_s": Decimal(0)})
