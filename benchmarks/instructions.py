"""Count the instructions of the hot calls, so that a regression shows without a clock.

    python -P benchmarks/instructions.py           count and compare with instructions.json
    python -P benchmarks/instructions.py --write   count and keep
    python -P benchmarks/instructions.py --against FILE   compare with what another commit kept

A count is the difference of two loops of different lengths, divided by the difference of the
lengths: what begins and ends a loop cancels. It depends on compiler, interpreter and libraries, so
the file has one set per `build_key`. valgrind knows no SHA instructions: signing is counted on the
portable path, which the key says.

Needs valgrind with its headers and a C compiler.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import nkfast
from nkfast.core import signing

__all__ = ["TOLERANCE", "build_key", "count", "grown", "load", "obstacle"]

FOLDER = Path(__file__).parent
KEPT = FOLDER / "instructions.json"
TOLERANCE = 0.05
LABEL = re.compile(r"^desc: Trigger: Client Request: (\d+) (.+)$", re.MULTILINE)
TOTAL = re.compile(r"^(?:totals|summary): (\d+)$", re.MULTILINE)
COMPILER = re.compile(rb"(?:GCC: \([^)]*\)|[a-zA-Z ]*clang version) \d+\.\d+\.\d+")
SECONDS_MAX = 300


def obstacle() -> str:
    """Why nothing can be counted here; empty when it can."""
    compiler = os.environ.get("CC", "cc").split()[0]
    for program in ("valgrind", compiler):
        if shutil.which(program) is None:
            return f"{program} is not on the path"
    header = "#include <valgrind/callgrind.h>\n"
    probe = subprocess.run([compiler, "-E", "-"], input=header, capture_output=True, text=True)
    if probe.returncode != 0:
        return f"{compiler} does not find valgrind/callgrind.h"
    source = Path(nkfast.__file__).parent.parent
    mode = source / "build" / "mode"
    if source == FOLDER.parent and mode.exists() and mode.read_text() != "release":
        return f"nkfast was built in mode {mode.read_text()}, not release"
    return ""


def build_key() -> str:
    """What the counts depend on, besides nkfast itself."""
    module = Path(signing.__file__).read_bytes()
    compilers = sorted({match.decode().strip() for match in COMPILER.findall(module)})
    parts = [
        platform.machine(),
        *(compilers or ["unknown compiler"]),
        f"{platform.python_implementation()} {platform.python_version()}",
        f"numpy {version('numpy')}",
        "-".join(platform.libc_ver()),
        "portable SHA-256",
    ]
    return ", ".join(parts)


def count() -> dict[str, int]:
    """Instructions of each of the `hot_calls`, per call.

    Raises
    ------
    subprocess.CalledProcessError
        If valgrind or what it runs fails; its output is printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder, "marks.so")
        compile_marks = [os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC"]
        _run([*compile_marks, FOLDER / "callgrind_marks.c", "-o", marks])
        _run(
            [
                "valgrind",
                "--tool=callgrind",
                "--instr-atstart=no",
                f"--callgrind-out-file={folder}/out",
                *(sys.executable, "-P", FOLDER / "hot_calls.py", marks),
            ]
        )
        totals: dict[str, dict[int, int]] = {}
        for dump in Path(folder).glob("out.*"):
            text = dump.read_text()
            if label := LABEL.search(text):
                total = TOTAL.search(text)
                assert total, f"callgrind wrote no total: {text[:500]}"
                totals.setdefault(label[2], {})[int(label[1])] = int(total[1])
    return {
        name: round((of[max(of)] - of[min(of)]) / (max(of) - min(of)))
        for name, of in sorted(totals.items())
    }


def _run(command: list[object]) -> None:
    # Hashes that change from run to run would move the counts.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    environment["PYTHONPATH"] = str(Path(nkfast.__file__).parent.parent)
    done = subprocess.run(
        [str(part) for part in command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        done.check_returncode()


def load(file: Path = KEPT) -> dict[str, dict[str, int]]:
    """The counts that are kept, by `build_key` and name of the call."""
    kept: dict[str, dict[str, int]] = json.loads(file.read_text(encoding="utf-8"))
    return kept


def grown(counted: Mapping[str, int], kept: Mapping[str, int]) -> list[str]:
    """One line for each call whose count grew by more than `TOLERANCE`, or is not in both."""
    lines = [f"{name}: counted or kept, not both" for name in sorted(counted.keys() ^ kept.keys())]
    for name in sorted(counted.keys() & kept.keys()):
        now, before = counted[name], kept[name]
        if now > before * (1 + TOLERANCE):
            lines.append(f"{name}: {now} instructions, were {before} ({now / before - 1:+.1%})")
    return lines


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Count the instructions of the hot calls.")
    parser.add_argument("--write", action="store_true", help="keep the counts")
    parser.add_argument("--against", type=Path, help="a file that another commit's --write wrote")
    chosen = parser.parse_args(arguments)
    if reason := obstacle():
        raise SystemExit(f"cannot count: {reason}")
    counted, kept, key = count(), load(chosen.against or KEPT), build_key()
    before = kept[key] if chosen.against else kept.get(key, {})
    print(key)
    for name, instructions in counted.items():
        print(f"{name:44} {instructions:10,} kept {before.get(name, 0):10,}")
    if chosen.write:
        text = json.dumps({**kept, key: counted}, indent=2, sort_keys=True)
        KEPT.write_text(text + "\n", encoding="utf-8")
        return 0
    if chosen.against:
        # A call that only one of the commits has is no growth.
        counted = {name: counted[name] for name in counted.keys() & before.keys()}
        before = {name: before[name] for name in counted}
    lines = grown(counted, before)
    print("\n".join(lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
