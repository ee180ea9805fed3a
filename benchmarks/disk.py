"""What a recording's file costs: appending to it, its size, and reading it again.

    python benchmarks/disk.py [--sites 1 26 200] [--windows 1000] [--rounds 15]

Appending is timed a window at a time, on the thread that trains, with moving the write-ahead log
to the main file inside: the mean over all windows beside the median of one. The large file has
1,000 windows of 200 sites with 64 units each.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

import actstats
from actstats import ActivationRecorder, Recording, Window, make_mlp
from actstats.log.writer import Writer, facts_of
from actstats.summary import Summary
from benchmarks import report, timing
from benchmarks.scale import resident

DIFFERENT = 20  # windows that are recorded; a large file has them again and again
APPENDED = 300  # windows a round


def recorded(sites: int, width: int) -> Recording:
    """Return windows of a net with so many modules."""
    net = make_mlp(width, [width] * (sites // 2), 1, activation="relu")
    names = [name for name, _ in net.named_children()][:sites]
    recorder = ActivationRecorder({name: net.get_submodule(name) for name in names}, window=1)
    with recorder, torch.no_grad():
        for _ in range(DIFFERENT):
            net(torch.randn(64, width))
            recorder.step(loss=1.0)
    return recorder.recording


def repeated(recording: Recording, number: int) -> Iterator[Window]:
    """Yield so many windows, the recorded ones again and again, each with steps of its own."""
    for step in range(number):
        window = recording.windows[step % len(recording.windows)]
        yield replace(window, first_step=step, last_step=step)


# ---- appending -----------------------------------------------------------------------------------


def time_appending(sites: int, rounds: int) -> dict[str, object]:
    """Return microseconds a window, of the thread's CPU time and of the wall's."""
    recording = recorded(sites, width=10)
    medians, means, walls = [], [], []
    for _ in timing.progress(range(rounds), f"{sites} sites"):
        with tempfile.TemporaryDirectory() as folder:
            writer = Writer(Path(folder) / "run")
            writer.append([], facts_of(recording))
            cpu, wall = [], []
            for window in repeated(recording, APPENDED):
                begin = time.perf_counter(), time.thread_time()
                writer.append([window], {})
                wall.append(time.perf_counter() - begin[0])
                cpu.append(time.thread_time() - begin[1])
            writer.close()
        medians.append(1e6 * np.median(cpu))
        means.append(1e6 * np.mean(cpu))
        walls.append(1e6 * np.mean(wall))
    return {
        "sites": len(recording),
        "median_us": timing.median(np.array(medians)).as_json(),
        "mean_us": timing.median(np.array(means)).as_json(),
        "wall_us": timing.median(np.array(walls)).as_json(),
        "bound_us": 15 + 10 * len(recording),
    }


def time_steps(units: int, rounds: int) -> dict[str, object]:
    """Return what a whole `step()` that closes a window costs, with a file and without, in us."""
    net = make_mlp(units, [units] * 12, 1, activation="relu")
    x = torch.randn(64, units)
    times: dict[str, list[float]] = {"with": [], "without": []}
    for _ in timing.progress(range(rounds), f"steps of {units} units"):
        for which, spent in times.items():
            with tempfile.TemporaryDirectory() as folder, torch.no_grad():
                log = Path(folder) / "run" if which == "with" else None
                with ActivationRecorder(net, log=log, window=1) as recorder:
                    cpu = []
                    for _ in range(APPENDED):
                        net(x)
                        begin = time.thread_time()
                        recorder.step(loss=1.0)
                        cpu.append(time.thread_time() - begin)
                spent.append(1e6 * float(np.mean(cpu)))
    return {
        "units": units,
        "sites": len(recorder),
        **{f"{name}_us": timing.median(np.array(t)).as_json() for name, t in times.items()},
    }


# ---- a large file --------------------------------------------------------------------------------


def time_large(sites: int, windows: int) -> dict[str, object]:
    """Write a large file once, and time what people do with it."""
    recording = recorded(sites, width=64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.actstats"
        result: dict[str, object] = {"sites": len(recording), "windows": windows}
        result["save_s"] = seconds(
            lambda: Recording(repeated(recording, windows), recording.sites).save(path)
        )
        result["mib"] = path.stat().st_size / 2**20
        before = resident()
        for name, work in tasks(path, Path(folder)).items():
            result[f"{name}_s"] = seconds(work)
        result["resident_growth_mib"] = (resident() - before) / 2**20
    return result


def tasks(path: Path, folder: Path) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name; each opens the file."""
    return {
        "load": lambda: actstats.load(path),
        "show": lambda: str(Summary(actstats.load(path))),
        "diagnose": lambda: actstats.diagnose(path),
        "series": lambda: actstats.load(path).series("std"),
        "to_pandas": lambda: actstats.load(path).to_pandas(),
        "report": lambda: actstats.report.write_report(path, folder / "report.html"),
    }


def seconds(work: Callable[[], object]) -> float:
    """Return how long the work takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


# ---- what is shown -------------------------------------------------------------------------------


def tables(result: dict) -> str:
    """Return the tables of a run, as Markdown."""
    head = (
        "sites",
        "median, us",
        "mean, us",
        "wall, us",
        "15 + 10 a site",
        "of a window of 100 ms",
    )
    rows = [
        (
            row["sites"],
            *(report.number(row[name][0]) for name in ("median_us", "mean_us", "wall_us")),
            row["bound_us"],
            f"{100 * row['wall_us'][0] / 1e5:.2f} %",
        )
        for row in result["append"]
    ]
    steps = "; ".join(
        f"of {row['sites']} sites of {row['units']} units {row['without_us'][0]:.0f} us without a "
        f"file and {row['with_us'][0]:.0f} us with one"
        for row in result["steps"]
    )
    large = result["large"]
    named = [name for name in large if name.endswith("_s")]
    words = ", ".join(f"{n.removesuffix('_s')} {report.number(large[n])} s" for n in named)
    return (
        f"{report.markdown(head, rows)}\n\nA whole `step()` that closes a window costs, {steps} "
        f"(means of CPU time).\n\n{large['windows']:,} windows of {large['sites']} sites: "
        f"{large['mib']:.0f} MiB; {words}; memory grew by {large['resident_growth_mib']:.0f} MiB."
    )


def draw(result: dict) -> object:
    """Draw the cost of appending by sites, beside its bound."""
    figure, (ax,) = report.axes(1)
    rows = result["append"]
    x = [row["sites"] for row in rows]
    report.line(ax, x, [row["mean_us"][0] for row in rows], 0, "appending a window")
    report.line(ax, x, [row["bound_us"] for row in rows], 1, "15 us + 10 us a site", "--")
    report.logarithmic(ax, "sites", "CPU time of the training thread, us")
    return figure


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = report.parser(__doc__, seconds=0.0)
    parser.add_argument("--sites", nargs="*", type=int, default=[1, 26, 200])
    parser.add_argument("--windows", type=int, default=1000, help="of the large file")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> dict[str, object]:
    """Measure, and return everything as JSON can hold it."""
    torch.set_num_threads(1)
    result = report.envelope("disk", options) | {"absent": {}}
    result["append"] = [time_appending(sites, options.rounds) for sites in options.sites]
    result["steps"] = [time_steps(units, options.rounds) for units in (10, 64)]
    result["large"] = time_large(max(options.sites), options.windows)
    return result


def main(arguments: list[str] | None = None) -> None:
    options = read_arguments(arguments)
    result = run(options)
    report.publish(result, tables(result), draw(result), options.out)


if __name__ == "__main__":
    main()
