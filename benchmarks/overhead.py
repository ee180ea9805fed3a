"""What recording costs: the time of a training step with hooks over without.

    python benchmarks/overhead.py [--rounds 15] [--seconds 0.5] [--nets mlp] [--peers fastai wandb]

A step is forward, backward and SGD, with `recorder.step()` and its closing of windows inside, on
one thread. All variants are timed in each round, in shuffled order, and a ratio is the median over
rounds of two times of the same round. Times are process CPU time (all threads), and wall time
beside. Before that each variant takes part in 128 steps with a small batch, so that kernels are
compiled and windows have the width of a run under way (4 steps); a timed block has a multiple of
4 steps, and so closes its windows.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from actstats import kernels
from benchmarks import bounds, peers, report, timing
from benchmarks.nets import LABELS, Net, make

WARM_STEPS = 128  # windows are 4 steps wide then
MULTIPLE = 4
NONE, EMPTY, FLOOR, OURS, GRADIENTS = (
    "without",
    "empty hook",
    "torch.sum of each output",
    "actstats",
    "actstats, gradients too",
)
FUNCTIONAL = "actstats, functional too"


def variants(net: Net, names: list[str], kernel: str | None) -> dict[str, peers.Variant]:
    """Return everything that is timed on a net."""
    model = net.model
    own = {
        NONE: peers.Variant(),
        EMPTY: peers.Hooked(peers.leaves(model), peers.empty),
        FLOOR: peers.Hooked(peers.leaves(model), peers.total),
        OURS: peers.Recorded(model, kernel=kernel),
        GRADIENTS: peers.Recorded(model, kernel=kernel, capture=("output", "grad")),
        FUNCTIONAL: peers.Recorded(model, kernel=kernel, functional=True),
    }
    return own | {peers.PEERS[name].title(): peers.PEERS[name].variant(model) for name in names}


def train(net: Net, variant: peers.Variant, steps: int, small: bool = False) -> None:
    batch = net.small if small else net.batch
    for _ in range(steps):
        net.train(batch)
        variant.step()


def measured(net: Net, variant: peers.Variant, repeats: int) -> Callable[[], tuple[float, float]]:
    """Return what times a block of steps of one variant."""

    def block() -> None:
        net.train(net.batch)
        variant.step()

    def measure() -> tuple[float, float]:
        gc.collect()  # what another variant left is not this one's to collect
        variant.attach()
        try:
            return timing.clock(block, repeats)
        finally:
            variant.detach()
            variant.clear()

    return measure


def warm_up(net: Net, variant: peers.Variant) -> None:
    variant.attach()
    train(net, variant, WARM_STEPS, small=True)
    variant.detach()
    variant.clear()


def time_net(name: str, options: argparse.Namespace) -> dict[str, object]:
    """Time all variants on one net, and return its rows."""
    net = make(name)
    watched = variants(net, options.peers, options.kernel)
    for variant in timing.progress(watched.values(), f"warm up {name}"):
        warm_up(net, variant)
    repeats = timing.repeats_for(lambda: net.train(net.batch), options.seconds, MULTIPLE)
    measure = {label: measured(net, variant, repeats) for label, variant in watched.items()}
    cpu, wall = timing.interleave(measure, options.rounds, net.label)
    ours = timing.ratio(cpu[OURS], cpu[NONE]).as_json()
    print(f"{net.label}: {report.with_interval(ours)} with actstats", file=sys.stderr, flush=True)
    recorder = watched[OURS].recorder
    return {
        "net": name,
        "label": net.label,
        "sites": len(recorder),
        "steps_per_block": repeats,
        "window_steps": recorder.latest.last_step - recorder.latest.first_step + 1,
        "step_ms": {kind: 1e3 * timing.median(t[NONE]).value for kind, t in both(cpu, wall)},
        "ratios": {
            label: {k: timing.ratio(t[label], t[NONE]).as_json() for k, t in both(cpu, wall)}
            for label in watched
            if label != NONE
        },
        "bounds": judge(name, cpu, options.peers),
        "times_s": {k: {n: list(v) for n, v in t.items()} for k, t in both(cpu, wall)},
    }


def both(cpu: timing.Times, wall: timing.Times) -> list[tuple[str, timing.Times]]:
    return [("cpu", cpu), ("wall", wall)]


def judge(name: str, cpu: timing.Times, names: list[str]) -> list[dict[str, object]]:
    """Return what was measured beside what was promised."""
    none, ours = cpu[NONE], cpu[OURS]
    added = timing.median(ours / none - 1)
    rows = [bounds.ADDED[name].row(added)]
    for peer in (peer for peer in names if peers.PEERS[peer].judged):
        title = peers.PEERS[peer].title()
        row = bounds.PEERS[name].row(timing.ratio_of_added(cpu[title], ours, none))
        rows.append(row | {"what": str(row["what"]).format(peer=title)})
    both_kinds = timing.ratio_of_added(cpu[GRADIENTS], ours, none)
    return [*rows, bounds.GRADIENTS[name].row(both_kinds)]


# ---- what is shown -------------------------------------------------------------------------------


def tables(result: dict) -> str:
    """Return the tables of a run, as Markdown."""
    parts = [ratio_table(result["rows"], kind) for kind in ("cpu", "wall")]
    rows = [bound for row in result["rows"] for bound in row["bounds"]]
    absent = report.absences(result) + " Formulas are timed in a peer's place."
    return "\n\n".join((*parts, "Bounds:", report.bound_table(rows), absent))


def ratio_table(rows: list[dict], kind: str) -> str:
    labels = list(dict.fromkeys(label for row in rows for label in row["ratios"]))
    title = {"cpu": "Process CPU time", "wall": "Wall time"}[kind]
    head = [f"{title}, over a step without hooks", *(row["label"] for row in rows)]
    lines = [["a step without hooks, ms", *(f"{row['step_ms'][kind]:.2f}" for row in rows)]]
    for label in labels:
        ratios = [row["ratios"].get(label, {}).get(kind) for row in rows]
        lines.append([label, *map(report.with_interval, ratios)])
    return report.markdown(head, lines)


def draw(result: dict) -> object:
    """Draw the added time of every variant on every net."""
    return report.draw_ratios(result["rows"])


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = report.parser(__doc__, seconds=0.5)
    parser.add_argument("--nets", nargs="*", choices=LABELS, default=list(LABELS))
    parser.add_argument("--peers", nargs="*", choices=peers.PEERS, default=list(peers.PEERS))
    parser.add_argument("--kernel", help="of the recorder; default: its own choice")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> dict[str, object]:
    """Time the nets, and return everything as JSON can hold it."""
    torch.set_num_threads(1)
    nets = [name for name in options.nets if report.can_make(name)]
    result = report.envelope("overhead", options)
    result |= {
        "threads": 1,
        "kernel": (
            kernels.choose(options.kernel) if options.kernel else kernels.best("cpu", torch.float32)
        ).NAME,
    }
    result["rows"] = [time_net(name, options) for name in nets]
    result["absent"] = peers.absent(options.peers) | {
        LABELS[name]: "transformers is not installed" for name in options.nets if name not in nets
    }
    result["sources"] = {peers.PEERS[p].title(): peers.PEERS[p].source for p in options.peers}
    return result


def main(arguments: list[str] | None = None) -> None:
    options = read_arguments(arguments)
    result = run(options)
    report.publish(result, tables(result), draw(result), options.out)


if __name__ == "__main__":
    main()
