"""What a call of a module shows: its outputs, their gradients to come, what goes in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from actstats._torch import in_backward
from actstats.forwards import Forward
from actstats.hooks.adding import add, judge
from actstats.hooks.gradients import watch
from actstats.sharding import unreadable_part
from actstats.sites import input_leaves, leaves

if TYPE_CHECKING:
    from actstats.hooks.slot import Slot

__all__ = ["observe_input", "observe_output"]


def observe_output(slot: Slot, module: nn.Module, args: Any, output: Any) -> None:
    """Hand on what a module gave, and await its gradients."""
    shared, forward = slot.shared, slot.shared.forward
    recompute = in_backward()  # of a checkpoint; reentrant ones take their gradients from it
    if not recompute:
        _count_call(slot, forward, args)
    phase = shared.current_phase()
    call = "" if recompute else slot.call_suffix()
    for path, tensor in leaves(output):
        suffix = call + path
        reason = unreadable_part(tensor)
        if reason is not None:
            shared.skip(slot.name + suffix, reason)
            continue
        if not recompute:
            slot.gave(forward, suffix, tensor)
            if "output" in shared.options.capture:
                add(slot, "output", suffix, module, tensor, phase, forward.mask)
        if "grad" in shared.options.capture:
            watch(slot, suffix, tensor, phase, forward.mask, recompute)


def observe_input(slot: Slot, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
    """Hand on what goes into a module."""
    phase, forward = slot.shared.current_phase(), slot.shared.forward
    _find_source(slot, forward, args)
    slot.shared.begin_alone()
    forward.entered.add(slot)
    call = slot.call_suffix(ahead=1)
    capture = slot.shared.options.capture
    z = args[0] if args else None
    if slot.z_before and "output" in capture and isinstance(z, Tensor) and not unreadable_part(z):
        judge(slot, call, module, z, phase, forward.mask)
    if "input" not in capture:
        return
    for path, tensor in input_leaves(args, kwargs):
        reason = unreadable_part(tensor)
        if reason is not None:
            slot.shared.skip(f"{slot.name}{call}{path}:input", reason)
        else:
            add(slot, "input", call + path, module, tensor, phase, forward.mask)


def _count_call(slot: Slot, forward: Forward, args: Any) -> None:
    shared = slot.shared
    if slot not in forward.entered:
        shared.begin_alone()
    forward.entered.discard(slot)
    forward.count(slot)
    with shared.lock:
        slot.calls += 1
        if slot.calls == 1:
            shared.sought = max(0, shared.sought - 1)
    _find_source(slot, forward, args)


def _find_source(slot: Slot, forward: Forward, args: Any) -> None:
    """Remember which site's tensor goes in: the same object as that site gave out."""
    if slot.source is not None or not args:
        return
    found = forward.producers.get(id(args[0]))
    if found is None:
        return
    giver, leaf, tensor = found
    if tensor() is not args[0]:
        return  # another tensor, at the address of one that is gone
    slot.source = f"{giver.name}{leaf}"
    with slot.shared.lock:
        axes = [entry.axis for key, entry in giver.table.items() if key[1:] == ("output", leaf)]
    slot.inherits = axes[0] if axes else None
