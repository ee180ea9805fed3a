"""What hooks leave in a graph that ``torch.compile`` makes: opaque ops, whose body is the hook.

Every op declares that it changes its recorder's ``order``. It does not touch it, but no compiler
may then drop the op, repeat it or move it past another one; and a graph that is run twice (by a
checkpoint, say) finds no version changed. A hook is told by the value of a small tensor, not by a
Python number or name, so that equal blocks share one graph.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from actstats.sites import Leaves

if TYPE_CHECKING:
    from actstats.hooks import GradientHook, _Hook

__all__ = ["Pending", "call", "enrol", "gradient", "make_order"]

MAX_PENDING = 1 << 14  # calls of one recorder whose gradients are awaited

_numbers = itertools.count(1)
_hooks: weakref.WeakValueDictionary[int, _Hook] = weakref.WeakValueDictionary()


def make_order() -> Tensor:
    """Return the tensor that a recorder's ops say they change."""
    return _as_tensor(0)


def enrol(hook: _Hook) -> Tensor:
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


def call(
    order: Tensor,
    hook: Tensor,
    found: Sequence[tuple[str, Tensor]] = (),
    watched: Sequence[str] = (),
) -> Tensor:
    """Leave an op that runs a hook, and return the number of that call.

    Parameters
    ----------
    order, hook : Tensor
        What stands for the recorder and the hook.
    found : sequence of (str, Tensor)
        Leaves of what the hook saw, with their paths.
    watched : sequence of str
        Paths of the leaves whose gradient comes by later.
    """
    tensors = [tensor.detach() for _, tensor in found]
    number: Tensor = _call_op(order, hook, tensors, [path for path, _ in found], list(watched))
    return number


def gradient(order: Tensor, hook: Tensor, number: Tensor, path: str, grad: Tensor) -> None:
    """Leave an op in the backward graph that observes the gradient of a leaf of a call."""
    _gradient_op(order, hook, number, path, grad)


# ---- when the graph runs -------------------------------------------------------------------------


def _run_call(
    order: Tensor, hook: Tensor, tensors: Sequence[Tensor], paths: Sequence[str], watched: Any
) -> Tensor:
    found = _hooks.get(int(hook))
    number = 0 if found is None else found.replay(Leaves(paths, tensors), watched)
    return torch.tensor(number, dtype=torch.int64, device="cpu")


def _run_gradient(order: Tensor, hook: Tensor, number: Tensor, path: str, grad: Tensor) -> None:
    slot: Any = _hooks.get(int(hook))
    if slot is not None:
        slot.replay_gradient(int(number), path, grad)


def _define(schema: str, run: Any, fake: Any) -> Any:
    """Add an op to the library; a plain definition costs less per call than ``custom_op``."""
    name = schema.partition("(")[0]
    _library.define(schema)
    _library.impl(name, run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"actstats::{name}", fake, lib=_library)
    return getattr(torch.ops.actstats, name).default


_library = torch.library.Library("actstats", "DEF")
_call_op = _define(
    "call(Tensor(a!) order, Tensor hook, Tensor[] tensors, str[] paths, str[] watched) -> Tensor",
    _run_call,
    lambda order, *_: torch.empty((), dtype=torch.int64, device="cpu"),
)
_gradient_op = _define(
    "gradient(Tensor(a!) order, Tensor hook, Tensor number, str path, Tensor grad) -> ()",
    _run_gradient,
    lambda *_: None,
)
