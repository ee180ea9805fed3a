"""Statistics of your own: a protocol, and a worked example.

A subclass of :class:`Statistic` says which arrays it keeps of a site, how a tensor is added to
them, how two states merge, and which numbers they give. The recorder does the rest: states are
made when a site is first seen, closed with its windows, merged over time, ranks and files, and
their figures stand beside the built-in ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from actstats.custom import NotKept, Statistic

__all__ = ["EffectiveRank", "NotKept", "Statistic"]


@dataclass(frozen=True)
class EffectiveRank(Statistic):
    r"""Effective rank of a layer: how many directions its outputs really use.

    The exponential of the entropy of the covariance's eigenvalues, each divided by their sum:
    1 where all samples lie on a line, the number of units where all directions have the same
    variance. Exact over all samples of a window, and of windows, ranks and files that merge.

    Parameters
    ----------
    max_width : int, default 128
        Layers with more units are left out, with the reason: the state has
        `1 + U + U²` numbers for each site and window (129 KiB at 128 units), and an
        observation costs a product of `N U²`.

    Source
    ------
    Roy and Vetterli, *The effective rank: a measure of effective dimensionality*, EUSIPCO 2007,
    of the covariance instead of the matrix itself.

    Examples
    --------
    >>> import torch
    >>> from actstats import ActivationRecorder, make_mlp
    >>> from actstats.statistics import EffectiveRank
    >>> net = make_mlp(1, [16], 1)
    >>> with ActivationRecorder(net, statistics=EffectiveRank()) as recorder:
    ...     _ = net(torch.linspace(-1, 1, 200)[:, None])
    >>> round(recorder["fc1"].effective_rank, 3)  # a linear map of one number: a line
    1.0
    """

    max_width: int = 128

    name = "effective_rank"

    def state(self, units: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of a count, a mean and the sum of outer products around it."""
        if not units:
            raise NotKept("units are not told apart here")
        if units > self.max_width:
            raise NotKept(f"{units} units are more than max_width={self.max_width}")
        return {"n": (1,), "mean": (units,), "scatter": (units, units)}

    def update(self, state: Mapping[str, Tensor], x: Tensor) -> None:
        """Add samples; those with NaN or Inf are left out."""
        x = x.double()
        seen = x.isfinite().all(1, keepdim=True)
        n = seen.sum().to(x.dtype)
        mean = x.where(seen, 0).sum(0) / n.clamp(min=1)
        delta = (x - mean).where(seen, 0)
        before, total = state["n"].clone(), (state["n"] + n).clamp(min=1)
        shift = mean - state["mean"]
        state["scatter"] += delta.T @ delta + shift.outer(shift) * (before * n / total)
        state["mean"] += shift * (n / total)
        state["n"] += n

    def merge(
        self, state: Mapping[str, NDArray[np.float64]], other: Mapping[str, NDArray[np.float64]]
    ) -> Mapping[str, NDArray[np.float64]]:
        """Return both together, by Chan, Golub and LeVeque's formula for a covariance."""
        if not other["n"]:
            return state
        if not state["n"]:
            return other
        n = state["n"] + other["n"]
        shift = other["mean"] - state["mean"]
        between = np.outer(shift, shift) * (state["n"] * other["n"] / n)
        return {
            "n": n,
            "mean": state["mean"] + shift * (other["n"] / n),
            "scatter": state["scatter"] + other["scatter"] + between,
        }

    def figures(self, state: Mapping[str, NDArray[np.float64]]) -> Mapping[str, float]:
        """Return the effective rank; nan where nothing varies."""
        values = np.linalg.eigvalsh(state["scatter"]).clip(min=0)
        total = values.sum()
        if not total > 0:
            return {self.name: math.nan}
        share = values[values > 0] / total
        return {self.name: float(np.exp(-(share * np.log(share)).sum()))}
