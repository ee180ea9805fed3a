"""How compiled kernels walk through a tensor: by its strides, without moving a value."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

__all__ = ["folded", "pieces", "unit_dimension"]

Group = tuple[int, int]  # size, stride


def unit_dimension(x: Tensor, axis: int | None, width: int) -> int | None:
    """Return the dimension of the units, None where they are pooled.

    Parameters
    ----------
    x : Tensor
        What is observed.
    axis : {-1, 1}, optional
        As asked for; of fewer than three dimensions the last one is meant.
    width : int
        Columns of the state.
    """
    if axis is None or width == 1 or x.dim() == 0:
        return None
    return 1 if axis == 1 and x.dim() > 2 else x.dim() - 1


def folded(x: Tensor, unit: int | None) -> list[Group]:
    """Return the samples' dimensions as few groups of evenly spaced ones, the outermost first.

    A dimension that lies inside another in memory is joined to it. None are left of one sample.
    """
    axes = [(x.shape[i], x.stride(i)) for i in range(x.dim()) if i != unit and x.shape[i] != 1]
    groups: list[Group] = []
    for size, stride in sorted(axes, key=lambda group: -group[1]):
        if groups and groups[-1][1] == size * stride:
            groups[-1] = (groups[-1][0] * size, stride)
        else:
            groups.append((size, stride))
    return groups


def pieces(x: Tensor, unit: int | None, limit: int) -> Iterator[Tensor]:
    """Yield contiguous copies of pieces of at most ``limit`` values, if units may stay whole."""
    samples = (i for i in range(x.dim()) if i != unit)
    longest = max(samples, key=lambda i: x.shape[i], default=None)
    if longest is None or x.numel() <= limit or x.shape[longest] == 1:
        yield x.contiguous()
        return
    for half in x.tensor_split(2, dim=longest):
        yield from pieces(half, unit, limit)
