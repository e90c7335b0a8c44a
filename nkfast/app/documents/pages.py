"""The documents that nkfast brings along: found by name, and shown in a terminal.

They are Markdown in ``nkfast/docs``. ``README.md`` there lists them, and so gives their order.
"""

import difflib
import posixpath
import re
from importlib.resources import files
from typing import NamedTuple

from nkfast.app.exits import NotFoundError

__all__ = ["INDEX", "Page", "find_page", "for_terminal", "index", "pages"]

INDEX = "README"
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")
_MARKER = re.compile(r"^<!-- (?:generated: .*|end) -->\n", re.M)


class Page(NamedTuple):
    """One document.

    ``name`` is its path without ``.md``: ``start``, ``strategies/grid``. ``summary`` is the first
    sentence below its title.
    """

    name: str
    title: str
    summary: str
    text: str


def index() -> Page:
    """Return the list of all pages, as it is written."""
    return _read(INDEX)


def pages() -> tuple[Page, ...]:
    """Return every page in the order of the list."""
    named = dict.fromkeys(
        target.removesuffix(".md")
        for _, target, _ in _LINK.findall(index().text)
        if target.endswith(".md") and not target.startswith("..")
    )
    return tuple(_read(name) for name in named)


def find_page(name: str) -> Page:
    """Return a page by its name, or by the last part of it.

    Raises
    ------
    nkfast.app.exits.NotFoundError
        There is none; it says the nearest.
    """
    known = {page.name: page for page in pages()}
    short = {page.name.rpartition("/")[2]: page for page in reversed(known.values())}
    wanted = name.lower().removesuffix(".md")
    found = known.get(wanted) or short.get(wanted) or short.get(wanted.replace("-", "_"))
    if found is not None:
        return found
    near = difflib.get_close_matches(wanted, [*known, *short], n=1)
    hint = f"did you mean {near[0]}?" if near else "nkfast docs lists them"
    raise NotFoundError(f"there is no page {name!r}; {hint}", "nkfast docs")


def for_terminal(page: Page) -> str:
    """Return a page whose links to other pages say the command that shows those."""

    def spoken(link: re.Match[str]) -> str:
        said, target = link[1], link[2]
        if not target or page.name == INDEX:  # a heading of this page, or the name of another
            return said
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.name), target))
        if path.startswith("../"):
            return f"{said} (nkfast{path.removeprefix('..')})"
        return f"{said} (`nkfast docs {path.removesuffix('.md')}`)"

    return _LINK.sub(spoken, _MARKER.sub("", page.text))


def _read(name: str) -> Page:
    text = (files("nkfast") / "docs" / f"{name}.md").read_text("utf-8")
    title, _, body = text.partition("\n")
    first = body.strip().partition("\n\n")[0].replace("\n", " ")
    sentence = re.split(r"(?<=\.)\s", _LINK.sub(r"\1", first), maxsplit=1)[0]
    return Page(name, title.removeprefix("# "), sentence, text)
