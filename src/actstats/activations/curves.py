"""The activations with a curved piece: their slopes by formula, in every precision."""

# Each function is the activation that it is named after.
# ruff: noqa: D103

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from actstats.activations.parts import inapplicable, nameless, smooth
from actstats.activations.spec import Activation
from actstats.activations.zones import INF, Elementwise

# ---------------------------------------------------------------------------------- bounded curves


def tanh() -> Activation:
    slope = smooth(lambda a: (1 - a) * (1 + a))
    return nameless(torch.tanh, output_slope=slope, max_slope=1.0, limits=(-1.0, 1.0))


def sigmoid() -> Activation:
    slope = smooth(lambda a: a * (1 - a))
    return nameless(torch.sigmoid, output_slope=slope, max_slope=0.25, limits=(0.0, 1.0))


def softsign() -> Activation:
    return nameless(
        F.softsign,
        slope=smooth(lambda z: (1 + z.abs()).square().reciprocal()),
        output_slope=smooth(lambda a: (1 - a.abs()).square()),
        max_slope=1.0,
        limits=(-1.0, 1.0),
    )


def tanhshrink() -> Activation:
    return nameless(F.tanhshrink, slope=smooth(lambda z: torch.tanh(z).square()), max_slope=1.0)


# ------------------------------------------------------------------------------------ exponentials


def elu(alpha: float) -> Activation:
    return _exponential(lambda z: F.elu(z, alpha), alpha, 1.0)


def celu(alpha: float) -> Activation:
    if alpha <= 0:
        reason = f"CELU's slope has no bound for alpha={alpha}, so saturation does not apply"
        return inapplicable(lambda z: F.celu(z, alpha), reason)
    return _exponential(lambda z: F.celu(z, alpha), alpha, 1 / alpha)


def selu() -> Activation:
    # Klambauer et al. 2017, the constants of torch.nn.SELU
    return _exponential(F.selu, 1.6732632423543772848170429916717, 1.0, 1.0507009873554804934193349)


def _exponential(
    function: Elementwise, alpha: float, rate: float, scale: float = 1.0
) -> Activation:
    """Build ``scale * (z if z > 0 else alpha * (exp(rate * z) - 1))``, rate > 0."""
    at_zero = scale * alpha * rate

    def slope(z: Tensor) -> Tensor:
        falling = at_zero * torch.exp(rate * z.clamp(max=0))
        return falling.masked_fill(z > 0, scale)

    return nameless(
        function,
        slope=smooth(slope),
        max_slope=max(scale, abs(at_zero)),
        limits=(min(0.0, -scale * alpha), INF),
        can_die=alpha == 0,
    )


def softplus(beta: float, threshold: float) -> Activation:
    def slope(z: Tensor) -> Tensor:
        return torch.sigmoid(beta * z).masked_fill(beta * z > threshold, 1.0)

    return nameless(
        lambda z: F.softplus(z, beta, threshold),
        slope=smooth(slope),
        max_slope=1.0,
        limits=(0.0, INF) if beta > 0 else (-INF, INF),
    )


def logsigmoid() -> Activation:
    slope = smooth(lambda z: torch.sigmoid(-z))
    return nameless(F.logsigmoid, slope=slope, max_slope=1.0, limits=(-INF, 0.0))


# ------------------------------------------------------------------------------- those with a dip


def gelu(approximate: str) -> Activation:
    if approximate not in ("none", "tanh"):
        raise ValueError(f'`approximate` must be "none" or "tanh"; got {approximate!r}.')
    slope = _gelu_tanh_slope if approximate == "tanh" else _gelu_slope
    return _dipping(lambda z: F.gelu(z, approximate=approximate), slope)


def _gelu_slope(z: Tensor) -> Tensor:
    share = 0.5 * torch.erfc(-z / math.sqrt(2))
    return share + z * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _gelu_tanh_slope(z: Tensor) -> Tensor:
    k, c = math.sqrt(2 / math.pi), 0.044715
    tanh = torch.tanh(k * (z + c * z**3))
    return 0.5 * (1 + tanh) + 0.5 * z * (1 - tanh) * (1 + tanh) * k * (1 + 3 * c * z * z)


def silu() -> Activation:
    return _dipping(F.silu, _swish_slope(1.0))


def quick_gelu() -> Activation:
    return _dipping(lambda z: z * torch.sigmoid(1.702 * z), _swish_slope(1.702))


def _swish_slope(rate: float) -> Elementwise:
    def slope(z: Tensor) -> Tensor:
        gate = torch.sigmoid(rate * z)
        return gate * (1 + rate * z * (1 - gate))

    return slope


def mish() -> Activation:
    def slope(z: Tensor) -> Tensor:
        tanh = torch.tanh(F.softplus(z))
        return tanh + z * torch.sigmoid(z) * (1 - tanh) * (1 + tanh)

    return _dipping(F.mish, slope)


def _dipping(function: Elementwise, formula: Elementwise) -> Activation:
    """Build a smooth z * gate(z): a dip left of zero, steepest right of it, slope 1 far out."""
    # far out the formulas are inf * 0; by 100 the slope is 0 or 1 in every precision
    slope = smooth(lambda z: formula(z.clamp(-100, 100)))
    lowest = -_supremum(lambda z: -function(z))
    return nameless(function, slope=slope, max_slope=_supremum(slope), limits=(lowest, INF))


def _supremum(function: Elementwise) -> float:
    """Return the largest value of a smooth function within 30 of zero, by zooming in."""
    low, high, largest = -30.0, 30.0, -INF
    for _ in range(6):
        grid = torch.linspace(low, high, 20_001, dtype=torch.float64, device="cpu")
        values = function(grid)
        largest = max(largest, float(values.max()))
        best, step = float(grid[values.argmax()]), (high - low) / 20_000
        low, high = best - 2 * step, best + 2 * step
    return largest


def hardswish() -> Activation:
    # cannot die: around z = -1.5 a sample is not active, yet its slope is not exactly 0
    def slope(z: Tensor) -> Tensor:
        return (z / 3 + 0.5).masked_fill(z <= -3, 0.0).masked_fill(z >= 3, 1.0)

    return nameless(F.hardswish, slope=smooth(slope), max_slope=1.5, limits=(-0.375, INF))
