"""What a site is when it is first seen: its units, its activation, what is kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from actstats.custom import kinds
from actstats.gate import make_gate
from actstats.kernels import Spec, State
from actstats.leaf import Leaf
from actstats.parts import Part
from actstats.sharding import Units, local, units_of
from actstats.sites import Site, knows_units, lookup, trainable, unit_axis

if TYPE_CHECKING:
    from actstats.hooks.slot import Slot

__all__ = ["leaf_of"]

MAX_UNITS = 4096  # wider layers keep no per-unit detail


def leaf_of(slot: Slot, kind: str, suffix: str, module: nn.Module, part: Part, phase: str) -> Leaf:
    """Return the leaf of a module's call, made if it is seen for the first time."""
    leaf = slot.table.get((phase, kind, suffix))
    if leaf is None:
        made = _make_leaf(slot, kind, suffix, module, part)  # may run an activation
        with slot.shared.lock:
            leaf = slot.table.setdefault((phase, kind, suffix), made)
            leaf.state.coarsen(slot.shared.coarsest)
    return leaf


def _make_leaf(slot: Slot, kind: str, suffix: str, module: nn.Module, part: Part) -> Leaf:
    options, tensor = slot.shared.options, part.values
    judged = kind == "output" and slot.activation is not None
    activation = slot.activation if judged else None
    site = Site(
        slot.name,
        kind,
        suffix,
        slot.module_type,
        None if activation is None else activation.key,
        slot.source,
        slot.order,
        slot.shared.place(slot.name, kind, suffix),
        str(part.dtype).removeprefix("torch."),
        trainable(module),
        kind == "grad" and slot.shared.grad_scale is not None,
    )
    known = slot.shared.axes
    inherits = slot.inherits if slot.inherits is not None else known.get(tuple(tensor.shape))
    axis = None
    if not part.pooled:
        axis = known[tuple(tensor.shape)] = unit_axis(module, tensor, inherits)
    mine = units_of(tensor, axis)
    width = 0 if axis is None else tensor.shape[axis]
    notes = {}
    if inherits is None and axis is not None and not knows_units(module, tensor):
        notes["axis"] = f"axis {axis} of shape {tuple(tensor.shape)} is taken for the units'"
    if kind == "output" and slot.reason:
        notes["activation"] = slot.reason
    if part.pooled:
        notes["units"] = part.pooled
    elif axis is None:
        notes["units"] = f"a tensor of {tensor.dim()} dimensions has no units here"
    elif width > MAX_UNITS:
        notes["units"] = f"{width} units are more than {MAX_UNITS}"
    elif isinstance(mine, str):
        notes["units"] = mine
    units = 0 if "units" in notes or axis is None else local(tensor).shape[axis]
    shard = mine if isinstance(mine, Units) and units else None
    own = () if shard or part.pooled else lookup(options.statistics, site.key, ())
    spec = Spec(
        resolution=min(lookup(options.resolution, site.key, 3), slot.shared.coarsest),
        width=max(units, 1),
        gate=make_gate(activation, options.saturation_slope),
        asymptote=activation is not None and activation.ends_at_one,
        edges=lookup(options.edges, site.key),
        custom=kinds(own, units, notes),
    )
    state, kernel = State(spec, tensor.device), slot.shared.kernel_for(tensor)
    return Leaf(site, state, kernel, axis, activation, units, notes, shard)
