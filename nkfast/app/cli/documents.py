"""``nkfast docs``: the documents, in a terminal or as the Markdown that they are."""

import json
import sys
from typing import TYPE_CHECKING

import click

from nkfast.app.cli.program import JSON, verb

if TYPE_CHECKING:
    from nkfast.app.documents.pages import Page

__all__ = ["COMMANDS", "show_page"]


@verb()
@click.argument("page", required=False)
@JSON
def docs(page: str | None, as_json: bool) -> None:
    """Read the documents: PAGE is a name from the list that nkfast docs prints.

    A strategy's page has every key of it. Piped, a page is Markdown.
    """
    from nkfast.app.documents.pages import find_page, index, pages

    if as_json:
        listed = pages() if page is None else (find_page(page),)
        shown = [{"name": one.name, "title": one.title, "summary": one.summary} for one in listed]
        click.echo(json.dumps(shown if page is None else shown[0] | {"text": listed[0].text}))
    else:
        show_page(index() if page is None else find_page(page))


def show_page(page: "Page") -> None:
    """Print a page: laid out on a terminal, as it is elsewhere."""
    if sys.stdout.isatty():
        from nkfast.app.documents.terminal import lay_out

        lay_out(page)
    else:
        from nkfast.app.documents.pages import for_terminal

        click.echo(for_terminal(page).rstrip())


COMMANDS = (docs,)
