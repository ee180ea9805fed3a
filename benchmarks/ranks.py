"""Merging ranks: bytes, collectives and time for many of them, simulated on one machine.

    python benchmarks/ranks.py [--ranks 8 64 512 4096] [--sites 1000] [--units 16]

Every rank's part in a merge is run, one after the other, and the result is compared, bit for bit,
with all windows merged one after the other. Time of a rank is the median CPU time of its parts;
time on the network is a model, whose two constants are measured between two processes of this
machine: gloo's rings take (ranks - 1) steps, whose latency is paid by each of the collectives, and
the bytes pass at the bandwidth.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn

from actstats import ActivationRecorder
from actstats.distributed.merging import Merger, texts_of
from actstats.distributed.plan import tabled
from actstats.recording import Recording, Window
from actstats.table import SiteTable
from benchmarks import report, timing

VARIANTS = 8  # different ranks; more hold the same numbers as one of these
COLLECTIVES = 7  # digests; texts, twice; sizes and bytes, of the parts and of what is merged
HEAD = 3 * 24 + 8 + 8  # bytes that each rank sends to each: digests and sizes
SAMPLES = 32
WORDS = 1 << 22  # of the transfer that bandwidth is measured by
STEPS = ("plan", "give", "merge", "read")


class Wide(nn.Module):
    """Activation modules, each of which gets the same input."""

    def __init__(self, sites: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList((nn.ReLU(), nn.Tanh())[i % 2] for i in range(sites))

    def forward(self, x: torch.Tensor) -> None:
        for i, layer in enumerate(self.layers):
            layer(x * (1 + i % 7))


def recordings(sites: int, units: int) -> list[Recording]:
    """Return one window of each different rank."""
    model, made = Wide(sites), []
    for rank in range(VARIANTS):
        generator = torch.Generator().manual_seed(rank)
        with ActivationRecorder(model, window=1) as recorder, torch.no_grad():
            model(rank + torch.randn(SAMPLES, units, generator=generator))
            recorder.step(loss=float(rank))
        made.append(recorder.recording)
    return made


# ---- a merge of so many ranks --------------------------------------------------------------------


def simulate(made: list[Recording], ranks: int) -> dict[str, object]:
    """Run every rank's part; return the CPU time of each step of a rank in ms, and its bytes."""
    windows = [tabled(one) for one in made]
    held = [texts_of(one, part) for one, part in zip(made, windows, strict=True)]
    texts = [[*held[rank % VARIANTS][:2], f'{{"rank":{rank}}}'.encode()] for rank in range(ranks)]
    names = [f"rank {rank}" for rank in range(ranks)]
    planned, first = spent(lambda: Merger(0, windows[0], texts, names))
    mergers = [
        first,
        *(Merger(v, windows[v], texts, names) for v in range(1, min(VARIANTS, ranks))),
    ]
    give, merge, parts, sent = [], [], [], 0
    for owner in timing.progress(range(ranks), f"{ranks} ranks"):
        took, part = spent(lambda: first.give(owner))  # noqa: B023
        pieces = [part, *(other.give(owner) for other in mergers[1:])]
        given = [pieces[rank % VARIANTS] for rank in range(ranks)]
        first.rank = owner
        merged_in, merged = spent(lambda: first.merge(given))  # noqa: B023
        give.append(took)
        merge.append(merged_in)
        parts.append(merged)
        sent += len(part)
    first.rank = 0
    read, whole = spent(lambda: first.recording(parts))
    busy = [t for t, part in zip(merge, parts, strict=True) if part]
    return {
        "ranks": ranks,
        "plan_ms": planned,
        "give_ms": sum(give),
        "merge_ms": float(np.median(busy)),
        "read_ms": read,
        "all_ms": planned + sum(give) + sum(merge) + read,
        "shares": len(first.plan.shares),
        "own_bytes": sent,
        "received_bytes": received(texts, sent, parts, ranks),
        "everything_bytes": sent * ranks,
        "identical": identical(whole, [windows[rank % VARIANTS][0] for rank in range(ranks)]),
    }


def received(texts: list[list[bytes]], own: int, parts: list[bytes], ranks: int) -> int:
    """Return the bytes that reach the rank with the largest share."""
    packed = [len(zlib.compress(text, 1)) for text in texts[0]]
    owners = sum(1 for part in parts if part)
    longest = max(map(len, parts))
    return ranks * (HEAD + packed[-1]) + sum(packed) + ranks * own // owners + ranks * longest


def identical(whole: Recording, windows: list[Window]) -> bool:
    """Tell whether the merge has the bits of all windows merged one after the other."""
    merged, want = whole.windows[0], Window.sum(windows)
    table, other = SiteTable.from_stats(merged.stats), SiteTable.from_stats(want.stats)
    order = {site: place for place, site in enumerate(table)}
    return set(table) == set(other) and all(
        np.array_equal(table[site].to_memory(), other[site].to_memory()) for site in order
    )


