"""Know every activation function's slope, saturation and active side.

One `Activation` says what the recorder and the diagnosis need of one function φ: how steep it is
at z, whether its output alone tells that, where it is saturated, and whether it can die.
`get` finds it by name, `activation_of` by module, `functional_activation` by a call of
`torch.nn.functional`, and `from_function` works one out for a function that nobody has named.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import math
import numbers
import random
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "FUNCTIONAL",
    "Activation",
    "FunctionalForm",
    "Zone",
    "activation_from_key",
    "activation_of",
    "from_function",
    "functional_activation",
    "get",
    "infer",
    "make_module",
    "names",
    "why_not",
]

Elementwise: TypeAlias = Callable[[Tensor], Tensor]
Side: TypeAlias = Literal["low", "high"]
Axis: TypeAlias = Literal["output", "input"]
Parameter: TypeAlias = float | str

_INF = math.inf
_LOW_PRECISION = (torch.float16, torch.bfloat16)


# ---------------------------------------------------------------------------------- the records


@dataclass(frozen=True)
class Zone:
    """Hold one closed interval of saturated values.

    The edges are float64. Compare them in the tensor's own precision, as `contains` does: what
    ``Hardtanh(-0.7, 0.7)`` writes in float32 lies below the float64 number 0.7.

    Parameters
    ----------
    low, high : float
        The ends, both included; either may be infinite.
    side : {"low", "high"}
        ``"low"`` if the function is steepest to the right of the zone, else ``"high"``.

    Examples
    --------
    >>> Zone(6.0, float("inf"), "high").contains(torch.tensor([5.0, 6.0]))
    tensor([False,  True])
    """

    low: float
    high: float
    side: Side

    def contains(self, values: Tensor) -> Tensor:
        """Return a bool tensor of the same shape: is each value inside, ends included."""
        return (values >= self.low) & (values <= self.high)


@dataclass(frozen=True)
class Activation:
    """Describe one elementwise activation function a = φ(z).

    Two of them are equal when their names and parameters are, that is when `key` is. They pickle
    by `key` and copy as themselves.

    Parameters
    ----------
    name : str
        The spelling of `torch.nn.functional`, or the caller's for an unknown function.
    function : callable
        z to a, any shape, out of place.
    slope : callable
        z to φ'(z), same shape and dtype, no autograd graph. At a kink it is what torch's own
        backward gives. All nan where `reason` is set.
    output_slope : callable or None
        a to φ'(z), where a tells it; None where it does not.
    max_slope : float
        The largest |φ'| (its supremum where it is only approached).
    limits : tuple of float
        The range of a, infinite where unbounded.
    relu_like : bool
        True for the ReLU family, whose active samples are those with a > 0. For the others a
        sample is active where ``|slope| >= 0.05 * max_slope``.
    can_die : bool
        True where φ' is exactly 0 wherever a sample is not active.
    reason : str or None, default=None
        Why slope, saturation and gate openness do not apply, None where they do.
    params : tuple of (str, value) pairs, default=()
        The parameters that complete the name.

    Examples
    --------
    >>> tanh = get("tanh")
    >>> tanh.judged_from, tanh.zones()[1]
    ('output', Zone(low=0.974679434480896..., high=inf, side='high'))
    >>> get("leaky_relu").key
    'leaky_relu(negative_slope=0.01)'
    """

    name: str
    function: Elementwise = field(compare=False, repr=False)
    slope: Elementwise = field(compare=False, repr=False)
    output_slope: Elementwise | None = field(compare=False, repr=False)
    max_slope: float = field(compare=False)
    limits: tuple[float, float] = field(compare=False)
    relu_like: bool = field(compare=False)
    can_die: bool = field(compare=False)
    reason: str | None = field(default=None, compare=False)
    params: tuple[tuple[str, Parameter], ...] = ()

    @property
    def key(self) -> str:
        """The identity as text, e.g. ``"leaky_relu(negative_slope=0.01)"``."""
        if not self.params:
            return self.name
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in self.params)})"

    @property
    def judged_from(self) -> Axis:
        """Where a value is judged: ``"output"`` where a alone tells, else ``"input"``."""
        return "output" if self.output_slope is not None or self.relu_like else "input"

    @property
    def slope_known(self) -> bool:
        """Whether slope, saturation and gate openness apply; else see `reason`."""
        return self.reason is None

    @property
    def ends_at_one(self) -> bool:
        """Whether one of the limits is +1 or -1 (tanh, sigmoid, hardtanh, ELU, ...)."""
        return any(math.isclose(abs(limit), 1.0, rel_tol=1e-6) for limit in self.limits)

    def zones(self, threshold: float = 0.05, of: Axis | None = None) -> tuple[Zone, ...]:
        """Return where ``|slope| < threshold * max_slope``, from left to right.

        Parameters
        ----------
        threshold : float, default=0.05
            Share of the maximal slope, in (0, 1).
        of : {"output", "input"} or None, default=None
            The axis of the zones; None is the one that values are judged from. For a function
            judged from its input, the output axis shows only the zones none of whose values an
            unsaturated z gives too: ELU's, but not GELU's.

        Returns
        -------
        tuple of Zone
            Empty where nothing is saturated or where `reason` is set. Found once, then cached.

        Raises
        ------
        ValueError
            If an argument is outside its range.

        Examples
        --------
        >>> get("relu").zones()
        (Zone(low=-inf, high=0.0, side='low'),)
        >>> [round(zone.low, 2) for zone in get("sigmoid").zones(of="input")]
        [-inf, 4.36]
        """
        if not (_is_real(threshold) and 0 < threshold < 1):
            raise ValueError(f"`threshold` must be in (0, 1); got {threshold!r}.")
        if of not in (None, "output", "input"):
            raise ValueError(f'`of` must be "output", "input" or None; got {of!r}.')
        return _zones(self, float(threshold), of or self.judged_from)

    def __reduce__(self) -> tuple[Callable[[str], Activation], tuple[str]]:
        return activation_from_key, (self.key,)

    def __copy__(self) -> Activation:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Activation:
        return self


# --------------------------------------------------------------------------------- finding zones


def _is_real(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


@lru_cache(maxsize=1)
def _wide_grid() -> Tensor:
    """Return sorted float64 places: every 1/512 within 32, then logarithmic from 1e-8 to 1e8."""
    line = torch.arange(-32 * 512, 32 * 512 + 1, dtype=torch.float64, device="cpu") / 512
    far = torch.logspace(-8, 8, 2001, dtype=torch.float64, device="cpu")
    return _sorted(line, far, -far)


def _sorted(*places: Tensor) -> Tensor:
    """Return all places in order, each once."""
    everything: Tensor = torch.unique(torch.cat(places))
    return everything


def _at(function: Elementwise, place: float) -> float:
    return float(function(torch.tensor([place], dtype=torch.float64, device="cpu")))


def _bisect(inside: float, outside: float, holds: Callable[[float], bool]) -> float:
    """Return the place nearest to `outside` found to hold, starting from `inside` that does."""
    for _ in range(80):
        middle = 0.5 * (inside + outside)
        if middle in (inside, outside):
            break
        if holds(middle):
            inside = middle
        else:
            outside = middle
    return inside


def _with_roots(grid: Tensor, slope: Elementwise) -> Tensor:
    """Add the places where the slope changes sign, which the grid may step over."""
    positive = slope(grid) > 0
    crossings = (positive[1:] != positive[:-1]).nonzero().flatten().tolist()
    roots = []
    for i in crossings:
        left = bool(positive[i])
        roots.append(
            _bisect(
                float(grid[i]),
                float(grid[i + 1]),
                lambda z, left=left: (_at(slope, z) > 0) == left,  # type: ignore[misc]
            )
        )
    return _sorted(grid, torch.tensor(roots, dtype=grid.dtype))


def _runs(mask: Tensor) -> list[tuple[int, int]]:
    """Return first and last index of each run of True."""
    padded = F.pad(mask.to(torch.int8), (1, 1))
    change = padded[1:] - padded[:-1]
    starts = (change == 1).nonzero().flatten().tolist()
    ends = (change == -1).nonzero().flatten().tolist()
    return [(start, end - 1) for start, end in zip(starts, ends, strict=True)]


def _scan(slope: Elementwise, grid: Tensor, limit: float) -> tuple[Zone, ...]:
    """Return where |slope| < limit: runs on the grid, their ends bisected to adjacent floats."""
    grid = _with_roots(grid, slope)
    size = slope(grid).abs()
    steepest = float(grid[size >= float(size.max()) * (1 - 1e-12)][-1])

    def low(place: float) -> bool:
        return abs(_at(slope, place)) < limit

    zones = []
    for i, j in _runs(size < limit):
        start = -_INF if i == 0 else _bisect(float(grid[i]), float(grid[i - 1]), low)
        end = _INF if j == len(grid) - 1 else _bisect(float(grid[j]), float(grid[j + 1]), low)
        zones.append(Zone(start, end, "low" if float(grid[j]) < steepest else "high"))
    return tuple(zones)


def _output_grid(limits: tuple[float, float]) -> Tensor:
    """Return the grid within the limits, finite limits included."""
    grid = _wide_grid()
    ends = torch.tensor([x for x in limits if math.isfinite(x)], dtype=grid.dtype)
    return _sorted(grid[(grid >= limits[0]) & (grid <= limits[1])], ends)


def _image(activation: Activation, zone: Zone, open_values: Tensor) -> Zone | None:
    """Return the zone's values of a, or None if an unsaturated z gives some of them too."""
    grid = _wide_grid()
    ends = torch.tensor([zone.low, zone.high], dtype=grid.dtype).clamp(grid[0], grid[-1])
    inside = torch.cat([ends, grid[zone.contains(grid)]])
    values = activation.function(inside)
    low, high = float(values.min()), float(values.max())
    slack = 1e-9 * (1 + abs(low) + abs(high))
    middle, reach = 0.5 * (low + high), max(0.5 * (high - low) - slack, slack)
    if bool(((open_values - middle).abs() < reach).any()):
        return None
    if low - slack <= activation.limits[0]:
        low = -_INF
    if high + slack >= activation.limits[1]:
        high = _INF
    return Zone(low + 0.0, high + 0.0, zone.side)  # + 0.0 drops minus zero


