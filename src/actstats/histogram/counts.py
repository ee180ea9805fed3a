"""Counts between edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from actstats.histogram.bits import FloatArray


@dataclass(frozen=True, eq=False)
class BinCounts:
    """Counts between edges; unpacks like what numpy.histogram returns: ``counts, edges = ...``.

    Parameters
    ----------
    counts : ndarray of float64 or int64, shape (bins,)
        Mass in each bin, in values; a fraction where an edge cuts a recorded bin.
    edges : ndarray of float64, shape (bins + 1,)
        As asked for.
    exact : bool
        No edge cuts a recorded bin. (A value equal to an edge may be on either side of it.)
    below, above : float
        Mass under the first and over the last edge; with the sum of `counts` it makes the total.

    Examples
    --------
    >>> from actstats.histogram import BitHistogram, Distribution
    >>> histogram = BitHistogram.from_values([1.0, 3.0], resolution=3)
    >>> found = Distribution(histogram, None, {}, min=1.0, max=3.0).counts([0, 2, 4])
    >>> found.counts, found.exact
    (array([1., 1.]), True)
    """

    counts: NDArray[Any]
    edges: FloatArray
    exact: bool
    below: float
    above: float

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.counts, self.edges))

    def __len__(self) -> int:
        return 2

    def __getitem__(self, item: int) -> NDArray[Any]:
        return (self.counts, self.edges)[item]

    def __repr__(self) -> str:
        return (
            f"BinCounts({self.counts.sum():.6g} values in {self.counts.size} bins from "
            f"{self.edges[0]:.6g} to {self.edges[-1]:.6g}, {self.below:.6g} below, "
            f"{self.above:.6g} above, {'exact' if self.exact else 'interpolated'})"
        )
