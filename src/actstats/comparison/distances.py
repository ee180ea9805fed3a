r"""How far apart two distributions are: Wasserstein-1 and the population stability index.

Both read the exact counts of the bins. Nothing is sampled, and equal statistics are at distance 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actstats.comparison.distributions import Distributions
from actstats.comparison.reading import Reader
from actstats.comparison.scale import STRIDE, Grid, Scale
from actstats.stats import TensorStats

__all__ = ["Distances", "between", "psi", "wasserstein"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

GROUPS = 10  # bins of the index, besides the atoms: deciles, as is usual
ATOMS = 3
LEAST_SHARE = 1e-4  # of an empty bin of the index, as is usual


@dataclass(frozen=True, eq=False)
class Distances:
    """Between two sets of distributions, each array of shape (sites,); nan where one is empty.

    Parameters
    ----------
    w1 : ndarray of float64
        Wasserstein-1, in the unit of the values.
    scale : ndarray of float64
        Standard deviation of both together, each weighing the same.
    psi : ndarray of float64
        Population stability index.
    groups : ndarray of int64
        Bins that it was taken over.
    """

    w1: FloatArray
    scale: FloatArray
    psi: FloatArray
    groups: IntArray

    @property
    def normalised(self) -> FloatArray:
        """W1 over the standard deviation of both together: 0 to 2, free of shift and scale."""
        same = np.where(np.isnan(self.w1), np.nan, 0.0)
        return np.divide(self.w1, self.scale, out=same, where=self.scale > 0)


def wasserstein(a: TensorStats, b: TensorStats) -> float:
    r"""Return the Wasserstein-1 distance: how far values must move, on average, from a to b.

    The integral of \|Qa(u) - Qb(u)\| over u, with both quantile functions read from the counts:
    exact at the ends of bins and in atoms (0, and -1 and 1 of functions that end there), linear in
    between. What is read is made to agree with the difference of the means, which is known
    exactly, so that a shift is exact however wide the bins are; it is never below that, nor below
    the difference of the means of absolute values. Of normal samples at resolution 3 the error is
    below 0.002 standard deviations.

    Parameters
    ----------
    a, b : TensorStats
        What was seen.

    Returns
    -------
    float
        In the unit of the values; 0 for equal statistics, nan where one saw no finite value.

    Source
    ------
    Kantorovich & Rubinstein 1958 for the lower bounds; Vallender 1974, Theory Probab. Appl. 18,
    784-786, for the formula.

    Examples
    --------
    >>> import torch
    >>> from actstats import TensorStats
    >>> x = torch.linspace(-1, 1, 1001)
    >>> a, b = TensorStats.from_tensor(x), TensorStats.from_tensor(x + 0.25)
    >>> round(wasserstein(a, b), 6), wasserstein(a, a)
    (0.25, 0.0)
    """
    return float(_of_one(a, b).w1[0])


def psi(a: TensorStats, b: TensorStats) -> float:
    """Return the population stability index: the sum over bins of ``(p - q) * ln(p / q)``.

    The bins are the deciles of both together, each weighing the same, as far as the recorded bins
    go; an atom is a bin of its own. Symmetric. A share below 0.0001 is taken for 0.0001. Usual
    marks: below 0.1 no change to speak of, above 0.25 a large one.

    Parameters
    ----------
    a, b : TensorStats
        What was seen.

    Returns
    -------
    float
        0 for equal statistics, nan where one saw no finite value.

    Source
    ------
    Siddiqi 2006, Credit Risk Scorecards (the marks); Jeffreys 1946 (the divergence).

    Examples
    --------
    >>> import torch
    >>> from actstats import TensorStats
    >>> a = TensorStats.from_tensor(torch.tensor([0.0] * 5 + [3.0] * 5))
    >>> b = TensorStats.from_tensor(torch.tensor([0.0] * 8 + [3.0] * 2))
    >>> round(psi(a, b), 4)  # 0.3 ln(0.8 / 0.5) + 0.3 ln(0.5 / 0.2)
    0.4159
    """
    return float(_of_one(a, b).psi[0])


def _of_one(a: TensorStats, b: TensorStats) -> Distances:
    k = min(a.bits.resolution, b.bits.resolution)
    near_one = a.asymptote is not None and b.asymptote is not None
    reader = Reader(("",), Grid([Scale.of(k, near_one)]))
    return between(reader.read({"": a}), reader.read({"": b}))


def between(a: Distributions, b: Distributions) -> Distances:
    """Return the distances of all sites of two sets of distributions on the same grid."""
    empty = (a.moments.total == 0) | (b.moments.total == 0)
    with np.errstate(over="ignore", invalid="ignore"):  # where there were huge values
        w1 = np.maximum(_transport(a, b), _least_transport(a, b))
        index, groups = _stability(a, b)
        gap = a.moments.mean - b.moments.mean
        var = (a.moments.var + b.moments.var) / 2 + gap * gap / 4
    w1[empty] = index[empty] = np.nan
    return Distances(w1, np.sqrt(var), index, groups)


# ---- Wasserstein-1 -----------------------------------------------------------------------------


def _transport(a: Distributions, b: Distributions) -> FloatArray:
    """Integrate the difference of the quantile functions, which are linear between knots."""
    if not (len(a.keys) and len(b.keys)):
        return np.zeros(len(a.grid.scales))
    knots = np.concatenate((a.site + a.cumulative, b.site + b.cumulative))
    order = np.argsort(knots, kind="stable")
    from_a = order < len(a.keys)
    place = np.cumsum(from_a) - from_a, np.cumsum(~from_a) - ~from_a
    upper = knots[order]
    site = np.concatenate((a.site, b.site))[order]
    lower = np.maximum(np.concatenate(([0.0], upper[:-1])), site)
    start_a, stop_a = _quantiles(a, place[0], site, lower, upper)
    start_b, stop_b = _quantiles(b, place[1], site, lower, upper)
    first, last = start_a - start_b, stop_a - stop_b
    length, sites = upper - lower, len(a.grid.scales)
    area = _sums(site, length * _mean_absolute(first, last), sites)
    signed = _sums(site, length * (first + last) / 2, sites)
    return _corrected(area, signed, a.moments.mean - b.moments.mean)


def _sums(site: IntArray, values: FloatArray, sites: int) -> FloatArray:
    return np.bincount(site, values, minlength=sites).astype(np.float64)


def _corrected(area: FloatArray, signed: FloatArray, gap: FloatArray) -> FloatArray:
    """Make what was read agree with the exact difference of the means.

    What lies above and what below 0 differ by the gap; the error of that difference is taken out
    of both in proportion. Where all lies on one side, which a shift gives, nothing else is left.
    """
    share = np.divide(signed, area, out=np.zeros_like(area), where=area > 0)
    return np.asarray(area + (gap - signed) * share)


def _quantiles(
    one: Distributions, place: IntArray, site: IntArray, lower: FloatArray, upper: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the quantile function at both ends of segments that lie in bins at `place`."""
    place = np.minimum(place, len(one.keys) - 1)
    low, high = one.ends[0][place], one.ends[1][place]
    stop, share = one.cumulative[place], one.share[place]
    start = site + stop - share

    def at(u: FloatArray) -> FloatArray:
        return np.asarray(low + np.clip((u - start) / share, 0, 1) * (high - low))

    return at(lower), at(upper)


