"""The activation of a function without a name: its slope tabulated by autograd."""

from __future__ import annotations

import math
import re
import zlib

import torch
from torch import Tensor

from actstats.activations.parts import smooth
from actstats.activations.spec import Activation
from actstats.activations.zones import INF, Elementwise, Limits

_REACH, _PER_UNIT = 30, 512  # a step of 1/512 puts zero and every whole number on the grid


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
    return from_table(function, str(name).strip(), *tabulate(function))


def table_grid() -> Tensor:
    """Return the float64 places of z that slopes are tabulated at."""
    edge = _REACH * _PER_UNIT
    return torch.arange(-edge, edge + 1, dtype=torch.float64, device="cpu") / _PER_UNIT


def tabulate(function: Elementwise) -> tuple[Tensor, Tensor]:
    """Return values and slopes on the table's grid, by autograd in float64."""
    with torch.inference_mode(False), torch.enable_grad():
        grid = table_grid().requires_grad_()
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


def from_table(function: Elementwise, name: str, values: Tensor, slopes: Tensor) -> Activation:
    """Work out an activation from the values and slopes of `tabulate`."""
    size = slopes.abs()
    max_slope = float(size.max())
    if max_slope == 0:
        raise ValueError(f"`function` must have a slope somewhere; {name!r} has none.")
    low, high = limits = _limits(values, slopes)
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
        slope=smooth(_Table(slopes)),
        output_slope=None,
        max_slope=max_slope,
        limits=limits,
        relu_like=relu_like,
        can_die=can_die,
        reason=reason,
        params=params,
    )


class _Table:
    """Look a slope up by linear interpolation; beyond the ends it is the end's."""

    def __init__(self, slopes: Tensor) -> None:
        self._slopes = slopes
        self._tables = {(slopes.device, slopes.dtype): slopes}

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


def _unsettled(slopes: Tensor, max_slope: float) -> bool:
    """Tell whether the slope still moves by more than 1 % within one unit of an end."""
    ends = (slopes[: _PER_UNIT + 1], slopes[-_PER_UNIT - 1 :])
    return any(float(end.max() - end.min()) > 0.01 * max_slope for end in ends)


def _limits(values: Tensor, slopes: Tensor) -> Limits:
    """Return the range of values, infinite where an end of the table is still moving on."""
    low, high = float(values.min()), float(values.max())
    moving = [float(values[i]) for i in (0, -1) if abs(float(slopes[i])) > 1e-6]
    return -INF if low in moving else low, INF if high in moving else high


def _digest(values: Tensor, slopes: Tensor) -> str:
    numbers = torch.cat([values[::_PER_UNIT], slopes[::_PER_UNIT]]).tolist()
    # four digits, so that machines whose last bits differ still agree; + 0.0 drops minus zero
    text = ",".join(f"{round(each, 9) + 0.0:.4g}" for each in numbers)
    return f"#{zlib.crc32(text.encode()):08x}"


def _is_relu_like(values: Tensor) -> bool:
    middle = len(values) // 2
    return bool((values[: middle + 1] == 0).all() and (values[middle + 1 :] > 0).all())
