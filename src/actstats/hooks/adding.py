"""How a tensor reaches the states of its sites: part by part, masked, the user's own beside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from actstats._torch import plain
from actstats.custom import CustomSpec
from actstats.forwards import Mask
from actstats.hooks.making import leaf_of
from actstats.kernels import repeats
from actstats.leaf import Leaf
from actstats.parts import Part, parts
from actstats.sharding import local
from actstats.shared import Shared

if TYPE_CHECKING:
    from actstats.hooks.slot import Slot

__all__ = ["add", "judge"]

MOST_REPEATED = 1 << 26  # values of an expanded tensor that users' statistics are given


def add(
    slot: Slot,
    kind: str,
    suffix: str,
    module: nn.Module,
    tensor: Tensor,
    phase: str,
    mask: Mask | None,
    scale: float | Tensor | None = None,
) -> None:
    """Hand a tensor of one call to the kernel; ``suffix`` says which call and leaf it is."""
    for part in parts(tensor):
        _add_part(slot, kind, suffix + part.path, module, part, phase, mask, scale)


def _add_part(
    slot: Slot,
    kind: str,
    suffix: str,
    module: nn.Module,
    part: Part,
    phase: str,
    mask: Mask | None,
    scale: float | Tensor | None,
) -> None:
    leaf = leaf_of(slot, kind, suffix, module, part, phase)
    x, axis = _masked(slot.shared, part, leaf, mask)
    with slot.shared.lock:
        _fit(slot.shared, leaf, x, axis, part.pooled)
        if not leaf.state.custom:
            _hand_over(slot.shared, leaf, x, axis, scale, part.zeros)
            if slot.table.get((phase, kind, suffix)) is leaf:  # not forgotten meanwhile
                _quicken(slot, kind, suffix, phase, leaf)
            return
    _add_with_custom(slot.shared, leaf, x, axis, scale)


def _quicken(slot: Slot, kind: str, suffix: str, phase: str, leaf: Leaf) -> None:
    """Let tensors like this one take the short way."""
    if suffix or slot.per_call or slot.dead or not slot.shared.options.outside:
        return
    if kind == "output":
        slot.quick[phase] = leaf
    elif kind == "grad":
        slot.quick_gradients[phase] = leaf


def judge(
    slot: Slot, suffix: str, module: nn.Module, z: Tensor, phase: str, mask: Mask | None
) -> None:
    """Judge what goes into an activation; its output comes later."""
    shared = slot.shared
    for part in parts(z):
        leaf = leaf_of(slot, "output", suffix + part.path, module, part, phase)
        x, axis = _masked(shared, part, leaf, mask)
        with shared.lock:
            shared.observed = leaf.ahead = True
            _fit(shared, leaf, x, axis, part.pooled)
            step, state = shared.step, leaf.state
            repeats.judge(leaf.kernel, x, state, unit_axis=axis, step=step, zeros=part.zeros)


def _hand_over(
    shared: Shared,
    leaf: Leaf,
    x: Tensor,
    axis: int | None,
    scale: float | Tensor | None,
    zeros: int = 0,
) -> None:
    """Hand a tensor to the kernel; called with the lock."""
    shared.observed = leaf.observed = leaf.handed = True
    leaf.ahead = False
    step, state = shared.step, leaf.state
    repeats.observe(leaf.kernel, x, state, unit_axis=axis, step=step, scale=scale, zeros=zeros)


def _add_with_custom(
    shared: Shared, leaf: Leaf, x: Tensor, axis: int | None, scale: float | Tensor | None
) -> None:
    """Hand a tensor to the kernel and to the user's own statistics, in the same window.

    These work on copies and not under the lock, since they may wait for another thread. Where
    that was quicker, or the window has closed meanwhile, they work again, and the second time
    from nothing: what they make of the tensor alone is merged.
    """
    _spare_custom(shared, leaf, x)
    values = x if scale is None or not leaf.state.custom else x.double() / scale
    for alone in (False, True):
        version, drafts = _drafted(shared, leaf, values, axis, alone=alone)
        with shared.lock:
            if alone or leaf.version == version:
                _fit(shared, leaf, x, axis)
                _hand_over(shared, leaf, x, axis, scale)
                (leaf.join if alone else leaf.keep)(drafts)
                return


def _spare_custom(shared: Shared, leaf: Leaf, x: Tensor) -> None:
    """Give up the user's own statistics where they would copy what lies once and counts often."""
    if x.numel() > MOST_REPEATED and 0 in x.stride():
        with shared.lock:
            for own in tuple(leaf.state.custom):
                leaf.drop(own, f"an expanded tensor of {x.numel()} values came, too many to copy")


def _drafted(
    shared: Shared, leaf: Leaf, x: Tensor, axis: int | None, *, alone: bool
) -> tuple[int, dict[CustomSpec, Tensor]]:
    """Return copies of the user's own statistics with a tensor added, and their version.

    With ``alone`` they know nothing but the tensor. An error turns that statistic off here.
    """
    with shared.lock:
        version, drafts = leaf.drafts(empty=alone)
    for own in tuple(drafts):
        try:
            own.update(own.views(drafts[own]), x, axis)
        except Exception as error:
            if shared.options.strict:
                raise
            del drafts[own]
            reason = own.failed("update", error, leaf.site.key)
            with shared.lock:
                leaf.drop(own, reason)
    return version, drafts


def _masked(shared: Shared, part: Part, leaf: Leaf, mask: Mask | None) -> tuple[Tensor, int | None]:
    """Leave masked samples out; the mask's axes are the first ones beside the units'."""
    x, axis = plain(local(part.values)), leaf.axis
    if mask is None:
        return x, axis
    shape, keep = mask
    if part.irregular:
        shared.skip(leaf.site.key, "a mask does not fit this layout: all samples taken")
        return x, axis
    if axis == 1 and len(shape) > 1:
        x, axis = x.movedim(1, -1), -1
    samples = x.dim() - (axis is not None)  # axes that a mask may speak of
    if len(shape) > samples or tuple(x.shape[: len(shape)]) != shape:
        shared.skip(leaf.site.key, f"mask of shape {shape} did not fit: all samples taken")
        return x, axis
    return x.flatten(0, len(shape) - 1).index_select(0, keep.to(x.device)), axis


def _fit(shared: Shared, leaf: Leaf, x: Tensor, axis: int | None, pooled: str = "") -> None:
    """Move with the model; pool the units from now on if their number changed, or is none.

    ``pooled`` says why there are none. Called with the lock.
    """
    for own in tuple(leaf.state.custom) if pooled else ():
        leaf.drop(own, pooled)
    if leaf.state.device != x.device:
        leaf.state.to(x.device)
        leaf.kernel = shared.kernel_for(x)
    if not leaf.units:
        return
    fits = axis is not None and x.dim() > max(axis, 0) and x.shape[axis] == leaf.units
    if fits and not pooled:
        return
    leaf.state.pool()
    changed = f"the width changed from {leaf.units} (shape {tuple(x.shape)})"
    leaf.notes["units"] = pooled or changed
    leaf.units, leaf.shard = 0, None
