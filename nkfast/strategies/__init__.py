"""One strategy a file; pure: no I/O, no clock reads, no randomness that is not handed in.

`STRATEGIES` names them. Each class has ``settings_type``, a frozen dataclass that validates itself,
and ``settings_from(mapping)``, which makes one from text; it is built as ``cls(settings, market)``.
"""

from nkfast.strategies.grid import Grid

__all__ = ["STRATEGIES"]

STRATEGIES: dict[str, type[Grid]] = {Grid.name: Grid}
