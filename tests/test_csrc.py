"""The kernels without Python: C tests and fuzzers under sanitizers, and gcc's static analyzer.

Every ``tests/csrc/test_*.c`` has a ``main`` that returns 0 when all is well. Every
``tests/csrc/fuzz_*.c`` has ``LLVMFuzzerTestOneInput`` for libFuzzer and, under ``NK_FUZZ_MAIN``, a
``main(iterations, seed)`` that makes its own inputs in buffers of exactly their size. The first
line of each names the kernels it links: ``/* links: nk_book.c nk_fixed.c */``.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
TESTS = sorted((ROOT / "tests" / "csrc").glob("test_*.c"))
FUZZERS = sorted((ROOT / "tests" / "csrc").glob("fuzz_*.c"))
KERNELS = sorted(CSRC.glob("nk_*.c"))
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
COMMON = ["-std=c11", "-g", "-O1", "-UNDEBUG", *WARNINGS, f"-I{CSRC}"]
FUZZ_ITERATIONS = 200_000
FUZZ_SEED = 20_260_101
#: The compiler's own 128-bit integers, and the words that stand in for them elsewhere.
WIDTHS = {"int128": [], "words": ["-DNK_NO_INT128"]}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    # A sanitizer preloaded for Python must not reach the compiler, which leaks by design.
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    return subprocess.run(
        [str(part) for part in command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="session")
def cc() -> str:
    """The system's C compiler."""
    compiler = os.environ.get("CC", "cc").split()[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"no C compiler: {compiler!r} is not on the path")
    return compiler


@pytest.fixture(scope="session")
def sanitizing_cc(cc: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, able to build and run a program under ASan and UBSan."""
    source = tmp_path_factory.mktemp("probe") / "probe.c"
    source.write_text("int main(void) { return 0; }\n")
    program = source.with_suffix("")
    for command in ([cc, *SANITIZERS, source, "-o", program], [program]):
        result = run(*command)
        if result.returncode != 0:
            pytest.skip(f"{cc} has no working address and undefined sanitizers: {result.stderr}")
    return cc


def linked_kernels(source: Path) -> list[Path]:
    first_line = source.read_text().partition("\n")[0]
    match = re.fullmatch(r"/\* links:((?: nk_\w+\.c)*) \*/", first_line)
    assert match, f"{source.name}: the first line must read '/* links: nk_some.c */'"
    return [CSRC / name for name in match[1].split()]


def build(cc: str, source: Path, program: Path, *flags: str) -> None:
    kernels = linked_kernels(source)
    result = run(
        cc, *COMMON, *SANITIZERS, *flags, source, *kernels, "-o", program, "-lm", "-pthread"
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("source", TESTS, ids=lambda path: path.stem)
def test_kernel(source: Path, width: str, sanitizing_cc: str, tmp_path: Path) -> None:
    program = tmp_path / source.stem
    build(sanitizing_cc, source, program, *WIDTHS[width])
    result = run(program)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("source", FUZZERS, ids=lambda path: path.stem)
def test_fuzzer_finds_nothing(source: Path, sanitizing_cc: str, tmp_path: Path) -> None:
    program = tmp_path / source.stem
    build(sanitizing_cc, source, program, "-DNK_FUZZ_MAIN")
    result = run(program, str(FUZZ_ITERATIONS), str(FUZZ_SEED))
    assert result.returncode == 0, f"seed {FUZZ_SEED}: {result.stdout}{result.stderr}"


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.stem)
def test_release_compiles_without_a_warning(kernel: Path, cc: str, tmp_path: Path) -> None:
    # What -O3 inlines lets the compiler see, and warn of, more than the builds above.
    flags = ["-std=c11", "-O3", "-DNDEBUG", *WARNINGS, f"-I{CSRC}"]
    result = run(cc, *flags, "-c", kernel, "-o", tmp_path / "kernel.o")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.stem)
def test_big_endian_processor_is_refused(kernel: Path, cc: str) -> None:
    big = ["-U__BYTE_ORDER__", "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__"]
    result = run(cc, "-std=c11", *big, f"-I{CSRC}", "-fsyntax-only", kernel)
    assert result.returncode != 0
    assert "nkfast needs a little-endian processor" in result.stderr


@pytest.mark.parametrize("source", [*KERNELS, *TESTS, *FUZZERS], ids=lambda path: path.stem)
def test_clang_has_nothing_to_say(source: Path, tmp_path: Path) -> None:
    if shutil.which("clang") is None:
        pytest.skip("clang is not on the path")
    command = ["clang", *COMMON, "-DNK_FUZZ_MAIN", "-c", source, "-o", tmp_path / "object.o"]
    result = run(*command)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.stem)
def test_analyzer_finds_nothing(kernel: Path, width: str, cc: str, tmp_path: Path) -> None:
    # Clang answers to the name of gcc too, so ask which one it is.
    if "Free Software Foundation" not in run(cc, "--version").stdout:
        pytest.skip(f"{cc} is not gcc, which alone has -fanalyzer")
    flags = [*COMMON, "-fanalyzer", *WIDTHS[width]]
    result = run(cc, *flags, "-c", kernel, "-o", tmp_path / "kernel.o")
    assert result.returncode == 0, result.stderr
