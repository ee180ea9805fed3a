"""The curve that is read: a monotone cubic through cumulative counts, plus steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from actstats.histogram.bits import FloatArray, IntArray


@dataclass(frozen=True)
class Curve:
    """Cumulative counts: a monotone cubic through knots, plus steps.

    On a segment, with u in [0, 1] across it and v = 1 - u, the cubic is Hermite's:
    ``base + rise * u**2 * (3 - 2 * u) + start * u * v**2 - end * u**2 * v``. Being whole numbers,
    base and base + rise are exact at the knots.
    """

    knots: FloatArray  # n + 1, strictly ascending
    width: FloatArray  # n segments from here on
    base: FloatArray
    rise: FloatArray
    start: FloatArray  # tangents, times the width of the segment
    end: FloatArray
    steps: FloatArray  # positions, ascending
    stairs: FloatArray  # summed heights of the steps, beginning with 0

    @classmethod
    def through(
        cls,
        low: FloatArray,
        high: FloatArray,
        counts: IntArray,
        steps: FloatArray,
        heights: IntArray,
    ) -> Curve:
        """Make the curve of ascending bins, which may share edges, and of steps in any order."""
        knots, cumulative = _knots(low, high, counts)
        width, rise = np.diff(knots), np.diff(cumulative)
        tangents = monotone_tangents(width, rise / width)
        order = np.argsort(steps, kind="stable")
        stairs = np.concatenate([[0], np.cumsum(heights[order])]).astype(np.float64)
        return cls(
            knots=knots,
            width=width,
            base=cumulative[:-1],
            rise=rise,
            start=tangents[:-1] * width,
            end=tangents[1:] * width,
            steps=steps[order],
            stairs=stairs,
        )

    def at(self, x: FloatArray, side: Literal["left", "right"]) -> FloatArray:
        """Count the values below each x, and with ``"right"`` those of a step at x too."""
        segment, u = self._place(x)
        return self._cubic(segment, u) + self.stairs[np.searchsorted(self.steps, x, side)]

    def is_interpolated(self, x: FloatArray) -> NDArray[np.bool_]:
        """Say which x lie inside an occupied bin, where the count is not exact."""
        segment, u = self._place(x)
        return (u > 0) & (u < 1) & (self.rise[segment] > 0)

    def inverse(self, target: FloatArray) -> FloatArray:
        """Find the smallest x where the curve is at least target; ascends with target."""
        nodes, left, right = self._nodes
        node = np.minimum(np.searchsorted(right, target), nodes.size - 1)
        segment = np.maximum(np.searchsorted(self.knots, nodes[node]) - 1, 0)
        segment = np.minimum(segment, self.width.size - 1)
        stairs = self.stairs[np.searchsorted(self.steps, nodes[node])]
        u = self._solve(segment, target - stairs)
        between = np.clip(
            self.knots[segment] + u * self.width[segment],
            nodes[np.maximum(node - 1, 0)],
            nodes[node],
        )
        return np.where(target > left[node], nodes[node], between)

    @cached_property
    def _nodes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """All knots and steps, with the curve on their left and right."""
        nodes = np.union1d(self.knots, self.steps)
        return nodes, self.at(nodes, "left"), self.at(nodes, "right")

    def _place(self, x: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
        inside = np.clip(x, self.knots[0], self.knots[-1])
        segment = np.searchsorted(self.knots, inside, "right") - 1
        segment = np.minimum(segment, self.width.size - 1)
        return segment, (inside - self.knots[segment]) / self.width[segment]

    def _cubic(self, segment: NDArray[np.intp], u: FloatArray) -> FloatArray:
        v = 1 - u
        bend = self.start[segment] * v - self.end[segment] * u
        climb = self.rise[segment] * (u * u * (3 - 2 * u))
        return np.asarray(self.base[segment] + climb + bend * u * v)

    def _solve(self, segment: NDArray[np.intp], target: FloatArray) -> FloatArray:
        """Find u in [0, 1] digit by digit: u ascends with target whatever the rounding is."""
        u = np.zeros(target.shape)
        for digit in 0.5 ** np.arange(1, 54):
            u = np.where(self._cubic(segment, u + digit) < target, u + digit, u)
        return u


def _knots(low: FloatArray, high: FloatArray, counts: IntArray) -> tuple[FloatArray, FloatArray]:
    """Give the edges of ascending bins, each once, and the counts up to them.

    A run of empty bins leaves its two ends. No bins give a flat line.
    """
    if not low.size:
        return np.array([0.0, 1.0]), np.zeros(2)
    edges = np.stack([low, high], axis=1).reshape(-1)
    after = np.cumsum(counts)
    cumulative = np.stack([after - counts, after], axis=1).reshape(-1).astype(np.float64)
    is_new = np.concatenate([[True], edges[1:] > edges[:-1]])
    return edges[is_new], cumulative[is_new]


def monotone_tangents(width: FloatArray, slope: FloatArray) -> FloatArray:
    """Give the tangents at n + 1 knots of a monotone cubic over n rising segments.

    Those of the parabola through three knots, held between 0 and three times the flatter of the
    two neighbouring slopes, which is enough for monotony.

    Source: Fritsch & Carlson 1980, SIAM J. Numer. Anal. 17, 238-246; the bound of three is
    de Boor & Swartz 1977, J. Approx. Theory 21, 411-416.
    """
    if slope.size == 1:
        return np.repeat(slope, 2)
    share = width[:-1] / (width[:-1] + width[1:])
    inner = slope[:-1] + share * (slope[1:] - slope[:-1])
    first = slope[0] - share[0] * (slope[1] - slope[0])
    last = slope[-1] + (1 - share[-1]) * (slope[-1] - slope[-2])
    parabola = np.concatenate([[first], inner, [last]])
    flatter = np.minimum(np.append(slope, slope[-1]), np.insert(slope, 0, slope[0]))
    return np.asarray(np.clip(parabola, 0, 3 * flatter))
