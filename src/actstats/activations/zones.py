"""Where a function is saturated: the zones in which its slope is small, found by search."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Elementwise: TypeAlias = Callable[[Tensor], Tensor]
Limits: TypeAlias = tuple[float, float]
INF = math.inf


@dataclass(frozen=True)
class Zone:
    """Hold one closed interval of saturated values.

    The edges are float64. Compare them in the tensor's own precision, as `contains` does: what
    ``Hardtanh(-0.7, 0.7)`` writes in float32 lies below the float64 number 0.7.

    Parameters
    ----------
    low, high : float
        The ends, both included; either may be infinite.
    side : {"low", "high"}
        ``"low"`` if the function is steepest to the right of the zone, else ``"high"``.

    Examples
    --------
    >>> Zone(6.0, float("inf"), "high").contains(torch.tensor([5.0, 6.0]))
    tensor([False,  True])
    """

    low: float
    high: float
    side: Literal["low", "high"]

    def contains(self, values: Tensor) -> Tensor:
        """Return a bool tensor of the same shape: is each value inside, ends included."""
        return (values >= self.low) & (values <= self.high)


def input_zones(slope: Elementwise, limit: float) -> tuple[Zone, ...]:
    """Return where ``|slope| < limit``, from left to right."""
    return _scan(slope, _wide_grid(), limit)


def output_zones(output_slope: Elementwise, limits: Limits, limit: float) -> tuple[Zone, ...]:
    """Return where ``|output_slope| < limit``, searched within the limits of the output."""
    grid = _wide_grid()
    ends = torch.tensor([x for x in limits if math.isfinite(x)], dtype=grid.dtype)
    grid = _sorted(grid[(grid >= limits[0]) & (grid <= limits[1])], ends)
    return _scan(output_slope, grid, limit)


def images(
    zones: tuple[Zone, ...],
    function: Elementwise,
    slope: Elementwise,
    limits: Limits,
    limit: float,
) -> tuple[Zone, ...]:
    """Return the values of a in zones of z, without zones that share some with an unsaturated z."""
    grid = _wide_grid()
    open_values = function(grid[slope(grid).abs() >= limit])
    found = [_image(zone, function, limits, open_values) for zone in zones]
    return tuple(sorted(dict.fromkeys(filter(None, found)), key=lambda zone: zone.low))


@lru_cache(maxsize=1)
def _wide_grid() -> Tensor:
    """Return sorted float64 places: every 1/512 within 32, then logarithmic from 1e-8 to 1e8."""
    line = torch.arange(-32 * 512, 32 * 512 + 1, dtype=torch.float64, device="cpu") / 512
    far = torch.logspace(-8, 8, 2001, dtype=torch.float64, device="cpu")
    return _sorted(line, far, -far)


def _sorted(*places: Tensor) -> Tensor:
    """Return all places in order, each once."""
    everything: Tensor = torch.unique(torch.cat(places))
    return everything


def _at(function: Elementwise, place: float) -> float:
    return float(function(torch.tensor([place], dtype=torch.float64, device="cpu")))


def _bisect(inside: float, outside: float, holds: Callable[[float], bool]) -> float:
    """Return the place nearest to `outside` found to hold, starting from `inside` that does."""
    for _ in range(80):
        middle = 0.5 * (inside + outside)
        if middle in (inside, outside):
            break
        if holds(middle):
            inside = middle
        else:
            outside = middle
    return inside


def _with_roots(grid: Tensor, slope: Elementwise) -> Tensor:
    """Add the places where the slope turns positive, which the grid may step over."""

    def rises(place: float) -> bool:
        return _at(slope, place) > 0

    positive = slope(grid) > 0
    roots = []
    for i in (positive[1:] != positive[:-1]).nonzero().flatten().tolist():
        left, right = float(grid[i]), float(grid[i + 1])
        ends = (left, right) if positive[i] else (right, left)
        roots.append(_bisect(*ends, rises))
    return _sorted(grid, torch.tensor(roots, dtype=grid.dtype))


def _runs(mask: Tensor) -> list[tuple[int, int]]:
    """Return first and last index of each run of True."""
    change = F.pad(mask.to(torch.int8), (1, 1)).diff()
    starts = (change == 1).nonzero().flatten().tolist()
    ends = (change == -1).nonzero().flatten().tolist()
    return [(start, end - 1) for start, end in zip(starts, ends, strict=True)]


def _scan(slope: Elementwise, grid: Tensor, limit: float) -> tuple[Zone, ...]:
    """Return where ``|slope| < limit``: runs on the grid, ends bisected to adjacent floats."""
    grid = _with_roots(grid, slope)
    size = slope(grid).abs()
    steepest = float(grid[size >= float(size.max()) * (1 - 1e-12)][-1])

    def low(place: float) -> bool:
        return abs(_at(slope, place)) < limit

    zones = []
    for i, j in _runs(size < limit):
        start = -INF if i == 0 else _bisect(float(grid[i]), float(grid[i - 1]), low)
        end = INF if j == len(grid) - 1 else _bisect(float(grid[j]), float(grid[j + 1]), low)
        zones.append(Zone(start, end, "low" if float(grid[j]) < steepest else "high"))
    return tuple(zones)


def _image(zone: Zone, function: Elementwise, limits: Limits, open_values: Tensor) -> Zone | None:
    """Return the zone's values of a, or None if an unsaturated z gives some of them too."""
    grid = _wide_grid()
    ends = torch.tensor([zone.low, zone.high], dtype=grid.dtype).clamp(grid[0], grid[-1])
    values = function(torch.cat([ends, grid[zone.contains(grid)]]))
    low, high = float(values.min()), float(values.max())
    slack = 1e-9 * (1 + abs(low) + abs(high))
    middle, reach = 0.5 * (low + high), max(0.5 * (high - low) - slack, slack)
    if bool(((open_values - middle).abs() < reach).any()):
        return None
    if low - slack <= limits[0]:
        low = -INF
    if high + slack >= limits[1]:
        high = INF
    return Zone(low + 0.0, high + 0.0, zone.side)  # + 0.0 drops minus zero
