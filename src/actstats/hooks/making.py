"""What a site is when it is first seen: its units, its activation, what is kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from actstats.activations import Activation
from actstats.custom import CustomSpec, custom_specs
from actstats.gate import make_gate
from actstats.kernels import Spec, State
from actstats.leaf import Leaf
from actstats.parts import Part
from actstats.sharding import Units, local, units_of
from actstats.shared import Shared
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
    activation = slot.activation if kind == "output" else None
    site = _site(slot, kind, suffix, module, part, activation)
    axis, notes = _axis(slot, module, part)
    if kind == "output" and slot.reason:
        notes["activation"] = slot.reason
    here = units_of(part.values, axis)
    pooled = _why_pooled(part, axis, here)
    if pooled:
        notes["units"] = pooled
    units = 0 if pooled or axis is None else local(part.values).shape[axis]
    shard = here if isinstance(here, Units) and units else None
    own = () if shard or part.pooled else lookup(slot.shared.options.statistics, site.key, ())
    custom = custom_specs(own, units, notes, site.key)
    spec = _spec(slot.shared, site, activation, max(units, 1), custom)
    state, kernel = State(spec, part.values.device), slot.shared.kernel_for(part.values)
    return Leaf(site, state, kernel, axis, activation, units, notes, shard)


def _site(
    slot: Slot,
    kind: str,
    suffix: str,
    module: nn.Module,
    part: Part,
    activation: Activation | None,
) -> Site:
    return Site(
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


def _axis(slot: Slot, module: nn.Module, part: Part) -> tuple[int | None, dict[str, str]]:
    """Return the axis of the units, as tensors of this shape had it before, and a note if not."""
    known, shape = slot.shared.axes, tuple(part.values.shape)
    inherits = slot.inherits if slot.inherits is not None else known.get(shape)
    if part.pooled:
        return None, {}
    axis = known[shape] = unit_axis(module, part.values, inherits)
    if inherits is not None or axis is None or knows_units(module, part.values):
        return axis, {}
    return axis, {"axis": f"axis {axis} of shape {shape} is taken for the units'"}


def _why_pooled(part: Part, axis: int | None, here: Units | str | None) -> str:
    """Return why units are not told apart; empty where they are."""
    if part.pooled:
        return part.pooled
    if axis is None:
        return f"a tensor of {part.values.dim()} dimensions has no units here"
    width = part.values.shape[axis]
    if width > MAX_UNITS:
        return f"{width} units are more than {MAX_UNITS}"
    return here if isinstance(here, str) else ""


def _spec(
    shared: Shared,
    site: Site,
    activation: Activation | None,
    width: int,
    custom: tuple[CustomSpec, ...],
) -> Spec:
    options = shared.options
    return Spec(
        resolution=min(lookup(options.resolution, site.key, 3), shared.coarsest),
        width=width,
        gate=make_gate(activation, options.saturation_slope),
        asymptote=activation is not None and activation.ends_at_one,
        edges=lookup(options.edges, site.key),
        custom=custom,
    )