@lru_cache(maxsize=512)
def _zones(activation: Activation, threshold: float, of: Axis) -> tuple[Zone, ...]:
    if activation.reason is not None:
        return ()
    limit = threshold * activation.max_slope
    if of == "output" and activation.output_slope is not None:
        return _scan(activation.output_slope, _output_grid(activation.limits), limit)
    zones = _scan(activation.slope, _wide_grid(), limit)
    if of == "input":
        return zones
    grid = _wide_grid()
    open_values = activation.function(grid[activation.slope(grid).abs() >= limit])
    images = {_image(activation, zone, open_values) for zone in zones} - {None}
    return tuple(sorted((zone for zone in images if zone), key=lambda zone: zone.low))


def _supremum(function: Elementwise) -> float:
    """Return the largest value of a smooth function within 30 of zero, by zooming in."""
    low, high, largest = -30.0, 30.0, -_INF
    for _ in range(6):
        grid = torch.linspace(low, high, 20_001, dtype=torch.float64, device="cpu")
        values = function(grid)
        largest = max(largest, float(values.max()))
        best, step = float(grid[values.argmax()]), (high - low) / 20_000
        low, high = best - 2 * step, best + 2 * step
    return largest


# ------------------------------------------------------------------------------ slopes, by torch


def _smooth(formula: Elementwise) -> Elementwise:
    """Compute without a graph, 16-bit floats in float32; the result has the caller's dtype."""

    def compute(x: Tensor) -> Tensor:
        x = x.detach()
        if x.dtype in _LOW_PRECISION:
            return formula(x.float()).to(x.dtype)
        return formula(x)

    return compute


