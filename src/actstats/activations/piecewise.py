"""The activations made of straight pieces: their slopes jump."""

# Each function is the activation that it is named after.
# ruff: noqa: D103

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from actstats.activations.parts import inapplicable, nameless, steps
from actstats.activations.spec import Activation
from actstats.activations.zones import INF, Elementwise


def relu() -> Activation:
    return nameless(
        F.relu,
        output_slope=steps(lambda a: (a > 0).to(a.dtype)),
        max_slope=1.0,
        limits=(0.0, INF),
        relu_like=True,
        can_die=True,
    )


def relu6() -> Activation:
    return _clipped(F.relu6, 0.0, 6.0, relu_like=True)


def hardtanh(min_val: float, max_val: float) -> Activation:
    return _clipped(lambda z: F.hardtanh(z, min_val, max_val), min_val, max_val)


def hardsigmoid() -> Activation:
    # a rounds to 0 and 1 a little before z reaches the kinks: z knows better where it is at hand
    slope = steps(lambda z: _choose((z > -3) & (z < 3), z, 1 / 6, 0.0))
    return replace(_clipped(F.hardsigmoid, 0.0, 1.0, gain=1 / 6), slope=slope)


def _clipped(
    function: Elementwise, low: float, high: float, *, gain: float = 1.0, relu_like: bool = False
) -> Activation:
    return nameless(
        function,
        output_slope=steps(lambda a: _choose((a > low) & (a < high), a, gain, 0.0)),
        max_slope=gain,
        limits=(low, high),
        relu_like=relu_like,
        can_die=True,
    )


def _choose(mask: Tensor, like: Tensor, yes: float, no: float) -> Tensor:
    return torch.full_like(like, no).masked_fill(mask, yes)


def leaky_relu(negative_slope: float) -> Activation:
    slope = steps(lambda x: _choose(x > 0, x, 1.0, negative_slope))
    monotone = negative_slope >= 0  # else a > 0 on both sides, and only z tells them apart
    return nameless(
        lambda z: F.leaky_relu(z, negative_slope),
        slope=slope,
        output_slope=slope if monotone else None,
        max_slope=max(1.0, abs(negative_slope)),
        limits=(0.0 if negative_slope <= 0 else -INF, INF),
        relu_like=monotone,
        can_die=negative_slope == 0,
    )


def rrelu(lower: float, upper: float) -> Activation:
    return leaky_relu((lower + upper) / 2)  # torch's own slope in eval mode


def prelu() -> Activation:
    return inapplicable(
        lambda z: F.leaky_relu(z, 0.25),  # PReLU as torch initialises it
        "PReLU's slope is learned, so saturation and gate openness do not apply",
        relu_like=True,
    )


def threshold(threshold: float, value: float) -> Activation:
    slope = steps(lambda x: (x > threshold).to(x.dtype))
    return nameless(
        lambda z: F.threshold(z, threshold, value),
        slope=slope,
        output_slope=slope if value <= threshold else None,
        max_slope=1.0,
        limits=(min(threshold, value), INF),
        can_die=True,
    )


def hardshrink(lambd: float) -> Activation:
    return _shrink(lambda z: F.hardshrink(z, lambd), lambd)


def softshrink(lambd: float) -> Activation:
    return _shrink(lambda z: F.softshrink(z, lambd), lambd)


def _shrink(function: Elementwise, lambd: float) -> Activation:
    # a is 0 exactly where |z| <= lambd, so a tells the slope. A unit that stays there gets no
    # gradient for its own weights, which is what dead means, though its zone lies in the middle.
    return nameless(
        function,
        slope=steps(lambda z: ((z < -lambd) | (z > lambd)).to(z.dtype)),
        output_slope=steps(lambda a: (a != 0).to(a.dtype)),
        max_slope=1.0,
        can_die=True,
    )
