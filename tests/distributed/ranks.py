"""What ranks do in the tests: each a process of its own, several cases in one process group.

    python ranks.py WHAT RANK WORLD FOLDER

Each case is a function of ranks, which records what these ranks see: one of them in a process of
the group, all of them in the test, which replays every rank's batches in one process.
"""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from actstats import ActivationRecorder, Recording, TensorStats, Window, make_mlp
from actstats.distributed import merge_ranks
from actstats.distributed.exchange import Exchange
from actstats.statistics import EffectiveRank, Statistic


def batch(rank, step, samples=16, features=2):
    generator = torch.Generator().manual_seed(1000 * rank + step)
    return torch.randn(samples, features, generator=generator)


def network(**options):
    torch.manual_seed(0)
    return make_mlp(2, [6, 5], 1, **{"activation": "tanh", **options})


def record(ranks, steps, *, net=None, see=batch, **options):
    """Record what these ranks see; ``steps(rank)`` is how many steps it has."""
    net = network() if net is None else net
    recorder = ActivationRecorder(net, **{"window": 2, "kernel": "reference", **options})
    with recorder:
        for step in range(max(map(steps, ranks))):
            for rank in ranks:
                if step < steps(rank):
                    net(see(rank, step)).sum().backward()
            recorder.step(loss=float(sum(ranks)))
    return recorder


# ---- cases ---------------------------------------------------------------------------------------


def even(ranks):
    return record(ranks, lambda rank: 4, capture=("output", "grad", "input"))


def uneven(ranks):
    return record(ranks, lambda rank: 3 + 2 * rank, see=lambda r, s: batch(r, s, 5 + 8 * r))


def empty(ranks):
    return record(ranks, lambda rank: 0 if rank == 1 else 3)


def means(ranks):
    return record(ranks, lambda rank: 3, see=lambda r, s: batch(r, s) + 1e6 * r)


def resolutions(ranks):
    return record(ranks, lambda rank: 3, resolution=3 + min(ranks))


def bounded(ranks):
    return record(ranks, lambda rank: 20 + 60 * rank, window=None)


def non_finite(ranks):
    def see(rank, step):
        x = batch(rank, step)
        x[0, 0] = float("nan") if rank == 1 and step == 1 else x[0, 0]
        return x

    return record(ranks, lambda rank: 3, see=see)


def shuffled(ranks):
    """Modules in another order on each rank; named functions of a mapping."""
    torch.manual_seed(0)
    modules = {name: nn.Linear(2, 3) for name in ("b", "a", "c")}
    order = sorted(modules) if ranks[0] % 2 else list(modules)
    recorder = ActivationRecorder(
        {name: modules[name] for name in order}, window=1, kernel="reference"
    )
    with recorder:
        for rank in ranks:
            for name in order:
                modules[name](batch(rank, 0))
        recorder.step()
    return recorder


def sometimes(ranks):
    """A module that runs on the last rank only, and one that runs nowhere."""
    torch.manual_seed(0)
    net = nn.ModuleDict({"always": nn.Linear(2, 3), "late": nn.Linear(2, 4), "idle": nn.ReLU()})
    recorder = ActivationRecorder(dict(net.items()), window=1, kernel="reference")
    with recorder, torch.no_grad():
        for rank in ranks:
            net["always"](batch(rank, 0))
            if rank == 1:
                net["late"](batch(rank, 0))
        recorder.step()
    recorder.kept = net  # recorders hold modules weakly, and ask them when they are read
    return recorder


def stages(ranks):
    """Pipeline stages: each rank has modules of its own."""
    modules = {}
    for rank in ranks:
        torch.manual_seed(rank)
        modules |= {f"stage{rank}.linear": nn.Linear(2, 3), f"stage{rank}.act": nn.ReLU()}
    recorder = ActivationRecorder(modules, window=1, kernel="reference")
    with recorder:
        for rank in ranks:
            modules[f"stage{rank}.act"](modules[f"stage{rank}.linear"](batch(rank, 0)))
        recorder.step()
    return recorder


def phases(ranks):
    net = network(activation="relu")
    recorder = ActivationRecorder(net, window=2, kernel="reference")
    with recorder:
        for step in range(4):
            for rank in ranks:
                net(batch(rank, step))
                if rank == 0:
                    with recorder.phase("validation"):
                        net(batch(rank, 100 + step))
            recorder.step()
    return recorder


def many_sites(ranks):
    """More sites than one rank merges of a window."""
    net = nn.Sequential(*(nn.Tanh() for _ in range(40)))
    return record(ranks, lambda rank: 1, net=_WithGradient(net), window=1)


class _WithGradient(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x.requires_grad_())