def _steps(formula: Elementwise) -> Elementwise:
    """Compute without a graph in the caller's dtype, where a kink has to meet its own rounding."""
    return lambda x: formula(x.detach())


def _choose(mask: Tensor, like: Tensor, yes: float, no: float) -> Tensor:
    return torch.full_like(like, no).masked_fill(mask, yes)


def _parts(
    function: Elementwise,
    *,
    max_slope: float,
    limits: tuple[float, float],
    slope: Elementwise | None = None,
    output_slope: Elementwise | None = None,
    relu_like: bool = False,
    can_die: bool = False,
    reason: str | None = None,
) -> dict[str, Any]:
    """Gather an Activation's fields; a missing slope is `output_slope` after `function`."""
    if slope is None:
        told_by_output = output_slope
        assert told_by_output is not None

        def slope(z: Tensor) -> Tensor:
            return told_by_output(function(z.detach()))

    return {
        "function": function,
        "slope": slope,
        "output_slope": output_slope,
        "max_slope": max_slope,
        "limits": limits,
        "relu_like": relu_like,
        "can_die": can_die,
        "reason": reason,
    }


def _inapplicable(function: Elementwise, reason: str, relu_like: bool = False) -> dict[str, Any]:
    return _parts(
        function,
        slope=lambda z: torch.full_like(z.detach(), math.nan),
        max_slope=math.nan,
        limits=(-_INF, _INF),
        relu_like=relu_like,
        reason=reason,
    )


def _tanh() -> dict[str, Any]:
    slope = _smooth(lambda a: (1 - a) * (1 + a))
    return _parts(torch.tanh, output_slope=slope, max_slope=1.0, limits=(-1.0, 1.0))


def _sigmoid() -> dict[str, Any]:
    slope = _smooth(lambda a: a * (1 - a))
    return _parts(torch.sigmoid, output_slope=slope, max_slope=0.25, limits=(0.0, 1.0))


def _softsign() -> dict[str, Any]:
    return _parts(
        F.softsign,
        slope=_smooth(lambda z: (1 + z.abs()).square().reciprocal()),
        output_slope=_smooth(lambda a: (1 - a.abs()).square()),
        max_slope=1.0,
        limits=(-1.0, 1.0),
    )


def _relu() -> dict[str, Any]:
    return _parts(
        F.relu,
        output_slope=_steps(lambda a: (a > 0).to(a.dtype)),
        max_slope=1.0,
        limits=(0.0, _INF),
        relu_like=True,
        can_die=True,
    )


def _clipped(
    function: Elementwise, low: float, high: float, gain: float, relu_like: bool = False
) -> dict[str, Any]:
    return _parts(
        function,
        output_slope=_steps(lambda a: _choose((a > low) & (a < high), a, gain, 0.0)),
        max_slope=gain,
        limits=(low, high),
        relu_like=relu_like,
        can_die=True,
    )


def _relu6() -> dict[str, Any]:
    return _clipped(F.relu6, 0.0, 6.0, 1.0, relu_like=True)


def _hardtanh(min_val: float, max_val: float) -> dict[str, Any]:
    return _clipped(lambda z: F.hardtanh(z, min_val, max_val), min_val, max_val, 1.0)


def _hardsigmoid() -> dict[str, Any]:
    parts = _clipped(F.hardsigmoid, 0.0, 1.0, 1 / 6)
    # a rounds to 0 and 1 a little before z reaches the kinks: z knows better where it is at hand
    parts["slope"] = _steps(lambda z: _choose((z > -3) & (z < 3), z, 1 / 6, 0.0))
    return parts


def _leaky(negative_slope: float) -> dict[str, Any]:
    def function(z: Tensor) -> Tensor:
        return F.leaky_relu(z, negative_slope)

    slope = _steps(lambda x: _choose(x > 0, x, 1.0, negative_slope))
    monotone = negative_slope >= 0  # else a > 0 on both sides, and only z tells them apart
    return _parts(
        function,
        slope=slope,
        output_slope=slope if monotone else None,
        max_slope=max(1.0, abs(negative_slope)),
        limits=(0.0 if negative_slope <= 0 else -_INF, _INF),
        relu_like=monotone,
        can_die=negative_slope == 0,
    )


def _rrelu(lower: float, upper: float) -> dict[str, Any]:
    return _leaky((lower + upper) / 2)  # torch's own slope in eval mode


def _prelu() -> dict[str, Any]:
    return _inapplicable(
        lambda z: F.leaky_relu(z, 0.25),  # PReLU as torch initialises it
        "PReLU's slope is learned, so saturation and gate openness do not apply",
        relu_like=True,
    )


def _threshold(threshold: float, value: float) -> dict[str, Any]:
    slope = _steps(lambda x: (x > threshold).to(x.dtype))
    return _parts(
        lambda z: F.threshold(z, threshold, value),
        slope=slope,
        output_slope=slope if value <= threshold else None,
        max_slope=1.0,
        limits=(min(threshold, value), _INF),
        can_die=True,
    )


def _shrink(function: Elementwise, lambd: float) -> dict[str, Any]:
    # a is 0 exactly where |z| <= lambd, so a tells the slope. A unit that stays there gets no
    # gradient for its own weights, which is what dead means, though its zone lies in the middle.
    return _parts(
        function,
        slope=_steps(lambda z: ((z < -lambd) | (z > lambd)).to(z.dtype)),
        output_slope=_steps(lambda a: (a != 0).to(a.dtype)),
        max_slope=1.0,
        limits=(-_INF, _INF),
        can_die=True,
    )


def _hardshrink(lambd: float) -> dict[str, Any]:
    return _shrink(lambda z: F.hardshrink(z, lambd), lambd)


def _softshrink(lambd: float) -> dict[str, Any]:
    return _shrink(lambda z: F.softshrink(z, lambd), lambd)


def _tanhshrink() -> dict[str, Any]:
    slope = _smooth(lambda z: torch.tanh(z).square())
    return _parts(F.tanhshrink, slope=slope, max_slope=1.0, limits=(-_INF, _INF))


