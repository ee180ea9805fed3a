"""Lines, bands and bars as SVG paths: small, crisp, and in the page's own colours."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Buckets", "band", "bars", "line"]

Floats = NDArray[np.float64]


class Buckets:
    """Neighbouring windows taken together, so that a long run fits on a small picture.

    Nothing is lost that stood out: the least and the largest value of each bucket are kept.

    Parameters
    ----------
    windows : int
        Number of values.
    most : int
        Number of buckets that there is room for.

    Examples
    --------
    >>> import numpy as np
    >>> low, high = Buckets(4, 2).ends(np.array([1.0, 5.0, 2.0, np.nan]))
    >>> low.tolist(), high.tolist()
    ([1.0, 2.0], [5.0, 2.0])
    """

    def __init__(self, windows: int, most: int) -> None:
        self.merged = windows > most
        self.starts = np.arange(min(windows, most)) * windows // min(windows, most)
        self._sizes = np.diff(np.append(self.starts, windows))

    def ends(self, values: Floats) -> tuple[Floats, Floats]:
        """Return the least and the largest value by bucket, nan where it has none."""
        least = np.fmin.reduceat(values, self.starts, axis=0)
        return least, np.fmax.reduceat(values, self.starts, axis=0)

    def mean(self, values: Floats) -> Floats:
        """Return the mean by bucket, of what is a number."""
        known = np.isfinite(values)
        total = np.add.reduceat(np.where(known, values, 0.0), self.starts, axis=0)
        with np.errstate(invalid="ignore"):
            return np.asarray(total / np.add.reduceat(known, self.starts, axis=0, dtype=np.int64))


def line(x: Floats, y: Floats) -> str:
    """Return the path through the points, with gaps where y is nan; a lone point is a dot.

    Examples
    --------
    >>> import numpy as np
    >>> line(np.array([0.0, 10.0, 20.0, 30.0]), np.array([5.0, 7.0, np.nan, 5.0]))
    'M0 5l10 2M30 5h0'
    """
    return "".join(_through(x[part], y[part]) for part in _known(y))


def band(x: Floats, low: Floats, high: Floats) -> str:
    """Return the outline of the area between two lines, with gaps where they are nan.

    Examples
    --------
    >>> import numpy as np
    >>> band(np.array([0.0, 10.0]), np.array([5.0, 7.0]), np.array([3.0, 4.0]))
    'M0 5l10 2 0-3-10-1z'
    """
    return "".join(
        _through(np.append(x[part], x[part][::-1]), np.append(low[part], high[part][::-1])) + "z"
        for part in _known(low + high)
    )


def bars(heights: Floats, width: int, height: int) -> str:
    """Return bars side by side, the highest as high as there is room.

    Examples
    --------
    >>> import numpy as np
    >>> bars(np.array([1.0, 0.0, 2.0]), 30, 10)
    'M0 10v-5h10v5zM20 10v-10h10v10z'
    """
    top = heights.max()
    edges = np.rint(np.linspace(0, width, len(heights) + 1)).astype(int).tolist()
    tall = np.ceil(heights / top * height).astype(int).tolist() if top > 0 else [0] * len(heights)
    return "".join(
        f"M{left} {height}v-{h}h{right - left}v{h}z"
        for left, right, h in zip(edges[:-1], edges[1:], tall, strict=True)
        if h
    )


def _known(y: Floats) -> Iterator[slice]:
    """Yield the longest runs without a gap."""
    known = np.concatenate(([False], np.isfinite(y), [False]))
    ends = np.flatnonzero(known[1:] != known[:-1]).tolist()
    return (slice(first, last) for first, last in zip(ends[::2], ends[1::2], strict=True))


def _through(x: Floats, y: Floats) -> str:
    """Return a path in whole numbers, each point as the way from the one before."""
    points = np.rint(np.stack((x, y), axis=1)).astype(int)
    (x0, y0), ways = points[0].tolist(), np.diff(points, axis=0).tolist()
    if not ways:
        return f"M{x0} {y0}h0"
    text = " ".join(f"{dx} {dy}" for dx, dy in ways)
    return f"M{x0} {y0}l{text.replace(' -', '-')}"
