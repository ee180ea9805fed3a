"""How far steps moved weights: measured on their device, read as scalars."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from actstats._torch import norms, subtract_each
from actstats.kernels.state import HostCopy
from actstats.recording import Scalar
from actstats.sharding import local
from actstats.table import union

__all__ = ["UPDATE_RATIO", "Moved", "WatchedGroup", "with_updates"]

UPDATE_RATIO = "update_ratio/"
"""Scalars of this name and a parameter's hold the ratio of a step's update to the weight.

By their rms, not their std: Adam's first step may be the same in every entry of a weight.
"""


class Moved(NamedTuple):
    """Ratios of some parameters on their way to the host."""

    names: tuple[str, ...]
    copy: HostCopy

    def scalars(self) -> dict[str, Scalar]:
        """Return what was seen, as scalars; waits for the device."""
        table = self.copy.words().view(np.float64).reshape(5, -1).T.tolist()
        rows = zip(self.names, table, strict=True)
        return {name: Scalar(int(row[0]), *row[1:]) for name, row in rows if row[0]}


class WatchedGroup:
    """The watched parameters of one device and dtype.

    Parameters
    ----------
    parameters : sequence of Tensor
        Held weakly.
    names : sequence of str
        Theirs.

    Attributes
    ----------
    memory : Tensor of int64, shape (5 n,)
        Number, sum, least, largest and last of each one's ratios in the open window, float64 by
        its bits: what is copied to the host.
    """

    def __init__(self, parameters: Sequence[Tensor], names: Sequence[str]) -> None:
        self._parameters = [weakref.ref(p) for p in parameters]
        self.names = tuple(f"{UPDATE_RATIO}{name}" for name in names)
        device = local(parameters[0]).device
        self._table = torch.empty((5, len(names)), dtype=torch.float64, device=device)
        self.memory = self._table.view(torch.int64).flatten()
        self.reset()

    def now(self) -> list[Tensor]:
        """Return the parameters as they are, or this rank's parts of them; nothing is copied."""
        return [local(p()).detach() for p in self._parameters]

    def has_gradients(self) -> list[bool]:
        """Tell which parameters a step moves."""
        return [getattr(p(), "grad", None) is not None for p in self._parameters]

    def reset(self) -> None:
        """Forget what was seen."""
        self._table.zero_()
        self._table[2], self._table[3] = torch.inf, -torch.inf

    def add(self, before: list[Tensor], skipped: Tensor | None) -> None:
        """Take in a step, by the weights before it, which are written over. Waits for no device."""
        weight = norms(before)
        subtract_each(before, self.now())
        ratio = norms(before) / weight
        valid = weight > 0
        for i, moved in enumerate(self.has_gradients()):
            if not moved:
                valid[i] = False
        if skipped is not None:
            valid &= ~skipped.to(valid.device, non_blocking=True)
        number, total, least, largest, last = self._table
        number += valid
        total += ratio.where(valid, 0.0)
        least.copy_(torch.minimum(least, ratio).where(valid, least))
        largest.copy_(torch.maximum(largest, ratio).where(valid, largest))
        last.copy_(ratio.where(valid, last))


def with_updates(scalars: Mapping[str, Scalar], moved: Sequence[Moved]) -> Mapping[str, Scalar]:
    """Return scalars, and those of updates behind them."""
    return reduce(union, (one.scalars() for one in moved), scalars)
