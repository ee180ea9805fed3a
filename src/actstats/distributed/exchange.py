"""Bytes between the ranks of a group, in few collectives, none of which waits for ever."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from actstats.distributed.rollcall import RollCall

__all__ = ["Exchange"]

DIGEST = 16
ASK = 0.25  # seconds between questions to the store whether others have failed
DEVICES = {"nccl": "cuda", "xccl": "xpu", "hccl": "npu"}


class Exchange:
    """Collectives of bytes over a group.

    Parameters
    ----------
    group : ProcessGroup or None
        Tensors go to its device; None is the default one.
    roll : RollCall
        Who is here, until when.

    Attributes
    ----------
    collectives : int
        So many have run.
    sent, received : int
        Bytes of content, from this rank and to it.
    """

    def __init__(self, group: Any, roll: RollCall) -> None:
        self.group = group
        self.roll = roll
        self.rank = dist.get_rank(group)
        self.world = dist.get_world_size(group)
        self.device = _device(dist.get_backend(group))
        self.collectives = self.sent = self.received = 0

    # ---- what is exchanged -----------------------------------------------------------------------

    def texts(self, own: Sequence[bytes]) -> list[list[bytes]]:
        """Return the texts of every rank; each different one travels once.

        Digests go first. Rank 0's texts go to all, then what others have that differs.
        """
        packed = [zlib.compress(text, 1) for text in own]
        heads = np.array([_digest(text) for text in own])
        sizes = np.array([len(text) for text in packed], "<i8").view(np.uint8).reshape(-1, 8)
        table = self._gather_equal(np.hstack((heads, sizes)).reshape(-1))
        table = table.reshape(self.world, len(own), DIGEST + 8)
        digests = [[part[:DIGEST].tobytes() for part in rank] for rank in table]
        lengths = np.ascontiguousarray(table[:, :, DIGEST:]).view("<i8")[..., 0]
        known = dict(zip(digests[0], self._broadcast(packed, lengths[0]), strict=True))
        first: dict[bytes, tuple[int, int]] = {}  # whoever has a text first sends it
        for rank, held in enumerate(digests):
            for i, digest in enumerate(held):
                if digest not in known:
                    first.setdefault(digest, (rank, i))
        chosen = [[i for r, i in first.values() if r == rank] for rank in range(self.world)]
        totals = [int(lengths[rank, part].sum()) for rank, part in enumerate(chosen)]
        gathered = self._gather(b"".join(packed[i] for i in chosen[self.rank]), totals)
        for rank, data in enumerate(gathered):
            pieces = _cut(data, lengths[rank, chosen[rank]])
            known.update((digests[rank][i], p) for i, p in zip(chosen[rank], pieces, strict=True))
        texts = {digest: zlib.decompress(text) for digest, text in known.items()}
        return [[texts[digest] for digest in held] for held in digests]

    def scatter(self, parts: Sequence[bytes]) -> list[bytes]:
        """Give each rank its part, and return what each rank has for this one."""
        give = [len(part) for part in parts]
        take = self._tensor(np.zeros(self.world, np.int64))
        self._run(
            lambda: self._all_to_all(take, self._tensor(np.array(give, np.int64)), None, None)
        )
        sizes = take.tolist()
        data = self._tensor(np.frombuffer(b"".join(parts), np.uint8))
        out = torch.empty(sum(sizes), dtype=torch.uint8, device=self.device)
        self._count(sum(give), sum(sizes))
        self._run(lambda: self._all_to_all(out, data, sizes, give))
        return _cut(out.cpu().numpy().tobytes(), sizes)

    def gather(self, data: bytes) -> list[bytes]:
        """Return the bytes of every rank."""
        sizes = self._gather_equal(np.array([len(data)], "<i8").view(np.uint8)).view("<i8")
        return self._gather(data, sizes.reshape(-1).tolist())

    # ---- collectives -----------------------------------------------------------------------------

    def _broadcast(self, packed: Sequence[bytes], sizes: Any) -> list[bytes]:
        data = b"".join(packed) if self.rank == 0 else bytes(int(sizes.sum()))
        tensor = self._tensor(np.frombuffer(data, np.uint8))
        source = 0 if self.group is None else dist.get_global_rank(self.group, 0)
        self._count(len(data) * (self.rank == 0), len(data))
        self._run(lambda: dist.broadcast(tensor, source, self.group, async_op=True))
        return _cut(tensor.cpu().numpy().tobytes(), sizes)

    def _gather(self, data: bytes, sizes: Sequence[int]) -> list[bytes]:
        """Gather bytes of sizes that all ranks know, padded to the longest."""
        longest = max(sizes)
        if not longest:
            return [b""] * self.world
        padded = np.zeros(longest, np.uint8)
        padded[: len(data)] = np.frombuffer(data, np.uint8)
        table = self._gather_equal(padded)
        return [row[:size].tobytes() for row, size in zip(table, sizes, strict=True)]

    def _gather_equal(self, data: Any) -> Any:
        """Return the bytes of every rank, which are equally many, shape (ranks, bytes)."""
        out = torch.empty((self.world, len(data)), dtype=torch.uint8, device=self.device)
        tensor = self._tensor(data)
        self._count(len(data), self.world * len(data))
        self._run(lambda: dist.all_gather(list(out), tensor, self.group, async_op=True))
        return out.cpu().numpy()

    def _all_to_all(
        self, out: Tensor, data: Tensor, take: list[int] | None, give: list[int] | None
    ) -> Any:
        return dist.all_to_all_single(out, data, take, give, group=self.group, async_op=True)

    def _tensor(self, data: Any) -> Tensor:
        return torch.from_numpy(np.array(data)).to(self.device)

    def _count(self, sent: int, received: int) -> None:
        self.sent += sent
        self.received += received

    def _run(self, begin: Callable[[], Any]) -> None:
        """Wait for a collective, but neither beyond the deadline nor for ranks that have failed."""
        self.collectives += 1
        try:
            work = begin()
            self._wait(work)
            work.wait()
        except RuntimeError as error:
            raise self.roll.lost(error) from error

    def _wait(self, work: Any) -> None:
        pause, ask = 1e-4, time.monotonic() + ASK
        while not work.is_completed():
            time.sleep(pause)
            pause = min(2 * pause, 0.01)
            if time.monotonic() > ask:
                if self.roll.left < 0:
                    raise RuntimeError("the time is over")
                if self.roll.is_broken():
                    raise RuntimeError("another rank has failed")
                ask = time.monotonic() + ASK


def _device(backend: str) -> torch.device:
    """Return where a group's collectives take their tensors."""
    kind = DEVICES.get(backend, "cpu")
    if kind == "cpu":
        return torch.device("cpu")
    return torch.device(kind, getattr(torch, kind).current_device())


def _digest(text: bytes) -> Any:
    return np.frombuffer(blake2b(text, digest_size=DIGEST).digest(), np.uint8)


def _cut(data: bytes, sizes: Any) -> list[bytes]:
    """Return pieces of these sizes, end to end."""
    ends = np.cumsum([0, *sizes]).tolist()
    return [data[start:end] for start, end in pairwise(ends)]
