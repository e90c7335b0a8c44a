"""A developer's day: every file that CONTRIBUTING.md names is there, every script can be run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def test_every_file_that_is_named_is_there(root: Path) -> None:
    text = (root / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"(?:benchmarks|tests|csrc)/[\w/-]+\.(?:py|c|txt|json|md)", text))
    assert len(named) > 5
    assert {name for name in named if not (root / name).exists()} == set()


def test_every_script_is_named_and_can_be_run(root: Path) -> None:
    if not (root / ".ci").is_dir():
        pytest.skip("an sdist has no .ci")
    text = (root / "CONTRIBUTING.md").read_text()
    scripts = {f".ci/{path.name}" for path in (root / ".ci").iterdir()}
    assert set(re.findall(r"\.ci/\w+", text)) == scripts
    if sys.platform == "win32":
        return
    for script in scripts:
        assert os.access(root / script, os.X_OK), script
        subprocess.run(["bash", "-n", root / script], check=True)
