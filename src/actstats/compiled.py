"""What hooks leave in a graph that ``torch.compile`` makes: opaque ops, whose body is the hook.

An op in the forward declares that it changes its recorder's ``order``, so that no compiler drops
it, repeats it or moves it past another one. It does not touch it, so that a graph that is run
twice (by a checkpoint, say) finds no version changed. In the backward that would not do, since
what backward needs of a forward must not be changed by the next forward: that op is an ordered
effect instead. A hook is told by the value of a small tensor, not by a Python number or name, so
that equal blocks share one graph.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from actstats._torch import has_gradient, keep_effects, unobservable
from actstats.sites import Leaves

if TYPE_CHECKING:
    from actstats.hooks import GradientHook, Hook
    from actstats.shared import Shared

__all__ = ["Pending", "enrol", "make_order", "trace"]

MAX_PENDING = 1 << 14  # calls of one recorder whose gradients are awaited

_numbers = itertools.count(1)
_hooks: weakref.WeakValueDictionary[int, Hook] = weakref.WeakValueDictionary()


def make_order() -> Tensor:
    """Return the tensor that a recorder's ops say they change."""
    return _as_tensor(0)


def enrol(hook: Hook) -> Tensor:
    """Return the tensor that stands for a hook in graphs."""
    number = next(_numbers)
    _hooks[number] = hook
    return _as_tensor(number)


def _as_tensor(number: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(number, dtype=torch.int64, device="cpu")


class Pending(dict[int, dict[str, "GradientHook"]]):
    """Gradients that are awaited, by call and leaf; the oldest go if none ever come."""

    def add(self, hooks: dict[str, GradientHook]) -> int:
        """Await the gradients of a call, and return its number."""
        number = next(_numbers)
        self[number] = hooks
        if len(self) > MAX_PENDING:
            del self[next(iter(self))]
        return number

    def take(self, number: int, path: str) -> GradientHook | None:
        """Return the hook of a gradient that has come; None if it had come before."""
        hooks = self.get(number, {})
        hook = hooks.pop(path, None)
        if not hooks:
            self.pop(number, None)
        return hook


# ---- in the graph --------------------------------------------------------------------------------


def trace(
    shared: Shared, hook: Tensor, found: Iterable[tuple[str, Tensor]] = (), watch: bool = False
) -> None:
    """Leave the ops of one hook in the graph that is being compiled.

    Parameters
    ----------
    shared : Shared
        Of the hook's recorder.
    hook : Tensor
        What stands for the hook.
    found : iterable of (str, Tensor)
        Leaves of what the hook sees, with their paths.
    watch : bool, default False
        Also observe the gradients of the leaves.
    """
    leaves = [(path, tensor, unobservable(tensor)) for path, tensor in found]
    seen = [(path, tensor) for path, tensor, reason in leaves if reason is None]
    watched = [(path, tensor) for path, tensor in seen if watch and has_gradient(tensor)]
    tensors = [_as_real(tensor.detach()) for _, tensor in seen]
    pairs = [tensor.is_complex() for _, tensor in seen]
    paths, awaited = [path for path, _ in seen], [path for path, _ in watched]
    number = _call_op(shared.order, hook, tensors, pairs, paths, awaited)
    for path, tensor in watched:
        tensor.register_hook(partial(_trace_gradient, hook, number, path))
    for path, _, reason in leaves:
        if reason is not None:
            _skip_op(shared.order, hook, path, reason)


def _as_real(tensor: Tensor) -> Tensor:
    """Write complex numbers as pairs: inductor fails where an op that changes something has such.

    Not as a view, which those that are conjugated only by a flag do not have.
    """
    return torch.stack((tensor.real, tensor.imag), -1) if tensor.is_complex() else tensor


def _trace_gradient(hook: Tensor, number: Tensor, path: str, grad: Tensor) -> Tensor:
    _gradient_op(hook, number, path, grad)
    return grad  # as it is: compiled autograd takes None for an absent gradient


# ---- when the graph runs -------------------------------------------------------------------------


def _run_call(
    order: Tensor,
    hook: Tensor,
    tensors: Sequence[Tensor],
    pairs: Sequence[bool],
    paths: Sequence[str],
    watched: Any,
) -> Tensor:
    found = _hooks.get(int(hook))
    given = [
        torch.view_as_complex(x) if paired else x for x, paired in zip(tensors, pairs, strict=True)
    ]
    number = 0 if found is None else found.replay(Leaves(paths, given), watched)
    return hook.new_full((), number)  # a tensor of its own: a graph may write over it later


def _run_gradient(hook: Tensor, number: Tensor, path: str, grad: Tensor) -> None:
    slot: Any = _hooks.get(int(hook))
    if slot is not None:
        slot.replay_gradient(int(number), path, grad)


def _run_skip(order: Tensor, hook: Tensor, path: str, reason: str) -> None:
    found = _hooks.get(int(hook))
    if found is not None:
        found.replay_skip(path, reason)


def _skip_vmap(info: Any, in_dims: Any, order: Tensor, hook: Tensor, *_: Any) -> tuple[Any, Any]:
    _skip_op(order, hook, "", "inside torch.func")
    return _as_tensor(0), None


def _define(schema: str, run: Any, fake: Any) -> Any:
    """Add an op to the library; a plain definition costs less per call than ``custom_op``."""
    name = schema.partition("(")[0]
    _library.define(schema)
    _library.impl(name, run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"actstats::{name}", fake, lib=_library)
    return getattr(torch.ops.actstats, name).default


_library = torch.library.Library("actstats", "DEF")
_call_op = _define(
    "call(Tensor(a!) order, Tensor hook, Tensor[] tensors, bool[] pairs, str[] paths,"
    " str[] watched) -> Tensor",
    _run_call,
    lambda order, *_: torch.empty((), dtype=torch.int64, device="cpu"),
)
_gradient_op = _define(
    "gradient(Tensor hook, Tensor number, str path, Tensor grad) -> ()",
    _run_gradient,
    lambda *_: None,
)
keep_effects(_gradient_op)
_skip_op = _define(
    "skip(Tensor(a!) order, Tensor hook, str path, str reason) -> ()", _run_skip, lambda *_: None
)
torch.library.register_vmap("actstats::call", _skip_vmap, lib=_library)
