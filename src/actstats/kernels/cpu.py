"""The CPU kernel: what ``reference`` keeps, in one compiled pass over the tensor's memory.

A plan holds all that does not change from call to call: the shape, the gate's thresholds in the
tensor's dtype, where the parts of the state lie. It is made when a shape is first seen and kept
beside the state; a later call hands three integers to compiled code.

A tensor of at least ``WORTH_THREADS`` values is split over as many threads as torch uses itself,
each with counts of its own, which are then merged in a fixed order. Torch's settings are read,
never changed.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actstats._torch import quiet, resolved
from actstats.kernels import _words as W
from actstats.kernels import reference, slopes
from actstats.kernels.state import ASYMPTOTE_OCTAVES, Gate, Intervals, Layout, State
from actstats.kernels.thresholds import inward, open_interval, sides
from actstats.kernels.walks import folded, pieces, unit_dimension

__all__ = ["NAME", "judge", "observe", "why_not"]

NAME = "cpu"
WORTH_THREADS = 1 << 20  # values
MAX_THREADS = 4
SHORT_RUN = 128  # values of a unit in a row; shorter ones are read with other units
BLOCK = 1 << 18  # values copied at a time where strides do not fold

logger = logging.getLogger("actstats")


# ---- compiling -----------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def why_not(dtype: torch.dtype = torch.float32) -> str | None:
    """Return why this kernel cannot read a dtype here, or None if it can."""
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed"
    try:
        _compiled(dtype, False)
    except Exception as error:
        logger.debug("numba cannot compile the CPU kernel", exc_info=error)
        return f"numba cannot compile it here: {error}"
    return None


@lru_cache(maxsize=16)
def _compiled(dtype: torch.dtype, scaled: bool) -> Callable[[int, int, int], None]:
    """Return the compiled entry for a dtype, from the cache on disk where it was compiled once."""
    import numba

    from actstats.kernels import _numba

    name = str(dtype).removeprefix("torch.")
    name = f"scaled_{name}" if scaled and dtype != torch.float64 else name
    dispatcher = numba.njit(nogil=True, cache=True)(getattr(_numba, name))
    folder = Path(dispatcher.stats.cache_path)
    if not any(folder.glob(f"_numba.{name}-*")):
        logger.info("compiling the CPU kernel for %s, once; kept in %s", name, folder)
    began = time.perf_counter()
    dispatcher.compile("void(int64, int64, int64)")
    if dispatcher.stats.cache_misses:
        logger.info("compiled the CPU kernel for %s in %.1f s", name, time.perf_counter() - began)
    dispatcher.disable_compile()
    # Called as it is: that the arguments are integers need not be found out anew each time.
    return dispatcher.overloads[dispatcher.signatures[0]].entry_point  # type: ignore[no-any-return]


# ---- plans ---------------------------------------------------------------------------------------


class Plan:
    """What to do with tensors of one dtype, shape and layout at one site.

    Attributes
    ----------
    dtype, shape, strides, axis
        Of the tensors that it is for.
    words : ndarray of int64
        What compiled code reads; ``address`` is theirs.
    run : callable
        ``run(address, data_ptr, step)`` reads one tensor.
    contiguous : bool
        Whether the strides are the usual ones of the shape.
    large : bool
        Whether threads are worth their start.
    simple : bool
        Whether ``run`` is all there is to do.
    by_torch : bool
        Whether the gate's slope is of no form that compiled code knows.
    """

    __slots__ = (
        "address",
        "axis",
        "by_torch",
        "contiguous",
        "dtype",
        "held",
        "large",
        "run",
        "shape",
        "simple",
        "strides",
        "words",
    )

    def __init__(
        self,
        x: Tensor,
        axis: int | None,
        words: NDArray[np.int64],
        run: Callable[[int, int, int], None],
        held: tuple[Any, ...],
        by_torch: bool,
    ) -> None:
        self.dtype, self.shape, self.strides, self.axis = x.dtype, x.shape, x.stride(), axis
        self.words = words
        self.address = words.ctypes.data
        self.run = run
        self.held = held  # arrays that the words point into
        self.large = x.numel() >= WORTH_THREADS
        self.by_torch = by_torch
        self.contiguous = x.is_contiguous()
        self.simple = not (self.large or by_torch)

    def read_alike(self, x: Any, state: State, axis: int | None, step: int) -> bool:
        """Read a tensor if the plan is for it; tell whether it is.

        All that compiled code relies on is asked here: it gets an address and no more.
        """
        try:  # what is nested has no shape; what is sparse or belongs to torch.func has no address
            if (
                type(x) is not Tensor
                or x.dtype is not self.dtype
                or not x.is_cpu
                or axis != self.axis
                or x.shape != self.shape
                or (not x.is_contiguous() if self.contiguous else x.stride() != self.strides)
                or x.is_neg()
            ):
                return False
            place = x.data_ptr()
        except RuntimeError:
            return False
        if not place:  # zeros that no memory was given
            return False
        if self.simple:
            self.run(self.address, place, step)
        else:
            with quiet():
                self.take(x, state, step)
        return True

    def take(self, x: Tensor, state: State, step: int, scale: float | Tensor | None = None) -> None:
        """Read one tensor; the plan knows the scale already, but torch does not."""
        threads = min(torch.get_num_threads(), MAX_THREADS) if self.large else 1
        if threads == 1 and not self.by_torch:  # one call of compiled code: all or nothing
            self.run(self.address, x.data_ptr(), step)
            return
        with state.at_once() as draft:
            words = self.words.copy()
            words[W.MEMORY] = draft.memory.data_ptr()
            if threads > 1:
                _spread(self, words, x, draft, step, threads)
            else:
                _read(self, words, draft, x, step)
            if self.by_torch:
                values = x.detach()
                values = values if scale is None else values.double() / scale
                reference.add_openness(values, draft)


def _plan(
    x: Tensor,
    state: State,
    axis: int | None,
    *,
    observed: bool = True,
    scale: float | Tensor | None = None,
) -> Plan | None:
    """Make the plan for a tensor; None if its strides do not fold into what is read."""
    if x.device.type != "cpu":
        raise ValueError(f"the CPU kernel cannot read a tensor on {x.device}.")
    spec = state.spec
    layout = _layout(x, axis, spec.width) if x.numel() else _NOTHING
    if layout is None:
        return None
    words = np.zeros(W.WORDS, dtype=np.int64)
    words[list(layout)] = list(layout.values())
    words[W.SCALE : W.SCALE + 1].view(np.float64)[0] = 1.0 if scale is None else float(scale)
    words[W.OBSERVED] = words[W.CALL] = observed
    _describe_state(words, state)
    wide = x.dtype == torch.float64 or scale is not None
    gate = spec.gate if spec.gate is not None and spec.gate.from_output == observed else None
    held, by_torch = _describe_gate(words, gate, x.dtype, torch.float64 if wide else torch.float32)
    run = _compiled(x.dtype, scale is not None)
    return Plan(x, axis, words, run, (state.memory, state.edges, *held), by_torch)


_NOTHING = {W.ROWS: 1, W.OUTER_TO: 0, W.UNIT_TO: 0, W.INNER_TO: 0}


def _layout(x: Tensor, axis: int | None, width: int) -> dict[int, int] | None:
    """Return how to walk through a tensor: rows of units, or runs of one unit after another."""
    at = unit_dimension(x, axis, width)
    unit = (1, 1) if at is None else (x.shape[at], x.stride(at))
    groups = folded(x, at) or [(1, 1)]
    extent = 1 + sum((size - 1) * stride for size, stride in (unit, *groups))
    if unit[0] > 1 and unit[1] == 1 and len(groups) == 1:
        outer, inner, rows = groups[0], 1, True
    elif len(groups) <= 2 and groups[-1][1] == 1:
        outer, inner = (groups[0] if len(groups) == 2 else (1, 0)), groups[-1][0]
        rows = unit[0] > 1 and inner < SHORT_RUN
    else:
        return None
    return {
        W.ROWS: int(rows),
        W.OUTER_TO: outer[0],
        W.OUTER_STRIDE: outer[1],
        W.UNIT_TO: unit[0],
        W.UNIT_STRIDE: unit[1],
        W.INNER_TO: inner,
        W.EXTENT: extent,
    }


def _describe_state(words: NDArray[np.int64], state: State) -> None:
    spec, at = state.spec, Layout.of(state.spec)
    k = spec.resolution
    words[W.MEMORY] = state.memory.data_ptr()
    words[W.WIDTH] = spec.width
    words[W.SHIFT] = 23 - k
    words[W.BINS] = 1 << (9 + k)
    words[W.AT_MOMENTS : W.AT_LINEAR + 1] = (
        *(at.moments, at.judged, at.histogram, at.asymptote, at.linear),
    )
    words[W.ASYMPTOTE_BINS] = ASYMPTOTE_OCTAVES << k if spec.asymptote else 0
    words[W.ASYMPTOTE_FIRST] = (127 - 1 - ASYMPTOTE_OCTAVES) << k
    if state.edges is not None:
        words[W.EDGES], words[W.EDGE_COUNT] = state.edges.data_ptr(), len(state.edges)


def _describe_gate(
    words: NDArray[np.int64], gate: Gate | None, dtype: torch.dtype, tile: torch.dtype
) -> tuple[tuple[NDArray[np.float64], ...], bool]:
    """Write thresholds and slope; return what is pointed to, and whether torch has the slope."""
    if gate is None:
        return (), False
    *intervals, active = sides(gate.at(dtype))
    words[W.ACTIVITY] = _ACTIVE[active]
    rounded = [_disjoint(side, tile) for side in intervals]
    words[W.INTERVALS : W.INTERVALS + 3] = [len(side) for side in rounded]
    bounds = np.array([end for side in rounded for interval in side for end in interval])
    words[W.BOUNDS] = bounds.ctypes.data
    form = slopes.form_of(gate)
    parameters = words[W.SLOPE_AT : W.SCALE].view(np.float64)
    if isinstance(form, slopes.Box):
        box = inward(open_interval(form.low, form.high), tile)
        words[W.SLOPE] = W.SLOPE_ACTIVE if _is_active(box, rounded, active, tile) else W.SLOPE_BOX
        parameters[:4] = *box, form.inside, form.outside
    elif isinstance(form, slopes.Quadratic):
        words[W.SLOPE] = W.SLOPE_QUADRATIC
        parameters[:3] = form.first, form.second, form.gain
    elif isinstance(form, slopes.Table):
        words[W.SLOPE], words[W.TABLE] = W.SLOPE_TABLE, form.coefficients.ctypes.data
        return (bounds, form.coefficients), False
    return (bounds,), form is None and gate.slope is not None


def _is_active(
    box: tuple[float, float],
    sides: list[list[tuple[float, float]]],
    active: str,
    tile: torch.dtype,
) -> bool:
    """Tell whether active samples are just those in the box, as for ReLU: above all low ones."""
    if active != "rest" or sides[1] or len(sides[0]) != 1:
        return False
    above = inward(open_interval(sides[0][0][1], math.inf), tile)
    return sides[0][0][0] == -math.inf and box == above


_ACTIVE = {"rest": W.ACTIVE_REST, "third": W.ACTIVE_THIRD, "not third": W.ACTIVE_NOT_THIRD}


def _disjoint(intervals: Intervals, tile: torch.dtype) -> list[tuple[float, float]]:
    """Return intervals that do not overlap, bounded by the outermost values of the dtype inside."""
    result: list[tuple[float, float]] = []
    for least, largest in sorted(inward(interval, tile) for interval in intervals):
        if result and least <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], largest))
        elif least <= largest:
            result.append((least, largest))
    return result


# ---- threads -------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MAX_THREADS - 1, thread_name_prefix="actstats")


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def _spread(
    plan: Plan, words: NDArray[np.int64], x: Tensor, state: State, step: int, threads: int
) -> None:
    """Read a tensor with several threads, each into a state of its own; merge these in order."""
    parts = _parts(words, threads)
    spec = replace(state.spec, custom=())  # kernels know nothing of these
    private = [State(spec) for _ in parts[1:]]
    for part, own in zip(parts[1:], private, strict=True):
        part[W.MEMORY], part[W.CALL] = own.memory.data_ptr(), 0
    work = [
        _pool().submit(_read, plan, part, own, x, step)
        for part, own in zip(parts[1:], private, strict=True)
    ]
    try:
        _read(plan, parts[0], state, x, step)
    finally:
        for one in work:
            one.result()
    for own in private:
        state.merge(own)


def _read(plan: Plan, words: NDArray[np.int64], own: State, x: Tensor, step: int) -> None:
    """Read a part; all that is read and written lives as long as this runs."""
    plan.run(words.ctypes.data, x.data_ptr(), step)


def _parts(words: NDArray[np.int64], threads: int) -> list[NDArray[np.int64]]:
    """Divide a plan along the axis that has most to divide."""
    ends = {at: int(words[at]) for at in (W.OUTER_TO, W.UNIT_TO, W.INNER_TO)}
    if words[W.ROWS]:  # samples are numbered through runs, which must stay whole
        del ends[W.INNER_TO]
    if words[W.UNIT_STRIDE] == 1 or ends[W.UNIT_TO] < threads:
        del ends[W.UNIT_TO]
    at = max(ends, key=lambda end: ends[end])
    marks = [ends[at] * i // threads for i in range(threads + 1)]
    parts = []
    for begin, end in itertools.pairwise(marks):
        part = words.copy()
        part[at - 1 if at != W.OUTER_TO else W.OUTER_FROM], part[at] = begin, end
        parts.append(part)
    return parts


# ---- observing -----------------------------------------------------------------------------------


def observe(
    x: Tensor,
    state: State,
    *,
    unit_axis: int | None = -1,
    step: int = 0,
    scale: float | Tensor | None = None,
) -> None:
    """Add one tensor to the state; arguments as of :func:`reference.observe`."""
    plan = state.plan
    if plan is None or scale is not None or not plan.read_alike(x, state, unit_axis, step):
        state.plan = _take(x, state, unit_axis, step, observed=True, scale=scale) or plan


def judge(z: Tensor, state: State, *, unit_axis: int | None = -1, step: int = 0) -> None:
    """Judge the inputs of an activation; arguments as of :func:`reference.judge`."""
    plan = state.judge_plan
    if plan is None or not plan.read_alike(z, state, unit_axis, step):
        state.judge_plan = _take(z, state, unit_axis, step, observed=False) or plan


def _take(
    x: Tensor,
    state: State,
    axis: int | None,
    step: int,
    *,
    observed: bool,
    scale: float | Tensor | None = None,
) -> Plan | None:
    """Read a tensor of a new kind; return the plan that others of its kind may use."""
    x = resolved(x)
    plan = _plan(x, state, axis, observed=observed, scale=scale)
    if plan is not None:
        plan.take(x, state, step, scale)
        return None if scale is not None else plan
    at = unit_dimension(x, axis, state.spec.width)
    with state.at_once() as draft:
        for i, block in enumerate(pieces(x, at, BLOCK)):
            plan = _plan(block, draft, axis, observed=observed, scale=scale)
            assert plan is not None  # it is contiguous
            plan.words[W.CALL] &= i == 0
            plan.take(block, draft, step, scale)
    return None
