"""How far the steps of an optimizer move the weights, by torch's optimizer hooks."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from actstats._torch import is_compiling
from actstats.kernels.state import HostCopy
from actstats.sharding import local, unreadable_part
from actstats.sites import ROOT, named_sites
from actstats.update_ratios import Moved, WatchedGroup

if TYPE_CHECKING:
    from actstats.shared import Shared

__all__ = ["AlreadyWatched", "Updates", "unwrapped"]

WHERE = "(optimizer)"  # where summaries tell what could not be watched

Trees = Sequence[tuple[str, "weakref.ref[nn.Module]"]]

logger = logging.getLogger("actstats")


class AlreadyWatched(ValueError):
    """Raised for an optimizer that is watched already."""


class Watch:
    """The hooks on one optimizer, which holds them; they hold neither it nor the model.

    Parameters
    ----------
    optimizer : Optimizer
        Held weakly.
    trees : sequence of (str, weakref to Module)
        Where parameters have their names from.
    shared : Shared
        Of the recorder.
    every : int
        Steps of the optimizer between two that are measured.
    """

    def __init__(self, optimizer: Optimizer, trees: Trees, shared: Shared, every: int) -> None:
        self.optimizer = weakref.ref(optimizer)
        self.groups: list[WatchedGroup] = []
        self.seen = False  # any step, measured or not
        self._trees, self._shared, self._every = trees, shared, every
        self._steps = 0
        self._known: list[weakref.ref[Tensor]] = []  # the parameters that groups were made for
        self._open: list[list[Tensor]] | None = None  # the weights before the step that runs
        self._off = False

    def register(self) -> list[RemovableHandle]:
        """Put the hooks in place; return their handles."""
        optimizer = self.optimizer()
        if optimizer is None:
            return []
        return [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._open = None
        if is_compiling() or self._shared.forked or self._off:
            return
        self.seen = True
        self._steps += 1
        if (self._steps - 1) % self._every == 0:
            with_closure = len(args) > 1 or bool(kwargs)  # it may bring the gradients yet
            self._guarded(self._begin, optimizer, with_closure)

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        before, self._open = self._open, None
        if before:
            # what a loss scaler tells an optimizer that skips the step itself, on the device
            found_inf = getattr(optimizer, "found_inf", None)
            self._guarded(self._end, before, found_inf)

    def _guarded(self, work: Any, *args: Any) -> None:
        """Do some work without a graph; after an error of ours nothing is watched any more."""
        try:
            with torch.no_grad():
                work(*args)
        except Exception as error:
            self._off, self._open = True, None
            if self._shared.options.strict:
                raise
            self._shared.off[WHERE] = f"{type(error).__name__}: {error}"
            logger.warning("the optimizer is not watched any more: %s", error, exc_info=error)

    def _begin(self, optimizer: Optimizer, with_closure: bool) -> None:
        """Copy the weights, where a step will move them."""
        found = list(_matrices(optimizer))
        known = [reference() for reference in self._known]
        if len(known) != len(found) or any(a is not b for a, b in zip(known, found, strict=True)):
            self._make_groups(found)
        if with_closure or any(any(group.has_gradients()) for group in self.groups):
            self._open = [[p.clone() for p in group.now()] for group in self.groups]

    def _end(self, before: list[list[Tensor]], found_inf: Tensor | None) -> None:
        skipped = None if found_inf is None else found_inf.reshape(1) != 0
        with self._shared.lock:  # another thread may be closing the window
            for group, weights in zip(self.groups, before, strict=True):
                group.add(weights, skipped)

    def _make_groups(self, found: Sequence[Tensor]) -> None:
        """Name the parameters, and put together those that can be measured together.

        What the open window knew of others is lost: parameters were replaced in the middle of it.
        """
        self._known = [weakref.ref(p) for p in found]
        names = _names(self._trees)
        alike: dict[Any, list[tuple[Tensor, str]]] = {}
        for p in found:
            name = names.get(id(p), "")
            reason = unreadable_part(p) if name else "not a parameter of the model"
            if not reason and local(p).shape != p.shape:
                reason = "other ranks have other parts of it"
            if reason:
                self._shared.skip(name or WHERE, f"update: {reason}")
            else:
                alike.setdefault((local(p).device, p.dtype), []).append((p, name))
        self.groups = [WatchedGroup(*zip(*some, strict=True)) for some in alike.values()]


class Updates:
    """The optimizers that a recorder watches."""

    def __init__(self) -> None:
        self.watches: list[Watch] = []

    def add(self, optimizer: object, trees: Trees, shared: Shared, every: int) -> Watch:
        """Watch an optimizer; the hooks are still to be registered.

        Raises
        ------
        TypeError
            If it is no torch optimizer.
        ValueError
            If it is watched already, or holds no parameter of the model.
        """
        found = unwrapped(optimizer)
        if any(watch.optimizer() is found for watch in self.watches):
            raise AlreadyWatched("`optimizer` is watched already.")
        held = {id(p) for group in found.param_groups for p in group["params"]}
        if held.isdisjoint(_names(trees)):
            raise ValueError(
                "`optimizer` holds no parameter of the model: it was made for another one, or"
                " before the model's parameters were replaced."
            )
        self.watches.append(Watch(found, trees, shared, every))
        return self.watches[-1]

    def take(self) -> list[Moved]:
        """Begin to copy what the open window saw."""
        return [Moved(group.names, HostCopy([group])) for group in self._groups()]

    def forget(self) -> None:
        """Forget what the open window saw."""
        for group in self._groups():
            group.reset()

    def _groups(self) -> list[WatchedGroup]:
        return [group for watch in self.watches for group in watch.groups]

    def unseen(self) -> Iterator[str]:
        """Yield the optimizers of which no step was seen."""
        for watch in self.watches:
            optimizer = watch.optimizer()
            if not watch.seen and optimizer is not None:
                yield type(optimizer).__name__


def _matrices(optimizer: Optimizer) -> Iterator[Tensor]:
    """Yield matrices and kernels that take a gradient.

    Biases and gains begin at 0 or 1, and are few: their ratio to themselves says little.
    """
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.requires_grad and not is_lazy(p) and p.dim() > 1 and p.numel():
                yield p


def _names(trees: Trees) -> dict[int, str]:
    """Return the canonical name of each parameter, by its identity; of tied ones the first."""
    names: dict[int, str] = {}
    for prefix, reference in trees:
        tree = reference()
        for module_name, module in named_sites(tree)[0].items() if tree is not None else ():
            path = [part for part in (prefix, module_name) if part not in ("", ROOT)]
            for name, p in module.named_parameters(recurse=False):
                names.setdefault(id(p), ".".join((*path, name)))
    return names


def unwrapped(optimizer: object) -> Optimizer:
    """Return the optimizer whose `step` moves the weights: others hand on to it."""
    inner = getattr(optimizer, "optimizer", None)
    if isinstance(inner, Optimizer):
        return unwrapped(inner)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"`optimizer` must be a torch.optim.Optimizer; got {type(optimizer).__name__}."
        )
    return optimizer
