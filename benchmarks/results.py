"""Run every comparison of the benchmarks and write RESULTS.md.

    python -P benchmarks/results.py              everything, some minutes
    python -P benchmarks/results.py --quick      fewer repeats: seconds, and rougher
    python -P benchmarks/results.py --only book  bench_book.py alone, printed, not written

Every ``bench_*.py`` that has ``comparisons()`` takes part; see `interleaved.Comparison`. Needs a
release build of nkfast and ``pip install ".[bench]"``; a module whose peers are not installed is
named in the file as not measured.
"""

import argparse
import importlib
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

# With -P, Python does not look in the folder of this file.
FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

from interleaved import REPEATS, Comparison  # noqa: E402

import nkfast  # noqa: E402

RESULTS = FOLDER / "RESULTS.md"
QUICK_REPEATS = 21
#: What is compared with, apart from the standard library.
PEERS = [
    "sortedcontainers",
    "order_book",
    "nautilus_trader",
    "orjson",
    "msgspec",
    "pysimdjson",
    "cryptography",
    "numpy",
    "networkx",
    "numba",
    "aiohttp",
    "urllib3",
    "picows",
    "websockets",
    "uvloop",
]

INTRODUCTION = """\
# Results

Written by `{command}`; do not edit.

* The first row of each table is nkfast, the others are what one would take instead, on the same
  state and the same input. Times are nanoseconds per unit of work, named in the head of the
  column. `ratio` is the row's time divided by nkfast's: 10 is "nkfast is ten times faster", less
  than 1 is "nkfast is behind".
* Each time is the median of {repeats} samples of about 0.1 ms or one call; of fewer where a call
  takes longer than 25 ms. The candidates of a table take turns sample by sample, so that a busy
  second of the machine hits all alike: ratios hold where times do not. Between two runs on a quiet
  machine ratios move by some 5 %, on a busy one by 20 %; a goal missed or reached by less than
  that is undecided.
* `goal` is the least ratio, set beforehand; one below 1 is a limit: 0.5 is "at most twice as
  slow". `max` is a limit in nanoseconds. Rows whose name begins with nkfast are nkfast, too.

| | |
|---|---|
| processor | {processor}, {cores} cores, load {load} when it began |
| system | {system} |
| Python | {python} |
| Python compiled by | {compiler} |
| versions | {versions} |
| date | {date} |
"""


def module_names() -> list[str]:
    return [path.stem.removeprefix("bench_") for path in sorted(FOLDER.glob("bench_*.py"))]


def comparisons_of(name: str) -> Iterator[Comparison]:
    """Yield nothing for a module without ``comparisons``: it has no peer to compare with."""
    module = importlib.import_module(f"bench_{name}")
    yield from getattr(module, "comparisons", tuple)()


def verdicts(
    comparison: Comparison, medians: dict[str, float], name: str
) -> list[tuple[str, bool]]:
    """The goals that a row has, each with whether it is reached."""
    found = []
    if name in comparison.goals:
        goal = comparison.goals[name]
        found.append(
            (
                f"{goal:,.0f} x" if goal >= 100 else f"{goal:.3g} x",
                medians[name] / medians[comparison.first] >= goal,
            )
        )
    if name in comparison.limits_ns:
        limit = comparison.limits_ns[name]
        found.append((f"max {limit:,.0f} ns", medians[name] <= limit))
    return found


def table(comparison: Comparison, medians: dict[str, float]) -> list[str]:
    rows = [
        f"### {comparison.title}",
        "",
        f"| | ns per {comparison.unit} | ratio | goal | |",
        "|---|--:|--:|--:|---|",
    ]
    for name, ns in medians.items():
        found = verdicts(comparison, medians, name)
        goals = ", ".join(goal for goal, _ in found)
        marks = ", ".join("reached" if is_reached else "**missed**" for _, is_reached in found)
        ratio = ns / medians[comparison.first]
        shown = "" if name == comparison.first else f"{ratio:,.2f}"
        rows.append(f"| {name} | {amount(ns)} | {shown} | {goals} | {marks} |")
    if comparison.note:
        rows += ["", comparison.note]
    return [*rows, ""]


def amount(ns: float) -> str:
    return f"{ns:,.0f}" if ns >= 100 else f"{ns:.1f}"


def behind(comparison: Comparison, medians: dict[str, float]) -> list[str]:
    """Lines for what is not ahead: a peer that is as fast or faster, and each goal missed."""
    lines = []
    for name, ns in medians.items():
        ratio = ns / medians[comparison.first]
        missed = [
            goal for goal, is_reached in verdicts(comparison, medians, name) if not is_reached
        ]
        is_limit = comparison.goals.get(name, 1) < 1
        measured = f"{amount(ns)} ns" if name in comparison.limits_ns else f"{ratio:.2f}"
        if missed:
            lines.append(f"* {comparison.title}, {name}: {measured}, goal {', '.join(missed)}")
        elif ratio < 1 and not is_limit and not name.startswith("nkfast"):
            lines.append(f"* {comparison.title}, {name}: {ratio:.2f}")
    return lines


def processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def versions() -> str:
    found = [f"nkfast {nkfast.__version__}"]
    for name in PEERS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def introduction(repeats: int, command: str) -> str:
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return INTRODUCTION.format(
        command=command,
        repeats=repeats,
        processor=processor(),
        cores=os.cpu_count(),
        load=load,
        system=platform.platform(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        compiler=platform.python_compiler(),
        versions=versions(),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def run(names: list[str], repeats: int) -> tuple[list[str], list[str], list[str]]:
    """Return the tables, the lines on what is not ahead, and the modules that did not run."""
    tables: list[str] = []
    lines: list[str] = []
    left_out: list[str] = []
    for name in names:
        try:
            for comparison in comparisons_of(name):
                medians = comparison.measure(repeats)
                new = table(comparison, medians)
                print("\n".join(new), flush=True)
                tables += new
                lines += behind(comparison, medians)
        except pytest.skip.Exception as missing:
            left_out.append(f"* bench_{name}.py: {missing}")
    return tables, lines, left_out


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Run the comparisons and write RESULTS.md.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_REPEATS} repeats")
    parser.add_argument("--only", choices=module_names(), help="one module; nothing is written")
    chosen = parser.parse_args(arguments)
    repeats = QUICK_REPEATS if chosen.quick else REPEATS
    command = " ".join(["python -P benchmarks/results.py", *arguments])
    beginning = introduction(repeats, command)
    names = [chosen.only] if chosen.only else module_names()
    tables, lines, left_out = run(names, repeats)
    if chosen.only:
        return 0
    parts = [beginning, "## Where nkfast is not ahead, or short of its goal", ""]
    parts += lines or ["Nowhere in this run."]
    if left_out:
        parts += ["", "Not measured:", "", *left_out]
    parts += ["", "## Every comparison", "", *tables]
    RESULTS.write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")
    print(f"wrote {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
