"""What the README prints is what runs."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from nkfast.exchange.server import ExchangeSettings, serve


async def test_python_of_the_readme_runs_as_printed(root: Path, tmp_path: Path) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", (root / "README.md").read_text(), re.M | re.S)
    assert len(snippets) >= 2
    async with serve(ExchangeSettings(seed=7)) as there:
        for snippet in snippets:
            assert len(snippet.splitlines()) <= 25
            script = tmp_path / "readme.py"
            script.write_text(snippet)
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-W", "error", str(script), there.rest_url],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.strip()


def test_every_link_leads_somewhere(root: Path) -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (root / name).read_text()):
            assert (root / target).exists(), f"{name}: {target}"


def test_every_room_of_the_package_is_in_the_table(root: Path) -> None:
    text = (root / "README.md").read_text()
    for room in (root / "nkfast").glob("*/__init__.py"):
        assert f"| `nkfast.{room.parent.name}` |" in text
