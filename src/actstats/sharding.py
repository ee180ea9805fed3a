"""Distributed tensors: which part of one this rank has, and whether it is this rank's to record."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actstats._torch import arrived, is_arriving
from actstats.kernels import Spec
from actstats.kernels.state import Layout
from actstats.parts import unreadable

__all__ = ["Units", "local", "units_of", "unreadable_part", "widened"]


class Units(NamedTuple):
    """Which of a layer's units a rank has.

    Parameters
    ----------
    first : int
        The first of them.
    whole : int
        Units on all ranks together.
    """

    first: int
    whole: int


def is_distributed(tensor: Tensor) -> bool:
    """Tell whether this is a DTensor; where nobody has made one, nothing is imported."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, getattr(module, "DTensor", ()))


def local(tensor: Any) -> Tensor:
    """Return what this rank has of a tensor; nothing new is communicated.

    A collective that the model has begun is waited for, as the model's next use of it would.
    """
    if not (is_distributed(tensor) or is_arriving(tensor)):
        return tensor  # type: ignore[no-any-return]
    with torch.no_grad():  # no autograd node then
        return arrived(tensor.to_local() if is_distributed(tensor) else tensor)


def unreadable_part(tensor: Any) -> str | None:
    """Return why a tensor, or this rank's part of one, cannot be observed; None if it can."""
    if is_distributed(tensor):
        return _left_out(tensor) or unreadable(local(tensor))
    return unreadable(local(tensor))


def _left_out(tensor: Any) -> str | None:
    """Return why this rank does not record a DTensor; of replicas the first rank's is recorded."""
    coordinate = tensor.device_mesh.get_coordinate()
    if coordinate is None:
        return "a DTensor of a mesh without this rank"
    for place, placement in zip(coordinate, tensor.placements, strict=True):
        if placement.is_partial():
            return "a DTensor of partial sums, which no rank has the values of"
        if placement.is_replicate() and place:
            return "a replica, which the first rank of the mesh records"
    if tensor.is_complex():
        return "a DTensor of complex numbers"
    if not local(tensor).numel():
        return "an empty shard"
    return None


def units_of(tensor: Any, axis: int | None) -> Units | str | None:
    """Return which units this rank has; None for all, a reason where it cannot be told.

    Parameters
    ----------
    tensor : Tensor
        Plain ones have all.
    axis : int, optional
        Of the units.
    """
    if axis is None or not is_distributed(tensor):
        return None
    axis %= tensor.dim()
    first, size = 0, int(tensor.shape[axis])
    mesh = tensor.device_mesh
    for i, placement in enumerate(tensor.placements):
        if placement.is_shard(axis):
            piece = -(-size // mesh.size(i))  # as torch.chunk cuts
            start = min(mesh.get_coordinate()[i] * piece, size)
            first, size = first + start, min(piece, size - start)
    if size != local(tensor).shape[axis]:
        return f"units are spread over ranks in another way: {tensor.placements}"
    return None if size == tensor.shape[axis] else Units(first, int(tensor.shape[axis]))


def widened(memory: NDArray[np.int64], spec: Spec, units: Units) -> NDArray[np.int64]:
    """Return a state's memory with room for other ranks' units, of which nothing was seen."""
    at, to = Layout.of(spec), Layout.of(replace(spec, width=units.whole))
    wide = np.zeros(to.words, np.int64)
    wide[: to.moments] = memory[: at.moments]
    wide[to.histogram :] = memory[at.histogram :]
    mine = slice(units.first, units.first + spec.width)
    moments, judged = slice(at.moments, at.judged), slice(at.judged, at.histogram)
    wide[to.moments : to.judged].reshape(5, -1)[:, mine] = memory[moments].reshape(5, -1)
    if spec.gate is not None:
        rows = wide[to.judged : to.histogram].reshape(5, -1)
        rows[-1] = -1  # the last step with an active sample: none
        rows[:, mine] = memory[judged].reshape(5, -1)
    return wide
