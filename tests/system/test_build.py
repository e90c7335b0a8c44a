"""A machine without a compiler is told so, and told what to install."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="MSVC is not chosen by CC")
def test_missing_compiler_is_named_with_its_remedy(root: Path, tmp_path: Path) -> None:
    # One module is enough to need the compiler, and soon translated.
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / "csrc", tmp_path / "csrc")
    core = tmp_path / "nkfast" / "core"
    core.mkdir(parents=True)
    for source in (root / "nkfast" / "core").glob("fixed.p*"):
        shutil.copy(source, core)
    environment = os.environ | {"CC": "/nonexistent/cc"}
    environment.pop("NKFAST_BUILD", None)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    message = done.stderr[done.stderr.index("nkfast is a compiled package") :]
    assert "Tried:   /nonexistent/cc" in message
    assert "build-essential python3-dev" in message
    assert "Traceback" not in message
