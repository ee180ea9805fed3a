"""The hooks of modules that delimit forwards: the model, or all that may call functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from actstats import compiled
from actstats._torch import calls_itself, in_backward
from actstats.hooks.base import Hook
from actstats.hooks.slot import Slot
from actstats.sites import Leaves

__all__ = ["EnterHook", "ExitHook"]


class EnterHook(Hook):
    """Pre-hook of a module that delimits forwards (the model), or calls functions."""

    __slots__ = ("is_root", "slot")

    def __init__(self, slot: Slot, *, is_root: bool) -> None:
        self.slot = slot
        self.is_root = is_root

    def run(self, module: nn.Module, args: Any) -> None:
        """Push the module; the outermost begins a forward."""
        if self.slot.shared.active and not in_backward():
            self._enter(self.slot.shared.begin)
            self.slot.shared.see_functions()

    def trace(self, module: nn.Module, args: Any) -> None:
        """Leave an op that does the same."""
        if self.slot.shared.active:
            compiled.trace(self.slot.shared, self.key)

    def replay(self, found: Leaves, watched: Sequence[str]) -> int:
        """Push the module."""
        self.slot.shared.replayed = True
        if not in_backward():
            self._enter(self.slot.shared.begin_in_graph)
        return 0

    def _enter(self, begin: Callable[[], None]) -> None:
        forward, module = self.slot.shared.forward, self.slot.module()
        if self.is_root and forward.stack and not (module is not None and calls_itself(module)):
            self.slot.shared.break_off(forward)
        if not forward.stack:
            begin()
        forward.enter(self.slot)


class ExitHook(Hook):
    """Forward hook of a module that delimits forwards; called after an exception too."""

    __slots__ = ("slot",)

    def __init__(self, slot: Slot) -> None:
        self.slot = slot

    def run(self, module: nn.Module, args: Any, output: Any) -> None:
        """Pop the module and what it left behind; the outermost ends the forward."""
        self._leave()
        self.slot.shared.see_functions()

    def trace(self, module: nn.Module, args: Any, output: Any) -> None:
        """Leave an op that does the same."""
        if self.slot.shared.active:
            compiled.trace(self.slot.shared, self.key)

    def replay(self, found: Leaves, watched: Sequence[str]) -> int:
        """Pop the module."""
        self._leave()
        return 0

    def _leave(self) -> None:
        forward = self.slot.shared.forward
        if not in_backward() and forward.leave(self.slot):
            forward.end()
