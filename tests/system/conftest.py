"""Real processes, each ended by the test that started it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from system.scene import Scene

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``nkfast WORDS`` in an empty directory; output and errors are piped text."""
    started: list[subprocess.Popen[str]] = []

    def start_one(*words: str, **extra: Any) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            # -P: the tests' own working directory may hold an uncompiled nkfast.
            [sys.executable, "-P", "-m", "nkfast", *words],
            cwd=tmp_path,
            # A killed process cannot remove its temporary directory; pytest will.
            env=os.environ | {"PYTHONWARNINGS": "error", "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **extra,
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    try:
        scene.open()
        yield scene
    finally:
        scene.close()
