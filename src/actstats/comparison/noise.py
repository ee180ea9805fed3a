"""How far apart equal distributions are found to be, by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actstats.comparison.distances import Distances
from actstats.comparison.distributions import Distributions

__all__ = ["Noise", "expected", "units_agree"]

FloatArray = NDArray[np.float64]

FEWEST_UNITS = 8  # whose agreement tells something
SIGMAS = 3.5  # of Fisher's z: by chance in 1 of 4000 layers


@dataclass(frozen=True, eq=False)
class Noise:
    """What is expected between equal distributions, each array of shape (sites,).

    Parameters
    ----------
    normalised : ndarray of float64
        Of W1 over the standard deviation.
    psi : ndarray of float64
        Of the population stability index.
    """

    normalised: FloatArray
    psi: FloatArray


def expected(
    a: Distributions, b: Distributions, found: Distances, draws: FloatArray | float = np.inf
) -> Noise:
    r"""Return what distances are by chance where nothing differs.

    For n independent values E W1 is sqrt(2 / (pi n)) times the integral of sqrt(F (1 - F)), and
    E PSI is (bins - 1) / n, 1 / n being summed over both sides. Values of a layer are not
    independent, since all units see the same samples: n is the number of samples of a unit, and
    1 / n is taken of the share of the variance that lies within the units. Where the weights are
    others, the units differ too, and ``1 / draws`` is added.

    Parameters
    ----------
    a, b : Distributions
        Both sides.
    found : Distances
        Between them.
    draws : ndarray of float64, shape (sites,), or float
        Units drawn independently on each side; infinity where both have the same weights, 0 where
        anything may be noise.

    Source
    ------
    del Barrio, Giné & Matrán 1999, Ann. Probab. 27, 1009-1071 (W1); Yurdakul 2018, Statistical
    properties of population stability index (PSI); Kish 1965, Survey Sampling (clusters).
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        per_value = [_within(one) + 1 / np.asarray(draws) for one in (a, b)]
        squares = sum(_spread(one) ** 2 * v for one, v in zip((a, b), per_value, strict=True))
        w1 = np.sqrt(2 / np.pi * squares) / found.scale
        psi = (found.groups - 1) * (per_value[0] + per_value[1])
    untold = np.broadcast_to(np.asarray(draws) == 0, w1.shape)
    w1[untold] = psi[untold] = np.inf
    return Noise(np.nan_to_num(w1, posinf=np.inf), np.nan_to_num(psi, posinf=np.inf))


def _within(one: Distributions) -> FloatArray:
    """Return 1 / n for the samples that a site's units have."""
    moments, units = one.moments, np.maximum(one.moments.units, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = np.nan_to_num(np.clip(moments.between / moments.var, 0, 1))
    return np.asarray((1 - between) * units / np.maximum(moments.total, 1))


def _spread(one: Distributions) -> FloatArray:
    """Return the integral of sqrt(F (1 - F)) of each site."""
    low, high = one.ends
    up_to, before = one.cumulative, one.cumulative - one.share
    is_last = np.diff(one.site, append=-1) != 0
    gap = np.where(is_last, 0.0, np.append(low[1:], 0.0) - high)
    parts = (high - low) * _root((up_to + before) / 2) + gap * _root(up_to)
    sums = np.bincount(one.site, parts, minlength=len(one.grid.scales))
    return sums.astype(np.float64)


def _root(u: FloatArray) -> FloatArray:
    return np.sqrt(np.clip(u * (1 - u), 0, None))


def units_agree(a: Sequence[FloatArray], b: Sequence[FloatArray]) -> bool | None:
    """Tell whether units of two layers are the same ones: what is known of each correlates.

    Units of independently drawn weights are exchangeable, so that nothing about them correlates;
    Fisher's z says how unlikely the correlation found would then be.

    Parameters
    ----------
    a, b : sequence of ndarray, each of shape (units,)
        Figures of the units, the same ones on both sides.

    Returns
    -------
    bool or None
        None where nothing tells: too few units, or all alike.
    """
    found = [_correlate(x, y) for x, y in zip(a, b, strict=True)]
    known = [agree for agree in found if agree is not None]
    return any(known) if known else None


def _correlate(x: FloatArray, y: FloatArray) -> bool | None:
    if len(x) != len(y) or len(x) < FEWEST_UNITS or not np.all(np.isfinite(x + y)):
        return None
    if min(np.std(x), np.std(y)) <= 1e-9 * max(np.abs(x).max(), np.abs(y).max()):
        return None
    r = min(float(np.corrcoef(x, y)[0, 1]), 1 - 1e-12)
    return bool(np.arctanh(r) * np.sqrt(len(x) - 3) > SIGMAS)