def _exponential(
    function: Elementwise, alpha: float, rate: float, scale: float = 1.0
) -> dict[str, Any]:
    """Build ``scale * (z if z > 0 else alpha * (exp(rate * z) - 1))``, rate > 0."""
    at_zero = scale * alpha * rate

    def slope(z: Tensor) -> Tensor:
        falling = at_zero * torch.exp(rate * z.clamp(max=0))
        return falling.masked_fill(z > 0, scale)

    return _parts(
        function,
        slope=_smooth(slope),
        max_slope=max(scale, abs(at_zero)),
        limits=(min(0.0, -scale * alpha), _INF),
        can_die=alpha == 0,
    )


def _elu(alpha: float) -> dict[str, Any]:
    return _exponential(lambda z: F.elu(z, alpha), alpha, 1.0)


def _celu(alpha: float) -> dict[str, Any]:
    if alpha <= 0:
        reason = f"CELU's slope has no bound for alpha={alpha}, so saturation does not apply"
        return _inapplicable(lambda z: F.celu(z, alpha), reason)
    return _exponential(lambda z: F.celu(z, alpha), alpha, 1 / alpha)


def _selu() -> dict[str, Any]:
    # Klambauer et al. 2017, the constants of torch.nn.SELU
    return _exponential(F.selu, 1.6732632423543772848170429916717, 1.0, 1.0507009873554804934193349)


def _softplus(beta: float, threshold: float) -> dict[str, Any]:
    def slope(z: Tensor) -> Tensor:
        return torch.sigmoid(beta * z).masked_fill(beta * z > threshold, 1.0)

    return _parts(
        lambda z: F.softplus(z, beta, threshold),
        slope=_smooth(slope),
        max_slope=1.0,
        limits=(0.0, _INF) if beta > 0 else (-_INF, _INF),
    )


def _logsigmoid() -> dict[str, Any]:
    slope = _smooth(lambda z: torch.sigmoid(-z))
    return _parts(F.logsigmoid, slope=slope, max_slope=1.0, limits=(-_INF, 0.0))


def _dipping(function: Elementwise, formula: Elementwise) -> dict[str, Any]:
    """Build a smooth z * gate(z): a dip left of zero, steepest right of it, slope 1 far out."""
    # far out the formulas are inf * 0; by 100 the slope is 0 or 1 in every precision
    slope = _smooth(lambda z: formula(z.clamp(-100, 100)))
    return _parts(
        function,
        slope=slope,
        max_slope=_supremum(slope),
        limits=(-_supremum(lambda z: -function(z)), _INF),
    )


def _gelu_slope(z: Tensor) -> Tensor:
    share = 0.5 * torch.erfc(-z / math.sqrt(2))
    return share + z * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _gelu_tanh_slope(z: Tensor) -> Tensor:
    k, c = math.sqrt(2 / math.pi), 0.044715
    tanh = torch.tanh(k * (z + c * z**3))
    return 0.5 * (1 + tanh) + 0.5 * z * (1 - tanh) * (1 + tanh) * k * (1 + 3 * c * z * z)


def _gelu(approximate: str) -> dict[str, Any]:
    if approximate not in ("none", "tanh"):
        raise ValueError(f'`approximate` must be "none" or "tanh"; got {approximate!r}.')
    formula = _gelu_tanh_slope if approximate == "tanh" else _gelu_slope
    return _dipping(lambda z: F.gelu(z, approximate=approximate), formula)


def _swish(rate: float) -> Elementwise:
    def slope(z: Tensor) -> Tensor:
        gate = torch.sigmoid(rate * z)
        return gate * (1 + rate * z * (1 - gate))

    return slope


def _silu() -> dict[str, Any]:
    return _dipping(F.silu, _swish(1.0))


def _quick_gelu() -> dict[str, Any]:
    return _dipping(lambda z: z * torch.sigmoid(1.702 * z), _swish(1.702))


def _mish_slope(z: Tensor) -> Tensor:
    tanh = torch.tanh(F.softplus(z))
    return tanh + z * torch.sigmoid(z) * (1 - tanh) * (1 + tanh)


def _mish() -> dict[str, Any]:
    return _dipping(F.mish, _mish_slope)


def _hardswish_slope(z: Tensor) -> Tensor:
    inner = (z / 3 + 0.5).masked_fill(z <= -3, 0.0)
    return inner.masked_fill(z >= 3, 1.0)


def _hardswish() -> dict[str, Any]:
    # cannot die: around z = -1.5 a sample is not active, yet its slope is not exactly 0
    return _parts(
        F.hardswish, slope=_smooth(_hardswish_slope), max_slope=1.5, limits=(-0.375, _INF)
    )


# ---------------------------------------------------------------------------------- the register


class _Kind(NamedTuple):
    """Tie a name to its module class, its parameters (None: no default) and its builder."""

    module: type[nn.Module] | None
    defaults: Mapping[str, Parameter | None]
    build: Callable[..., dict[str, Any]]


