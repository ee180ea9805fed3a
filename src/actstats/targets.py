"""Which modules of a model a recorder observes, and by which names."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from actstats import activations
from actstats.hooks import Slot
from actstats.shared import Shared
from actstats.sites import named_sites, selected

__all__ = ["Target", "Targets"]


class Target(NamedTuple):
    """A module that gets hooks.

    Parameters
    ----------
    module : weak reference to Module
        Which one; it may have left the model since.
    slot : Slot
        What is known of it.
    is_observed : bool
        Whether its tensors are recorded.
    delimits : bool
        Whether forwards begin and end with it.
    """

    module: weakref.ref[nn.Module]
    slot: Slot
    is_observed: bool
    delimits: bool


class Targets:
    """The modules of a model that a recorder puts hooks on, held weakly.

    Parameters
    ----------
    model : Module or mapping of str to Module
        As given to the recorder.
    include, exclude : str, type, callable or list of them, optional
        As given to the recorder.
    functional : bool
        Whether functions that modules call are seen too.
    shared : Shared
        What is told which modules there are, and which one tells train from eval.

    Attributes
    ----------
    modules : list of Target
        Those that get hooks, in the model's order.
    met : weak set of Module
        All that there were, observed or not.
    trees : list of (str, weak reference to Module)
        What was given, by name.
    is_mapping : bool
        Whether several modules were given, by name.
    choice : tuple
        ``include`` and ``exclude``.

    Raises
    ------
    ValueError
        If ``model`` is neither, or nothing is left to observe.
    """

    def __init__(
        self, model: Any, include: Any, exclude: Any, *, functional: bool, shared: Shared
    ) -> None:
        if not isinstance(model, nn.Module | Mapping):
            raise ValueError(
                "`model` must be a torch.nn.Module or a mapping of names to modules; "
                f"got {type(model).__name__}."
            )
        self.is_mapping = isinstance(model, Mapping)
        self.choice = include, exclude
        modules, self._aliases = named_sites(model)
        trees = model if isinstance(model, Mapping) else {"": model}
        self.trees = [(name, weakref.ref(tree)) for name, tree in trees.items()]
        self.met = weakref.WeakSet(modules.values())
        if self.is_mapping and include is None:
            include = "*"
        observed = _hookable(selected(modules, include, exclude), shared)
        shared.root = weakref.ref(next(iter(modules.values())))  # what torch.compile and DDP wrap
        self.modules: list[Target] = []
        self._take(modules, observed, shared, functional)

    def _take(
        self,
        modules: Mapping[str, nn.Module],
        observed: Mapping[str, nn.Module],
        shared: Shared,
        functional: bool,
    ) -> None:
        """Make a slot of each module that is observed or delimits forwards."""
        for order, (name, module) in enumerate(modules.items()):
            is_observed = name in observed
            delimits = self._delimits(module, modules, functional)
            if is_observed or delimits:
                slot = _slot(shared, name, order, module)
                shared.delimited |= delimits
                self.modules.append(Target(weakref.ref(module), slot, is_observed, delimits))
                if is_observed:
                    shared.slots.append(slot)

    def _delimits(
        self, module: nn.Module, modules: Mapping[str, nn.Module], functional: bool
    ) -> bool:
        """Tell whether forwards begin and end with this module."""
        if isinstance(module, torch.jit.ScriptModule):
            return False
        if functional or not self.is_mapping:
            return functional or module is next(iter(modules.values()))
        inside = {id(m) for m in module.modules()} - {id(module)}
        return any(id(m) in inside for m in modules.values())

    @property
    def names(self) -> list[str]:
        """Names of the observed modules, in the model's order."""
        return [target.slot.name for target in self.modules if target.is_observed]

    def observed(self) -> Iterator[tuple[nn.Module, Slot]]:
        """Yield the observed modules that still live."""
        for reference, slot, is_observed, _ in self.modules:
            module = reference()
            if module is not None and is_observed:
                yield module, slot

    def insides(self) -> dict[int, nn.Module]:
        """Return all modules inside those with hooks, and these themselves, by ``id``."""
        living = [target.module() for target in self.modules]
        return {id(m): m for module in living if module is not None for m in module.modules()}

    def resolve(self, name: str) -> str:
        """Return the canonical name of an alias, its leaf kept."""
        end = next((i for i, c in enumerate(name) if c in "[#"), len(name))
        whole = self._aliases.get(name)
        return whole or self._aliases.get(name[:end], name[:end]) + name[end:]


def _hookable(chosen: dict[str, nn.Module], shared: Shared) -> dict[str, nn.Module]:
    """Return the modules that take hooks; the others are said to be off."""
    scripted = [n for n, m in chosen.items() if isinstance(m, torch.jit.ScriptModule)]
    shared.off.update(dict.fromkeys(scripted, "scripted modules take no hooks"))
    return {name: module for name, module in chosen.items() if name not in scripted}


def _slot(shared: Shared, name: str, order: int, module: nn.Module) -> Slot:
    activation = activations.activation_of(module)
    reason = "" if activation is not None else activations.why_not(module)
    kind = getattr(module, "cls_to_become", None) or type(module)  # of lazy modules
    return Slot(shared, name, order, kind.__name__, activation, reason)