def skipping(ranks):
    """Outputs that cannot be observed, counted on every rank."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 3), _Integers())
    recorder = ActivationRecorder(net, window=1, kernel="reference")
    with recorder:
        for rank in ranks:
            for step in range(1 + rank):
                net(batch(rank, step))
        recorder.step()
    return recorder


class _Integers(nn.Module):
    def forward(self, x):
        return x.round().long()


def widths(ranks):
    """A layer of one name with other units on each rank."""
    return record_once(_First(), ranks, lambda rank: (batch(rank, 0, features=6), 3 + rank))


class _First(nn.Module):
    def forward(self, x, units):
        return x[:, :units]


def dtypes(ranks):
    """A layer of one name with another dtype on each rank."""
    kinds = (torch.float32, torch.bfloat16, torch.float64)
    return record_once(nn.Tanh(), ranks, lambda rank: (batch(rank, 0).to(kinds[rank]),))


@dataclass(frozen=True)
class Norms(Statistic):
    """The largest norm of a sample, which does not add, and how many samples there were."""

    name = "norms_of_ranks"
    figure_names = ("largest_norm", "samples_seen")

    def state(self, units):
        return {"largest": (1,), "samples": (1,)}

    def update(self, state, x):
        norms = x.double().norm(dim=1)
        torch.maximum(state["largest"], norms.max(), out=state["largest"])
        state["samples"] += len(x)

    def merge(self, state, other):
        return {
            "largest": np.maximum(state["largest"], other["largest"]),
            "samples": state["samples"] + other["samples"],
        }

    def figures(self, state):
        return {"largest_norm": state["largest"][0], "samples_seen": state["samples"][0]}


def statistics(ranks):
    """Statistics of the user's own; one of them not kept alike on all ranks."""
    kept = {"fc1": [EffectiveRank(), Norms()], "act1": EffectiveRank(64 + min(ranks))}
    return record(
        ranks,
        lambda rank: 3 + rank,
        see=lambda r, s: batch(r, s, 5 + 8 * r),
        statistics=kept,
        window=2,
    )


def record_once(net, ranks, see):
    recorder = ActivationRecorder(net, window=1, kernel="reference")
    with recorder:
        for rank in ranks:
            net(*see(rank))
        recorder.step()
    recorder.kept = net
    return recorder


CASES = (
    *(even, uneven, empty, means, resolutions, bounded, non_finite, shuffled, sometimes),
    *(stages, phases, many_sites, skipping, widths, dtypes, statistics),
)


def huge(rank):
    """More values than a float64 counts one by one."""
    stats = TensorStats.from_tensor(torch.ones(3))
    for _ in range(53):
        stats = stats + stats
    stats = stats + TensorStats.from_tensor(torch.ones(1 + rank))
    return Recording([Window(0, 0, "train", {"ones": stats})])


# ---- what a process does -------------------------------------------------------------------------


def merge_cases(rank, folder):
    """Merge every case; keep what this rank had, after the merge, and what it got."""
    for case in CASES:
        recorder = case([rank])
        merged = recorder.merge_ranks(timeout=60)
        merged.save(folder / f"{case.__name__}.{rank}.merged")
        recorder.recording.save(folder / f"{case.__name__}.{rank}.own")
    merge_ranks(huge(rank)).save(folder / f"huge.{rank}.merged")


def refuse(rank, folder):
    """Say how each rank's call ended where the sites do not merge."""
    recorder = record([rank], lambda rank: 1, saturation_slope=0.05 if rank else 0.1)
    tell(folder, "unequal", rank, recorder)


def come_too_late(rank, folder):
    """Rank 1 comes when the others have given up, then all are in time."""
    recorder = even([rank])
    if rank == 1:
        time.sleep(2.5)
    tell(folder, "late", rank, recorder, timeout=timedelta(seconds=1))
    dist.barrier()
    recorder.merge_ranks().save(folder / f"again.{rank}.merged")


def some_alone(rank, world, folder):
    """All ranks but the last merge by themselves; nobody merges for another group."""
    group = dist.new_group(range(world - 1))
    if rank < world - 1:
        even([rank]).merge_ranks(group).save(folder / f"some.{rank}.merged")
    else:
        tell(folder, "some", rank, even([rank]), group=group)


def tell(folder, name, rank, recorder, **options):
    """Write how a merge ended, and how long it took."""
    begin = time.monotonic()
    try:
        ended = repr(recorder.merge_ranks(**options))
    except Exception as error:
        ended = f"{type(error).__name__}: {error}"
    took = time.monotonic() - begin
    (folder / f"{name}.{rank}.json").write_text(json.dumps({"ended": ended, "took": took}))


def die(rank, folder, stage):
    """Kill rank 1 before it takes part in one of a merge's exchanges."""
    recorder = record([rank], lambda rank: 3, log=folder / f"run.{rank}.actstats")
    if rank == 1:
        setattr(Exchange, stage, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    tell(folder, stage, rank, recorder, timeout=20)
    recorder.recording.save(folder / f"{stage}.{rank}.own")
    os._exit(0)  # the group is broken: leave it as it is


def fail(rank, folder):
    """Raise on rank 1 in the middle of a merge; it lives on."""

    def scatter(*_):
        raise MemoryError("no room")

    recorder = even([rank])
    if rank == 1:
        Exchange.scatter = scatter
    tell(folder, "fail", rank, recorder, timeout=20)
    time.sleep(2)  # until the others know
    os._exit(0)


def main(what, rank, world, folder):
    torch.set_num_threads(1)
    folder = Path(folder)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / f'{what}.store'}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=60),
    )
    if what == "cases":
        merge_cases(rank, folder)
        refuse(rank, folder)
        some_alone(rank, world, folder)
        come_too_late(rank, folder)
    elif what == "parallel":
        from parallel import run_all

        run_all(rank, world, folder)
    elif what == "fail":
        fail(rank, folder)
    else:
        die(rank, folder, what)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
