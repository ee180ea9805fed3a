"""The CUDA kernel: what ``reference`` keeps, in one pass over the tensor, on the device.

Nothing waits for the device, and in the steady state nothing is allocated: what is launched
depends on shapes alone, and partial results lie in memory that is kept per device and stream. The
first tensor of its kind at a site may do both: Triton compiles (and keeps on disk) what it has not
seen, a gate's thresholds are copied to the device, the memory grows.

Two things allocate, from the caching allocator and without waiting: strides that do not fold into
two groups are copied piece by piece, and a slope that has no formula here is left to torch.

To time it, observe the same tensor some twenty times first, then put many calls between two
``torch.cuda.Event(enable_timing=True)`` of the tensor's stream and divide: the device's time. The
host's time, which is what small tensors cost, is ``time.perf_counter`` around as many calls, with a
``torch.cuda.synchronize()`` before them and none until the clock is read.
"""

from __future__ import annotations

import importlib.util
import os
import struct
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from actstats import activations
from actstats.kernels import reference, slopes
from actstats.kernels.state import ASYMPTOTE_OCTAVES, Gate, Intervals, Layout, State
from actstats.kernels.thresholds import inward, open_interval, sides
from actstats.kernels.walks import folded, pieces, unit_dimension

__all__ = ["NAME", "judge", "observe", "why_not"]

NAME = "cuda"
TILE = 1024  # values that a program holds in registers: eight in each thread
PROGRAMS = 1024  # that share the samples: some eight on each processor of a large GPU
PRIVATE = 1 << 16  # values from which on private histograms are worth merging
COPIES = 1 << 18  # words of all of them together: 2 MiB
BINS = 64  # that a program merges
PIECE = 1 << 22  # values copied at a time where strides do not fold
LARGE = 1 << 30  # values from which on places are counted in 64 bits
HEAD = 4  # words that a program leaves beside its moments
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}  # of all launches; a fused two-sum is none


def why_not() -> str | None:
    """Return why this kernel cannot run here, or None if it can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if os.environ.get("TRITON_INTERPRET") == "1":  # then it runs on the CPU, slowly
        return None
    return None if torch.cuda.is_available() else "there is no CUDA device"


@lru_cache(maxsize=1)
def _kernels() -> ModuleType:
    from actstats.kernels import _triton

    return _triton


# ---- how a tensor is read ------------------------------------------------------------------------


class Walk(NamedTuple):
    """Where the samples and units of a tensor lie; strides are in values."""

    samples: int  # of each unit
    inner: int  # samples that lie `inner_stride` apart; groups of them lie `outer_stride` apart
    outer_stride: int
    inner_stride: int
    width: int
    unit_stride: int

    @property
    def extent(self) -> int:
        """Values from the first to the last in memory."""
        outer = (self.samples // self.inner - 1) * self.outer_stride
        inner = (self.inner - 1) * self.inner_stride
        return 1 + outer + inner + (self.width - 1) * self.unit_stride


def _walk(x: Tensor, axis: int | None, width: int) -> Walk | None:
    """Return how to walk through a tensor; None if its samples are more than two groups."""
    at = unit_dimension(x, axis, width)
    groups = folded(x, at)
    if len(groups) > 2:
        return None
    unit = (1, 1) if at is None else (x.shape[at], x.stride(at))
    (outer, outer_stride), (inner, inner_stride) = [(1, 0)] * (2 - len(groups)) + groups
    return Walk(outer * inner, inner, outer_stride, inner_stride, *unit)


class Division(NamedTuple):
    """How programs divide a tensor among themselves."""

    samples: int  # of a tile
    units: int
    chunk: int  # samples of a program
    tiles: int  # of units
    blocks: int  # of samples


def _divide(walk: Walk) -> Division:
    """Divide by shape alone, so that sums have the same order whenever they are taken."""
    units = 1
    if walk.width > 1 and walk.unit_stride == 1:  # a tile is as wide as neighbours in memory
        units = 16 if walk.width <= 16 else 32
    samples = (TILE if walk.samples * units > TILE // 8 else TILE // 8) // units
    tiles, steps = -(-walk.width // units), -(-walk.samples // samples)
    chunk = samples * -(-steps // max(1, PROGRAMS // tiles))
    return Division(samples, units, chunk, tiles, -(-walk.samples // chunk))


# ---- how values are judged -----------------------------------------------------------------------


class Judging(NamedTuple):
    """A gate as ``_triton.read`` takes it."""

    bounds: Tensor | None = None  # of low, high, the third kind and the slope's box: (from, to)
    form: Tensor | None = None
    LOW: int = 0
    HIGH: int = 0
    THIRD: int = 0
    ACTIVE: str = "rest"
    SLOPE: str = "none"


@lru_cache(maxsize=256)
def _judging(gate: Gate, dtype: torch.dtype, kind: torch.dtype, device: torch.device) -> Judging:
    """Write a gate down for values that come in one dtype and are compared in another."""
    low, high, third, active = sides(gate.at(dtype))
    slope, numbers, box = _slope(gate)
    bounds = [end for pair in (*low, *high, *third, *box) for end in inward(pair, kind)]
    with torch.inference_mode(False):
        return Judging(
            torch.tensor(bounds, dtype=kind, device=device),
            torch.tensor(numbers, dtype=torch.float64, device=device),
            *(len(low), len(high), len(third)),
            active,
            slope,
        )


_CURVES: dict[str, tuple[str, *tuple[float, ...]]] = {
    "silu": ("swish", 1.0),
    "quick_gelu": ("swish", 1.702),
    "gelu": ("gelu",),
    "gelu(approximate=tanh)": ("gelu_tanh",),
}


def _slope(gate: Gate) -> tuple[str, tuple[float, ...], Intervals]:
    """Return the kind of a gate's slope, its numbers, and where a box is."""
    form = slopes.form_of(gate)
    if isinstance(form, slopes.Box):
        return "box", (form.inside, form.outside), (open_interval(form.low, form.high),)
    if isinstance(form, slopes.Quadratic):
        return "quadratic", (form.gain, form.first, form.second), ()
    if gate.slope is not None and not gate.from_output:
        z = torch.linspace(-12, 12, 97, dtype=torch.float64, device="cpu")
        values = gate.slope(z)
        for key, (kind, *numbers) in _CURVES.items():
            if torch.equal(values, activations.get(key).slope(z)):
                return kind, (1 / gate.max_slope, *numbers), ()
    return "none", (), ()