_KINDS: dict[str, _Kind] = {
    "celu": _Kind(nn.CELU, {"alpha": 1.0}, _celu),
    "elu": _Kind(nn.ELU, {"alpha": 1.0}, _elu),
    "gelu": _Kind(nn.GELU, {"approximate": "none"}, _gelu),
    "hardshrink": _Kind(nn.Hardshrink, {"lambd": 0.5}, _hardshrink),
    "hardsigmoid": _Kind(nn.Hardsigmoid, {}, _hardsigmoid),
    "hardswish": _Kind(nn.Hardswish, {}, _hardswish),
    "hardtanh": _Kind(nn.Hardtanh, {"min_val": -1.0, "max_val": 1.0}, _hardtanh),
    "leaky_relu": _Kind(nn.LeakyReLU, {"negative_slope": 0.01}, _leaky),
    "logsigmoid": _Kind(nn.LogSigmoid, {}, _logsigmoid),
    "mish": _Kind(nn.Mish, {}, _mish),
    "prelu": _Kind(nn.PReLU, {}, _prelu),
    "quick_gelu": _Kind(None, {}, _quick_gelu),
    "relu": _Kind(nn.ReLU, {}, _relu),
    "relu6": _Kind(nn.ReLU6, {}, _relu6),
    "rrelu": _Kind(nn.RReLU, {"lower": 1 / 8, "upper": 1 / 3}, _rrelu),
    "selu": _Kind(nn.SELU, {}, _selu),
    "sigmoid": _Kind(nn.Sigmoid, {}, _sigmoid),
    "silu": _Kind(nn.SiLU, {}, _silu),
    "softplus": _Kind(nn.Softplus, {"beta": 1.0, "threshold": 20.0}, _softplus),
    "softshrink": _Kind(nn.Softshrink, {"lambd": 0.5}, _softshrink),
    "softsign": _Kind(nn.Softsign, {}, _softsign),
    "tanh": _Kind(nn.Tanh, {}, _tanh),
    "tanhshrink": _Kind(nn.Tanhshrink, {}, _tanhshrink),
    "threshold": _Kind(nn.Threshold, {"threshold": None, "value": None}, _threshold),
}
_NAME_OF: dict[type[nn.Module], str] = {
    kind.module: name for name, kind in _KINDS.items() if kind.module is not None
}
_ALIASES = {"swish": "silu"}

_MIXES = "it is not elementwise: its outputs depend on each other"
_NOT_ELEMENTWISE: dict[type[nn.Module], str] = {
    nn.GLU: "it is not elementwise: one half of its input gates the other",
    nn.Softmax: _MIXES,
    nn.Softmin: _MIXES,
    nn.LogSoftmax: _MIXES,
    nn.Softmax2d: _MIXES,
    nn.AdaptiveLogSoftmaxWithLoss: _MIXES,
    nn.MultiheadAttention: "it is not elementwise: it mixes positions",
}


def names() -> tuple[str, ...]:
    """Return the names that `get` knows, sorted.

    Examples
    --------
    >>> names()[:3]
    ('celu', 'elu', 'gelu')
    """
    return tuple(sorted(_KINDS))


@lru_cache(maxsize=512)
def _build(name: str, values: tuple[Parameter, ...]) -> Activation:
    kind = _KINDS[name]
    parts = kind.build(*values)
    return Activation(name=name, params=tuple(zip(kind.defaults, values, strict=True)), **parts)


def _constant(value: object, default: Parameter | None) -> Parameter | None:
    """Return a parameter as float or str, None if it is no constant (a tensor, a symbol)."""
    if isinstance(default, str):
        return value if isinstance(value, str) else None
    return float(value) if isinstance(value, (int, float)) else None


def _from_values(name: str, values: Sequence[object]) -> Activation | None:
    defaults = _KINDS[name].defaults.values()
    constants = tuple(
        constant
        for value, default in zip(values, defaults, strict=True)
        if (constant := _constant(value, default)) is not None
    )
    return _build(name, constants) if len(constants) == len(values) else None


