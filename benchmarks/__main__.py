"""Run all five benchmarks: `python -m benchmarks [--rounds 15] [--out FOLDER]`.

`--only overhead` leaves the others out; `--quick` takes seconds instead of half an hour, and its
figures mean little. Options of one benchmark are given to that one: `python benchmarks/kernel.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import disk, kernel, overhead, ranks, report, scale

ALL = {"overhead": overhead, "kernel": kernel, "scale": scale, "disk": disk, "ranks": ranks}
QUICK = {
    "overhead": ("--rounds", "3", "--seconds", "0.05", "--nets", "tutorial"),
    "kernel": ("--rounds", "3", "--seconds", "0.005", "--sizes", "640", "64k", "--steps", "300"),
    "scale": ("--rounds", "3", "--modules", "100", "1000", "--steps", "1000"),
    "ranks": ("--ranks", "2", "9", "--sites", "20"),
    "disk": ("--rounds", "2", "--sites", "1", "8", "--windows", "20"),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--only", nargs="*", choices=ALL, default=list(ALL))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="into build/benchmarks")
    parser.add_argument("--out", type=Path, help=f"default: {report.RESULTS.name}/ beside this")
    options = parser.parse_args(arguments)
    default = Path("build/benchmarks") if options.quick else report.RESULTS
    for name in options.only:
        given = QUICK[name] if options.quick else ("--rounds", str(options.rounds))
        ALL[name].main([*given, "--out", str(options.out or default)])


if __name__ == "__main__":
    main()
