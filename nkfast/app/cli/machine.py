"""What this installation is and where it keeps things: ``paths``, ``version``, ``completion``."""

import click

from nkfast import __version__
from nkfast.app.cli.program import JSON, print_record, verb

__all__ = ["COMMANDS"]


@verb()
@JSON
def paths(as_json: bool) -> None:
    """Show the directories that nkfast keeps things in. NKFAST_HOME moves them."""
    from nkfast.directories import nonce_directory, state_directory

    print_record({"state": str(state_directory()), "nonces": str(nonce_directory())}, as_json)


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
def completion(shell: str) -> None:
    """Print what lets a shell complete nkfast's words: eval "$(nkfast completion bash)"."""
    from click.shell_completion import get_completion_class

    from nkfast.app.cli.program import main

    kind = get_completion_class(shell)
    assert kind is not None
    # Without the check of the shell's version: that would run the shell.
    values = kind(main, {}, "nkfast", "_NKFAST_COMPLETE")
    click.echo(values.source_template % values.source_vars())


COMMANDS = (completion, paths, version)
