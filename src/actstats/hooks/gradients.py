"""The hook on an output's gradient, and where it is put."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from actstats._torch import (
    function_mode,
    functorch_level,
    has_gradient,
    interpreted,
    is_compiling,
    is_tracing,
    scaler_scale,
    untraceable,
    watch_gradient,
)
from actstats.forwards import Mask
from actstats.hooks.adding import add
from actstats.hooks.base import Hook
from actstats.sharding import unreadable_part

if TYPE_CHECKING:
    from actstats.hooks.slot import Slot

__all__ = ["RECOMPUTED", "GradientHook", "watch"]

RECOMPUTED = "recomputed: its call number is unknown"


class GradientHook(Hook):
    """Tensor hook on an output: sees the gradient with respect to it, once per forward."""

    __torch_unserializable__ = True  # torch warns of other hooks where a tensor is saved
    __slots__ = ("fired", "mask", "phase", "slot", "suffix")

    def __init__(self, slot: Slot, suffix: str, phase: str, mask: Mask | None) -> None:
        self.slot = slot
        self.suffix = suffix
        self.phase = phase
        self.mask = mask
        self.fired = False

    @interpreted
    def __call__(self, grad: Tensor) -> None:
        """Observe a gradient; one like the last ones by the kernel's short way."""
        slot = self.slot
        shared = slot.shared
        if (
            is_compiling()
            or self.fired
            or self.suffix
            or self.mask is not None
            or shared.grad_scale is not None
            or not shared.active
            or is_tracing()
            or functorch_level() is not None
            or function_mode()
        ):
            return Hook.__call__(self, grad)
        leaf = slot.quick_gradients.get(self.phase)
        if leaf is None:
            return self.run(grad)
        lock = shared.lock
        try:
            lock.acquire()  # as in `Slot`
            plan = leaf.state.plan
            seen = plan is not None and plan.read_alike(grad, leaf.state, leaf.axis, shared.step)
            if seen:
                self.fired = shared.observed = True
            lock.release()
        except BaseException as error:
            shared.broke_off(slot, error)
            return None
        return None if seen else self.run(grad)

    def run(self, grad: Tensor) -> None:
        """Observe a gradient."""
        if self.slot.shared.active and not self.slot.dead:
            self.slot.guarded(self._observe, grad)

    def _observe(self, grad: Tensor) -> None:
        slot, shared, module = self.slot, self.slot.shared, self.slot.module()
        reason = untraceable() or unreadable_part(grad)
        if self.fired:
            reason = "backward ran again through the same forward"
        if reason is not None:
            shared.skip(f"{slot.name}{self.suffix}:grad", reason)
        elif module is not None:
            self.fired = True
            scaler = shared.grad_scale
            scale = scaler_scale(scaler) if hasattr(scaler, "get_scale") else scaler
            add(slot, "grad", self.suffix, module, grad, self.phase, self.mask, scale)


def watch(
    slot: Slot, suffix: str, tensor: Tensor, phase: str, mask: Mask | None, recompute: bool
) -> None:
    """Observe the gradient of an output when it comes, unless its call is not known."""
    if not has_gradient(tensor):
        return
    if recompute and slot.per_call:
        slot.shared.skip(f"{slot.name}:grad", RECOMPUTED)
    else:
        watch_gradient(tensor, GradientHook(slot, suffix, phase, mask))
