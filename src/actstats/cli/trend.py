"""Numbers over time as a line of little bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["ASCII", "BLOCKS", "sparkline"]

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-=+*#@"  # where the terminal has no blocks
LEAST_RANGE = 0.01  # of the largest value: less is noise, and drawn flat


def sparkline(values: Sequence[float], bars: str = BLOCKS) -> str:
    """Return a bar for each value, from the least to the largest of them; a space for nan.

    Parameters
    ----------
    values : sequence of float
        In order of time.
    bars : str
        From the lowest to the highest.

    Examples
    --------
    >>> sparkline([0, 1, 2, 3, float("nan"), 7])
    '▁▂▃▄ █'
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return " " * len(values)
    low, high = min(finite), max(finite)
    is_flat = high - low <= LEAST_RANGE * max(abs(low), abs(high))

    def bar(value: float) -> str:
        if not math.isfinite(value):
            return " "
        share = 0.5 if is_flat else (value - low) / (high - low)
        return bars[min(int(share * len(bars)), len(bars) - 1)]

    return "".join(bar(value) for value in values)
