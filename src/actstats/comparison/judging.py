"""Whether, where and since when two runs are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actstats.comparison.measure import Measured
from actstats.sites import split_key

__all__ = [
    "TIMES_NOISE",
    "Marks",
    "Separation",
    "apart",
    "beyond_noise",
    "in_order_of_computing",
    "since",
]

BoolArray = NDArray[np.bool_]

TIMES_NOISE = 2.5  # beyond the 99 % point of both distances, which is about twice their mean


@dataclass(frozen=True)
class Marks:
    """What counts as apart.

    Parameters
    ----------
    w1, psi : float
        Least distances that matter.
    hold : int
        Windows in a row that a site must be apart for.
    """

    w1: float = 0.1
    psi: float = 0.25
    hold: int = 3


@dataclass(frozen=True)
class Separation:
    """Where two runs separate first.

    Parameters
    ----------
    site : str
        Its name in `a`.
    window : int
        Index of the first compared window that it is apart in.
    first_step, last_step : int
        Of that window, inclusive.
    w1_normalised, psi : float
        The distances there.
    noise : float
        What `w1_normalised` would be expected to be if nothing differed.
    message : str
        All of it in words.
    """

    site: str
    window: int
    first_step: int
    last_step: int
    w1_normalised: float
    psi: float
    noise: float
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them."""
        return asdict(self)


def apart(found: Measured, marks: Marks) -> BoolArray:
    """Tell which sites are apart in which windows, shape (windows, sites)."""
    distances = np.stack((found.normalised, found.psi))
    floor = _floor(found)
    least = np.array([marks.w1, marks.psi])[:, None, None]
    return np.asarray(np.any(distances > np.maximum(floor, least), axis=0))  # nan: not apart


def beyond_noise(found: Measured) -> BoolArray:
    """Tell where W1 is above noise and a run's own movement, shape (windows, sites)."""
    return np.asarray(found.normalised > _floor(found)[0])


def _floor(found: Measured) -> NDArray[np.float64]:
    """Return what both distances must exceed, shape (2, windows, sites)."""
    return np.maximum(TIMES_NOISE * found.noise, found.movement[:, None, :])


def since(is_apart: BoolArray, seen: BoolArray, hold: int) -> int | None:
    """Return the first window of a site from which on it is apart for long enough.

    Parameters
    ----------
    is_apart, seen : ndarray of bool, shape (windows,)
        Windows in which it is apart, and in which both sides saw it.
    hold : int
        Windows in a row; all of them where there are fewer.
    """
    places = np.flatnonzero(seen)
    hold = min(hold, len(places))
    if not hold:
        return None
    together = np.lib.stride_tricks.sliding_window_view(is_apart[places], hold).all(axis=1)
    return int(places[np.argmax(together)]) if together.any() else None


def in_order_of_computing(sites: Sequence[str]) -> list[int]:
    """Return indices of sites: forward first, then gradients from the last layer to the first."""
    gradients = [i for i, site in enumerate(sites) if split_key(site)[1] == "grad"]
    forward = [i for i, site in enumerate(sites) if split_key(site)[1] != "grad"]
    return [*forward, *reversed(gradients)]
