"""An axis: where a value lies on it, and what is written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from actstats.report.text import number, signed

__all__ = ["Axis", "Scale", "Tick", "step_ticks"]

Floats = NDArray[np.float64]
Scale: TypeAlias = Literal["share", "log", "linear"]

MOST_TICKS = 5
MOST_DECIMALS = 6  # more would not fit beside a chart
LARGEST = 1e300  # so that ends have a distance
SAME = 1e-12  # relative distance of values that a chart does not tell apart
DECADES = 16  # what is further below the largest value lies at the lower edge


@dataclass(frozen=True)
class Tick:
    """A label, and where it stands in percent of the axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    """From values to places between 0 and 1.

    Parameters
    ----------
    scale : {"share", "log", "linear"}
        Shares go from 0 to 100 %, whatever was seen, so that pictures compare.
    low, high : float
        Ends; of a logarithmic axis their decimal logarithms, which are whole numbers.
    has_zeros : bool
        Whether the lower end of a logarithmic axis stands for 0, a decade below the rest.
    """

    scale: Scale
    low: float
    high: float
    has_zeros: bool = False

    @classmethod
    def of(cls, scale: Scale, values: Floats) -> Axis:
        """Return the axis that holds all finite values.

        Examples
        --------
        >>> import numpy as np
        >>> Axis.of("log", np.array([0.02, 3.0]))
        Axis(scale='log', low=-2, high=1, has_zeros=False)
        """
        seen = np.clip(values[np.isfinite(values)], -LARGEST, LARGEST)
        if scale == "share":
            return cls(scale, 0.0, 1.0)
        if scale == "log":
            low, high = _decades(seen[seen > 0])
            zeros = bool((seen <= 0).any())
            return cls(scale, low - zeros, high, zeros)
        return cls(scale, *_round_ends(seen))

    def place(self, values: Floats) -> Floats:
        """Return where values lie: 0 is the lower end, 1 the upper, nan stays nan."""
        if self.scale == "log":
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.log10(values)
        return np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0)

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """Return at most a handful of labels at round numbers."""
        return tuple(self._ticks())

    def _ticks(self) -> Iterator[Tick]:
        reach, step = self.high - self.low, self._step
        lowest = self.low + self.has_zeros
        if self.has_zeros:
            yield Tick(0.0, "0")
        for i in range(math.ceil(lowest / step - 1e-9), math.floor(self.high / step + 1e-9) + 1):
            yield Tick(round(100 * (i * step - self.low) / reach, 2), self._label(i * step))

    @property
    def _step(self) -> float:
        wanted = (self.high - self.low) / MOST_TICKS
        if self.scale == "log":
            return float(max(1, math.ceil(wanted)))
        return 0.25 if self.scale == "share" else _round_step(wanted)

    def _label(self, value: float) -> str:
        if self.scale == "log":
            return number(10.0**value) if value > -4 else signed(f"1e{value:.0f}")
        if self.scale == "share":
            return f"{100 * value:.0f} %"
        decimals = -math.floor(math.log10(self._step))  # so that neighbours differ
        if 0 < decimals <= MOST_DECIMALS:
            return signed(f"{value:,.{decimals}f}")
        return number(float(f"{value:.6g}"))


def step_ticks(first: float, last: float) -> tuple[Tick, ...]:
    """Return labels of steps from the first to the last, at round ones.

    Examples
    --------
    >>> [tick.label for tick in step_ticks(0, 4999)]
    ['0', '1,000', '2,000', '3,000', '4,000']
    """
    reach = last - first
    if reach <= 0:
        return (Tick(50.0, f"{first:,.0f}"),)
    step = max(1.0, _round_step(reach / (MOST_TICKS + 1)))
    places = range(math.ceil(first / step), math.floor(last / step) + 1)
    return tuple(
        Tick(round(100 * (i * step - first) / reach, 2), f"{i * step:,.0f}") for i in places
    )


def _decades(seen: Floats) -> tuple[int, int]:
    if not len(seen):
        return -1, 0
    low, high = math.log10(seen.min()), math.log10(seen.max())
    top = math.ceil(high) if high > math.floor(low) else math.floor(high) + 1
    return max(math.floor(low), top - DECADES), top


def _round_ends(seen: Floats) -> tuple[float, float]:
    if not len(seen):
        return 0.0, 1.0
    low, high = float(seen.min()), float(seen.max())
    if high - low <= max(SAME * abs(high), 1 / LARGEST):
        low, high = low - (0.5 * abs(low) or 0.5), high + (0.5 * abs(high) or 0.5)
    step = _round_step((high - low) / MOST_TICKS)
    return math.floor(low / step) * step, math.ceil(high / step) * step


def _round_step(wanted: float) -> float:
    """Return the next of 1, 2, 5, 10, ... in its decade."""
    decade = 10.0 ** math.floor(math.log10(wanted))
    return next(m * decade for m in (1, 2, 5, 10) if m * decade >= wanted * 0.999)
