"""The meaning of an observation, in plain torch, on any device.

Blocks of a bounded number of elements are widened to float64 one at a time, so the extra memory
does not grow with the tensor. On a CPU a block without NaN and Inf (told by its sum) takes a
shorter path; elsewhere nothing waits for the device.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from actstats.kernels.state import ASYMPTOTE_OCTAVES, NEVER, Intervals, State
from actstats.kernels.walks import unit_dimension
from actstats.moments import combine, two_sum

__all__ = ["NAME", "add_openness", "judge", "observe", "why_not"]

NAME = "reference"
BLOCK = 1 << 18  # elements widened at a time: 2 MiB in float64
_FLOAT64_MAX = torch.finfo(torch.float64).max
_FLOAT32_MAX = torch.finfo(torch.float32).max
_FLOAT32_TINY = 2.0**-149  # the least subnormal


def why_not() -> None:
    """Return None: plain torch runs wherever torch does."""


def observe(
    x: Tensor,
    state: State,
    *,
    unit_axis: int | None = -1,
    step: int = 0,
    scale: float | Tensor | None = None,
) -> None:
    """Add one tensor to the state.

    Parameters
    ----------
    x : Tensor
        float16, bfloat16, float32 or float64, any shape and strides; only read.
    state : State
        Changed in place.
    unit_axis : {-1, 1}, optional
        The axis of the units; None pools them.
    step : int, default 0
        The step that active samples are dated with.
    scale : float or Tensor, optional
        Divide by this first (a gradient scaler's scale).
    """
    with state.at_once() as draft:
        draft.calls += 1
        for block in _blocks(x, unit_axis, state.spec.width):
            _observe_block(block, draft, step, scale)


def judge(z: Tensor, state: State, *, unit_axis: int | None = -1, step: int = 0) -> None:
    """Judge the inputs of an activation whose outputs do not tell its slope (GELU, say).

    Parameters
    ----------
    z : Tensor
        What goes into the activation; same layout as the output.
    state : State
        The state of the output's site, with a gate; changed in place.
    unit_axis, step
        As in :func:`observe`.
    """
    with state.at_once() as draft:
        for block in _blocks(z, unit_axis, draft.spec.width):
            values = block.double()
            _judge_block(values, _finite(values), draft, step, z.dtype)


def _blocks(x: Tensor, unit_axis: int | None, width: int) -> Iterator[Tensor]:
    """Yield x as pieces of shape (N, C) or (N, C, S), units second; nothing if it is empty."""
    if x.numel() == 0:
        return
    shape = _unit_shape(x, unit_axis, width)
    try:
        whole = x.view(shape)
    except RuntimeError:  # strides that do not fold: copy, a bounded piece at a time
        if x.numel() > BLOCK and x.shape[0] > 1:
            for part in x.tensor_split(2):
                yield from _blocks(part, unit_axis, width)
            return
        whole = x.reshape(shape)
    if whole.shape[2] == 1:
        whole = whole.squeeze(2)  # fewer axes are faster to reduce
    units = whole.shape[1]
    per_row = whole[0].numel()
    for rows in whole.split(max(1, BLOCK // per_row)):
        long = per_row > BLOCK and rows.dim() == 3
        yield from rows.split(max(1, BLOCK // units), dim=2) if long else (rows,)


def _unit_shape(x: Tensor, unit_axis: int | None, width: int) -> tuple[int, int, int]:
    at = unit_dimension(x, unit_axis, width)
    if at is None:
        return (1, 1, x.numel())
    if at == x.dim() - 1:
        return (x.numel() // x.shape[at], x.shape[at], 1)
    return (x.shape[0], x.shape[1], x.numel() // (x.shape[0] * x.shape[1]))


def _finite(values: Tensor) -> Tensor | None:
    """Return where values are finite, or None if all of them certainly are."""
    if values.device.type == "cpu" and math.isfinite(values.sum().item()):
        return None
    return values.isfinite()


def _observe_block(block: Tensor, state: State, step: int, scale: float | Tensor | None) -> None:
    values = block.double()
    if scale is not None:
        values = values / scale
    finite = _finite(values)
    exact = block if scale is None and block.dtype != torch.float64 else values
    _count(values, finite, state, step)
    _add_moments(values, finite, state)
    _scatter(_as_float32(exact, finite), state)
    if state.linear is not None:
        _count_edges(values, state)
    if state.spec.gate is not None and state.spec.gate.from_output:
        _judge_block(values, finite, state, step, block.dtype)


def _count(values: Tensor, finite: Tensor | None, state: State, step: int) -> None:
    counts = state.counts
    counts[0] += values.numel()
    counts[1] += values.numel() - torch.count_nonzero(values)
    if finite is None:
        low, high = values.aminmax()
    else:
        counts[2] += values.isnan().sum()
        counts[3] += (values == torch.inf).sum()
        counts[4] += (values == -torch.inf).sum()
        torch.maximum(state.broken, (~finite).any() * (NEVER - step), out=state.broken)
        low = values.where(finite, torch.inf).amin()
        high = values.where(finite, -torch.inf).amax()
    extrema = state.extrema
    torch.minimum(extrema[0], low, out=extrema[0])
    torch.maximum(extrema[1], high, out=extrema[1])


def _add_moments(values: Tensor, finite: Tensor | None, state: State) -> None:
    """Corrected two-pass moments of the block, then Chan's merge into the state."""
    every = _samples(values)
    if finite is None:
        n = torch.full_like(state.moments[0], values.numel() // values.shape[1])
        centre = values.mean(every, keepdim=True)
        deviation = values - centre
        absolute = values.abs().sum(every)
    else:
        n = finite.sum(every).double()
        known = values.where(finite, 0.0)
        total = known.sum(every, keepdim=True)
        centre = total / n.clamp(min=1).view_as(total)
        deviation = (values - centre).where(finite, 0.0)
        absolute = known.abs().sum(every)
    count = n.clamp(min=1)
    rest = deviation.sum(every)
    correction = (rest * rest / count).clamp(max=_FLOAT64_MAX)  # Inf - Inf would be NaN
    m2 = ((deviation * deviation).sum(every) - correction).clamp(min=0)
    high, low = two_sum(centre.flatten(), rest / count)
    old = state.moments
    merged = combine((old[0], old[1], old[2], old[3]), (n, high, low, m2), torch.where)
    old.copy_(torch.stack((*merged, old[4] + absolute)))


def _as_float32(values: Tensor, finite: Tensor | None) -> Tensor:
    """Narrow to float32 so that no finite value becomes Inf and none but zero becomes zero."""
    if values.dtype != torch.float64:
        return values.float()
    narrow = values.clamp(-_FLOAT32_MAX, _FLOAT32_MAX).float()
    lost = (narrow == 0) & (values != 0)
    narrow = narrow.where(~lost, torch.copysign(narrow.new_tensor(_FLOAT32_TINY), narrow))
    return narrow if finite is None else narrow.where(finite, values.float())


def _scatter(values: Tensor, state: State) -> None:
    """Count float-bit bins; adding 0.0 turns -0.0 into +0.0 so that all zeros share bin 0."""
    k = state.spec.resolution
    flat = (values + 0.0).flatten()
    _add_at(state.histogram, (flat.view(torch.int32) >> (23 - k)) & ((1 << (9 + k)) - 1))
    if state.asymptote is None:
        return
    state.counts[5] += (flat == 1).sum()
    state.counts[6] += (flat == -1).sum()
    size = flat.abs()
    column = ((1 - size).view(torch.int32) >> (23 - k)) - ((127 - 1 - ASYMPTOTE_OCTAVES) << k)
    width = ASYMPTOTE_OCTAVES << k
    index = column.clamp(0, width - 1) + width * (flat > 0)
    near = (size >= 0.5) & (size < 1)
    _add_at(state.asymptote.view(-1), index.clamp(0, 2 * width - 1), near)


def _add_at(counts: Tensor, index: Tensor, keep: Tensor | None = None) -> None:
    one = torch.ones((), dtype=torch.int64, device=counts.device).expand(index.shape)
    counts.scatter_add_(0, index.long(), one if keep is None else keep.long())


def _count_edges(values: Tensor, state: State) -> None:
    """Count between named edges as ``numpy.histogram`` does: last edge closed; no NaN."""
    assert state.edges is not None and state.linear is not None
    flat = values.flatten().contiguous()  # of others bucketize warns
    index = torch.bucketize(flat, state.edges, right=True)
    last = len(state.edges) - 1
    index = torch.where(flat == state.edges[last], last, index)
    _add_at(state.linear, index, ~flat.isnan())


def _judge_block(
    values: Tensor, finite: Tensor | None, state: State, step: int, dtype: torch.dtype
) -> None:
    spec, judged = state.spec, state.judged
    assert spec.gate is not None and judged is not None
    gate = spec.gate.at(dtype)

    every = _samples(values)

    def per_unit(intervals: Intervals) -> Tensor:
        hit = _inside(values, intervals)
        return (hit if finite is None else hit & finite).sum(every)

    if finite is None:
        seen = torch.full_like(judged[0], values.numel() // values.shape[1])
    else:
        seen = finite.sum(every)
    low, high = per_unit(gate.low or ()), per_unit(gate.high or ())
    if gate.quiet is None:
        positive = values > 0
        active = (positive if finite is None else positive & finite).sum(every)
    elif gate.low is not None and gate.high is not None and gate.quiet == gate.low + gate.high:
        active = seen - low - high  # the usual threshold: quiet is what is saturated
    else:
        active = seen - per_unit(gate.quiet)
    judged[:4] += torch.stack((seen, active, low, high))
    torch.maximum(judged[4], torch.where(active > 0, step, -1), out=judged[4])
    _add_openness(values, finite, state)


def add_openness(x: Tensor, state: State) -> None:
    """Add only the gate openness of a tensor, for kernels that cannot evaluate its slope."""
    for block in _blocks(x, None, 1):
        values = block.double()
        _add_openness(values, _finite(values), state)


def _add_openness(values: Tensor, finite: Tensor | None, state: State) -> None:
    gate, openness = state.spec.gate, state.openness
    assert gate is not None and openness is not None
    if gate.slope is not None:
        slope = gate.slope(values).abs()
        slope = slope if finite is None else slope.where(finite, 0.0)
        openness += slope.sum() / gate.max_slope


def _samples(values: Tensor) -> tuple[int, ...]:
    """Return the axes that are not the units'."""
    return (0,) if values.dim() == 2 else (0, 2)


def _inside(values: Tensor, intervals: Intervals) -> Tensor:
    """Return where values lie in one of the closed intervals."""
    hits = [
        values <= high
        if low == -math.inf
        else values >= low
        if high == math.inf
        else (values >= low) & (values <= high)
        for low, high in intervals
    ]
    return functools.reduce(torch.logical_or, hits) if hits else torch.zeros_like(values).bool()
