"""How often is the diagnosis right? `python -m benchmarks.clinic [--half report] [--seeds 3]`.

Thresholds are chosen on the half `tune`; what is published is `report`. The part `fresh` runs only
where it is asked for. Writes `clinic.json`, `clinic.md` and `clinic.png`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

import actstats
from benchmarks import report
from benchmarks.clinic import cases, score, show
from benchmarks.clinic.case import Case
from benchmarks.clinic.split import HALVES, PARTS, halves


def chosen(half: str, pattern: str) -> dict[str, list[Case]]:
    """Return the cases of each half asked for."""
    every = cases()
    at = halves(every)
    wanted = {"both": HALVES, "all": PARTS}.get(half, (half,))
    return {
        h: [c for c in every if at[c.name] == h and fnmatchcase(c.name, pattern)] for h in wanted
    }


def measure(options: argparse.Namespace, judge: score.Judge) -> dict[str, Any]:
    """Run what was asked for."""
    result = report.envelope("clinic", options) | {"halves": {}, "failures": {}, "networks": {}}
    for half, wanted in chosen(options.half, options.only).items():
        outcomes = score.run(wanted, options.seeds, judge)
        result["halves"][half] = score.score(outcomes)
        result["failures"][half] = score.failures(outcomes)
        result["networks"][half] = [_row(o) for o in outcomes]
    return result


def _row(outcome: score.Outcome) -> dict[str, Any]:
    return {
        "case": outcome.case.name,
        "seed": outcome.seed,
        "found": [str(f) for f in outcome.found],
        "published": sorted(outcome.published),
        "seconds": round(outcome.seconds, 3),
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.clinic", description=__doc__)
    parser.add_argument("--half", choices=(*PARTS, "both", "all"), default="both")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="*", help="pattern of names")
    parser.add_argument("--out", type=Path, default=report.RESULTS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, judge: score.Judge = actstats) -> None:
    options = parse(arguments)
    torch.set_num_threads(1)
    result = measure(options, judge)
    for half, rows in result["failures"].items():
        print(f"Misses, wrong sites and false alarms of the {half} part:\n")
        print(show.failure_list(rows), end="\n\n")
    last = list(result["halves"])[-1]  # report, where both were run
    taken = f"{options.seeds} seeds of weights and data."
    figure = show.draw(result["halves"][last], last)
    report.publish(result, show.tables(result), figure, options.out, taken)


if __name__ == "__main__":
    main()
