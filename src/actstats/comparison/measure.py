"""All distances between two recordings: sites by windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actstats.comparison import noise
from actstats.comparison.distances import Distances, between
from actstats.comparison.distributions import Distributions
from actstats.comparison.pairs import WindowPair
from actstats.comparison.reading import Reader, resolution_of
from actstats.comparison.scale import Grid, Scale
from actstats.recording import Window
from actstats.table import SiteTable

__all__ = ["Measured", "measure"]

FloatArray = NDArray[np.float64]

MOST_NEIGHBOURS = 32  # pairs of neighbouring windows that tell how much a run moves by itself


@dataclass(frozen=True, eq=False)
class Measured:
    """Distances of sites over windows, and what of them is noise.

    Parameters
    ----------
    w1, normalised, psi : ndarray of float64, shape (windows, sites)
        Distances; nan where a side did not see the site.
    noise : ndarray of float64, shape (2, windows, sites)
        Of `normalised` and `psi`, expected where nothing differs.
    movement : ndarray of float64, shape (2, sites)
        Median of both between neighbouring windows of one run, of the run that moves more; 0
        where there is one window.
    overall : ndarray of float64, shape (3, sites)
        The three distances between all windows of one side and all of the other.
    """

    w1: FloatArray
    normalised: FloatArray
    psi: FloatArray
    noise: FloatArray
    movement: FloatArray
    overall: FloatArray


def measure(
    pairs: Sequence[WindowPair],
    whole: WindowPair,
    sites: Mapping[str, str],
    draws: FloatArray | float = np.inf,
) -> Measured:
    """Return the distances of the sites (by their name in `a` that in `b`) in pairs of windows.

    `draws` is as in :func:`noise.expected`.
    """
    grid = _grid(whole, sites)
    readers = Reader(list(sites), grid), Reader(list(sites.values()), grid)
    found, chance, moved = [], [], _Movement(len(pairs))
    for i, pair in enumerate(pairs):
        a, b = readers[0].read(pair.a.stats), readers[1].read(pair.b.stats)
        found.append(between(a, b))
        chance.append(noise.expected(a, b, found[-1], draws))
        moved.add(i, a, b)
    overall = between(readers[0].read(whole.a.stats), readers[1].read(whole.b.stats))
    return Measured(
        w1=np.stack([one.w1 for one in found]),
        normalised=np.stack([one.normalised for one in found]),
        psi=np.stack([one.psi for one in found]),
        noise=np.stack(([one.normalised for one in chance], [one.psi for one in chance])),
        movement=moved.median(len(sites)),
        overall=np.stack((overall.w1, overall.normalised, overall.psi)),
    )


def merged(pairs: Sequence[WindowPair]) -> WindowPair:
    """Return all windows of each side as one."""
    return WindowPair(Window.sum([p.a for p in pairs]), Window.sum([p.b for p in pairs]))


def _grid(whole: WindowPair, sites: Mapping[str, str]) -> Grid:
    """Return the scales that both sides can be read on in every window: the coarser ones."""
    tables = SiteTable.from_stats(whole.a.stats), SiteTable.from_stats(whole.b.stats)
    scales = []
    for names in sites.items():
        (k, near), (other_k, other_near) = map(resolution_of, tables, names)
        scales.append(Scale.of(min(k, other_k), near and other_near))
    return Grid(scales)


class _Movement:
    """How far apart neighbouring windows of one run are, in some evenly spread windows."""

    def __init__(self, windows: int) -> None:
        number = min(windows - 1, MOST_NEIGHBOURS)
        self._wanted = set(np.linspace(1, windows - 1, number).round().astype(int).tolist())
        self._before: tuple[Distributions, ...] = ()
        self._found: tuple[list[Distances], list[Distances]] = [], []

    def add(self, i: int, *sides: Distributions) -> None:
        """Take the next window of both sides."""
        if i in self._wanted:
            for found, before, now in zip(self._found, self._before, sides, strict=True):
                found.append(between(before, now))
        self._before = sides

    def median(self, sites: int) -> FloatArray:
        """Return the median of both distances, of the side that moves more, shape (2, sites)."""
        if not self._wanted:
            return np.zeros((2, sites))
        return np.maximum(*(_median(found) for found in self._found))


def _median(found: Sequence[Distances]) -> FloatArray:
    rows = np.array([(one.normalised, one.psi) for one in found])
    return np.asarray(np.median(np.nan_to_num(rows), axis=0))
