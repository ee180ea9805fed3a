"""The hot state of one site: tensors that a kernel adds to, in place.

Everything is made outside inference mode with explicit dtypes and device, so that a recorder
attached during validation, or under another default dtype, keeps counting in int64 and float64.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actstats._torch import add_to_all, copy_to_all, quiet, zero_all
from actstats.custom import CustomSpec
from actstats.moments import Moments, combine

__all__ = ["ASYMPTOTE_OCTAVES", "NEVER", "Gate", "HostCopy", "Layout", "Spec", "State", "reset"]

Intervals = tuple[tuple[float, float], ...]

NEVER = 1 << 62
"""Steps end before this one."""

ASYMPTOTE_OCTAVES = 24
"""Octaves of the distance 1 - |x| that have bins of their own: 2**-25 to 2**-1."""


@dataclass(frozen=True)
class Gate:
    """How values of an activation site are judged.

    Parameters
    ----------
    low, high : tuple of (float, float)
        Closed intervals of values that are saturated on that side; None where saturation does
        not apply.
    quiet : tuple of (float, float) or None
        Closed intervals of samples that are not active; None: active is ``value > 0``.
    slope : callable or None
        Maps values to the activation's slope there; None where it does not apply.
    max_slope : float
        Largest absolute slope of the activation.
    limits : (float, float)
        Range of the activation's outputs.
    from_output : bool
        True: the values are the activation's outputs; False: its inputs z.
    """

    low: Intervals | None
    high: Intervals | None
    quiet: Intervals | None
    slope: Callable[[Tensor], Tensor] | None
    max_slope: float
    from_output: bool
    limits: tuple[float, float] = (-math.inf, math.inf)

    @lru_cache(maxsize=256)  # noqa: B019 - gates are few, frozen and shared by all sites
    def at(self, dtype: torch.dtype) -> Gate:
        """Return the gate with the activation's limits as a clamp in that dtype writes them.

        ``Hardtanh(-0.7, 0.7)`` in float32 writes 0.69999999, which is below 0.7.
        """

        def rounded(intervals: Intervals | None) -> Intervals | None:
            if intervals is None:
                return None
            return tuple((end(low), end(high)) for low, high in intervals)

        def end(value: float) -> float:
            if value not in self.limits:
                return value
            return float(torch.tensor(value, dtype=torch.float64).to(dtype))

        return replace(
            self, low=rounded(self.low), high=rounded(self.high), quiet=rounded(self.quiet)
        )


@dataclass(frozen=True)
class Spec:
    """What one site keeps.

    Parameters
    ----------
    resolution : int
        k of the histogram, 0 to 7: 2**(9 + k) bins.
    width : int
        Columns of the per-unit arrays; 1 where units are not told apart.
    gate : Gate, optional
        For activation sites.
    asymptote : bool
        Keep the bins of 1 - |x| for a layer that ends at plus or minus one.
    edges : tuple of float, optional
        Ascending edges of the exact linear histogram.
    custom : tuple of CustomSpec
        Statistics of the user's own; no kernel reads or writes them.
    """

    resolution: int = 3
    width: int = 1
    gate: Gate | None = None
    asymptote: bool = False
    edges: tuple[float, ...] | None = None
    custom: tuple[CustomSpec, ...] = ()

    def at_most(self, resolution: int) -> Spec:
        """Return the same with a histogram that is no finer."""
        return replace(self, resolution=min(self.resolution, resolution))


@dataclass(frozen=True)
class Layout:
    """Where each part of a state lies in its memory, in words of eight bytes.

    The first ten words are of one kind each: calls, then the seven of ``counts`` (int64), then
    the two of ``extrema`` (float64). ``openness`` is the eleventh, ``broken`` (int64) the twelfth;
    the rest have the sizes that a :class:`Spec` gives. Kernels and readers know a state by this
    table alone.
    """

    moments: int
    judged: int
    histogram: int
    asymptote: int
    linear: int
    custom: int
    words: int

    CALLS: ClassVar[int] = 0
    COUNTS: ClassVar[int] = 1
    EXTREMA: ClassVar[int] = 8
    OPENNESS: ClassVar[int] = 10
    BROKEN: ClassVar[int] = 11
    HEADER: ClassVar[int] = 16  # two cache lines

    @classmethod
    @lru_cache(maxsize=4096)
    def of(cls, spec: Spec) -> Layout:
        """Return the layout of what a site keeps; parts it does not keep have no words."""
        k = spec.resolution
        moments = cls.HEADER
        judged = moments + 5 * spec.width
        histogram = judged + (0 if spec.gate is None else 5 * spec.width)
        asymptote = histogram + (1 << (9 + k))
        linear = asymptote + (2 * ASYMPTOTE_OCTAVES << k if spec.asymptote else 0)
        custom = linear + (0 if spec.edges is None else len(spec.edges) + 1)
        words = custom + sum(own.words for own in spec.custom)
        return cls(moments, judged, histogram, asymptote, linear, custom, words)


class State:
    """All that a kernel knows of one site since the last :meth:`reset`.

    One piece of memory, so that it is copied, sent and declared as one; the parts below are views
    of it.

    Parameters
    ----------
    spec : Spec
        What to keep.
    device : torch.device
        Where the observed tensors live.
    memory : Tensor of int64, shape (words,), optional
        What to begin with, such as a copy of another state's; taken as it is. None: nothing seen.

    Attributes
    ----------
    memory : Tensor of int64, shape (words,)
        Everything; floats by their bits. :class:`Layout` says where each part lies.
    calls : Tensor of int64, shape ()
        Tensors observed.
    counts : Tensor of int64, shape (7,)
        All values, zeros, NaN, +Inf, -Inf, values at +1, values at -1.
    histogram : Tensor of int64, shape (2**(9 + k),)
        Float-bit bins, zeros in bin 0 and non-finite values in the bins of exponent 255
        included; :meth:`TensorStats.from_state <actstats.TensorStats.from_state>` takes both out.
    asymptote : Tensor of int64, shape (2, 24 * 2**k), or None
        Bins of 1 - |x| for 0.5 <= |x| < 1; row 0 for x < 0, row 1 for x > 0.
    linear : Tensor of int64, shape (bins + 2,), or None
        Below, the named bins, above.
    extrema : Tensor of float64, shape (2,)
        Least and largest finite value.
    broken : Tensor of int64, shape ()
        ``NEVER`` minus the first step with NaN or Inf, so that it merges by its maximum; 0: none.
    moments : Tensor of float64, shape (5, width)
        Finite count, mean high, mean low, M2, sum of absolute values.
    judged : Tensor of int64, shape (5, width), or None
        Judged samples, active, saturated low, saturated high, step of the last active sample.
    openness : Tensor of float64, shape (), or None
        Sum over judged values of |slope| / max |slope|.
    custom : dict of CustomSpec to Tensor of float64, shape (words,)
        What the user's own statistics know.
    plan, judge_plan : object
        Whatever a kernel has prepared for this memory; forgotten when the memory is another.
    """

    def __init__(
        self, spec: Spec, device: torch.device | str = "cpu", memory: Tensor | None = None
    ) -> None:
        self.device = torch.device(device)
        self.edges: Tensor | None = None
        with torch.inference_mode(False):
            if spec.edges is not None:
                self.edges = torch.tensor(spec.edges, dtype=torch.float64, device=self.device)
            if memory is None:
                words = Layout.of(spec).words
                memory = torch.zeros(
                    words, dtype=torch.int64, device=self.device, requires_grad=False
                )
                self._hold(spec, memory)
                self.reset()
            else:
                self._hold(spec, memory)

    def _hold(self, spec: Spec, memory: Tensor) -> None:
        """Take this memory, and name its parts."""
        at, k, width = Layout.of(spec), spec.resolution, spec.width
        floats = memory.view(torch.float64)
        self.spec = spec
        self.memory = memory
        self.plan: Any = None
        self.judge_plan: Any = None
        self.calls = memory[at.CALLS]
        self.counts = memory[at.COUNTS : at.EXTREMA]
        self.extrema = floats[at.EXTREMA : at.OPENNESS]
        self.broken = memory[at.BROKEN]
        self.moments = floats[at.moments : at.judged].view(5, width)
        self.histogram = memory[at.histogram : at.asymptote]
        self.judged = self.openness = self.last_active = self.asymptote = self.linear = None
        if spec.gate is not None:
            self.judged = memory[at.judged : at.histogram].view(5, width)
            self.openness = floats[at.OPENNESS]
            self.last_active = self.judged[4]
        if spec.asymptote:
            self.asymptote = memory[at.asymptote : at.linear].view(2, ASYMPTOTE_OCTAVES << k)
        if spec.edges is not None:
            self.linear = memory[at.linear : at.custom]
        ends = itertools.accumulate((own.words for own in spec.custom), initial=at.custom)
        self.custom = {
            own: floats[begin:end]
            for own, (begin, end) in zip(spec.custom, itertools.pairwise(ends), strict=True)
        }

    def reset(self) -> None:
        """Forget everything seen; keep the memory."""
        reset((self,))

    @contextmanager
    def at_once(self) -> Iterator[State]:
        """Yield a copy; what is done to it takes effect in one operation, at the end or never.

        Ctrl-C between two operations leaves a state whose numbers agree with each other.
        """
        draft = copy.copy(self)
        draft._hold(self.spec, self.memory.clone())
        yield draft
        self.memory.copy_(draft.memory)

    def merge(self, other: State) -> None:
        """Add what a kernel has written to another state of the same spec, on the same device."""
        at, old, new = Layout.of(self.spec), self.moments, other.moments
        merged = combine(
            (old[0], old[1], old[2], old[3]), (new[0], new[1], new[2], new[3]), torch.where
        )
        self.memory[: at.EXTREMA] += other.memory[: at.EXTREMA]
        bins = slice(at.histogram, at.custom)
        self.memory[bins] += other.memory[bins]
        torch.minimum(self.extrema[0], other.extrema[0], out=self.extrema[0])
        torch.maximum(self.extrema[1], other.extrema[1], out=self.extrema[1])
        torch.maximum(self.broken, other.broken, out=self.broken)
        old.copy_(torch.stack((*merged, old[4] + new[4])))
        if self.judged is not None and other.judged is not None:
            self.judged[:4] += other.judged[:4]
            torch.maximum(self.judged[4], other.judged[4], out=self.judged[4])
        if self.openness is not None and other.openness is not None:
            self.openness += other.openness

    def repeat(self, times: int) -> None:
        """Count all that was seen so many times, as one call."""
        at = Layout.of(self.spec)
        self.memory[at.COUNTS : at.EXTREMA] *= times
        self.memory[at.histogram : at.custom] *= times
        self.moments[[0, 3, 4]] *= times  # the mean stays
        if self.judged is not None and self.openness is not None:
            self.judged[:4] *= times
            self.openness *= times

    def to(self, device: torch.device) -> None:
        """Move everything to another device."""
        with torch.inference_mode(False):
            self.device = device
            self.edges = None if self.edges is None else self.edges.to(device)
            self._hold(self.spec, self.memory.to(device))

    def pool(self) -> None:
        """Give up the units; what was seen so far is kept as one column."""
        pooled = Moments(*self.moments.cpu().numpy()).pooled()
        columns = [getattr(pooled, f.name) for f in fields(Moments)]
        judged = None
        if self.judged is not None:
            sums, last = self.judged[:4].sum(1), self.judged[4].max()
            judged = torch.cat((sums, last[None]))[:, None]
        spec = replace(self.spec, width=1, custom=_without_units(self.spec.custom))
        self._change(spec, moments=torch.tensor(np.stack(columns)), judged=judged)

    def drop(self, own: CustomSpec) -> None:
        """Give up a statistic of the user's own."""
        kept = tuple(other for other in self.spec.custom if other != own)
        self._change(replace(self.spec, custom=kept))

    def coarsen(self, resolution: int) -> None:
        """Add up neighbouring bins until the histogram's resolution is ``resolution``."""
        finer = self.spec.resolution - resolution
        if finer <= 0:
            return
        asymptote = self.asymptote
        self._change(
            replace(self.spec, resolution=resolution),
            histogram=self.histogram.view(-1, 1 << finer).sum(1),
            asymptote=None if asymptote is None else asymptote.view(2, -1, 1 << finer).sum(2),
        )

    def _change(self, spec: Spec, **parts: Tensor | None) -> None:
        """Keep something else from now on; parts that are not given are kept as they are."""
        old = {name: parts.get(name, getattr(self, name)) for name in _PARTS}
        custom = self.custom
        header = self.memory[: Layout.HEADER]
        with torch.inference_mode(False):
            memory = torch.zeros(Layout.of(spec).words, dtype=torch.int64, device=self.device)
            memory[: Layout.HEADER] = header
            self._hold(spec, memory)
            for name, part in old.items():
                if part is not None:
                    getattr(self, name).copy_(part)
            for own, words in self.custom.items():
                words.copy_(custom[own])

    @property
    def nbytes(self) -> int:
        """Memory held on the device, in bytes."""
        return self.memory.nbytes


