"""How recording scales: attaching to many modules, and memory over a long run.

    python benchmarks/scale.py [--modules 100 1000 20000] [--steps 100000]

Times are medians of process CPU time; memory of attaching is what Python and torch hold afterwards
(tracemalloc), that of the run is the resident set of the process, sampled a hundred times.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from torch import Tensor, nn

from actstats import ActivationRecorder, make_mlp
from benchmarks import report, timing

SAMPLES = 100
BLOCK = 10  # modules of a block: names have two levels, as in real models
ATTACH = ("make_ms", "attach_ms", "detach_ms")


class Many(nn.Module):
    """Blocks of activation modules."""

    def __init__(self, modules: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.ReLU() for _ in range(BLOCK)) for _ in range(modules // BLOCK)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            for module in block:
                x = module(x)
        return x


def resident() -> int:
    """Return the memory of this process, in bytes."""
    path = Path("/proc/self/statm")
    if path.exists():
        return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # all that this system tells
    return largest if sys.platform == "darwin" else 1024 * largest


def spent(work: object) -> tuple[float, object]:
    """Return process CPU time in ms, and what the work returns."""
    begin = time.process_time()
    result = work()
    return 1e3 * (time.process_time() - begin), result


# ---- attaching -----------------------------------------------------------------------------------


def time_attach(modules: int, rounds: int) -> dict[str, object]:
    """Time making, attaching and detaching a recorder, and its first step."""
    model, x = Many(modules), torch.randn(64, 10)
    times: dict[str, list[float]] = {name: [] for name in ATTACH}
    for i in timing.progress(range(rounds + 1), f"{modules} modules"):
        gc.collect()
        made, recorder = spent(lambda: ActivationRecorder(model))
        attached, _ = spent(recorder.attach)
        detached, _ = spent(recorder.detach)
        if i:
            for name, value in zip(ATTACH, (made, attached, detached), strict=True):
                times[name].append(value)
    medians = {name: timing.median(np.array(t)).as_json() for name, t in times.items()}
    return {"modules": modules, **medians, **attach_memory(model), **first_step(model, x)}


def attach_memory(model: nn.Module) -> dict[str, float]:
    """Return what an attached recorder holds before the first forward, in MiB."""
    gc.collect()
    tracemalloc.start()
    recorder = ActivationRecorder(model).attach()
    gc.collect()
    held, peak = (size / 2**20 for size in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    recorder.detach()
    return {"attached_mib": held, "attached_peak_mib": peak}


def first_step(model: nn.Module, x: Tensor) -> dict[str, float]:
    """Return the time and memory of the first forward, which makes all state, and of `step()`."""
    before = resident()
    with ActivationRecorder(model) as recorder, torch.no_grad():
        forward, _ = spent(lambda: model(x))
        held = recorder.nbytes / 2**20
        step, _ = spent(recorder.step)
        again, _ = spent(lambda: model(x))
    return {
        "first_forward_ms": forward,
        "second_forward_ms": again,
        "step_ms": step,
        "state_mib": held,
        "recorder_mib": recorder.nbytes / 2**20,
        "resident_growth_mib": (resident() - before) / 2**20,
    }


# ---- a long run ----------------------------------------------------------------------------------


def long_run(steps: int) -> dict[str, object]:
    """Record so many steps of a tiny net, and return how memory went."""
    net, x = make_mlp(4, (10, 10)), torch.randn(16, 4)
    recorder = ActivationRecorder(net, capture=("output", "grad"))
    every = max(1, steps // SAMPLES)
    samples: list[tuple[int, int, int]] = []
    begin = time.process_time()
    with recorder:
        for i in timing.progress(range(steps), f"{steps} steps"):
            loss = net(x).square().mean()
            loss.backward()
            recorder.step(loss=0.0)
            if (i + 1) % every == 0:
                samples.append((i + 1, resident(), recorder.nbytes))
    return {
        "steps": steps,
        "sites": len(recorder),
        "windows": len(recorder.recording.windows),
        "step_ms": 1e3 * (time.process_time() - begin) / steps,
        "samples": samples,
        **halves(samples),
    }


def halves(samples: list[tuple[int, int, int]]) -> dict[str, object]:
    """Return the largest memory over each half, in bytes, and growth over the second.

    The recorder's own goes up and down as windows close and merge, so its largest is what tells.
    """
    steps, process, recorder = np.array(samples, float).T
    half = len(steps) // 2
    slope = np.polyfit(steps[half:], process[half:], 1)[0] if len(steps) > 2 else 0.0
    return {
        "resident_bytes_per_step": float(slope),
        "resident_bytes": [int(part.max()) for part in np.array_split(process, 2)],
        "recorder_bytes": [int(part.max()) for part in np.array_split(recorder, 2)],
    }


# ---- what is shown -------------------------------------------------------------------------------


def tables(result: dict) -> str:
    """Return the tables of a run, as Markdown."""
    return f"{attach_table(result['attach'])}\n\n{run_words(result['run'])}"


def attach_table(rows: list[dict]) -> str:
    head = (
        "modules",
        *("make, ms", "attach, ms", "detach, ms"),
        *("held, MiB", "first forward, ms", "second, ms"),
        *("first `step()`, ms", "all state, MiB"),
    )
    lines = [
        (
            f"{row['modules']:,}",
            *(report.number(row[name][0]) for name in ATTACH),
            report.number(row["attached_mib"]),
            *(report.number(row[f"{which}_forward_ms"]) for which in ("first", "second")),
            report.number(row["step_ms"]),
            report.number(row["recorder_mib"]),
        )
        for row in rows
    ]
    return report.markdown(head, lines)


def run_words(run: dict) -> str:
    process, recorder = (
        "{:.1f} and {:.1f} MiB".format(*(size / 2**20 for size in run[f"{whose}_bytes"]))
        for whose in ("resident", "recorder")
    )
    return (
        f"{run['steps']:,} steps with {run['sites']} sites, {run['step_ms']:.2f} ms each, kept as "
        f"{run['windows']} windows. The largest memory over the first half and the second: "
        f"process {process} ({run['resident_bytes_per_step']:+.2f} bytes a step over the second "
        f"half, by least squares), recorder {recorder}."
    )


def draw(result: dict) -> object:
    """Draw attach time by modules, and memory by steps."""
    figure, (attach, memory) = report.axes(2)
    rows = result["attach"]
    for i, name in enumerate(ATTACH):
        y = [row[name][0] for row in rows]
        label = name.removesuffix("_ms")
        report.line(attach, [row["modules"] for row in rows], y, i, label)
    report.logarithmic(attach, "modules", "CPU time, ms")
    steps, process, recorder = np.array(result["run"]["samples"], float).T
    for i, (label, held) in enumerate((("process", process), ("recorder", recorder))):
        report.line(memory, steps / 1000, held / 2**20, i, label)
    memory.set(xlabel="steps, thousands", ylabel="memory, MiB", ylim=(0, None))
    memory.legend(fontsize=7)
    return figure


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = report.parser(__doc__, seconds=0.0)
    parser.add_argument("--modules", nargs="*", type=int, default=[100, 1000, 20000])
    parser.add_argument("--steps", type=int, default=100_000)
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> dict[str, object]:
    """Measure, and return everything as JSON can hold it."""
    torch.set_num_threads(1)
    result = report.envelope("scale", options) | {"absent": {}}
    result["run"] = long_run(options.steps)  # first: what many modules leave is not in its way
    result["attach"] = [time_attach(modules, options.rounds) for modules in options.modules]
    return result


def main(arguments: list[str] | None = None) -> None:
    options = read_arguments(arguments)
    result = run(options)
    report.publish(result, tables(result), draw(result), options.out)


if __name__ == "__main__":
    main()
