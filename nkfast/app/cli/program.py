"""What every command shares: types, options, one line for each error, the way to print a record.

Only click is imported here; what a command needs is imported when it runs, so that help and
completion answer at once.
"""

import difflib
import json
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nkfast import __version__
from nkfast.app.exits import ExitCode, NotFoundError, failures
from nkfast.errors import ConfigError

if TYPE_CHECKING:
    from nkfast.app.instance import Instance

__all__ = [
    "FILE",
    "FOR",
    "JSON",
    "SETTINGS",
    "STATE_DIR",
    "Duration",
    "Speed",
    "check_exists",
    "group",
    "help_when_bare",
    "known_instance",
    "main",
    "print_record",
    "print_table",
    "settings_of",
    "verb",
]

SECONDS_PER_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SPEED_MAX = 1000.0
FILE = click.Path(path_type=Path)


class Duration(click.ParamType[float]):
    """A length of time: ``30s``, ``10m``, ``1.5h``, or a number of seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        digits, unit = (value[:-1], value[-1]) if value[-1:].isalpha() else (value, "s")
        try:
            seconds = float(digits) * SECONDS_PER_UNIT[unit]
        except (KeyError, ValueError):
            self.fail(f"{value!r} is no length of time; write 30s, 10m or 1.5h", param, ctx)
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is not above zero and finite", param, ctx)
        return seconds


class Speed(click.ParamType[float]):
    """How many times faster than life a simulated market moves: ``60x`` or ``60``."""

    name = "speed"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the factor."""
        if isinstance(value, float):
            return value
        try:
            factor = float(value.removesuffix("x"))
        except ValueError:
            self.fail(f"{value!r} is no factor; write 1x or 60x", param, ctx)
        if not 0 < factor <= SPEED_MAX:
            self.fail(f"{value!r} is not above 0x and at most {SPEED_MAX:g}x", param, ctx)
        return factor


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error."
    )


class Verb(click.Command):
    """A command; every one takes ``--debug``."""

    def __init__(self, *args: Any, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.params.append(_debug_option())


class Verbs(click.Group):
    """A group of commands; it takes ``--debug`` too.

    Attributes
    ----------
    sections : dict of str to tuple of str
        What help lists under which heading, in that order; the others come last.
    """

    command_class = Verb

    def __init__(self, *args: Any, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.params.append(_debug_option())
        self.sections: dict[str, tuple[str, ...]] = {}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under their headings, each with as much as fits on its line."""
        listed = self.list_commands(ctx)
        placed = {name for names in self.sections.values() for name in names}
        rest = tuple(name for name in listed if name not in placed)
        width = max(map(len, listed), default=0)
        limit = formatter.width - formatter.current_indent - width - 4
        last = "More" if self.sections else "Commands"
        for heading, names in (self.sections | {last: rest}).items():
            rows = [(name, _clause(self.commands[name], limit)) for name in names if name in listed]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl([(name.ljust(width), said) for name, said in rows])


def _clause(command: click.Command, limit: int) -> str:
    """Return the first sentence of a command's help, or as many of its clauses as fit."""
    sentence = " ".join((command.help or "").partition("\n\n")[0].split())
    if len(sentence) <= limit:
        return sentence.removesuffix(".")
    ends = [found.start() for found in re.finditer(r"[.:;](?= |$)", sentence)]
    commas = [found.start() for found in re.finditer(r",(?= )", sentence)]
    end = max((end for end in ends if end <= limit), default=min(commas, default=len(sentence)))
    # Not a part of what a colon lists.
    return sentence[:end].partition(": ")[0]


class Program(Verbs):
    """The root: it turns every error into one line and an exit code."""

    group_class = Verbs

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run a command line and end the process; a command returns its `ExitCode` or None."""
        words = sys.argv[1:] if args is None else list(args)
        extra["standalone_mode"] = False
        try:
            result = super().main(words, **extra)
        except Exception as error:
            if "--debug" in words:
                traceback.print_exception(error)
            found = failures(error)
            for failure in found:
                click.echo(str(failure), err=True)
            result = found[0].code
        sys.exit(int(result or ExitCode.OK))


JSON = click.option("--json", "as_json", is_flag=True, help="Print it as JSON, for programs.")
FOR = click.option("--for", "seconds", type=Duration(), help="Stop after this time.")
SETTINGS = click.option(
    "--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Set one key; may be repeated."
)
STATE_DIR = click.option(
    "--state-dir", type=FILE, help="Where state is kept; NKFAST_HOME or the platform's place."
)


def verb(name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function."""
    return click.command(name, cls=Verb)


def group(name: str | None = None) -> Callable[[Callable[..., Any]], click.Group]:
    """Make a group of commands of a function; bare, it shows its help."""

    def make(function: Callable[..., Any]) -> click.Group:
        @click.pass_context
        def bare(ctx: click.Context) -> None:
            help_when_bare(ctx)

        bare.__doc__ = function.__doc__
        return Verbs(
            name or function.__name__,
            callback=bare,
            help=function.__doc__,
            invoke_without_command=True,
        )

    return make


@click.group(
    cls=Program,
    name="nkfast",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="nkfast %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Trade on the NonKYC.io exchange; try it first on a simulated one: nkfast demo."""
    help_when_bare(ctx)


def help_when_bare(ctx: click.Context) -> None:
    """Show the help of a group that was called without a command."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def check_exists(path: Path, others: Sequence[str] = ()) -> None:
    """Refuse a file that is not there, with the nearest name that is, or that would do as well."""
    if path.is_file():
        return
    siblings = [entry.name for entry in path.parent.glob("*")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, [*siblings, *others], n=1)
    nearest = (near[0] if near[0] in others else path.parent / near[0]) if near else ""
    hint = f"; did you mean {nearest}?" if near else ""
    raise ConfigError(f"no such file{hint}", str(path))


def known_instance(name: str, state_dir: Path | None) -> "Instance":
    """Return an instance that ran here; refuse one that nobody knows, with the nearest name."""
    from nkfast.app.instance import Instance, all_instances

    instance = Instance.named(name, state_dir)
    if instance.folder.is_dir():
        return instance
    known = [each.name for each in all_instances(state_dir)]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "is it another --state-dir?"
    raise NotFoundError(f"nothing is known of an instance {name}; {hint}", str(instance.folder))


def print_table(rows: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> None:
    """Print some columns of rows, below their names."""
    cells = [list(shown)]
    for row in rows:
        cells.append([_cell(row[name]) for name in shown])
    widths = [max(len(line[column]) for line in cells) for column in range(len(shown))]
    for line in cells:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(text.rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else str(value)


def settings_of(pairs: Sequence[str], option: str = "--set") -> dict[str, str]:
    """Return the keys and values of ``--set KEY=VALUE``, or of another such option."""
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"{pair!r} is not KEY=VALUE", option)
        settings[key.strip()] = value.strip()
    return settings


def print_record(record: Mapping[str, Any], as_json: bool) -> None:
    """Print a record: one JSON object, or a line for each key."""
    if as_json:
        click.echo(json.dumps(record))
        return
    width = max(map(len, record))
    for key, value in record.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        click.echo(f"{key:<{width}}  {shown}")
