"""Strategies: which there are, what each can be told, and a beginning for one's own."""

import json
from pathlib import Path

import click

from nkfast.app.cli.program import FILE, JSON, group

__all__ = ["COMMANDS"]


@group()
def strategies() -> None:
    """Which strategies there are, what each can be told, and a new one of your own."""


@strategies.command("list")
@JSON
def strategies_list(as_json: bool) -> None:
    """Name every strategy, with what it does in a sentence."""
    from nkfast.app.strategy_pages import summaries

    found = summaries()
    if as_json:
        click.echo(json.dumps(found))
        return
    width = max(map(len, found))
    for name, summary in found.items():
        click.echo(f"{name:<{width}}  {summary}")


@strategies.command("show")
@click.argument("name")
@JSON
def strategies_show(name: str, as_json: bool) -> None:
    """Print the page of a strategy: what it does, and every key with unit, default and range."""
    from nkfast.app.cli.documents import show_page
    from nkfast.app.documents.pages import Page, find_page
    from nkfast.app.exits import NotFoundError
    from nkfast.app.strategy_pages import markdown, page

    shown = page(name)
    if as_json:
        click.echo(json.dumps(shown))
        return
    try:
        show_page(find_page(f"strategies/{name}"))
    except NotFoundError:  # of another package
        show_page(Page(name, name, "", markdown(shown)))


@strategies.command("new")
@click.argument("name")
@click.option("--out", type=FILE, help="The folder; one called NAME without.")
@JSON
def strategies_new(name: str, out: Path | None, as_json: bool) -> None:
    """Write a strategy of your own that works, with its test and its project."""
    from nkfast.app.strategy_pages import write_new

    folder = Path(name) if out is None else out
    written = write_new(name, folder)
    if as_json:
        click.echo(json.dumps({"wrote": [str(path) for path in written]}))
        return
    for path in written:
        click.echo(f"wrote {path}")
    click.echo(f"next:  cd {folder} && pip install -e . && pytest && nkfast init {name}")


COMMANDS = (strategies,)
