"""What compiled kernels know of an activation's slope: a few forms, found by trying them.

A slope is a function that only Python can call. Here it is sampled once and written down as
numbers: two values of which one holds between two bounds (ReLU, hardtanh), a parabola between the
limits (tanh, sigmoid), or polynomials on short pieces (GELU, SiLU, ELU). A slope of another form
stays with plain torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from actstats.kernels._words import COEFFICIENTS, PER_ONE, PIECES
from actstats.kernels.state import Gate

__all__ = ["Box", "Quadratic", "Table", "form_of"]

FloatArray = NDArray[np.float64]
Evaluate = Callable[[FloatArray], FloatArray]

TOLERANCE = 1e-12  # of a table, as a share of the maximal slope


@dataclass(frozen=True)
class Box:
    """``inside`` where low < x < high, else ``outside``."""

    low: float
    high: float
    inside: float
    outside: float


@dataclass(frozen=True)
class Quadratic:
    """``gain * |(x - first) * (x - second)|``."""

    first: float
    second: float
    gain: float


@dataclass(frozen=True, eq=False)
class Table:
    """Polynomials in the place within each piece, ascending; beyond the last the ends hold.

    Of a slope that changes its sign, since the absolute value has a kink there.
    """

    coefficients: FloatArray


Form = Box | Quadratic | Table


@lru_cache(maxsize=256)
def form_of(gate: Gate) -> Form | None:
    """Return ``slope / max_slope``, up to its sign, in a form that compiled code evaluates.

    A box and a parabola are exact up to rounding; a table is within 1e-12 wherever it was tried.
    None: the slope is of no such form.
    """
    slope = gate.slope
    if slope is None:
        return None

    limits = gate.limits if gate.from_output else (-math.inf, math.inf)

    def evaluate(x: FloatArray) -> FloatArray:
        values: FloatArray = slope(torch.from_numpy(x.clip(*limits))).numpy() / gate.max_slope
        return values

    return _box(evaluate, gate) or _quadratic(evaluate, gate) or _table(evaluate)


def _everywhere() -> FloatArray:
    """Return values of every size and both signs, zero among them."""
    sizes = np.concatenate(
        ([5e-324, 1e-45], np.logspace(-40, 38, 3_001), np.linspace(0, 40, 8_001))
    )
    return np.unique(np.concatenate((-sizes, sizes)))


def _box(evaluate: Evaluate, gate: Gate) -> Box | None:
    low, high = gate.limits
    for ends in ((0.0, math.inf), (low, high)):
        x = np.unique(np.concatenate((_everywhere(), _around(*ends, low, high))))
        if gate.from_output:
            x = x[(x >= low) & (x <= high)]
        inside, values = (x > ends[0]) & (x < ends[1]), np.abs(evaluate(x))
        levels = [np.unique(values[part]) for part in (inside, ~inside)]
        if all(len(level) == 1 and np.isfinite(level[0]) for level in levels):
            return Box(*ends, float(levels[0][0]), float(levels[1][0]))
    return None


def _around(*ends: float) -> FloatArray:
    finite = np.array([end for end in ends if math.isfinite(end)])
    return np.concatenate((np.nextafter(finite, -np.inf), finite, np.nextafter(finite, np.inf)))


def _quadratic(evaluate: Evaluate, gate: Gate) -> Quadratic | None:
    low, high = gate.limits
    if not gate.from_output or not (math.isfinite(low) and math.isfinite(high)):
        return None
    middle = (low + high) / 2
    gain = float(evaluate(np.array([middle]))[0]) / ((middle - low) * (middle - high))
    x = np.linspace(low, high, 1_001)
    fits = np.allclose(evaluate(x), gain * (x - low) * (x - high), rtol=1e-13, atol=1e-15)
    return Quadratic(low, high, abs(gain)) if fits else None


def _table(evaluate: Evaluate) -> Table | None:
    """Interpolate at Chebyshev's points of each piece; None if it does not fit in between.

    Nor at both ends: a table is continuous, since rounding may take the neighbour's piece.
    """
    starts = np.arange(PIECES) / PER_ONE - PIECES / (2 * PER_ONE)
    nodes = (1 - np.cos((np.arange(COEFFICIENTS) + 0.5) * np.pi / COEFFICIENTS)) / 2
    samples = evaluate((starts[:, None] + nodes / PER_ONE).ravel()).reshape(PIECES, -1)
    powers = nodes[:, None] ** np.arange(COEFFICIENTS)
    coefficients = np.ascontiguousarray(np.linalg.solve(powers, samples.T).T)
    between = np.linspace(0, 1, 19)
    wanted = evaluate((starts[:, None] + between / PER_ONE).ravel()).reshape(PIECES, -1)
    error = np.abs(coefficients @ (between[:, None] ** np.arange(COEFFICIENTS)).T - wanted)
    end = PIECES / (2 * PER_ONE)
    far = np.array([end, end + 1, 100.0, 1e4, 1e30])
    tails = (
        np.abs(evaluate(far) - wanted[-1, -1]).max(),
        np.abs(evaluate(-far) - wanted[0, 0]).max(),
    )
    worst = np.max((error.max(), *tails))  # NaN fits nothing
    return Table(coefficients) if worst <= TOLERANCE else None