def spent(work: object) -> tuple[float, object]:
    """Return process CPU time in ms, and what the work returns."""
    begin = time.process_time()
    result = work()
    return 1e3 * (time.process_time() - begin), result


# ---- the network ---------------------------------------------------------------------------------


def measure_network() -> dict[str, float]:
    """Return the latency (s) and bandwidth (bytes/s) of gloo between two processes here."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_exchange, (folder,), 2)
        latency, bandwidth = np.load(Path(folder) / "network.npy").tolist()
    return {"latency_s": latency, "bytes_per_s": bandwidth}


def _exchange(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    small, large = torch.zeros(1, dtype=torch.int64), torch.zeros(WORDS, dtype=torch.int64)
    latency = np.median([_gather(small) for _ in range(200)])
    took = np.median([_gather(large) for _ in range(10)])
    if rank == 0:
        np.save(Path(folder) / "network.npy", [latency, large.nbytes / (took - latency)])
    dist.destroy_process_group()


def _gather(tensor: torch.Tensor) -> float:
    out = [torch.empty_like(tensor) for _ in range(2)]
    begin = time.perf_counter()
    dist.all_gather(out, tensor)
    return time.perf_counter() - begin


def modelled(row: dict, network: dict[str, float]) -> tuple[float, float]:
    """Return the seconds of a merge on the network and of a rank's own work."""
    latency = COLLECTIVES * (row["ranks"] - 1) * network["latency_s"]
    work = sum(row[f"{step}_ms"] for step in STEPS) / 1e3
    return latency + row["received_bytes"] / network["bytes_per_s"], work


# ---- what is shown -------------------------------------------------------------------------------


def tables(result: dict) -> str:
    """Return the table of a run, as Markdown."""
    head = (
        *("ranks", "own numbers, MiB", "received, MiB", "all sent to all, MiB"),
        *("collectives", "plan, s", "give, s", "merge, s", "read, s"),
        *("network (model), s", "a merge, s", "all parts here, s", "identical"),
    )
    lines = [row_of(row, result["network"]) for row in result["merges"]]
    return report.markdown(head, lines)


def row_of(row: dict, network: dict[str, float]) -> tuple[object, ...]:
    passed, work = modelled(row, network)
    sizes = (row[f"{what}_bytes"] / 2**20 for what in ("own", "received", "everything"))
    return (
        f"{row['ranks']:,}",
        *map(report.number, sizes),
        COLLECTIVES,
        *(report.number(row[f"{step}_ms"] / 1e3) for step in STEPS),
        *map(report.number, (passed, passed + work, row["all_ms"] / 1e3)),
        "yes" if row["identical"] else "NO",
    )


def words(result: dict) -> str:
    """Say what was taken, with the constants of the network."""
    network, options = result["network"], result["options"]
    return (
        f"{options['sites']:,} sites of {options['units']} units, one window a rank. Two processes "
        f"of this machine: {1e6 * network['latency_s']:.0f} us a collective, "
        f"{network['bytes_per_s'] / 1e9:.2f} GB/s."
    )


def draw(result: dict) -> object:
    """Draw bytes and time by ranks."""
    figure, (sizes, times) = report.axes(2)
    rows = result["merges"]
    ranks = [row["ranks"] for row in rows]
    labels = {"received": "received, in shares", "everything": "all sent to all"}
    for i, (what, label) in enumerate(labels.items()):
        report.line(sizes, ranks, [row[f"{what}_bytes"] / 2**20 for row in rows], i, label)
    report.logarithmic(sizes, "ranks", "a rank receives, MiB")
    passed, work = zip(*(modelled(row, result["network"]) for row in rows), strict=True)
    for i, (label, y) in enumerate((("network (model)", passed), ("own work", work))):
        report.line(times, ranks, y, i, label)
    report.logarithmic(times, "ranks", "a merge takes, s")
    return figure


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = report.parser(__doc__, seconds=0.0)
    parser.add_argument("--ranks", nargs="*", type=int, default=[8, 64, 512, 4096])
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--units", type=int, default=16)
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> dict[str, object]:
    """Measure, and return everything as JSON can hold it."""
    torch.set_num_threads(1)
    result = report.envelope("ranks", options) | {"absent": {}, "network": measure_network()}
    made = recordings(options.sites, options.units)
    result["merges"] = [simulate(made, ranks) for ranks in options.ranks]
    return result


def main(arguments: list[str] | None = None) -> None:
    options = read_arguments(arguments)
    result = run(options)
    report.publish(result, tables(result), draw(result), options.out, words(result))


if __name__ == "__main__":
    main()
