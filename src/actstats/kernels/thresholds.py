"""A gate's thresholds as compiled kernels compare with them: closed intervals in one dtype."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch

from actstats.kernels.state import Gate, Intervals

__all__ = ["inward", "open_interval", "sides"]

Interval = tuple[float, float]
Active = Literal["rest", "third", "not third"]


def sides(gate: Gate) -> tuple[Intervals, Intervals, Intervals, Active]:
    """Return where values are low, where high, a third kind, and which samples are active.

    ``"rest"``: those that are neither low nor high; ``"third"``: those of the third kind;
    ``"not third"``: all others.
    """
    low, high = gate.low or (), gate.high or ()
    if gate.quiet is None:
        if low == ((-math.inf, 0.0),) and not high:
            return low, high, (), "rest"
        return low, high, (open_interval(0.0, math.inf),), "third"
    if gate.low is not None and gate.high is not None and gate.quiet == low + high:
        return low, high, (), "rest"
    return low, high, gate.quiet, "not third"


def open_interval(low: float, high: float) -> Interval:
    """Return the least and the largest float64 between two numbers."""
    return math.nextafter(low, math.inf), math.nextafter(high, -math.inf)


@lru_cache(maxsize=1024)
def inward(interval: Interval, dtype: torch.dtype) -> Interval:
    """Return the least and the largest number of a dtype in a closed interval.

    The first is the larger one if there is none.
    """
    ends = torch.tensor(interval, dtype=torch.float64, device="cpu").to(dtype)
    above, below = (ends.nextafter(torch.full_like(ends, to)) for to in (math.inf, -math.inf))
    least = ends[0] if ends[0].item() >= interval[0] else above[0]
    largest = ends[1] if ends[1].item() <= interval[1] else below[1]
    return least.item(), largest.item()
