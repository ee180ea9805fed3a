"""Measure once, with plain torch, that labels are true: `python -m benchmarks.clinic.verify`.

Healthy networks are trained from the start with their own optimizer: their loss must fall below
80 % of the loss at the start and of what the best constant answer gives. A sick network that is
said not to learn must stay above 90 % of the latter after 150 steps. Every injected fault is
measured by its case's proof. Written to `results/clinic-learning.json`; rows of cases that were not
asked for stay.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch

from benchmarks import machine, report, timing
from benchmarks.clinic import cases, proof
from benchmarks.clinic.case import Case
from benchmarks.clinic.split import network

FALLS = 0.8
LEARNING_SEEDS = 1
"""Learning is measured for so many seeds, faults for all that are asked for."""


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def learning(case: Case, seed: int) -> dict[str, float | bool | None]:
    """Return losses before and after training, and that of a constant answer."""
    setup = case.build(seed)
    constant, before = proof.constant_loss(setup), setup.mean_loss()
    after = setup.train(case.learn_steps).mean_loss()
    learns = after <= FALLS * min(before, constant)
    fails = not after <= 0.9 * constant
    return {
        "constant": constant,
        "before": finite(before),
        "after": finite(after),
        "as_labelled": learns if case.learns else fails,
    }


def verify(case: Case, seed: int, known: dict[tuple[str, int], dict]) -> dict[str, object]:
    """Return what was measured of one case.

    Parameters
    ----------
    case : Case
        Which.
    seed : int
        Of weights and data.
    known : dict
        Learning of healthy networks, which is the same for both moments they are judged at.
    """
    found: dict[str, object] = {"case": case.name, "seed": seed}
    key = (network(case.name) if case.healthy else case.name, seed)
    if case.learns is not None and seed < LEARNING_SEEDS:
        if key not in known:
            known[key] = learning(case, seed)
        found |= known[key]
    if case.proof is not None:
        found["fault_is_there"] = bool(case.proof(case.build(seed), case.steps))
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.clinic.verify", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="*", help="pattern of names")
    parser.add_argument("--out", type=Path, default=report.RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    wanted = [(c, seed) for c in cases(options.only) for seed in range(options.seeds)]
    known: dict[tuple[str, int], dict] = {}
    rows = [verify(c, seed, known) for c, seed in timing.progress(wanted, "verify")]
    wrong = [r for r in rows if False in (r.get("as_labelled"), r.get("fault_is_there"))]
    for row in wrong:
        print("NOT AS LABELLED", row)
    print(f"{len(rows) - len(wrong)} of {len(rows)} networks are as labelled")
    options.out.mkdir(parents=True, exist_ok=True)
    stored = options.out / "clinic-learning.json"
    if stored.exists():
        others = {c.name for c in cases()} - {c.name for c, _ in wanted}
        rows = [r for r in json.loads(stored.read_text())["networks"] if r["case"] in others] + rows
    result = {"machine": machine.describe(), "networks": rows}
    stored.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
