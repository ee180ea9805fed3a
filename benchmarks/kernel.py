"""What a kernel costs: time per element by what is kept, and how cost grows.

    python benchmarks/kernel.py [--rounds 15] [--seconds 0.05] [--kernels cpu] [--parts hook]

The yardstick is `torch.sum` of the same tensor, in the same rounds: from the cache up to 1M float32
elements, from memory at 32M. One thread and process CPU time, but for two threads over one, which
is wall time. The hook is that of a leaf in a chain of 26, above an empty Python hook on the same
leaves.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from torch import Tensor, nn

from actstats import activations, kernels, make_mlp
from actstats.gate import make_gate
from actstats.kernels import Spec, State
from benchmarks import bounds, peers, report, timing

SIZES = {"640": 640, "64k": 1 << 16, "1M": 1 << 20, "32M": 1 << 25}
DTYPES = ("float32", "bfloat16", "float16", "float64")
COMMON = ("units", "relu", "tanh")  # groups that every dtype is timed with
BOUNDED = ("units", "channels", "relu", "tanh")  # what the recorder keeps by default
SLOW = {"reference": 1 << 20}  # the largest size worth waiting for
LEAVES = 26
PARTS = ("elements", "threads", "hook", "sites", "windows")


@dataclass(frozen=True)
class Group:
    """A set of statistics: what it is called, and what it asks of a state."""

    label: str
    activation: str | None = None
    axis: int | None = -1
    asymptote: bool = False
    edges: tuple[float, ...] | None = None

    def spec(self, x: Tensor) -> Spec:
        gate = None if self.activation is None else make_gate(activations.get(self.activation))
        width = 1 if self.axis is None else x.shape[self.axis]
        return Spec(3, width, gate, self.asymptote, self.edges)

    def values(self, size: int, dtype: torch.dtype) -> Tensor:
        """Return what such a site gives out."""
        x = torch.randn(size, generator=torch.Generator().manual_seed(0))
        if self.activation is not None:
            x = getattr(torch, self.activation)(x)
        return x.to(dtype).view(self.shape(size))

    def shape(self, size: int) -> tuple[int, ...]:
        width = 10 if size % 1024 else 1024
        if self.axis != 1:
            return (-1, width)
        return (-1, width // 5, 16) if size == 640 else (-1, 64, 256)


GROUPS = {
    "pooled": Group("pooled: moments, extrema, histogram", axis=None),
    "units": Group("per unit"),
    "channels": Group("per unit, on axis 1", axis=1),
    "relu": Group("per unit, ReLU's gate", "relu"),
    "gate": Group("per unit, tanh's gate", "tanh"),
    "tanh": Group("per unit, tanh's gate and bins near 1 and -1", "tanh", asymptote=True),
    "edges": Group("per unit, 10 named bins", edges=tuple(np.linspace(-4, 4, 11))),
}


def available(names: list[str]) -> dict[str, ModuleType | str]:
    """Return the kernels of these names; the reason instead of one that does not run here."""
    found: dict[str, ModuleType | str] = {}
    for name in names:
        try:
            found[name] = kernels.choose(name)
        except (NotImplementedError, RuntimeError, ImportError) as error:
            found[name] = str(error)
    return found


def observing(kernel: ModuleType, group: Group, x: Tensor) -> Callable[[], None]:
    """Return what makes one observation."""
    state = State(group.spec(x))
    observe, axis = kernel.observe, group.axis
    return lambda: observe(x, state, unit_axis=axis, step=0)


def timed(block: Callable[[], None], seconds: float) -> Callable[[], tuple[float, float]]:
    repeats = timing.repeats_for(block, seconds)
    return lambda: timing.clock(block, repeats)


# ---- parts ---------------------------------------------------------------------------------------


def time_elements(
    found: dict[str, ModuleType], options: argparse.Namespace
) -> list[dict[str, object]]:
    """Time each kernel, group, dtype and size beside `torch.sum`."""
    rows = []
    for dtype in options.dtypes:
        groups = GROUPS if dtype == "float32" else COMMON
        for size in options.sizes:
            rows += time_size(found, [GROUPS[g] for g in groups], dtype, size, options)
    return rows


def time_size(
    found: dict[str, ModuleType],
    groups: list[Group],
    dtype: str,
    size: str,
    options: argparse.Namespace,
) -> list[dict[str, object]]:
    count, measure, pairs = SIZES[size], {}, []
    made = {}
    for group in groups:
        key = (group.activation, group.axis == 1)
        if key not in made:
            made[key] = group.values(count, getattr(torch, dtype))
        x = made[key]
        measure[f"sum {key}"] = timed(lambda x=x: torch.sum(x), options.seconds)
        for name, kernel in found.items():
            if count <= SLOW.get(name, count):
                label = f"{name}, {group.label}"
                measure[label] = timed(observing(kernel, group, x), options.seconds)
                pairs.append((name, group, label, f"sum {key}"))
    cpu, _ = timing.interleave(measure, options.rounds, f"{size} {dtype}")
    return [
        {
            "kernel": name,
            "group": group.label,
            "dtype": dtype,
            "size": size,
            "ns": timing.median(1e9 * cpu[label] / count).as_json(),
            "sum_ns": timing.median(1e9 * cpu[under] / count).as_json(),
            "ratio": timing.ratio(cpu[label], cpu[under]).as_json(),
        }
        for name, group, label, under in pairs
    ]


def time_threads(
    found: dict[str, ModuleType], options: argparse.Namespace
) -> list[dict[str, object]]:
    """Time 32M elements with two threads over one."""
    rows = []
    fast = {name: kernel for name, kernel in found.items() if name not in SLOW}
    for group in (GROUPS["units"], GROUPS["relu"]) if fast else ():
        x = group.values(SIZES["32M"], torch.float32)
        for name, kernel in fast.items():
            block = observing(kernel, group, x)
            measure = {f"{n}": on_threads(block, n, options.seconds) for n in (1, 2)}
            _, wall = timing.interleave(measure, options.rounds, f"threads, {name}")
            faster = timing.ratio(wall["1"], wall["2"]).as_json()
            rows.append({"kernel": name, "group": group.label, "faster": faster})
    return rows


def on_threads(
    block: Callable[[], None], threads: int, seconds: float
) -> Callable[[], tuple[float, float]]:
    """Return what times a block while torch is set to so many threads."""

    def measure() -> tuple[float, float]:
        torch.set_num_threads(threads)
        try:
            block()
            return timing.clock(block, repeats)
        finally:
            torch.set_num_threads(1)

    repeats = timing.repeats_for(block, seconds)
    return measure


def time_hook(found: dict[str, ModuleType], options: argparse.Namespace) -> list[dict[str, object]]:
    """Time the hook of one leaf on 64 x 10, above an empty one."""
    rows = []
    for name in found:
        for module in (nn.Identity, nn.ReLU, nn.Tanh):
            chain = nn.Sequential(*(module() for _ in range(LEAVES)))
            x = torch.randn(64, 10)
            watched = {
                "empty": peers.Hooked(list(chain), peers.empty),
                "ours": peers.Recorded(chain, kernel=name),
            }
            measure = {
                label: forwards(chain, x, watcher, options.seconds)
                for label, watcher in watched.items()
            }
            cpu, _ = timing.interleave(measure, options.rounds, f"hook, {name}")
            above = timing.median(1e6 * (cpu["ours"] - cpu["empty"]) / LEAVES)
            rows.append({"kernel": name, "module": module.__name__, "above_us": above.as_json()})
    return rows


def forwards(
    chain: nn.Module, x: Tensor, watcher: peers.Variant, seconds: float
) -> Callable[[], tuple[float, float]]:
    return watched(lambda: chain(x), watcher, seconds)


def watched(
    block: timing.Block, watcher: peers.Variant, seconds: float, warm: int = 0
) -> Callable[[], tuple[float, float]]:
    """Return how to time a block with the watcher attached, which has seen it run before."""
    watcher.attach()
    for _ in range(warm):
        block()
    repeats = timing.repeats_for(block, seconds)
    watcher.detach()

    def measure() -> tuple[float, float]:
        watcher.attach()
        try:
            return timing.clock(block, repeats)
        finally:
            watcher.detach()

    return measure


def time_sites(
    found: dict[str, ModuleType], options: argparse.Namespace
) -> list[dict[str, object]]:
    """Time a forward and `step()` of nets of growing depth, with the recorder above without."""
    rows = []
    for name in found:
        for depth in (1, 4, 16, 64, 256):
            net, x = make_mlp(10, (10,) * depth), torch.randn(64, 10)
            recorded = peers.Recorded(net, kernel=name)
            measure = {
                "without": steps(net, x, peers.Variant(), options.seconds),
                "ours": steps(net, x, recorded, options.seconds),
            }
            cpu, _ = timing.interleave(measure, options.rounds, f"{depth} layers, {name}")
            added = timing.median(1e6 * (cpu["ours"] - cpu["without"])).as_json()
            rows.append({"kernel": name, "sites": len(recorded.recorder), "added_us": added})
    return rows


def steps(
    net: nn.Module, x: Tensor, watcher: peers.Variant, seconds: float
) -> Callable[[], tuple[float, float]]:
    def block() -> None:
        with torch.no_grad():
            net(x)
        watcher.step()

    return watched(block, watcher, seconds, warm=64)


def time_windows(
    found: dict[str, ModuleType], options: argparse.Namespace
) -> list[dict[str, object]]:
    """Time `step()` alone, with its closing and merging of windows, as a run gets longer."""
    rows = []
    for name in found:
        net, x = make_mlp(10, (10,) * 8), torch.randn(64, 10)
        recorder = peers.Recorded(net, kernel=name).recorder
        spent = np.zeros(options.steps)
        with recorder, torch.no_grad():
            for i in timing.progress(range(options.steps), f"windows, {name}"):
                net(x)
                begin = time.perf_counter()
                recorder.step()
                spent[i] = time.perf_counter() - begin
        rows += [
            {
                "kernel": name,
                "first": int(low),
                "last": int(high) - 1,
                "step_us": 1e6 * float(spent[low:high].mean()),
                "longest_us": 1e6 * float(spent[low:high].max()),
            }
            for low, high in octaves(options.steps)
        ]
    return rows


def octaves(steps: int) -> list[tuple[int, int]]:
    """Split a run at 64, 128, 256, ... steps."""
    ends = [0, *(64 << i for i in range(steps.bit_length()) if 64 << i < steps), steps]
    return list(pairwise(ends))


# ---- bounds --------------------------------------------------------------------------------------


def judge(result: dict) -> list[dict[str, object]]:
    """Return what was measured beside what was promised of the fastest kernel."""
    rows = []
    best = "cpu" if "cpu" in result["kernels"] else "reference"
    labels = [GROUPS[g].label for g in BOUNDED]
    for row in result["elements"]:
        bound = bounds.KERNEL.get(SIZES[row["size"]])
        wanted = row["kernel"] == best and row["dtype"] == "float32" and row["group"] in labels
        if bound is not None and wanted:
            rows.append(judged(bound, row["ratio"], group=f"{best} kernel, {row['group']}"))
    rows += [judged(bounds.THREADS, r["faster"], group=r["group"]) for r in result["threads"]]
    hooks = [row for row in result["hook"] if row["kernel"] == best]
    return rows + [judged(bounds.HOOK, r["above_us"], module=r["module"]) for r in hooks]


def judged(bound: bounds.Bound, measured: list[float], **names: str) -> dict[str, object]:
    row = bound.row(timing.Estimate(*measured))
    return row | {"what": str(row["what"]).format(**names)}


# ---- what is shown -------------------------------------------------------------------------------


def tables(result: dict) -> str:
    """Return the tables of a run, as Markdown."""
    parts = [element_table(result["elements"], dtype) for dtype in result["options"]["dtypes"]]
    parts += [
        listed("Two threads over one, 32M float32 elements", result["threads"], "faster"),
        listed("A hook on 64 x 10 above an empty one, µs", result["hook"], "above_us"),
        listed("Added to a forward and `step()`, µs", result["sites"], "added_us"),
        window_table(result["windows"]),
        "Bounds:\n\n" + report.bound_table(result["bounds"]),
        report.absences(result),
    ]
    return "\n\n".join(part for part in parts if part)


def element_table(rows: list[dict], dtype: str) -> str:
    rows = [row for row in rows if row["dtype"] == dtype]
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    by = {(row["kernel"], row["group"], row["size"]): row for row in rows}
    lines = []
    for kernel, group in dict.fromkeys(key[:2] for key in by):
        found = [by.get((kernel, group, size)) for size in sizes]
        cells = [
            "-" if r is None else f"{r['ns'][0]:.2f} ({report.number(r['ratio'][0])} x)"
            for r in found
        ]
        lines.append([kernel, group, *cells])
    head = ["kernel", f"{dtype}: ns per element (over torch.sum)", *sizes]
    return report.markdown(head, lines) if rows else ""


def listed(title: str, rows: list[dict], figure: str) -> str:
    """Return rows as a table: their names, and a figure with its interval."""
    if not rows:
        return ""
    names = [key for key in rows[0] if key != figure]
    lines = [[*(r[name] for name in names), report.with_interval(r[figure])] for r in rows]
    return report.markdown([*names, title], lines)


def window_table(rows: list[dict]) -> str:
    if not rows:
        return ""
    head = ("kernel", "steps", "`step()` of 17 sites, µs, mean", "longest, µs")
    lines = []
    for r in rows:
        span = f"{r['first']} to {r['last']}"
        lines.append((r["kernel"], span, f"{r['step_us']:.1f}", f"{r['longest_us']:.0f}"))
    return report.markdown(head, lines)


def draw(result: dict) -> object:
    """Draw time per element, per site and per `step()`."""
    figure, (elements, sites, windows) = report.axes(3)
    rows = [row for row in result["elements"] if row["dtype"] == "float32"]
    for i, label in enumerate(dict.fromkeys(row["group"] for row in rows)):
        for kernel, line in (("cpu", "-"), ("reference", ":")):
            mine = [r for r in rows if r["group"] == label and r["kernel"] == kernel]
            report.line(
                elements,
                [SIZES[r["size"]] for r in mine],
                [r["ns"][0] for r in mine],
                i,
                label if kernel == mine_first(rows) else None,
                line,
            )
    under = {r["size"]: r["sum_ns"][0] for r in rows}
    elements.plot([SIZES[s] for s in under], list(under.values()), "k--", lw=1, label="torch.sum")
    report.logarithmic(elements, "elements (float32)", "ns per element (dotted: reference)")
    for i, kernel in enumerate(result["kernels"]):
        mine = [r for r in result["sites"] if r["kernel"] == kernel]
        x, y = [r["sites"] for r in mine], [r["added_us"][0] for r in mine]
        report.line(sites, x, y, i, kernel)
        mine = [r for r in result["windows"] if r["kernel"] == kernel]
        report.line(windows, [r["last"] for r in mine], [r["step_us"] for r in mine], i, kernel)
    report.logarithmic(sites, "sites of 64 x 10", "added to a forward and step(), µs")
    report.logarithmic(windows, "steps", "step() of 17 sites, µs (mean)")
    return figure


def mine_first(rows: list[dict]) -> str:
    """Return the kernel whose lines carry the labels."""
    return "cpu" if any(r["kernel"] == "cpu" for r in rows) else "reference"


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = report.parser(__doc__, seconds=0.05)
    parser.add_argument("--kernels", nargs="*", default=["cpu", "reference"])
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--dtypes", nargs="*", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--steps", type=int, default=1 << 14, help="of the run with windows")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> dict[str, object]:
    """Time what was asked for, and return everything as JSON can hold it."""
    torch.set_num_threads(1)
    every = available(options.kernels)
    found = {name: kernel for name, kernel in every.items() if isinstance(kernel, ModuleType)}
    result = report.envelope("kernel", options) | {"kernels": list(found)}
    measures = {
        "elements": time_elements,
        "threads": time_threads,
        "hook": time_hook,
        "sites": time_sites,
        "windows": time_windows,
    }
    for part, measure in measures.items():
        result[part] = measure(found, options) if part in options.parts else []
    result["absent"] = {f"{n} kernel": why for n, why in every.items() if n not in found}
    result["bounds"] = judge(result)
    return result


def main(arguments: list[str] | None = None) -> None:
    options = read_arguments(arguments)
    result = run(options)
    report.publish(result, tables(result), draw(result), options.out)


if __name__ == "__main__":
    main()
