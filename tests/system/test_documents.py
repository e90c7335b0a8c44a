"""The documents: every command and every snippet of them does what they say.

A fenced block of README.md or of a page in nkfast/docs is run, in the order of the page, in an
empty directory, with an account of its own at one simulated exchange:

* ``console``: lines after ``$ `` are commands; what follows them must be in their output, in that
  order, though any number may be another one, and ``...`` stands for anything. A command that is
  to fail shows its ``error[NAME]``. One that ends with ``&`` runs until the page is done.
* ``python`` is a whole program; its first argument is the address of the exchange.
* ``toml`` and ``yaml`` are configurations; what lacks a strategy is added to a grid.
* A block with a file's name behind the language is written there, for what follows, and not run.
* ``not run: REASON`` behind the language excuses a block; `EXCUSED` lists them all.
* ``text`` and ``ini`` are only read.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

import nkfast
from nkfast.app.cli import main
from nkfast.app.config.bot import load_config
from nkfast.app.config.sections import SECTIONS
from nkfast.app.documents.generated import BLOCKS, refreshed
from nkfast.app.documents.pages import INDEX, find_page, for_terminal, index, pages
from nkfast.app.documents.terminal import lay_out
from nkfast.app.exits import ExitCode, NotFoundError
from nkfast.strategies import names
from nkfast.wire.addresses import BASE_URL

ROOT = Path(__file__).parents[2]
DOCS = Path(nkfast.__file__).parent / "docs"
FILES = {"front page": ROOT / "README.md"} | {
    path.relative_to(DOCS).with_suffix("").as_posix(): path for path in sorted(DOCS.rglob("*.md"))
}
ONLY_READ = {"text", "ini"}
EXCUSED = {
    ("start", "it installs into your environment"),
    ("server", "it builds an image"),
    ("front page", "it installs; the workflows run it as it is"),
}
_FENCE = re.compile(r"^```(\w*)(?: ([^\n]*))?\n(.*?)^```$", re.M | re.S)
_NUMBER = re.compile(r"\b(?:nk-[0-9a-f]{12}|[0-9a-f]{40,})\b|[+-]?\d[\d,.]*")


class Block(NamedTuple):
    language: str
    words: str
    text: str

    @property
    def excuse(self) -> str:
        return self.words.removeprefix("not run: ") if self.words.startswith("not run: ") else ""


def blocks_of(name: str) -> list[Block]:
    return [Block(*found) for found in _FENCE.findall(FILES[name].read_text("utf-8"))]


class Served(NamedTuple):
    rest_url: str
    ws_url: str
    program: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("documents")
    accounts = [{"key": key_of(name), "secret": f"secret-of-{key_of(name)}"} for name in FILES]
    (folder / "accounts.json").write_text(json.dumps(accounts))
    program = folder / "nkfast"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m nkfast "$@"\n')
    program.chmod(0o755)
    words = ("exchange", "serve", "--json", "--until-eof", "--for", "300s")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "nkfast", *words, "--accounts", "accounts.json"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    yield Served(told["rest_url"], told["ws_url"], program)
    process.communicate(timeout=30)


def key_of(name: str) -> str:
    return re.sub(r"\W", "-", name)


class Reader:
    """Somebody who does what a page says."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.background: list[subprocess.Popen[str]] = []

    def follow(self, block: Block) -> None:
        if block.excuse:
            return
        if block.words:
            Path(block.words).write_text(block.text, "utf-8")
            return
        match block.language:
            case "console":
                self._type(block.text)
            case "python":
                self._run_python(block)
            case "toml" | "yaml":
                self._load(block)
            case other if other not in ONLY_READ:
                raise AssertionError(f"a block of {other!r}: say what is done with it")

    def leave(self) -> None:
        for process in self.background:
            process.terminate()
        for process in self.background:
            output, errors = process.communicate(timeout=30)
            assert "Traceback" not in errors, output + errors

    def _type(self, text: str) -> None:
        command, expected = "", list[str]()
        for line in (*text.splitlines(), "$ "):
            if not line.startswith("$ "):
                expected.append(line)
                continue
            if command:
                self._expect(command, expected)
            command, expected = line.removeprefix("$ "), []

    def _expect(self, command: str, expected: list[str]) -> None:
        if command.endswith(" &"):
            self._start(command.removesuffix(" &"))
            return
        code, output = self._run(command)
        failure = re.search(r"error\[([A-Z_]+)\]", "\n".join(expected))
        assert code == (ExitCode[failure[1]] if failure else 0), f"$ {command}\n{output}"
        rest = alike(output.replace(self.served.rest_url, BASE_URL))
        for line in map(alike, expected):
            for part in filter(None, map(str.strip, line.split("..."))):
                _, found, rest = rest.partition(part)
                assert found, f"$ {command}\n{output}\nlacks {part!r} in {rest}"

    def _run(self, command: str) -> tuple[int, str]:
        words = shlex.split(command)
        if "nkfast" in words and not set(command) & set("|<>$;&*"):
            variables = dict(word.split("=", 1) for word in words[: words.index("nkfast")])
            words = words[len(variables) + 1 :]
            done = CliRunner(env=variables).invoke(main, words, prog_name="nkfast")
            return done.exit_code, done.output
        shell = subprocess.run(
            ["sh", "-c", command],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        return shell.returncode, shell.stdout + shell.stderr

    def _start(self, command: str) -> None:
        process = subprocess.Popen(
            [str(self.served.program), *shlex.split(command)[1:]],
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.background.append(process)
        assert process.stdout is not None
        for line in process.stdout:  # until it trades
            if "running: " in line:
                return
        raise AssertionError(f"$ {command}\n{process.communicate()[1]}")

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join((str(self.served.program.parent), os.environ["PATH"]))
        return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}

    def _run_python(self, block: Block) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["program.py", self.served.rest_url])
            program = compile(block.text, "program.py", "exec")
            with contextlib.redirect_stdout(None):
                exec(program, {"__name__": "__main__"})

    def _load(self, block: Block) -> None:
        name, text = f"snippet.{block.language}", block.text
        if block.language == "toml" and "strategy" not in tomllib.loads(text):
            text = f'strategy = "grid"\nsymbol = "BTC/USDT"\nstep_pct = 0.01\n{text}'
        Path(name).write_text(text, "utf-8")
        load_config(Path(name))