def _squeeze(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _canonical(name: str) -> str:
    """Return the registered spelling of a name, whatever its case, dashes and underscores."""
    known = {_squeeze(each): each for each in _KINDS} | _ALIASES
    found = known.get(_squeeze(name))
    if found is not None:
        return found
    close = [known[each] for each in difflib.get_close_matches(_squeeze(name), known)]
    hint = f"did you mean {' or '.join(repr(each) for each in dict.fromkeys(close))}?"
    raise ValueError(
        f"`activation` must name a known activation function; got {name!r}: "
        + (hint if close else f"use one of {', '.join(names())}.")
    )


def get(activation: str | nn.Module | Activation) -> Activation:
    """Return the activation of a name, a key or a module.

    Parameters
    ----------
    activation : str, nn.Module or Activation
        A name as in `torch.nn.functional` (case, ``-`` and ``_`` do not matter), a `key`, a
        module, or an `Activation`, which is returned as it is.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If there is none by that name, or if the module is not an elementwise activation.

    Examples
    --------
    >>> get("ReLU6").limits
    (0.0, 6.0)
    >>> get("rleu")
    Traceback (most recent call last):
    ValueError: `activation` must name a known activation function; got 'rleu': did you mean ...
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        return activation_from_key(activation)
    if not isinstance(activation, nn.Module):
        raise ValueError(
            f"`activation` must be a name, a module or an Activation; got {activation!r}."
        )
    found = activation_of(activation)
    if found is None:
        raise ValueError(
            "`activation` must be an elementwise activation function; got "
            f"{type(activation).__name__}: {why_not(activation)}."
        )
    return found


def make_module(name: str) -> nn.Module:
    """Make a fresh torch module of a named activation with its default parameters.

    Parameters
    ----------
    name : str
        A name that `get` knows and whose module needs no arguments.

    Raises
    ------
    ValueError
        If the name is unknown, or if torch has no such module without arguments.

    Examples
    --------
    >>> make_module("leaky-relu")
    LeakyReLU(negative_slope=0.01)
    """
    canonical = _canonical(name)
    kind = _KINDS[canonical]
    if kind.module is None:
        raise ValueError(
            f"`activation` must name a module of torch.nn; got {name!r}, which has none: "
            "pass a module class or a function that makes one."
        )
    if None in kind.defaults.values():
        needed = ", ".join(f"{each}=..." for each in kind.defaults)
        raise ValueError(
            f"`activation` must name a module that needs no arguments; got {name!r}: "
            f"pass `lambda: nn.{kind.module.__name__}({needed})`."
        )
    return kind.module()


# -------------------------------------------------------------------------------------- its keys


def _split_key(key: str) -> tuple[str, dict[str, str]]:
    match = re.fullmatch(r"([^(),=]+)(?:\(([^()]*)\))?", key.strip())
    if match is None:
        raise ValueError(f'`key` must look like "name" or "name(param=value)"; got {key!r}.')
    pairs = [pair.partition("=") for pair in (match[2] or "").split(",") if pair.strip()]
    return match[1].strip(), {name.strip(): value.strip() for name, _, value in pairs}


def _read_parameter(key: str, text: str, default: Parameter | None) -> Parameter:
    if isinstance(default, str):
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"`key` must hold numbers; got {text!r} in {key!r}.") from None


def activation_from_key(key: str) -> Activation:
    """Rebuild an activation from its `key`; parameters that are left out have their defaults.

    Of an activation made by `from_function` a key holds the flags and figures but not the
    function: what comes back equals it, gives nan, and says so in `reason`.

    Parameters
    ----------
    key : str
        A name, or a name with its parameters.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If the name is unknown, or if a parameter is unknown, missing or not a number.

    Examples
    --------
    >>> activation_from_key("hardtanh(min_val=-2, max_val=2)").limits
    (-2.0, 2.0)
    """
    name, given = _split_key(key)
    if "digest" in given:
        return _without_function(key, name, given)
    name = _canonical(name)
    defaults = _KINDS[name].defaults
    unknown, missing = set(given) - set(defaults), []
    values: list[Parameter] = []
    for each, default in defaults.items():
        if each in given:
            values.append(_read_parameter(key, given[each], default))
        elif default is None:
            missing.append(each)
        else:
            values.append(default)
    if unknown or missing:
        wanted = f"the parameters {', '.join(defaults)}" if defaults else "no parameters"
        raise ValueError(f"`key` must give {name} {wanted}; got {key!r}.")
    return _build(name, tuple(values))


def _without_function(key: str, name: str, given: Mapping[str, str]) -> Activation:
    wanted = ("digest", "relu_like", "can_die", "max_slope", "low", "high")
    if tuple(given) != wanted:
        raise ValueError(f"`key` must give {name} {', '.join(wanted)}; got {key!r}.")
    numbers = {each: float(_read_parameter(key, given[each], 0.0)) for each in wanted[1:]}
    parts = _inapplicable(
        lambda z: torch.full_like(z.detach(), math.nan),
        f"{name} was worked out from code that its key does not hold",
        relu_like=bool(numbers["relu_like"]),
    )
    parts |= {
        "can_die": bool(numbers["can_die"]),
        "max_slope": numbers["max_slope"],
        "limits": (numbers["low"], numbers["high"]),
    }
    return Activation(name=name, params=(("digest", given["digest"]), *numbers.items()), **parts)


# ---------------------------------------------------------------------------------- from modules


def _known_class(module: nn.Module) -> type[nn.Module] | None:
    """Return the registered class whose forward the module runs, also through a subclass."""
    cls = type(module)
    for base in cls.__mro__:
        if base in _NAME_OF or base in _NOT_ELEMENTWISE:
            return base if cls.forward is base.forward else None
    return None


def activation_of(module: nn.Module) -> Activation | None:
    """Return the activation that a module computes, or None where it computes none.

    Modules of `torch.nn`, and subclasses that keep its forward, are looked up; other leaf
    modules go through `infer`. The module is left as it was. `why_not` says why it is None.

    Parameters
    ----------
    module : nn.Module
        What may be an activation function, in place or not.

    Returns
    -------
    Activation or None

    Examples
    --------
    >>> activation_of(nn.LeakyReLU(0.2)).key
    'leaky_relu(negative_slope=0.2)'
    >>> activation_of(nn.Softmax(-1)) is None
    True
    """
    cls = _known_class(module)
    if cls is None:
        return infer(module)
    if cls in _NOT_ELEMENTWISE:
        return None
    name = _NAME_OF[cls]
    return _from_values(name, [getattr(module, each, None) for each in _KINDS[name].defaults])


def why_not(module: nn.Module) -> str:
    """Say why a module's slope is not known: why `activation_of` is None, or its `reason`.

    Parameters
    ----------
    module : nn.Module
        What `activation_of` was asked about.

    Returns
    -------
    str
        Empty if its slope is known.

    Examples
    --------
    >>> why_not(nn.Softmax(-1))
    'it is not elementwise: its outputs depend on each other'
    """
    found = activation_of(module)
    if found is not None:
        return found.reason or ""
    cls = _known_class(module)
    if cls in _NOT_ELEMENTWISE:
        return _NOT_ELEMENTWISE[cls]
    if cls is not None:
        return "its parameters are not plain numbers"
    return _unfit(module) or "it was tried on numbers and is not a fixed elementwise function"


def _unfit(module: nn.Module) -> str | None:
    """Say why a module is not even tried, None if it may be."""
    if type(module).__module__.split(".")[0] == "torch":
        return f"{type(module).__name__} is not an activation function"
    if next(module.children(), None) is not None:
        return "it has child modules"
    if next(module.parameters(), None) is not None or next(module.buffers(), None) is not None:
        return "it has parameters or buffers"
    return None


# -------------------------------------------------------------------- from any function, by trial

_REACH, _PER_UNIT = 30, 512  # a step of 1/512 puts zero and every whole number on the grid


def _table_grid() -> Tensor:
    edge = _REACH * _PER_UNIT
    return torch.arange(-edge, edge + 1, dtype=torch.float64, device="cpu") / _PER_UNIT


class _Table:
    """Look a slope up by linear interpolation; beyond the ends it is the end's."""

    def __init__(self, slopes: Tensor) -> None:
        self._tables = {(slopes.device, slopes.dtype): slopes}
        self._slopes = slopes

    def _for(self, like: Tensor) -> Tensor:
        where = (like.device, like.dtype)
        if where not in self._tables:
            self._tables[where] = self._slopes.to(device=like.device, dtype=like.dtype)
        return self._tables[where]

    def __call__(self, z: Tensor) -> Tensor:
        table = self._for(z)
        place = ((z.nan_to_num(0.0) + _REACH) * _PER_UNIT).clamp(0, len(table) - 1)
        index = place.floor().clamp(max=len(table) - 2).long()
        value = torch.lerp(table[index], table[index + 1], place - index)
        return value.masked_fill(z.isnan(), math.nan)


def _tabulate(function: Elementwise) -> tuple[Tensor, Tensor]:
    """Return values and slopes on the table's grid, by autograd in float64."""
    with torch.inference_mode(False), torch.enable_grad():
        grid = _table_grid().requires_grad_()
        values = function(grid.clone())  # a clone, for functions that work in place
        if values.shape != grid.shape or not values.is_floating_point():
            raise ValueError(
                f"`function` must be elementwise, {tuple(grid.shape)} to the same shape; got "
                f"{tuple(values.shape)} of {values.dtype}."
            )
        if not values.requires_grad:
            raise ValueError("`function` must be differentiable; got an output without a graph.")
        (slopes,) = torch.autograd.grad(values.sum(), grid)
    values, slopes = values.detach().double(), slopes.double()
    if not (values.isfinite().all() and slopes.isfinite().all()):
        raise ValueError(f"`function` must be finite for z in [-{_REACH}, {_REACH}].")
    return values, slopes


def _unsettled(slopes: Tensor, max_slope: float) -> bool:
    """Tell whether the slope still moves by more than 1 % within one unit of an end."""
    ends = (slopes[: _PER_UNIT + 1], slopes[-_PER_UNIT - 1 :])
    return any(float(end.max() - end.min()) > 0.01 * max_slope for end in ends)


def _table_limits(values: Tensor, slopes: Tensor) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    ends = [(float(values[i]), abs(float(slopes[i])) > 1e-6) for i in (0, -1)]
    return (
        -_INF if any(value == low and moves for value, moves in ends) else low,
        _INF if any(value == high and moves for value, moves in ends) else high,
    )


def _digest(values: Tensor, slopes: Tensor) -> str:
    numbers = torch.cat([values[::_PER_UNIT], slopes[::_PER_UNIT]]).tolist()
    # four digits, so that machines whose last bits differ still agree; + 0.0 drops minus zero
    text = ",".join(f"{round(each, 9) + 0.0:.4g}" for each in numbers)
    return f"#{zlib.crc32(text.encode()):08x}"


def _is_relu_like(values: Tensor) -> bool:
    middle = len(values) // 2
    return bool((values[: middle + 1] == 0).all() and (values[middle + 1 :] > 0).all())


def from_function(function: Elementwise, name: str) -> Activation:
    """Work out the activation of any elementwise function, by autograd on a grid.

    The slope is tabulated in float64 every 1/512 for z in [-30, 30] and interpolated linearly;
    beyond, it is the end's. A function whose slope still moves there (a square, a sine) has no
    maximal slope to go by: it gets a `reason`. A kink is blurred over one step.

    Parameters
    ----------
    function : callable
        z to a, elementwise, differentiable by autograd, finite on [-30, 30].
    name : str
        What to call it; without ``( ) , =``.

    Returns
    -------
    Activation
        Judged from its input.

    Raises
    ------
    ValueError
        If the name is unusable, or the function is not elementwise, not differentiable, not
        finite, or constant.

    Examples
    --------
    >>> bump = from_function(lambda z: torch.exp(-z * z), "bump")
    >>> round(bump.max_slope, 4), bump.limits, len(bump.zones())
    (0.8578, (0.0, 1.0), 3)
    """
    if re.fullmatch(r"[^(),=]+", str(name)) is None:
        raise ValueError(f"`name` must be text without any of `(),=`; got {name!r}.")
    return _from_table(function, str(name).strip(), *_tabulate(function))


def _from_table(function: Elementwise, name: str, values: Tensor, slopes: Tensor) -> Activation:
    max_slope = float(slopes.abs().max())
    if max_slope == 0:
        raise ValueError(f"`function` must have a slope somewhere; {name!r} has none.")
    size = slopes.abs()
    low, high = _table_limits(values, slopes)
    relu_like = _is_relu_like(values)
    silent = values <= 0 if relu_like else size < 0.05 * max_slope
    can_die = bool(silent.any() and (size[silent] == 0).all())
    unsettled = _unsettled(slopes, max_slope)
    reason = f"{name}'s slope does not settle within |z| <= {_REACH}" if unsettled else None
    params = (
        ("digest", _digest(values, slopes)),
        ("relu_like", float(relu_like)),
        ("can_die", float(can_die)),
        ("max_slope", max_slope),
        ("low", low),
        ("high", high),
    )
    return Activation(
        name=name,
        function=lambda z: function(z.clone()),
        slope=_smooth(_Table(slopes)),
        output_slope=None,
        max_slope=max_slope,
        limits=(low, high),
        relu_like=relu_like,
        can_die=can_die,
        reason=reason,
        params=params,
    )


@contextlib.contextmanager
def _random_state_kept() -> Iterator[None]:
    """Put the random states of torch (GPUs in use included), Python and NumPy back."""
    in_use = torch.cuda.is_initialized()
    cuda = range(torch.cuda.device_count()) if in_use else range(0)
    numpy = sys.modules.get("numpy")  # if nobody imported it, nobody can draw from it
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy is not None else None
    try:
        with torch.random.fork_rng(devices=list(cuda)):
            yield
    finally:
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)


