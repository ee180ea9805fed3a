r"""
One recording of many ranks
===========================

Under ``DistributedDataParallel`` each rank sees other data, and each rank's recorder knows only its
own. :meth:`~actstats.ActivationRecorder.merge_ranks` makes one recording of all of them, the same
on every rank, without a collective in any hook. Here two processes learn two moons; rank 0 writes
what both saw, and checks it: it replays every rank's batches in one process, with the weights of
that time, and every count has to be equal.

::

    torchrun --nproc-per-node 2 examples/distributed.py [--steps 60] [--out DIR]

Without ``torchrun`` it is a group of one.
"""

import argparse
import os
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from actstats import ActivationRecorder, Recording, make_mlp

BATCH = 64
WINDOW = 10  # steps
CAPTURE: tuple[Literal["output", "grad"], ...] = ("output", "grad")
COUNTS = ("calls", "count", "zeros", "nan_count", "posinf_count", "neginf_count", "min", "max")

# %%
# Each rank its own data
# ----------------------


def moons(rank: int, step: int) -> tuple[Tensor, Tensor]:
    """Return a rank's batch of a step: points on two noisy half circles, and which one."""
    generator = torch.Generator().manual_seed(100_000 * rank + step)
    label = torch.randint(2, (BATCH,), generator=generator)
    angle = torch.pi * torch.rand(BATCH, generator=generator) + torch.pi * label
    points = torch.stack((angle.cos() + label, angle.sin() + 0.5 * label), 1)
    return points + 0.1 * torch.randn(BATCH, 2, generator=generator), label


def loss_of(net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    points, label = batch
    return F.cross_entropy(net(points), label)


# %%
# Training
# --------
# The recorder is attached to the wrapped model; names are those of the model inside. Hooks only
# count. The file of a rank is what remains of it if it dies.


def train(
    net: nn.Module, rank: int, steps: int, log: Path
) -> tuple[ActivationRecorder, list[dict[str, Tensor]]]:
    """Train with DDP; return the recorder, and the weights before each step, to replay them."""
    model = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    recorder = ActivationRecorder(model, capture=CAPTURE, window=WINDOW, log=log)
    weights = []
    with recorder:
        for step in range(steps):
            weights.append({name: value.clone() for name, value in net.state_dict().items()})
            loss = loss_of(model, moons(rank, step))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.item())
    return recorder, weights


# %%
# One process that sees everything
# --------------------------------


def replay(net: nn.Module, weights: list[dict[str, Tensor]], world: int) -> Recording:
    """Show the batches of all ranks to one recorder, with the weights that they were seen with."""
    recorder = ActivationRecorder(net, capture=CAPTURE, window=WINDOW)
    with recorder:
        for step, state in enumerate(weights):
            net.load_state_dict(state)
            for rank in range(world):
                loss_of(net, moons(rank, step)).backward()
            recorder.step()
    return recorder.recording


def differences(merged: Recording, together: Recording) -> list[str]:
    """Return where two recordings do not agree in every count, bin and extremum."""
    if [repr(w) for w in merged.windows] != [repr(w) for w in together.windows]:
        return ["other windows"]
    different = []
    for one, other in zip(merged.windows, together.windows, strict=True):
        for site in other:
            a, b = one[site], other[site]
            equal = a.bits == b.bits and (a.moments.n == b.moments.n).all()
            if not equal or any(getattr(a, name) != getattr(b, name) for name in COUNTS):
                different.append(f"{site} in {other}")
    return different


# %%
# All of it
# ---------
# Every rank has to call ``merge_ranks``. If one does not come in time, the others say which.


def join_group() -> None:
    """Join the group that torchrun made, or a group of one."""
    if "RANK" in os.environ:
        dist.init_process_group("gloo")  # "nccl" on GPUs
    else:
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)


def main(argv: list[str] | None = None) -> Recording:
    parser = argparse.ArgumentParser(
        description="Two moons on several ranks, recorded as one.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=60, help="at least 1")
    parser.add_argument(
        "--out", type=Path, default=Path("distributed_output"), help="for the files"
    )
    args = parser.parse_args(argv)
    if args.steps < 1:
        parser.error("--steps must be at least 1")
    args.out.mkdir(parents=True, exist_ok=True)

    join_group()
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    net = make_mlp(2, [16, 16, 16], 2, activation="tanh")
    recorder, weights = train(net, rank, args.steps, args.out / f"run.{rank}.actstats")
    merged = recorder.merge_ranks(timeout=60)
    dist.barrier()
    dist.destroy_process_group()
    if rank == 0:
        path = merged.save(args.out / "run.actstats")
        print(merged)
        print(f"{merged['act1'].count} values of act1, {recorder['act1'].count} of them on rank 0")
        wrong = differences(merged, replay(net, weights, world))
        print("differs from one process: " + "; ".join(wrong) if wrong else f"equal; see {path}")
        if wrong:
            raise SystemExit(1)
    return merged


if __name__ == "__main__":
    main()
