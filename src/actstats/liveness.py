"""What a recorder does not see although it looks alive: modules never called, or new in a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from torch import nn

from actstats.sites import named_sites, selected

__all__ = ["PATIENCE", "Liveness"]

PATIENCE = 8  # observed steps after which a module that was never called is worth a word


class Liveness:
    """When to look at a model, and what was said of it.

    Parameters
    ----------
    modules : mapping of str to Module
        Those that there were when the recorder was made; held weakly.
    include, exclude : str, type, callable or list of them, optional
        As given to the recorder.
    """

    def __init__(self, modules: Mapping[str, nn.Module], include: Any, exclude: Any) -> None:
        self._met = WeakSet(modules.values())
        self._choice = include, exclude
        self._said: set[str] = set()
        self.steps = 0

    def is_due(self) -> bool:
        """Count a step; tell whether to look, which a long run does ever more rarely."""
        self.steps += 1
        return self.steps & (self.steps - 1) == 0

    def is_patient(self, every: int) -> bool:
        """Tell whether a module may be silent for now: few steps were observed."""
        return self.steps < PATIENCE * every

    def newcomers(self, model: nn.Module | None) -> tuple[str, ...]:
        """Return modules that a recorder made now would observe, and this one has never met."""
        if model is None:
            return ()
        modules, _ = named_sites(model)
        new = {name: module for name, module in modules.items() if module not in self._met}
        try:
            return tuple(selected(new, *self._choice)) if new else ()
        except Exception:  # none is chosen, or a predicate of the user's does not know them
            return ()

    def is_unsaid(self, what: str) -> bool:
        """Tell whether something is to be said for the first time, and take it for said."""
        was_said = what in self._said
        self._said.add(what)
        return not was_said