def _close(one: Tensor, other: Tensor) -> bool:
    """Tell whether two results agree but for float32 rounding."""
    return one.shape == other.shape and torch.allclose(
        one.double(), other.double(), rtol=1e-5, atol=1e-6
    )


def _is_elementwise(function: Elementwise) -> bool:
    """Try that each output depends on its own input only, whatever the shape, and repeatably."""
    grid = torch.linspace(-7.3, 7.9, 48, dtype=torch.float64, device="cpu")
    order = torch.arange(48, device="cpu") * 29 % 48
    expected = function(grid)
    if expected.shape != grid.shape:
        return False
    shapes = [(48, 1), (1, 48), (4, 12), (2, 3, 8), (2, 2, 3, 4)]
    return (
        expected.is_floating_point()
        and torch.equal(function(grid), expected)
        and _close(function(grid[order]), expected[order])
        and all(_close(function(grid[i : i + 1]), expected[i : i + 1]) for i in (0, 11, 47))
        and all(_close(function(grid.reshape(s)), expected.reshape(s)) for s in shapes)
    )


def _coarse_grid() -> Tensor:
    return _table_grid()[::16]  # every 1/32


@lru_cache(maxsize=1)
def _known_values() -> list[tuple[Activation, Tensor]]:
    # only their classes tell PReLU and RReLU from a leaky ReLU; CELU with alpha 1 is ELU
    told = set(_KINDS) - {"celu", "prelu", "rrelu", "threshold"}
    known = [get(key) for key in (*sorted(told), "gelu(approximate=tanh)")]
    return [(each, each.function(_coarse_grid())) for each in known]


