"""A page laid out for a terminal."""

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Heading, Markdown, TableElement
from rich.table import Table

from nkfast.app.documents.pages import Page, for_terminal

__all__ = ["lay_out"]

#: Longer lines are hard to read.
_COLUMNS_MAX = 100


class _LeftHeading(Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _WholeTable(TableElement):
    """A table that folds a long word instead of cutting it: keys have to be read whole."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for laid in super().__rich_console__(console, options):
            if isinstance(laid, Table):
                for column in laid.columns:
                    column.overflow = "fold"
            yield laid


class _Page(Markdown):
    elements = Markdown.elements | {"heading_open": _LeftHeading, "table_open": _WholeTable}


def lay_out(page: Page) -> None:
    """Print a page to standard output, for a person."""
    console = Console()
    laid = _Page(for_terminal(page), hyperlinks=False)
    console.print(laid, width=min(console.width, _COLUMNS_MAX))
