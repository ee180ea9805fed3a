"""What the formulas are written with: slopes without a graph, and activations without a name."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from actstats.activations.spec import Activation
from actstats.activations.zones import INF, Elementwise, Limits


def smooth(formula: Elementwise) -> Elementwise:
    """Compute without a graph, 16-bit floats in float32; the result has the caller's dtype."""

    def compute(x: Tensor) -> Tensor:
        x = x.detach()
        if x.dtype in (torch.float16, torch.bfloat16):
            return formula(x.float()).to(x.dtype)
        return formula(x)

    return compute


def steps(formula: Elementwise) -> Elementwise:
    """Compute without a graph in the caller's dtype, where a kink has to meet its own rounding."""
    return lambda x: formula(x.detach())


def nameless(
    function: Elementwise,
    *,
    max_slope: float,
    limits: Limits = (-INF, INF),
    slope: Elementwise | None = None,
    output_slope: Elementwise | None = None,
    relu_like: bool = False,
    can_die: bool = False,
    reason: str | None = None,
) -> Activation:
    """Describe a function that is named later; a missing slope is `output_slope` after it."""
    if slope is None:
        told_by_output = output_slope
        assert told_by_output is not None

        def slope(z: Tensor) -> Tensor:
            return told_by_output(function(z.detach()))

    return Activation(
        "", function, slope, output_slope, max_slope, limits, relu_like, can_die, reason
    )


def inapplicable(function: Elementwise, reason: str, *, relu_like: bool = False) -> Activation:
    """Describe a function whose slope is not known, for a reason."""
    return nameless(
        function,
        slope=lambda z: torch.full_like(z.detach(), math.nan),
        max_slope=math.nan,
        relu_like=relu_like,
        reason=reason,
    )
