"""How activation sites are judged: thresholds for the kernels, and what they count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actstats.activations import Activation
from actstats.kernels import Gate

__all__ = ["Judged", "make_gate"]

ACTIVE_SLOPE = 0.05  # an active sample has at least this share of the maximal slope


def make_gate(activation: Activation | None, saturation_slope: float = 0.05) -> Gate | None:
    """Turn an activation into the plain thresholds that a kernel applies.

    Parameters
    ----------
    activation : Activation or None
        None gives None: nothing is judged.
    saturation_slope : float, default 0.05
        A value is saturated where |slope| is below this share of its maximum.
    """
    if activation is None:
        return None

    def intervals(threshold: float, side: str | None = None) -> tuple[tuple[float, float], ...]:
        zones = activation.zones(threshold)
        return tuple((z.low, z.high) for z in zones if side in (None, z.side))

    known = activation.reason is None
    from_output = activation.judged_from == "output"
    return Gate(
        low=intervals(saturation_slope, "low") if known else None,
        high=intervals(saturation_slope, "high") if known else None,
        quiet=None if activation.relu_like else intervals(ACTIVE_SLOPE),
        slope=(activation.output_slope if from_output else activation.slope) if known else None,
        max_slope=activation.max_slope,
        limits=activation.limits,
        from_output=from_output,
    )


@dataclass(frozen=True, eq=False)
class Judged:
    """Counts of judged samples per unit; all merge by adding (the last by its maximum)."""

    seen: NDArray[np.int64]
    active: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    last_active: NDArray[np.int64]
    openness: float = 0.0

    @classmethod
    def of(cls, rows: NDArray[np.int64], openness: float = 0.0) -> Judged:
        """Return the counts of a kernel's five rows."""
        seen, active, low, high, last_active = rows
        return cls(seen, active, low, high, last_active, openness)

    @property
    def rows(self) -> tuple[NDArray[np.int64], ...]:
        """The counts in a kernel's order; :meth:`of` takes them."""
        return self.seen, self.active, self.low, self.high, self.last_active

    def merge(self, other: Judged) -> Judged:
        """Return the counts of both together."""
        return Judged(
            self.seen + other.seen,
            self.active + other.active,
            self.low + other.low,
            self.high + other.high,
            np.maximum(self.last_active, other.last_active),
            self.openness + other.openness,
        )

    def pooled(self) -> Judged:
        """Return the counts over all units as one column."""
        sums = (np.atleast_1d(a.sum()) for a in (self.seen, self.active, self.low, self.high))
        seen, active, low, high = sums
        return Judged(seen, active, low, high, np.atleast_1d(self.last_active.max()), self.openness)