# ---- plans ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """What to launch for tensors of one dtype, shape and layout at one site."""

    key: tuple[Any, ...]  # of the tensors that it is for
    grid: tuple[int, int]
    merge_grid: tuple[int] | None  # None: nothing is left to merge
    scratch: int  # words
    copies: int  # of the histograms; 0: values are counted in the state's
    to_read: dict[str, Any]
    to_merge: dict[str, Any]
    by_torch: bool  # whether the gate's slope has no formula here

    def read_alike(self, x: Any, state: State, axis: int | None, step: int) -> bool:
        """Return False: there is no shorter way than :func:`observe`, which launches."""
        return False


def _key(x: Tensor, axis: int | None, scale: str) -> tuple[Any, ...]:
    return x.dtype, x.shape, x.stride(), axis, scale


def _plan(x: Tensor, state: State, axis: int | None, scale: str, observed: bool) -> Plan | None:
    """Make the plan for a tensor; None if its strides do not fold into what is read."""
    spec, at = state.spec, Layout.of(state.spec)
    walk = _walk(x, axis, spec.width)
    if walk is None:
        return None
    parts, span = _divide(walk), at.custom - at.histogram
    programs = parts.tiles * parts.blocks
    copies = min(COPIES // span, programs) if observed and x.numel() >= PRIVATE else 0
    gate = spec.gate if spec.gate is not None and spec.gate.from_output == observed else None
    judging = Judging()
    if gate is not None:
        wide = x.dtype == torch.float64 or scale != "none"
        judging = _judging(gate, x.dtype, torch.float64 if wide else torch.float32, x.device)
    both = {"span": span, "HEAD": HEAD, "OBSERVED": observed, "JUDGED": gate is not None}
    to_merge = _merge_arguments(x, walk, parts, copies, at)
    pieces = -(-walk.width // to_merge["UNITS"]), -(-span // to_merge["BINS"]) if copies else 1
    sloping = judging.SLOPE != "none"
    return Plan(
        key=_key(x, axis, scale),
        grid=(parts.tiles, parts.blocks),
        merge_grid=(max(pieces) if observed else 1,) if observed or sloping else None,
        scratch=HEAD * programs + (5 * walk.width * parts.blocks if observed else 0),
        copies=copies,
        to_read=both
        | _read_arguments(state, walk, parts, copies)
        | judging._asdict()
        | {"SCALE": scale},
        to_merge=both | to_merge,
        by_torch=gate is not None and gate.slope is not None and not sloping,
    )


def _read_arguments(state: State, walk: Walk, parts: Division, copies: int) -> dict[str, Any]:
    spec, at = state.spec, Layout.of(state.spec)
    edges = () if spec.edges is None else spec.edges
    return walk._asdict() | {
        "edges": state.edges,
        "chunk": parts.chunk,
        "copies": max(copies, 1),
        "at_judged": at.judged,
        "at_asymptote": at.asymptote - at.histogram,
        "at_linear": at.linear - at.histogram,
        "SAMPLES": parts.samples,
        "UNITS": parts.units,
        "SPLIT": walk.inner < walk.samples,
        "LARGE": max(walk.extent, walk.samples * walk.width) >= LARGE,
        "SHIFT": 23 - spec.resolution,
        "ASYMPTOTE": ASYMPTOTE_OCTAVES << spec.resolution if spec.asymptote else 0,
        "EDGES": len(edges),
        "STEPS": len(edges).bit_length(),
    }


def _merge_arguments(
    x: Tensor, walk: Walk, parts: Division, copies: int, at: Layout
) -> dict[str, Any]:
    units = 1 if walk.width == 1 else 32
    return {
        "blocks": parts.blocks,
        "programs": parts.tiles * parts.blocks,
        "width": walk.width,
        "copies": copies,
        "total": x.numel(),
        "at_moments": at.moments,
        "at_histogram": at.histogram,
        "BLOCKS": 1024 // units,
        "UNITS": units,
        "COPIES": 16,
        "BINS": BINS,
        "HEADS": 1024,
    }


# ---- memory of the programs ----------------------------------------------------------------------


class Workspace:
    """Where programs of one stream leave partial results: counts, zero in between, and scratch."""

    def __init__(self, device: torch.device) -> None:
        self.lock = threading.Lock()  # the launches of an observation belong together
        self.bins = torch.zeros(COPIES, dtype=torch.int64, device=device)
        # All that were ever in use are kept: a captured graph goes on writing to its own.
        self._scratch = [torch.empty(1 << 16, dtype=torch.float64, device=device)]

    def scratch(self, words: int) -> Tensor:
        """Return at least this many words."""
        last = self._scratch[-1]
        if len(last) < words:
            last = torch.empty(1 << words.bit_length(), dtype=torch.float64, device=last.device)
            self._scratch.append(last)
        return last


_workspaces: dict[tuple[torch.device, int], Workspace] = {}


def _workspace(device: torch.device) -> Workspace:
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    found = _workspaces.get((device, stream))
    if found is None:
        with torch.inference_mode(False):
            found = _workspaces.setdefault((device, stream), Workspace(device))
    return found


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Make a device current: Triton launches there."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


# ---- observing -----------------------------------------------------------------------------------


def observe(
    x: Tensor,
    state: State,
    *,
    unit_axis: int | None = -1,
    step: int = 0,
    scale: float | Tensor | None = None,
) -> None:
    """Add one tensor to the state; arguments as of :func:`reference.observe`.

    A ``scale`` that lies on the tensor's device is read there.
    """
    if x.numel() == 0:
        state.calls += 1
        return
    if isinstance(scale, Tensor) and scale.device != x.device:
        scale = float(scale)
    _take(x, state, unit_axis, step, scale, observed=True)


def judge(z: Tensor, state: State, *, unit_axis: int | None = -1, step: int = 0) -> None:
    """Judge the inputs of an activation; arguments as of :func:`reference.judge`."""
    if z.numel() > 0:
        _take(z, state, unit_axis, step, None, observed=False)


def _take(
    x: Tensor,
    state: State,
    axis: int | None,
    step: int,
    scale: float | Tensor | None,
    observed: bool,
) -> None:
    kind = "none" if scale is None else "tensor" if isinstance(scale, Tensor) else "number"
    slot = "plan" if observed else "judge_plan"
    plan = getattr(state, slot)
    if plan is None or plan.key != _key(x, axis, kind):
        plan = _plan(x, state, axis, kind, observed)
        setattr(state, slot, plan)
    if plan is not None:
        _launch(plan, x, state, step, scale, calls=1)
        return
    at = unit_dimension(x, axis, state.spec.width)
    for i, piece in enumerate(pieces(x, at, PIECE)):
        plan = _plan(piece, state, axis, kind, observed)
        assert plan is not None  # it is contiguous
        _launch(plan, piece, state, step, scale, calls=int(i == 0))


def _launch(
    plan: Plan, x: Tensor, state: State, step: int, scale: float | Tensor | None, calls: int
) -> None:
    kernels, work, argument = _kernels(), _workspace(x.device), scale
    if scale is not None and not isinstance(scale, Tensor):  # a float would become a float32
        (argument,) = struct.unpack("q", struct.pack("d", scale))
    with work.lock, _on(x.device):
        scratch = work.scratch(plan.scratch)
        bins = work.bins if plan.copies else state.histogram
        kernels.read[plan.grid](
            x, state.memory, bins, scratch, scale=argument, step=step, **plan.to_read, **OPTIONS
        )
        if plan.merge_grid is not None:
            kernels.merge[plan.merge_grid](
                state.memory, work.bins, scratch, calls=calls, **plan.to_merge, **OPTIONS
            )
    if plan.by_torch:
        reference.add_openness(x if scale is None else x.double() / scale, state)
