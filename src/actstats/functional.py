"""Activations that are called as functions: ``F.relu``, ``torch.tanh``, ``x.sigmoid()``."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from actstats import activations
from actstats._torch import drop_function_mode, function_modes, in_backward, in_module_call
from actstats.activations import Activation
from actstats.hooks import Slot, call_suffix
from actstats.shared import Shared

__all__ = ["FunctionalMode"]

_NOWHERE = nn.Identity()  # stands for the module of a functional call


class FunctionalMode(TorchFunctionMode):
    """Sees ``F.relu``, ``torch.tanh`` and the like called inside a forward.

    They become sites of the module that called them: ``block.relu()``, then ``block.relu()#2``.
    Torch keeps modes by thread, and so each thread has one of its own.
    """

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self.shared = weakref.ref(shared)
        self.on = False
        self._beneath: list[Any] = []  # the user's modes, while this one is surely above them

    def switch(self, on: bool) -> None:
        """Enter or leave the mode; where an interrupt made ``on`` lie, leaving mends it."""
        if on and not self.on:
            beneath = function_modes()
            self.on = True  # before, as an interrupt may come between the two
            self.__enter__()  # type: ignore[no-untyped-call]
            self._beneath = beneath or []
        elif self.on and not on:
            self._leave(function_modes())

    def _leave(self, modes: list[Any] | None) -> None:
        if modes is not None and self in modes[:-1]:
            return  # the user's own mode was entered since the forward: not ours to pop
        beneath, self._beneath = self._beneath, []
        if modes is None or self in modes:
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        else:
            _mend(beneath, modes)
        self.on = False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the function; observe it if it is an activation."""
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():
            return func(*args, **kwargs)
        shared = self.shared()
        if shared is None or not (shared.active and shared.hooked):
            return func(*args, **kwargs)
        forward = shared.forward
        if forward.busy or not forward.stack:
            return func(*args, **kwargs)
        activation = activations.functional_activation(func, args, kwargs)
        caller = forward.stack[-1]
        if activation is None or caller.activation is not None or in_backward():
            return func(*args, **kwargs)
        if not in_module_call():  # an interrupt ended the forward, and told no hook
            return func(*args, **kwargs)
        kind = activation.key.partition("(")[0]
        slot = _slot(caller, kind, forward.count_function(kind), activation)
        z = args[0] if args else kwargs.get("input")
        slot.observe_input(_NOWHERE, (z,), {})
        output = func(*args, **kwargs)
        slot.observe(_NOWHERE, (z,), output)
        return output


def _mend(beneath: list[Any], modes: list[Any]) -> None:
    """Take off the mode of the user's whose end popped ours in place of itself.

    An interrupt tells no hook: ours is still the innermost when a block of the user's ends, which
    pops whatever is. Of the modes that were beneath it, the last one that is left has ended.
    """
    left = [mode for mode in beneath if mode in modes]
    if left:
        drop_function_mode(left[-1])


def _slot(caller: Slot, kind: str, number: int, activation: Activation) -> Slot:
    """Return what observes the n-th call of a function by a module."""
    shared = caller.shared
    name = f"{caller.name}.{kind}(){'' if number == 1 else call_suffix(number)}"
    slot = shared.functions.get(name)
    if slot is None:
        made = Slot(shared, name, caller.order, f"F.{kind}", activation)
        made.module = weakref.ref(_NOWHERE)
        with shared.lock:
            slot = shared.functions.setdefault(name, made)
            if slot is made:
                shared.slots.append(slot)
    return slot