_PARTS = ("moments", "judged", "histogram", "asymptote", "linear")  # beside the header


def _without_units(custom: Sequence[CustomSpec]) -> tuple[CustomSpec, ...]:
    return tuple(own for own in custom if not own.units)


def reset(states: Sequence[State]) -> None:
    """Forget everything that states of one device have seen; keep their memory.

    A handful of operations for all of them together, 2 us a state on a CPU.
    """
    zero_all([state.memory for state in states])
    copy_to_all([state.extrema for state in states], _ends_of_nothing(states[0].device))
    last_active = [state.last_active for state in states if state.last_active is not None]
    if last_active:
        add_to_all(last_active, -1)


@lru_cache(maxsize=64)
def _ends_of_nothing(device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor((math.inf, -math.inf), dtype=torch.float64, device=device)


class HasMemory(Protocol):
    """A state, or something else that keeps all it knows in 64-bit words."""

    memory: Tensor


class HostCopy:
    """What states hold, copied to the host; on a GPU nothing waits until it is read.

    Parameters
    ----------
    states : sequence of State or the like
        Of one device. They may be reset right after: the device keeps the order.
    """

    def __init__(self, states: Sequence[HasMemory]) -> None:
        together = torch.cat([state.memory for state in states])
        self._words = together.to("cpu", non_blocking=together.is_cuda)  # pinned memory then
        self._copied = torch.cuda.Event() if together.is_cuda else None
        if self._copied is not None:
            self._copied.record(torch.cuda.current_stream(together.device))

    @property
    def is_ready(self) -> bool:
        """Whether reading would not wait."""
        return self._copied is None or self._copied.query()

    def words(self) -> NDArray[np.int64]:
        """Return the memory of one state after the other's; waits for the device."""
        if self._copied is not None:
            self._copied.synchronize()
        with quiet():
            return self._words.numpy()
