"""What each layer does to the gradient on its way back: gate gain and weight gain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from actstats.layers import Layer
from actstats.sites import Site
from actstats.stats import TensorStats

__all__ = ["Step", "gate_gain", "geometric_mean", "norm", "steps_back"]


@dataclass(frozen=True)
class Step:
    """What one layer does to the gradient on its way back.

    Parameters
    ----------
    layer : Layer
        The layer whose weights, then gate are passed: from its output to the one before.
    gate : float
        rms of dL/dz over that of dL/da: what its activation lets through; nan where z is not seen.
    weight : float
        Norm of the gradient before the layer over that of dL/dz (dL/da where z is not seen).
    """

    layer: Layer
    gate: float
    weight: float

    @property
    def gain(self) -> float:
        """Both together."""
        return self.weight if math.isnan(self.gate) else self.gate * self.weight


def steps_back(
    seen: Sequence[tuple[Layer, TensorStats]],
    gradient: Callable[[Site | None], TensorStats | None],
) -> list[Step]:
    """Return what each layer but the first does to the gradient.

    Parameters
    ----------
    seen : sequence of (Layer, TensorStats)
        Layers from the input on, each with the gradient at its output, which is not zero.
    gradient : callable
        Gives the gradient with respect to a site, None where it was not seen.
    """
    steps = []
    for (_, before), (layer, after) in pairwise(seen):
        g_z = gradient(layer.z)
        through = g_z if g_z is not None and g_z.rms > 0 else after
        steps.append(Step(layer, gate_gain(after, g_z), norm(before) / norm(through)))
    return steps


def gate_gain(g_a: TensorStats | None, g_z: TensorStats | None) -> float:
    """Return the rms of dL/dz over that of dL/da; nan where one is not seen, or is 0."""
    if g_a is None or g_z is None or not (g_a.rms > 0 and g_z.rms > 0):
        return math.nan
    return g_z.rms / g_a.rms


def norm(stats: TensorStats) -> float:
    """Return the root mean square over calls of the Euclidean norm of one call's values.

    Unlike the rms it can be compared between layers of different sizes: a layer that hands on
    its gradient unchanged keeps the norm.
    """
    return stats.rms * math.sqrt(stats.count / stats.calls) if stats.calls else math.nan


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of those that are positive; nan where none is."""
    known = [math.log(value) for value in values if value > 0]  # nan compares false
    return math.exp(sum(known) / len(known)) if known else math.nan
