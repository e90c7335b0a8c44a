"""Weigh a wheel and what its installation takes, so that growth is noticed when it happens.

    python -P benchmarks/sizes.py WHEEL           weigh and compare with sizes.json
    python -P benchmarks/sizes.py WHEEL --write   weigh and keep

Run it with an interpreter whose environment holds the wheel, what it needs, and nothing else: the
installation is everything there but pip. Bytecode counts, as pip writes it. Interpreter and system
are the key.
"""

import argparse
import json
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

__all__ = ["KEPT", "TOLERANCE", "grown", "installed", "main"]

KEPT = Path(__file__).with_name("sizes.json")
TOLERANCE = 0.20
_NOT_OURS = {"pip", "setuptools", "wheel"}


def installed() -> dict[str, int]:
    """Bytes of each distribution of this environment, the largest first."""
    sizes = {}
    for distribution in distributions():
        if distribution.name not in _NOT_OURS:
            files = [Path(str(file.locate())) for file in distribution.files or ()]
            sizes[distribution.name] = sum(f.stat().st_size for f in files if f.is_file())
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def grown(weighed: Mapping[str, int], kept: Mapping[str, int]) -> list[str]:
    """One line for each size that grew by more than `TOLERANCE`."""
    return [
        f"{name}: {now:,} bytes, were {kept[name]:,} ({now / kept[name] - 1:+.0%})"
        for name, now in weighed.items()
        if name in kept and now > kept[name] * (1 + TOLERANCE)
    ]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Weigh a wheel and its installation.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--write", action="store_true", help="keep the sizes")
    chosen = parser.parse_args(arguments)
    parts = installed()
    key = f"{sys.implementation.cache_tag}, {platform.system()} {platform.machine()}"
    weighed = {"wheel": chosen.wheel.stat().st_size, "installed": sum(parts.values())}
    kept: dict[str, dict[str, int]] = json.loads(KEPT.read_text(encoding="utf-8"))
    print(key)
    for name, size in [*weighed.items(), *list(parts.items())[:12]]:
        print(f"{name:24} {size:13,} bytes")
    if chosen.write:
        text = json.dumps({**kept, key: weighed}, indent=2, sort_keys=True)
        KEPT.write_text(text + "\n", encoding="utf-8")
        return 0
    if key not in kept:
        print("nothing is kept for this one")
        return 0
    lines = grown(weighed, kept[key])
    print("\n".join(lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