def _same_as_known(function: Elementwise) -> Activation | None:
    """Return the named activation with the same values, for other people's GELU, say."""
    values = function(_coarse_grid())
    return next((each for each, known in _known_values() if _close(values, known)), None)


def infer(module: nn.Module) -> Activation | None:
    """Work out the activation of an unknown leaf module by trying it on numbers.

    Only a module without children, parameters and buffers that is not torch's own is tried: a
    deep copy of it, in eval mode, by its class's forward, so that no hook runs. Random states
    and the module are left as they were. One that equals a named activation is that one.

    Parameters
    ----------
    module : nn.Module
        What may be an activation function that torch does not know.

    Returns
    -------
    Activation or None
        None if it is not a fixed, nonlinear, differentiable, elementwise function of one
        tensor, or if trying it raised any exception.

    Examples
    --------
    >>> class Swish(nn.Module):
    ...     def forward(self, x):
    ...         return x * torch.sigmoid(x)
    >>> infer(Swish()).key
    'silu'
    """
    if _unfit(module) is not None:
        return None
    try:
        with _random_state_kept(), torch.inference_mode(False):
            return _try_out(copy.deepcopy(module).eval())
    except Exception:  # whatever a stranger's code does, it is not an activation we can tell
        return None


def _try_out(module: nn.Module) -> Activation | None:
    forward = type(module).forward

    def function(z: Tensor) -> Tensor:
        result = forward(module, z.clone())  # a clone, for modules that work in place
        if not isinstance(result, Tensor):
            raise TypeError(f"the output is no tensor: {type(result)}")
        return result

    with torch.no_grad():
        if not _is_elementwise(function):
            return None
        known = _same_as_known(function)
    if known is not None:
        return known
    values, slopes = _tabulate(function)
    if float(slopes.max() - slopes.min()) <= 1e-6 * float(slopes.abs().max()):
        return None  # linear: identity, dropout, scaling
    return _from_table(function, type(module).__name__, values, slopes)


# ---------------------------------------------------------------------------- from function calls


@dataclass(frozen=True)
class FunctionalForm:
    """Read one functional form of an activation, such as `F.leaky_relu`.

    Parameters
    ----------
    name : str
        The activation's name.
    signature : tuple of str
        The arguments' names after the input, in order.
    in_place : bool
        True for the forms with a trailing underscore.

    Examples
    --------
    >>> FUNCTIONAL[F.elu](torch.zeros(1), 0.5).key
    'elu(alpha=0.5)'
    """

    name: str
    signature: tuple[str, ...]
    in_place: bool

    def __call__(self, *args: object, **kwargs: object) -> Activation | None:
        """Return the activation of the call, None if a parameter is a tensor."""
        if not _KINDS[self.name].defaults:
            return _build(self.name, ())
        given = dict(zip(self.signature, args[1:], strict=False)) | kwargs
        defaults = _KINDS[self.name].defaults
        return _from_values(self.name, [given.get(each, defaults[each]) for each in defaults])

    def is_in_place(self, args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
        """Tell whether the call overwrites its input."""
        if self.in_place or "inplace" not in self.signature:
            return self.in_place
        place = self.signature.index("inplace") + 1
        # torch.rrelu has its generator there: only a plain True counts
        return (args[place] if len(args) > place else kwargs.get("inplace")) is True


def _signature(name: str) -> tuple[str, ...]:
    parameters = tuple(_KINDS[name].defaults)
    if name == "rrelu":
        parameters += ("training",)
    return (*parameters, "inplace")


def _functional_forms() -> dict[Callable[..., Any], FunctionalForm]:
    owners = (F, torch, torch.Tensor, torch._C._nn)
    forms = {
        getattr(owner, name + suffix): FunctionalForm(name, _signature(name), suffix == "_")
        for name in _KINDS
        for owner in owners
        for suffix in ("", "_")
        if hasattr(owner, name + suffix)
    }
    forms[torch.special.expit] = FunctionalForm("sigmoid", ("inplace",), False)
    return forms


FUNCTIONAL: Mapping[Callable[..., Any], FunctionalForm] = MappingProxyType(_functional_forms())
"""The functional forms: `F.relu`, `torch.relu_`, `Tensor.relu`, ... to their `FunctionalForm`."""


def functional_activation(
    func: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object] | None = None
) -> Activation | None:
    """Return the activation that a call of a torch function computes, None for any other call.

    For a `TorchFunctionMode`: one dictionary look-up for functions that are none. Whether the
    call overwrites its input is ``FUNCTIONAL[func].is_in_place(args, kwargs)``.

    Parameters
    ----------
    func : callable
        What the mode was given.
    args : sequence
        The call's positional arguments, the input first.
    kwargs : mapping or None, default=None
        The call's keyword arguments.

    Returns
    -------
    Activation or None
        Also None where a parameter is a tensor rather than a number.

    Examples
    --------
    >>> functional_activation(F.hardtanh, (torch.zeros(2), -2.0), {"max_val": 2.0}).limits
    (-2.0, 2.0)
    >>> functional_activation(torch.add, (1, 2)) is None
    True
    """
    form = FUNCTIONAL.get(func)
    return None if form is None else form(*args, **(kwargs or {}))
