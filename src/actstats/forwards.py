"""The forwards that run: each thread has its own, and asks nobody else's."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from actstats.functional import FunctionalMode
    from actstats.hooks import Slot

__all__ = ["Forward", "Forwards", "Mask"]

Mask = tuple[tuple[int, ...], Tensor]  # its shape, and the samples that stay


class Forward:
    """What belongs to the forward that runs in one thread; made once, then begun and ended.

    Attributes
    ----------
    stack : list of Slot
        Delimiting modules whose forward is running, the innermost last.
    calls : dict of Slot to int
        How often each module was called.
    functional_calls : dict of Slot to dict of str to int
        How often each module on the stack called a function.
    entered : set of Slot
        Modules whose pre-hook has begun the call that runs.
    producers : dict
        By ``id``: which module, and which leaf of its output, gave a tensor out.
    mask : Mask or None
        What this forward, or the next one, leaves out.
    mask_used : bool
        Whether a forward has begun with it.
    steps : int
        Steps that had ended when it began.
    busy : bool
        Whether the recorder itself is computing.
    mode : FunctionalMode or None
        What sees functions called in this thread.
    """

    __slots__ = (
        "__weakref__",
        "busy",
        "calls",
        "entered",
        "functional_calls",
        "mask",
        "mask_used",
        "mode",
        "producers",
        "stack",
        "steps",
    )

    def __init__(self) -> None:
        self.stack: list[Slot] = []
        self.calls: dict[Slot, int] = {}
        self.functional_calls: dict[Slot, dict[str, int]] = {}
        self.entered: set[Slot] = set()
        self.producers: dict[int, tuple[Slot, str, weakref.ref[Tensor]]] = {}
        self.mask: Mask | None = None
        self.mask_used = False
        self.steps = -1
        self.busy = False
        self.mode: FunctionalMode | None = None

    def begin(self, steps: int) -> None:
        """Start anew: call numbers begin again; a mask serves one forward."""
        self.steps = steps
        self.calls.clear()
        self.producers.clear()
        if self.mask_used:
            self.mask = None
        self.mask_used = self.mask is not None

    def end(self) -> None:
        """End: a mask has served."""
        self.stack.clear()
        self.calls.clear()
        self.functional_calls.clear()
        self.entered.clear()
        self.producers.clear()
        self.mask = None
        if self.mode is not None:
            self.mode.switch(False)

    def count(self, slot: Slot) -> None:
        """Count a call of a module."""
        self.calls[slot] = self.calls.get(slot, 0) + 1

    def count_function(self, kind: str) -> int:
        """Count a call of a function by the innermost module, and return its number."""
        calls = self.functional_calls.setdefault(self.stack[-1], {})
        calls[kind] = calls.get(kind, 0) + 1
        return calls[kind]

    def enter(self, slot: Slot) -> None:
        """Push a module, which has called no function yet."""
        self.stack.append(slot)
        self.functional_calls.pop(slot, None)

    def leave(self, slot: Slot) -> bool:
        """Pop a module and what it left behind; tell whether it was the outermost."""
        if slot not in self.stack:
            return False
        while self.stack.pop() is not slot:
            pass
        return not self.stack


class Forwards(threading.local):
    """Each thread's forward, as ``own``; it goes when the thread ends.

    Parameters
    ----------
    known : set of weak reference to Forward
        Where those of all living threads are told. Its operations are atomic: no lock is asked.
    """

    def __init__(self, known: set[weakref.ref[Forward]]) -> None:
        self.own = Forward()  # once in each thread
        known.add(weakref.ref(self.own, known.discard))
