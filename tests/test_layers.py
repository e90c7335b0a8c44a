"""The plan of the house as a test: who may import whom, and which library lives where."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nkfast
import nkfast.testing

PACKAGE = Path(__file__).parent.parent / "nkfast"
SOURCES = sorted(path for kind in ("*.py", "*.pyx", "*.pxd") for path in PACKAGE.rglob(kind))

#: Each room and the rooms below it that it may import. Adding to it is a decision to write down.
MAY_IMPORT = {
    "errors": set(),
    # Below the rooms, so that the clients of two processes meet where the user's files are.
    "directories": {"errors"},
    "mapped_file": {"errors"},
    "core": {"errors"},
    "wire": {"errors", "core"},
    "client": {"errors", "directories", "mapped_file", "core", "wire"},
    "exchange": {"errors", "core", "wire"},
    "venue": {"errors", "core", "wire", "client", "exchange"},
    "trading": {"errors", "mapped_file", "core", "wire", "venue.port", "venue.clock"},
    "strategies": {"errors", "core", "wire.symbols", "trading", "venue.port"},
    # At the top, beside app: it puts the engine on the simulated exchange. Nothing imports it.
    "testing": {"errors", "core", "wire", "exchange", "venue", "trading", "strategies"},
}
#: Libraries with one home.
HOMES = {
    "picows": {"client", "exchange"},
    "aiohttp": {"client"},
    "aiohttp_socks": {"client"},
    "multidict": {"client"},
    "yarl": {"client"},
    "python_socks": {"client"},
    "urllib3": {"client"},
    "orjson": {"wire"},
    "msgspec": {"wire"},
    "uvloop": {"app"},
    "winloop": {"app"},
    "click": {"app"},
    "rich": {"app"},
    "platformdirs": {"directories"},
    "prometheus_client": {"app"},
    "apprise": {"app"},
    "pydantic": {"strategies", "app"},
    "ruamel": {"app"},
    "keyring": {"app"},
    "numpy": {"core"},
    "sqlite3": {"trading"},
}
FORBIDDEN_NAMES = re.compile(r"^(utils?|helpers?|misc|common|base|manager)$")
CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", re.MULTILINE)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].split(".")[0]


def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports, `from package import module` spelled out."""
    text = path.read_text()
    if path.suffix != ".py":
        return {a or b for a, b in CIMPORT.findall(text)}
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def names(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_imports_point_downwards(path: Path) -> None:
    own = room_of(path)
    if own not in MAY_IMPORT:  # app, __init__ and __main__ know everything
        return
    allowed = MAY_IMPORT[own] | {own}
    for module in imported_modules(path):
        if not module.startswith("nkfast."):
            continue
        parts = module.split(".")[1:]
        assert parts[0] in allowed or ".".join(parts[:2]) in allowed, (
            f"{names(path)} imports {module}; {own} may import {sorted(allowed)}"
        )


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_each_library_lives_in_one_room(path: Path) -> None:
    for module in imported_modules(path):
        library = module.split(".")[0]
        if library in HOMES:
            assert room_of(path) in HOMES[library], f"{names(path)} imports {library}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "client").glob("*.py")), ids=names)
def test_clients_use_no_private_name_of_another(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr):
            owner = node.value
            assert isinstance(owner, ast.Name) and owner.id in {"self", "cls"}, (
                f"{names(path)}:{node.lineno} uses {node.attr}"
            )


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_names_say_what_a_file_holds(path: Path) -> None:
    assert not FORBIDDEN_NAMES.match(path.stem)


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "clock.py"], ids=names)
def test_only_the_clock_reads_the_time(path: Path) -> None:
    if room_of(path) in {"core", "wire", "trading", "strategies", "venue"}:
        loaded = {module.split(".")[0] for module in imported_modules(path)}
        assert "time" not in loaded or path.name == "signing.pyx", f"{names(path)} imports time"


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_nothing_below_the_app_reads_the_environment(path: Path) -> None:
    # But for where state is kept: two processes of one user can only meet where the platform says.
    if room_of(path) not in {"app", "directories"}:
        assert not re.search(r"\benviron\b|\bgetenv\b", path.read_text())


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_no_leftovers(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"TODO|FIXME|XXX", text)
    assert room_of(path) == "examples" or not re.search(r"(?<![\w.])print\(", text)


EXAMPLES = sorted((PACKAGE / "examples").glob("[!_]*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=names)
def test_examples_use_public_names_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            libraries = {alias.name.split(".")[0] for alias in node.names}
            assert libraries <= sys.stdlib_module_names, libraries
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nkfast"):
            public = {"nkfast": nkfast.__all__, "nkfast.testing": nkfast.testing.__all__}
            assert node.module in public, f"{path}: {node.module}"
            assert {alias.name for alias in node.names} <= set(public[node.module])
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] in sys.stdlib_module_names, node.module


def test_kernels_know_nothing_of_python() -> None:
    kernels = sorted((PACKAGE.parent / "csrc").glob("*.[ch]"))
    assert kernels
    for path in kernels:
        assert "Python.h" not in path.read_text(), path


def test_core_loads_nothing_that_trades() -> None:
    code = (
        "import sys, nkfast.core.book, nkfast.core.fixed, nkfast.core.frame, nkfast.core.signing;"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    # -P: without it `-c` puts the working directory, the uncompiled tree, first.
    output = subprocess.check_output([sys.executable, "-P", "-c", code], text=True)
    loaded = set(output.split())
    assert not loaded & {"asyncio", "ssl", "logging", "orjson", "msgspec", "picows", "uvloop"}
