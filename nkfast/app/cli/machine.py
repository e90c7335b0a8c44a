"""What this installation is, and whether it is well: ``doctor``, ``paths``, ``version``, ..."""

import json
import os
from pathlib import Path

import click

from nkfast import __version__
from nkfast.app.cli.program import FILE, JSON, STATE_DIR, print_record, print_table, verb
from nkfast.app.exits import ExitCode

__all__ = ["COMMANDS"]


@verb()
@JSON
def paths(as_json: bool) -> None:
    """Show the directories that nkfast keeps things in. NKFAST_HOME moves them."""
    from nkfast.directories import nonce_directory, state_directory

    print_record({"state": str(state_directory()), "nonces": str(nonce_directory())}, as_json)


@verb()
@click.option("--offline", "is_offline", is_flag=True, help="Ask no exchange.")
@click.option(
    "--rest-url", envvar="NKFAST_EXCHANGE__REST_URL", help="Of the exchange; NonKYC's own without."
)
@click.option(
    "--ws-url", envvar="NKFAST_EXCHANGE__WS_URL", help="Its WebSocket; NonKYC's own without."
)
@click.option("--bundle", type=FILE, help="Write a zip to send with a question; no secrets.")
@STATE_DIR
@JSON
def doctor(
    is_offline: bool,
    rest_url: str | None,
    ws_url: str | None,
    bundle: Path | None,
    state_dir: Path | None,
    as_json: bool,
) -> ExitCode:
    """Look at this machine, the installation and the road to the exchange; say what to mend.

    The exit code is that of the first thing that failed: 1 the machine, 4 clock or key, 5 exchange.
    """
    from nkfast.app.doctor import examine_exchange, examine_machine
    from nkfast.app.findings import as_json as records_of
    from nkfast.app.findings import exit_code, print_findings
    from nkfast.app.instance import all_instances
    from nkfast.app.loop import run
    from nkfast.app.support_bundle import write_bundle
    from nkfast.wire.addresses import BASE_URL, WEBSOCKET_URL

    findings = examine_machine()
    if not is_offline:
        findings += run(examine_exchange(rest_url or BASE_URL, ws_url or WEBSOCKET_URL))
    rows = records_of(findings)
    packed: list[str] = []
    if bundle is not None:
        packed = write_bundle(bundle, rows, all_instances(state_dir), os.environ)
    code = exit_code(findings)
    if as_json:
        click.echo(json.dumps({"ok": not code, "findings": rows, "bundle": packed}))
    else:
        print_findings(findings)
        if bundle is not None:
            click.echo(f"wrote {bundle}: {', '.join(packed)}")
    return code


@verb()
@JSON
def bench(as_json: bool) -> None:
    """Time what matters on this machine, beside plain Python in the same run. A few seconds.

    Signing, a book update, a frame until there is a decision, and a REST round trip on loopback to
    a simulated exchange in this process. Medians, turn by turn; look at the ratio.
    """
    from nkfast.app.bench import measure

    found = measure()
    if as_json:
        click.echo(json.dumps([row._asdict() for row in found]))
        return
    rows = [
        {
            "what": row.what,
            "nkfast_ns": f"{row.nkfast_ns:,.0f}",
            "plain_ns": f"{row.plain_ns:,.0f}",
            "times_faster": f"{row.ratio:.1f}",
        }
        for row in found
    ]
    print_table(rows, tuple(rows[0]))


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


@verb()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@JSON
def completion(shell: str, as_json: bool) -> None:
    """Print what lets a shell complete nkfast's words: eval "$(nkfast completion bash)"."""
    from click.shell_completion import get_completion_class

    from nkfast.app.cli.program import main

    kind = get_completion_class(shell)
    assert kind is not None
    # Without the check of the shell's version: that would run the shell.
    values = kind(main, {}, "nkfast", "_NKFAST_COMPLETE")
    script = values.source_template % values.source_vars()
    click.echo(json.dumps({"shell": shell, "script": script}) if as_json else script)


COMMANDS = (bench, completion, doctor, paths, version)
