"""What of the documents nkfast writes itself: ``python -m nkfast.app.documents.generated``.

A page keeps what is written by hand; between ``<!-- generated: WORDS -->`` and ``<!-- end -->``
stands what `blocks` gives for the words. The command brings the pages of a source tree up to date.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import nkfast
from nkfast.app.config.fleet import BotEntry, RestartSettings
from nkfast.app.config.sections import SECTIONS, CommonSettings
from nkfast.app.documents.reference import reference
from nkfast.app.exits import ExitCode, codes_by_error
from nkfast.app.strategy_pages import key_table, summaries
from nkfast.errors import NkfastError
from nkfast.strategies import load
from nkfast.strategies.settings import Settings, keys
from nkfast.trading.reason_codes import MEANINGS

__all__ = ["BLOCKS", "refreshed", "write_pages"]

_BLOCK = re.compile(r"(?<=^<!-- generated: )(.+?)( -->\n).*?(?=^<!-- end -->$)", re.M | re.S)


def refreshed(text: str) -> str:
    """Return a page with every generated part as it should be.

    Raises
    ------
    KeyError
        A part asks for something that is not in `BLOCKS`.
    """

    def block(found: re.Match[str]) -> str:
        kind, *words = found[1].split()
        return f"{found[1]}{found[2]}\n{BLOCKS[kind](*words).strip()}\n\n"

    return _BLOCK.sub(block, text)


def write_pages(folder: Path) -> list[Path]:
    """Bring all pages of a folder up to date, and return those that were not."""
    stale = []
    for path in sorted(folder.rglob("*.md")):
        text = path.read_text("utf-8")
        fresh = refreshed(text)
        if fresh != text:
            path.write_text(fresh, "utf-8")
            stale.append(path)
    return stale


def _keys(strategy: str) -> str:
    kind = load(strategy)
    exits = {"keep": "stay at the exchange", "cancel": "are cancelled"}[kind.on_exit]
    return (
        f"When it is stopped its orders {exits}, unless `on_exit` says otherwise.\n\n"
        f"{key_table(keys(kind.settings_type))}"
    )


def _sections() -> str:
    parts = ["## Common keys", _section(CommonSettings)]
    for name, kind in SECTIONS.items():
        parts += [f"## [{name}]", (kind.__doc__ or "").partition("\n")[0], _section(kind)]
    return "\n\n".join(parts)


def _fleet() -> str:
    parts = ["[bots.NAME]:", _section(BotEntry), "[restart]:", _section(RestartSettings)]
    return "\n\n".join(parts)


def _section(kind: type[Settings]) -> str:
    return key_table(row._replace(name=row.name.removesuffix("_")) for row in keys(kind))


def _strategies() -> str:
    return _table(
        ("strategy", "in one sentence"),
        ((f"[{name}](strategies/{name}.md)", said) for name, said in summaries().items()),
    )


def _reasons() -> str:
    rows = ((f"`{code}`", meaning) for code, meaning in MEANINGS.items())
    return _table(("code", "means"), rows)


def _exits() -> str:
    rows = []
    for code in ExitCode:
        raised = [f"`{kind.__name__}`" for kind, its in codes_by_error() if its is code]
        rows.append((f"{code.value}", f"`{code.name}`", ", ".join(raised)))
    return _table(("exit code", "name", "raised as"), rows)


def _errors() -> str:
    rows = []
    kinds: list[type[NkfastError]] = [NkfastError]
    while kinds:
        kind = kinds.pop(0)
        kinds = [*kind.__subclasses__(), *kinds]
        said = (kind.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
        depth = len([one for one in kind.__mro__ if issubclass(one, NkfastError)]) - 1
        rows.append((f"{'&nbsp;' * 3 * depth}`{kind.__name__}`", " ".join(said.split())))
    return _table(("error", "means"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [list(head)]
    lines = ["| " + " | ".join(cells[0]) + " |", "|---" * len(cells[0]) + "|"]
    for row in rows:
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines)


#: What can be written, by the first word of a marker; the others are handed on.
BLOCKS: Mapping[str, Callable[..., str]] = MappingProxyType(
    {
        "api": reference,
        "errors": _errors,
        "exits": _exits,
        "fleet": _fleet,
        "keys": _keys,
        "reasons": _reasons,
        "sections": _sections,
        "strategies": _strategies,
    }
)


if __name__ == "__main__":
    for _path in write_pages(Path(nkfast.__file__).parent / "docs"):
        sys.stdout.write(f"wrote {_path}\n")
