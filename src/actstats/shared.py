"""What all hooks of one recorder share: the hot state, and where forwards begin and end."""

from __future__ import annotations

import logging
import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from actstats import kernels
from actstats._torch import PLAIN, in_backward, in_jit_trace, is_called
from actstats.compiled import Pending, make_order
from actstats.custom import Statistic
from actstats.forwards import Forward, Forwards, Mask
from actstats.leaf import Leaf

if TYPE_CHECKING:
    from actstats.functional import FunctionalMode
    from actstats.hooks import Slot

__all__ = ["Options", "Shared", "nowhere"]

logger = logging.getLogger("actstats")

_FUSED = (nn.MultiheadAttention, nn.TransformerEncoder)  # they ask whether functions are seen


@dataclass(frozen=True)
class Options:
    """What was asked of the recorder, as far as hooks need it."""

    capture: frozenset[str]
    resolution: Mapping[str, int]
    edges: Mapping[str, tuple[float, ...]]
    per_call: tuple[str, ...]
    saturation_slope: float
    strict: bool
    statistics: Mapping[str, tuple[Statistic, ...]] = field(default_factory=dict)
    outside: bool = True


def nowhere() -> None:
    """Refer to nothing, as a weak reference does whose object is gone."""


class Shared:
    """What all hooks of one recorder share; never refers to the recorder or the model.

    Several threads may run the model at once. ``lock`` is held around each change of a state,
    while a window's numbers are copied, and by no one who runs code of the user's. What belongs
    to the forward of one thread stands in its :class:`~actstats.forwards.Forward`.
    """

    def __init__(self, options: Options, kernel: ModuleType | None) -> None:
        self.options = options
        self.kernel = kernel
        self.lock = RLock()  # of what hooks change
        self.ending = RLock()  # held while a step ends or windows are read; taken before `lock`
        self.active = True
        self.hooked = False
        self.forked = False
        self.observed = False  # anything, in the open step
        self.steady = False  # no thread has a mask: hooks may take short ways
        self.sought = 0  # modules that were not called yet, and will look for their source
        self.step = 0
        self.steps = 0  # that have ended
        self.phase: str | None = None
        self.root: Callable[[], nn.Module | None] = nowhere
        self.slots: list[Slot] = []
        self.delimited = False  # some module tells where forwards begin
        self.axes: dict[tuple[int, ...], int | None] = {}  # of the units, by shape
        self.grad_scale: Any = None
        self.skipped: Counter[tuple[str, str]] = Counter()
        self.off: dict[str, str] = {}
        self.coarsest = 7
        self.places: dict[tuple[str, ...], int] = {}  # of sites, in the order they were seen
        self.make_mode: Callable[[Shared], FunctionalMode] | None = None  # functions are seen too
        self.functions: dict[str, Slot] = {}  # that were seen, by name
        self.order = make_order()
        self.pending = Pending()
        self.replayed = False  # some hook ran from a compiled graph
        self.watches = "grad" in options.capture
        self._forwards: set[weakref.ref[Forward]] = set()
        self._local = Forwards(self._forwards)
        _ALIVE.add(self)

    def kernel_for(self, tensor: Tensor) -> ModuleType:
        """Return the kernel that was asked for, or the best one for a tensor like this."""
        dtype = tensor.dtype if tensor.dtype in PLAIN else torch.float32
        return self.kernel or kernels.best(tensor.device.type, dtype)

    def current_phase(self) -> str:
        """Return the phase that a forward belongs to now."""
        if self.phase is not None:
            return self.phase
        root = self.root()
        return "eval" if root is not None and not root.training else "train"

    def skip(self, site: str, reason: str) -> None:
        """Count something that could not be observed."""
        with self.lock:
            self.skipped[site, reason] += 1

    def place(self, *site: str) -> int:
        """Return which site this is, in the order they were seen."""
        with self.lock:
            return self.places.setdefault(site, len(self.places))

    def left_out(self) -> str | None:
        """Return why a call is not observed that the model itself did not make; None if it is."""
        if self.options.outside or self.forward.stack or in_backward():
            return None
        return "called outside the model's forward"

    def seek(self) -> None:
        """Keep in view which site gives out what, until every module has found its source."""
        self.sought = sum(not slot.calls for slot in self.slots)

    def leaves(self) -> list[tuple[str, Leaf]]:
        """Return every observed leaf with its phase."""
        with self.lock:
            return [
                (phase, leaf) for slot in self.slots for (phase, _, _), leaf in slot.table.items()
            ]

    @property
    def nbytes(self) -> int:
        """Memory of the hot state, in bytes."""
        return sum(leaf.state.nbytes for _, leaf in self.leaves())

    def failed(self, slot: Slot, error: Exception) -> None:
        """Turn a site off after an error, and say so once."""
        if self.options.strict:
            raise error
        if slot.name not in self.off:
            self.off[slot.name] = f"{type(error).__name__}: {error}"
            logger.warning("%s is not recorded any more: %s", slot.name, error, exc_info=error)
        with self.lock:
            slot.dead = True
            slot.quick.clear()
            slot.quick_gradients.clear()

    def broke_off(self, slot: Slot, error: BaseException) -> None:
        """Let the lock go, wherever the short way ended; an error turns the site off."""
        with suppress(RuntimeError):  # not held: it broke off while it waited, or at its end
            self.lock.release()
        if not isinstance(error, Exception):
            raise error
        self.failed(slot, error)

    # ---- where a forward begins and ends --------------------------------------------------------

    @property
    def forward(self) -> Forward:
        """What belongs to the calling thread's forward."""
        return self._local.own

    def begin(self) -> None:
        """Start a forward of the model, functions in view."""
        self.begin_in_graph()
        forward = self.forward
        if forward.mode is None and self.make_mode is not None:
            forward.mode = self.make_mode(self)
        if forward.mode is not None and not in_jit_trace():  # where it would stand in the graph
            forward.mode.switch(True)

    def begin_in_graph(self) -> None:
        """Start a forward in a compiled graph, where functions are not seen."""
        self._begin(self.forward)

    def begin_alone(self) -> None:
        """Start the forward of a module that was called outside the model's."""
        forward = self.forward
        if forward.mask is not None:
            self._leave_what_raised(forward)
        if not forward.stack and (self.delimited or forward.steps != self.steps):
            self._begin(forward)

    def _leave_what_raised(self, forward: Forward) -> None:
        """End a forward that raised and told no hook; of compiled code that cannot be known."""
        if forward.stack and not self.replayed:
            module = forward.stack[0].module()
            if module is None or not is_called(module):
                self.break_off(forward)

    def _begin(self, forward: Forward) -> None:
        """Start a forward; hooks may take short ways from here on, unless one has a mask."""
        forward.begin(self.steps)
        tracing = in_jit_trace()
        if tracing or not self.steady:
            with self.lock:
                masked = any(f is not None and f.mask is not None for f in self._living())
                self.steady = self.active and not (masked or tracing)

    def see_functions(self) -> None:
        """See what the innermost module calls, unless it would then compute in another way."""
        forward = self.forward
        if forward.mode is not None and forward.stack and not in_jit_trace():
            forward.mode.switch(not isinstance(forward.stack[-1].module(), _FUSED))

    def set_mask(self, mask: Mask | None) -> None:
        """Leave samples out of the calling thread's next forward."""
        forward = self.forward
        self._leave_what_raised(forward)  # or it would take the mask with it when it ends
        with self.lock:
            forward.mask, forward.mask_used = mask, False
            self.steady = False

    def go_on(self, step: int, *, active: bool) -> None:
        """Open a step; what the calling thread's forward left behind by an error goes."""
        with self.lock:
            self.step = step
            self.steps += 1
            self.observed = False
            self.active = active and not self.forked
            self.steady = self.steady and self.active
        forward = self.forward
        if forward.mask is not None and not forward.mask_used:
            self.skip("(root)", "a mask was given, but no forward came in the same thread and step")
        self.break_off(forward)

    def break_off(self, forward: Forward) -> None:
        """End a forward, which an error may have broken off; say what had been judged of it."""
        for slot in forward.entered:
            if slot.z_before:
                self.skip(slot.name, "judged by what went in, but the call did not end")
        forward.end()

    def _living(self) -> Iterator[Forward | None]:
        return (reference() for reference in tuple(self._forwards))


_ALIVE: weakref.WeakSet[Shared] = weakref.WeakSet()


def _after_fork() -> None:
    """Make recorders inert in a forked worker: their data belong to the parent."""
    for shared in _ALIVE:
        shared.forked, shared.active, shared.steady = True, False, False
        shared.lock, shared.ending = RLock(), RLock()  # a thread that is not here may hold them


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
