"""The score that tells networks which fail from those that learn, as it was fitted and measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["MODELS", "Family", "Model", "Rate"]

Family = Literal["plain", "adaptive"]

Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Rate:
    """So many of so many."""

    hits: int
    of: int

    @property
    def share(self) -> float:
        """Hits over all; nan of none."""
        return self.hits / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        if not self.of:
            return 0.0, 1.0
        z2 = Z * Z
        middle = (self.hits + z2 / 2) / (self.of + z2)
        spread = math.sqrt(self.of * self.share * (1 - self.share) + z2 / 4)
        half = Z * spread / (self.of + z2)
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.share:.0f} % of {self.of} ({100 * low:.0f} to {100 * high:.0f} %)"


@dataclass(frozen=True)
class Model:
    """A logistic regression on piecewise linear curves, and how it did on networks kept apart.

    Parameters
    ----------
    intercept : float
        Log odds of failing where every feature is a healthy network's median.
    cut : float
        Log odds above which it alarms.
    curves : mapping of str to (knots, log odds)
        What each feature adds; flat beyond its first and last knot, 0 at the healthy median.
    healthy : mapping of str to float
        Medians of networks that learned.
    caught, false : Rate
        Alarms among those that failed, and among those that learned.
    bins : tuple of (float, Rate)
        Upper ends of the probability, and how many networks below each (and above the one before)
        failed.
    """

    intercept: float
    cut: float
    curves: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]
    healthy: Mapping[str, float]
    caught: Rate
    false: Rate
    bins: tuple[tuple[float, Rate], ...]

    def parts(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Return what each feature adds to the log odds of failing."""
        return {n: float(np.interp(numbers[n], *curve)) for n, curve in self.curves.items()}


# ---- measured: written by `python -m benchmarks.clinic.prognosis --write` ------------------------

# 2026-11-25, python -m benchmarks.clinic.prognosis --networks 6000
# fmt: off
MODELS: Mapping[Family, Model] = {
    "plain": Model(
        intercept=-4.797, cut=0.337,
        curves={
            "last_motion": (
                (-30.0, -4.08, -0.79, 0.61, 4.96),
                (7.099, 1.28, -0.004, 0.047, 4.237),
            ),
            "last_progress": (
                (-18.38, -4.51, -1.29, -0.1, 2.68),
                (12.855, 3.829, 0.064, -0.379, 1.24),
            ),
            "motion": (
                (-30.0, -2.77, 0.86, 2.23, 6.8),
                (5.562, 0.424, 0.281, -0.695, -4.471),
            ),
            "change": (
                (-4.51, -0.53, 0.34, 1.56, 4.27),
                (1.989, -0.863, 0.36, 2.269, 7.084),
            ),
            "reach": (
                (-15.0, 0.0, 6.23, 13.9, 50.08),
                (5.849, -1.379, -0.071, 2.087, 1.44),
            ),
            "distance": (
                (-0.5, -0.15, -0.09, 0.4, 1.71),
                (3.186, 0.709, -0.109, -0.358, 3.552),
            ),
            "scale": (
                (-1.34, -0.21, 0.0, 1.97),
                (-2.804, 0.425, 0.0, 2.564),
            ),
            "openness": (
                (-2.0, -0.34, -0.3, -0.22, -0.01),
                (-0.878, -0.461, 0.024, 0.4, -0.696),
            ),
            "width": (
                (1.0, 1.51, 1.81),
                (0.217, -0.002, 0.339),
            ),
            "steps": (
                (-0.48, -0.09, 0.84, 1.12, 2.32),
                (-1.533, 0.163, -0.09, 1.835, 0.929),
            ),
            "capacity": (
                (-0.75, 0.92, 1.76, 2.5, 3.5),
                (-0.866, 0.783, -0.387, 0.455, 0.731),
            ),
        },
        healthy={
            "last_motion": -0.668,
            "last_progress": -1.118,
            "motion": 1.254,
            "change": 0.084,
            "reach": 6.484,
            "distance": -0.098,
            "scale": 0.0,
            "openness": -0.302,
            "width": 1.505,
            "steps": 0.509,
            "capacity": 2.1,
        },
        caught=Rate(565, 645),
        false=Rate(33, 607),
        bins=(
            (0.02, Rate(4, 171)),
            (0.05, Rate(10, 160)),
            (0.1, Rate(5, 106)),
            (0.2, Rate(24, 101)),
            (0.4, Rate(25, 81)),
            (0.6, Rate(12, 36)),
            (0.8, Rate(48, 65)),
            (0.9, Rate(28, 33)),
            (0.97, Rate(70, 74)),
            (1.0, Rate(419, 425)),
        ),
    ),
    "adaptive": Model(
        intercept=-5.987, cut=-0.578,
        curves={
            "last_motion": (
                (-30.0, -3.1, -1.71, -1.02, 0.79),
                (-1.507, 0.848, 0.665, -1.653, -0.09),
            ),
            "last_progress": (
                (-30.0, -4.0, -2.52, -1.81, -0.76),
                (14.843, 5.551, -0.011, 0.019, -2.043),
            ),
            "motion": (
                (-30.0, -2.07, -0.54, 0.4, 2.21),
                (-0.506, -2.149, -0.124, 0.236, 0.417),
            ),
            "change": (
                (-30.0, -1.37, -0.92, -0.42, 0.49),
                (3.995, -0.583, -0.13, 0.601, -0.008),
            ),
            "reach": (
                (-15.0, 1.61, 3.87, 7.52, 19.84),
                (8.515, 0.976, -0.012, 0.063, 3.145),
            ),
            "distance": (
                (-0.49, -0.15, -0.09, 0.47, 1.79),
                (1.912, 0.687, -0.012, -0.29, 0.878),
            ),
            "scale": (
                (-1.2, -0.24, -0.0, 2.14),
                (-5.385, -0.296, 0.0, 0.241),
            ),
            "openness": (
                (-30.0, -0.35, -0.31, -0.23, -0.01),
                (-4.319, -0.694, 0.057, -0.86, 0.971),
            ),
            "width": (
                (1.0, 1.51, 1.81),
                (0.461, -0.005, 0.199),
            ),
            "steps": (
                (1.54, 2.06, 2.55, 3.12, 4.54),
                (-1.5, 0.389, -0.065, 1.314, 4.418),
            ),
            "capacity": (
                (-2.76, -1.05, -0.17, 0.58, 1.45),
                (0.619, -1.247, -0.044, 0.185, -1.448),
            ),
        },
        healthy={
            "last_motion": -1.512,
            "last_progress": -2.269,
            "motion": -0.216,
            "change": -0.831,
            "reach": 4.468,
            "distance": -0.091,
            "scale": 0.0,
            "openness": -0.305,
            "width": 1.505,
            "steps": 2.48,
            "capacity": -0.025,
        },
        caught=Rate(269, 330),
        false=Rate(86, 1477),
        bins=(
            (0.02, Rate(10, 1040)),
            (0.05, Rate(4, 155)),
            (0.1, Rate(11, 97)),
            (0.2, Rate(10, 81)),
            (0.4, Rate(34, 93)),
            (0.6, Rate(35, 72)),
            (0.8, Rate(35, 64)),
            (0.9, Rate(30, 40)),
            (0.97, Rate(43, 46)),
            (1.0, Rate(118, 119)),
        ),
    ),
}
# fmt: on