def _mean_absolute(first: FloatArray, last: FloatArray) -> FloatArray:
    """Return the mean of a linear function's absolute value from its two ends."""
    size = np.abs(first) + np.abs(last)
    crossing = first * last < 0
    squares = first * first + last * last
    return np.asarray(np.divide(squares, 2 * size, out=size / 2, where=crossing))


def _least_transport(a: Distributions, b: Distributions) -> FloatArray:
    """Return what W1 is at least: differences of means of functions that are 1-Lipschitz."""
    mean = np.abs(a.moments.mean - b.moments.mean)
    size = np.abs(a.moments.abs_mean - b.moments.abs_mean)
    return np.maximum(mean, size)


# ---- population stability index ------------------------------------------------------------------


def _stability(a: Distributions, b: Distributions) -> tuple[FloatArray, IntArray]:
    """Return the index of each site, and the number of bins that it was taken over."""
    keys, p, q = _joined(a, b)
    site = keys // STRIDE
    shape = (len(a.grid.scales), GROUPS + ATOMS)
    group = site * shape[1] + _groups(a.grid, keys, site, (p + q) / 2)
    shares = [
        np.bincount(group, one, minlength=shape[0] * shape[1]).reshape(shape) for one in (p, q)
    ]
    used = (shares[0] + shares[1]) > 0
    low_p, low_q = (np.maximum(one, LEAST_SHARE) for one in shares)
    return np.sum(used * (low_p - low_q) * np.log(low_p / low_q), axis=1), used.sum(axis=1)


def _joined(a: Distributions, b: Distributions) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return the keys of both, each once and ascending, and the share of each side in each."""
    both = np.concatenate((a.keys, b.keys))
    order = np.argsort(both, kind="stable")  # finds the two ascending runs
    is_new = np.diff(both[order], prepend=-1) > 0
    place = np.empty(len(both), np.int64)
    place[order] = np.cumsum(is_new) - 1
    shares = np.zeros((2, int(is_new.sum())))
    shares[0, place[: len(a.keys)]] = a.share
    shares[1, place[len(a.keys) :]] = b.share
    return both[order][is_new], shares[0], shares[1]


def _groups(grid: Grid, keys: IntArray, site: IntArray, share: FloatArray) -> IntArray:
    """Return the decile that the middle of each bin lies in; atoms come after the deciles."""
    up_to = np.cumsum(share)
    starts = np.flatnonzero(np.diff(site, prepend=-1))
    before = np.repeat(up_to[starts] - share[starts], np.diff(starts, append=len(site)))
    middle = np.round(GROUPS * (up_to - share / 2 - before), 9)
    group = np.clip(middle.astype(np.int64), 0, GROUPS - 1)
    is_atom = grid.is_atom(keys)
    low, _ = grid.ends(keys[is_atom])
    group[is_atom] = GROUPS + 1 + low.astype(np.int64)
    return group
