"""The API key: ``keys set``, ``test``, ``where``, ``rm``. Never on a command line."""

import json
import sys

import click

from nkfast.app.cli.program import JSON, group, print_record
from nkfast.app.exits import ExitCode

__all__ = ["COMMANDS"]


@group()
def keys() -> None:
    """The API key of the exchange, and where it is kept."""


@keys.command("set")
@click.option("--file", "in_file", is_flag=True, help="In a file only you can read, no keyring.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read key and secret, a line each.")
@JSON
def keys_set(in_file: bool, from_stdin: bool, as_json: bool) -> None:
    """Store a key and its secret: in the system's keyring, or where there is none in a file."""
    from nkfast.app.credentials import checked_pair, store_in_file, store_in_keyring

    if from_stdin or not sys.stdin.isatty():
        key, secret = (sys.stdin.readline().strip() for _ in range(2))
    else:
        key = click.prompt("API key").strip()
        secret = click.prompt("API secret", hide_input=True).strip()
    credentials = checked_pair(key, secret, "--stdin" if from_stdin else "")
    place = "the keyring"
    if not in_file:
        try:
            store_in_keyring(credentials)
        except LookupError as error:
            click.echo(f"no keyring here ({error}); a file takes its place", err=True)
            in_file = True
    if in_file:
        place = str(store_in_file(credentials))
    if as_json:
        click.echo(json.dumps({"stored": place}))
    else:
        click.echo(f"stored in {place}; nkfast keys test tries it")


@keys.command("test")
@click.option(
    "--rest-url", envvar="NKFAST_EXCHANGE__REST_URL", help="Of the exchange; NonKYC's own without."
)
@JSON
def keys_test(rest_url: str | None, as_json: bool) -> ExitCode:
    """Ask the exchange whether it takes the key, and what it may; nothing is changed.

    Exit 4: it is refused. Whether it may withdraw is not asked.
    """
    from nkfast.app.credentials import require_credentials
    from nkfast.app.findings import as_json as records_of
    from nkfast.app.findings import exit_code, print_findings
    from nkfast.app.key_permissions import examine_key
    from nkfast.app.loop import run
    from nkfast.wire.addresses import BASE_URL

    findings = run(examine_key(rest_url or BASE_URL, require_credentials()))
    if as_json:
        click.echo(json.dumps({"findings": records_of(findings)}))
    else:
        print_findings(findings)
    return exit_code(findings)


@keys.command("where")
@JSON
def keys_where(as_json: bool) -> ExitCode:
    """Say which source the key comes from, and what each one answered. Exit 4: there is none."""
    from nkfast.app.credentials import find_credentials

    found = find_credentials()
    key = "" if found.credentials is None else found.credentials.api_key
    print_record({"source": found.source or "none", "key": key, **dict(found.asked)}, as_json)
    return ExitCode.OK if found.credentials is not None else ExitCode.AUTH


@keys.command("rm")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@JSON
def keys_rm(is_sure: bool, as_json: bool) -> None:
    """Remove the key from the keyring and the file; variables stay as they are."""
    from nkfast.app.credentials import forget_credentials

    if not is_sure:
        click.confirm("remove the key and its secret?", abort=True)
    removed = forget_credentials()
    if as_json:
        click.echo(json.dumps({"removed": removed}))
        return
    click.echo(f"removed from {', '.join(removed)}" if removed else "there was none")


COMMANDS = (keys,)