def alike(text: str) -> str:
    """Return a text in which numbers, hashes and spaces count for nothing."""
    return re.sub(r"\s+", " ", _NUMBER.sub("0", text))


@pytest.mark.skipif(shutil.which("sh") is None, reason="the documents' commands are a shell's")
@pytest.mark.parametrize("name", [name for name in FILES if blocks_of(name)])
def test_what_a_page_shows_happens(
    name: str, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NKFAST_EXCHANGE__REST_URL", served.rest_url)
    monkeypatch.setenv("NKFAST_EXCHANGE__WS_URL", served.ws_url)
    monkeypatch.setenv("NKFAST_API_KEY", key_of(name))
    monkeypatch.setenv("NKFAST_API_SECRET", f"secret-of-{key_of(name)}")
    reader = Reader(served)
    try:
        for block in blocks_of(name):
            reader.follow(block)
    finally:
        reader.leave()


def test_what_is_not_run_has_a_reason() -> None:
    excused = {(name, block.excuse) for name in FILES for block in blocks_of(name) if block.excuse}
    assert excused == EXCUSED


def test_what_nkfast_writes_itself_is_up_to_date() -> None:
    if sys.version_info[:2] != (3, 11):
        pytest.skip("Pythons spell signatures differently; the pages are written by 3.11")
    stale = []
    for path in FILES.values():
        text = path.read_text("utf-8")
        if refreshed(text) != text:
            stale.append(str(path))
    assert not stale, "bring them up to date: python -m nkfast.app.documents.generated"


def test_every_section_of_a_configuration_is_described() -> None:
    text = find_page("configuration").text
    for name in SECTIONS:
        assert f"\n## [{name}]\n" in text


def test_every_code_of_a_strategy_is_explained() -> None:
    text = find_page("reasons").text
    strategies = Path(nkfast.__file__).parent / "strategies"
    for path in strategies.glob("*.py"):
        for code in re.findall(r'Skip\(\s*"([A-Z_]+)"', path.read_text("utf-8")):
            assert f"`{code}`" in text, f"{path.name}: {code}"


def test_every_exit_code_says_what_to_do() -> None:
    text = find_page("errors").text
    for code in ExitCode:
        if code not in (ExitCode.OK, ExitCode.SIGINT, ExitCode.SIGTERM):
            assert f"| {code.value} `{code.name}` |" in text


def test_every_strategy_has_a_page_with_all_its_keys() -> None:
    for name in names():
        assert f"<!-- generated: keys {name} -->" in find_page(name).text


def test_every_public_name_is_in_the_reference() -> None:
    text = "\n".join(page.text for page in pages() if page.name.startswith("api/"))
    missing = [name for name in nkfast.__all__ if f"### {name}\n" not in text]
    assert missing == ["__version__"]


def test_every_page_is_listed_and_every_link_leads_somewhere() -> None:
    assert {"front page", INDEX, *(page.name for page in pages())} == set(FILES)
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")):
        text = path.read_text("utf-8")
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
            there = path.parent / target if target else path
            assert there.exists(), f"{path}: {target}"
            if anchor:
                assert anchor in anchors(there.read_text("utf-8")), f"{path}: {target}#{anchor}"


def test_every_page_is_in_the_wheel(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    for path in DOCS.rglob("*.md"):
        place = path.relative_to(DOCS.parent)
        assert any(place.match(pattern) for pattern in patterns), place


def anchors(text: str) -> set[str]:
    """Return what a link can name in a page, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", one).lower().replace(" ", "-") for one in headings}


def run(*words: str) -> Any:
    return CliRunner().invoke(main, ["docs", *words], prog_name="nkfast")


def test_documents_are_listed_and_shown() -> None:
    listed = json.loads(run("--json").output)
    assert [page["name"] for page in listed] == [page.name for page in pages()]
    assert all(page["title"] and len(page["summary"]) > 20 for page in listed)
    assert run().output.rstrip() == for_terminal(index()).rstrip()
    for wanted in ("strategies/grid", "grid", "Grid.md"):
        assert run(wanted).output.startswith("# grid\n")
    assert "<!--" not in run("grid").output
    assert json.loads(run("infinity-grid", "--json").output)["name"] == "strategies/infinity_grid"


def test_an_unknown_page_is_answered_with_the_nearest() -> None:
    answer = run("gird")
    assert (answer.exit_code, answer.stdout) == (ExitCode.NOT_FOUND, "")
    assert "there is no page 'gird'; did you mean grid?" in answer.stderr
    with pytest.raises(NotFoundError, match="nkfast docs lists them"):
        find_page("zzzz")


def test_links_say_the_command_that_shows_their_page() -> None:
    shown = for_terminal(find_page("start"))
    assert "(`nkfast docs safety`)" in shown
    assert "](" not in re.sub(r"\]\(https?:", "", shown)


def test_a_page_is_laid_out_for_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lay_out(find_page("grid"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)  # no key is cut


def test_a_part_that_nobody_can_write_is_an_error() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        refreshed("<!-- generated: nonsense -->\n<!-- end -->\n")
    assert set(BLOCKS) == {
        word
        for path in FILES.values()
        for word in re.findall(r"generated: (\w+)", path.read_text("utf-8"))
    } - {"WORDS"}
