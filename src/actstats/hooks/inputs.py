"""The pre-hook that reads what goes into a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from actstats import compiled
from actstats.hooks.base import Hook
from actstats.hooks.slot import Slot
from actstats.sites import Leaves, input_leaves

__all__ = ["InputHook"]


class InputHook(Hook):
    """Forward pre-hook: reads what goes in."""

    __slots__ = ("slot",)

    def __init__(self, slot: Slot) -> None:
        self.slot = slot

    def run(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Observe a module's input."""
        self.slot.observe_input(module, args, kwargs)

    def trace(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Leave an op that observes the input's leaves."""
        if self.slot.shared.active:
            compiled.trace(self.slot.shared, self.key, input_leaves(args, kwargs))

    def replay(self, found: Leaves, watched: Sequence[str]) -> int:
        """Observe the input's leaves."""
        module = self.slot.module()
        if module is not None:
            self.run(module, (found.whole(),), {})
        return 0

    def replay_skip(self, path: str, reason: str) -> None:
        """Count a leaf that the op could not be given."""
        call = self.slot.call_suffix(ahead=1)
        self.slot.shared.skip(f"{self.slot.name}{call}{path}:input", reason)
