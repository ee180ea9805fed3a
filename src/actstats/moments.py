"""Counts, means and squared deviations that merge without losing digits.

The formulas use operators only, so that the kernels (torch) and the summaries (NumPy) share one
definition; ``where`` is the only function that differs between the two.

Source: T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample variance:
analysis and recommendations", The American Statistician 37(3), 1983; the two-float mean keeps
what one float64 would round away (Knuth's two-sum).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

__all__ = ["Moments", "combine", "two_sum"]


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """Add two floats and keep the rounding error.

    Returns
    -------
    tuple
        ``(s, e)`` with ``s = fl(a + b)`` and ``a + b = s + e`` exactly.
    """
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def combine(
    a: tuple[Any, Any, Any, Any], b: tuple[Any, Any, Any, Any], where: Callable[..., Any]
) -> tuple[Any, Any, Any, Any]:
    """Merge two sets of ``(n, mean_high, mean_low, m2)``, elementwise.

    An empty side (``n == 0``) is the identity: the other is copied, not computed.

    Parameters
    ----------
    a, b : tuple of array
        Count, mean as two floats, and sum of squared deviations; all float64 of one shape.
    where : callable
        ``numpy.where`` or ``torch.where``.

    Returns
    -------
    tuple of array
        The moments of both together.
    """
    n_a, high_a, low_a, m2_a = a
    n_b, high_b, low_b, m2_b = b
    n = n_a + n_b
    share = n_b / (n + (n == 0))
    delta = (high_b - high_a) + (low_b - low_a)
    high, error = two_sum(high_a, delta * share)
    # on an empty side delta is rounded to the other's high part: its low part must be kept
    low = where(n_a == 0, low_b, low_a + error)
    mean = high + low
    return n, mean, low - (mean - high), m2_a + m2_b + delta * (delta * (n_a * share))


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of finite values, one column per unit (or one column in all).

    Parameters
    ----------
    n : ndarray of float64, shape (C,)
        Finite values seen; whole numbers, exact up to 2**53.
    high, low : ndarray of float64, shape (C,)
        The mean as the sum of two floats.
    m2 : ndarray of float64, shape (C,)
        Sum of squared deviations from the mean.
    abs_sum : ndarray of float64, shape (C,)
        Sum of absolute values.

    Notes
    -----
    ``a.merge(b)`` has the all-zero moments as identity and changes neither side.
    """

    n: FloatArray
    high: FloatArray
    low: FloatArray
    m2: FloatArray
    abs_sum: FloatArray

    @classmethod
    def empty(cls, width: int = 1) -> Moments:
        """Return the identity of :meth:`merge` for ``width`` columns."""
        return cls(*(np.zeros(width) for _ in fields(cls)))

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.n)

    @property
    def nbytes(self) -> int:
        """Memory held by the arrays, in bytes."""
        return int(sum(getattr(self, f.name).nbytes for f in fields(self)))

    @property
    def mean(self) -> FloatArray:
        """Mean of each column; nan where nothing was seen."""
        return np.where(self.n > 0, self.high + self.low, np.nan)

    @property
    def var(self) -> FloatArray:
        """Variance of each column, divided by n; nan where nothing was seen."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.m2 / self.n)

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both data sets together."""
        if self.width != other.width:
            raise ValueError(
                f"moments of {self.width} and {other.width} units do not merge; pool both first"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            n, high, low, m2 = combine(self._chan(), other._chan(), np.where)
        return Moments(n, high, low, m2, self.abs_sum + other.abs_sum)

    def pooled(self) -> Moments:
        """Return the moments over all columns as one column."""
        n = self.n.sum()
        if self.width == 1 or n == 0:
            return self if self.width == 1 else Moments.empty()
        with np.errstate(over="ignore", invalid="ignore"):
            centre = float(np.sum(self.high * (self.n / n)))
            delta = np.where(self.n > 0, (self.high - centre) + self.low, 0.0)
            shift = float(np.sum(self.n * delta)) / n
            m2 = float(np.sum(self.m2) + np.sum(self.n * (delta - shift) ** 2))
        columns = (n, *two_sum(centre, shift), m2, self.abs_sum.sum())
        return Moments(*(np.array([float(value)]) for value in columns))

    def _chan(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        return self.n, self.high, self.low, self.m2
