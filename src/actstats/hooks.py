"""The hot part: small callables on modules that hand tensors to a kernel, at once.

A hook keeps no tensor, no name and no reference to the recorder; it returns None, makes no
autograd node, draws no random number and waits for no device. Copies and pickles of it are
inert.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from actstats import compiled
from actstats._torch import (
    calls_itself,
    function_mode,
    functorch_level,
    graph_task,
    has_gradient,
    in_backward,
    interpreted,
    is_compiling,
    is_tracing,
    plain,
    quiet,
    scaler_scale,
    untraceable,
    watch_gradient,
)
from actstats.activations import Activation
from actstats.custom import Kind, kinds
from actstats.forwards import Forward, Mask
from actstats.gate import make_gate
from actstats.kernels import Spec, State, repeats
from actstats.leaf import Leaf
from actstats.parts import Part, parts
from actstats.sharding import Units, local, units_of, unreadable_part
from actstats.shared import Shared, logger, nowhere
from actstats.sites import (
    Leaves,
    Site,
    input_leaves,
    knows_units,
    leaves,
    lookup,
    matches,
    trainable,
    unit_axis,
)

__all__ = ["Slot", "call_suffix", "register"]

MAX_UNITS = 4096  # wider layers keep no per-unit detail
RECOMPUTED = "recomputed: its call number is unknown"
MAX_CALLS = 8  # calls told apart by per_call; later ones are pooled as #9+


def inert(*_: Any, **__: Any) -> None:
    """Do nothing: what a copied or unpickled hook becomes."""


def _make_inert() -> Callable[..., None]:
    return inert


class _Hook:
    """A callable on a module or tensor; inert when the model is copied or pickled."""

    __slots__ = ("__weakref__", "key")

    key: Tensor  # what stands for the hook in compiled graphs

    @interpreted
    def __call__(self, *args: Any) -> None:
        """Run, or leave an op in the graph that is being compiled, but no trace in an export."""
        if is_compiling():
            if not torch.compiler.is_exporting():
                self.trace(*args)
            return
        self.run(*args)

    def run(self, *args: Any) -> None:
        """Do what the hook is for."""
        raise NotImplementedError

    def trace(self, *args: Any) -> None:
        """Leave an op in the graph; read nothing here that differs between equal modules."""
        raise NotImplementedError

    def replay(self, found: Leaves, watched: Sequence[str]) -> int:
        """Run from the op, on the leaves of what the hook saw; return the number of the call."""
        raise NotImplementedError

    def replay_skip(self, path: str, reason: str) -> None:
        """Count a leaf that the op could not be given."""

    @property
    def __name__(self) -> str:
        """None; the message is what someone reads who scripts a model with hooks."""
        raise AttributeError(
            "torch.jit.script takes no hooks of a recorder: script the model inside "
            "`with recorder.paused():`"
        )

    def __deepcopy__(self, memo: object) -> Callable[..., None]:
        return inert

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _make_inert, ()


def call_suffix(number: int) -> str:
    """Return how the n-th call is named: ``#1`` to ``#8``, then ``#9+``."""
    return f"#{number}" if number <= MAX_CALLS else f"#{MAX_CALLS + 1}+"


class Slot(_Hook):
    """The forward hook of one module object.

    Parameters
    ----------
    shared : Shared
        State shared by all hooks of the recorder.
    name : str
        Canonical name; read only outside compiled code.
    order : int
        Place in the model's order of modules.
    module_type : str
        Class name of the module.
    activation : Activation, optional
        The function of an activation module.
    reason : str
        Why there is no activation.
    """

    __slots__ = (
        "activation",
        "calls",
        "dead",
        "inherits",
        "module",
        "module_type",
        "name",
        "order",
        "per_call",
        "quick",
        "quick_gradients",
        "reason",
        "shared",
        "source",
        "table",
        "z_before",
    )

    def __init__(
        self,
        shared: Shared,
        name: str,
        order: int,
        module_type: str,
        activation: Activation | None = None,
        reason: str = "",
    ) -> None:
        self.shared = shared
        self.name = name
        self.order = order
        self.module_type = module_type
        self.activation = activation
        self.reason = reason
        self.calls = 0
        self.dead = False
        self.module: Callable[[], nn.Module | None] = nowhere  # read where only tensors come in
        self.source: str | None = None
        self.inherits: int | None = None
        self.per_call = any(matches(p.partition(":")[0], name) for p in shared.options.per_call)
        self.table: dict[tuple[str, str, str], Leaf] = {}
        self.quick: dict[str, Leaf] = {}  # by phase: where the output is one tensor
        self.quick_gradients: dict[str, Leaf] = {}
        # z must be read before the forward where the output does not tell the slope
        self.z_before = activation is not None and activation.judged_from == "input"

    # ---- what torch calls ----------------------------------------------------------------------

    @interpreted
    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Observe a module's output; one like the last ones by the kernel's short way."""
        # One flat function: between a training step's own work no cache is warm, and each call
        # of a helper costs as much as what it asks. Nothing here is of this thread's forward, so
        # that no thread has to look for its own: masks, call numbers and modes take the long way.
        shared = self.shared
        if (
            is_compiling()
            or not shared.steady
            or is_tracing()
            or functorch_level() is not None
            or function_mode()
            or graph_task() != -1
        ):
            return _Hook.__call__(self, module, args, output)
        phase = shared.phase
        if phase is None:
            root = shared.root()
            phase = "eval" if root is not None and not root.training else "train"
        leaf = self.quick.get(phase)
        if leaf is None:
            return self.run(module, args, output)
        lock = shared.lock
        try:
            lock.acquire()  # by hand: `with` takes twice the time
            plan = leaf.state.plan
            seen = plan is not None and plan.repeat(output, leaf.state, leaf.axis, shared.step)
            if seen:
                self.calls += 1
                shared.observed = True
            lock.release()
        except BaseException as error:
            shared.broke_off(self, error)
            return None
        if not seen:
            return self.run(module, args, output)
        if shared.sought:
            self.gave(shared.forward, "", output)
        if shared.watches and has_gradient(output):
            watch_gradient(output, GradientHook(self, "", phase, None))
        return None

    def run(self, module: nn.Module, args: Any, output: Any) -> None:
        """Observe a module's output."""
        if self.shared.active and not self.dead:
            self.observe(module, args, output)

    def trace(self, module: nn.Module, args: Any, output: Any) -> None:
        """Leave an op that observes the output's leaves, and one for each gradient."""
        if self.shared.active:
            compiled.trace(self.shared, self.key, leaves(output), self.shared.watches)

    def replay(self, found: Leaves, watched: Sequence[str]) -> int:
        """Observe the output's leaves; which site fed the module is not known here."""
        module, shared = self.module(), self.shared
        shared.replayed = True
        if module is None:
            return 0
        self.run(module, (), found.whole())
        if self.dead or not watched or shared.left_out():
            return 0
        if self.per_call and in_backward():
            shared.skip(f"{self.name}:grad", RECOMPUTED)
            return 0
        call, phase, mask = self.call_suffix(), shared.current_phase(), shared.forward.mask
        with shared.lock:
            return shared.pending.add(
                {p: GradientHook(self, call + p, phase, mask) for p in watched}
            )

    def replay_skip(self, path: str, reason: str) -> None:
        """Count a leaf that the op could not be given."""
        self.shared.skip(f"{self.name}{self.call_suffix()}{path}", reason)

    def replay_gradient(self, number: int, path: str, grad: Tensor) -> None:
        """Observe the gradient of a leaf of the call with this number."""
        with self.shared.lock:
            hook = self.shared.pending.take(number, path)
        if hook is not None:
            hook.run(grad)
        elif number:
            self.shared.skip(f"{self.name}{path}:grad", "backward ran again or too late")

    def observe(self, module: nn.Module, args: Any, output: Any) -> None:
        """Hand the output's leaves to the kernel."""
        reason = untraceable() or self.shared.left_out()
        if reason is None:
            self.guarded(self._observe_output, module, args, output)
        else:
            self.shared.skip(self.name, reason)

    def observe_input(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Read what goes in, before the module can overwrite it."""
        shared = self.shared
        if shared.active and not (self.dead or untraceable() or shared.left_out() or in_backward()):
            self.guarded(self._observe_input, module, args, kwargs)

    def guarded(self, work: Callable[..., None], *args: Any) -> None:
        """Do some work out of sight of function modes; an error turns the site off."""
        forward = self.shared.forward
        try:
            forward.busy = True
            with quiet():
                work(*args)
        except Exception as error:
            self.shared.failed(self, error)
        finally:
            forward.busy = False

    def gave(self, forward: Forward, path: str, tensor: Tensor) -> None:
        """Remember that a tensor came from here, while the forward runs."""
        if forward.stack or forward.calls:
            forward.producers[id(tensor)] = (self, path, weakref.ref(tensor))

    def call_suffix(self, ahead: int = 0) -> str:
        """Return how the call that runs in this thread is named; a pre-hook is one ahead."""
        if not self.per_call:
            return ""
        return call_suffix(self.shared.forward.calls.get(self, 0) + ahead)

    @property
    def is_seen(self) -> bool:
        """Whether anything of the module was observed."""
        return any(leaf.observed for leaf in tuple(self.table.values()))

    def forget(self) -> None:
        """Forget every leaf, and that it was called or failed."""
        self.calls, self.dead = 0, False
        self.table.clear()
        self.quick.clear()
        self.quick_gradients.clear()

    # ---- steps of an observation ---------------------------------------------------------------

    def _count_call(self, forward: Forward, args: Any) -> None:
        shared = self.shared
        if self not in forward.entered:
            shared.begin_alone()
        forward.entered.discard(self)
        forward.count(self)
        with shared.lock:
            self.calls += 1
            if self.calls == 1:
                shared.sought = max(0, shared.sought - 1)
        self._find_source(forward, args)

    def _find_source(self, forward: Forward, args: Any) -> None:
        """Remember which site's tensor goes in: the same object as that site gave out."""
        if self.source is not None or not args:
            return
        found = forward.producers.get(id(args[0]))
        if found is None:
            return
        slot, leaf, tensor = found
        if tensor() is not args[0]:
            return  # another tensor, at the address of one that is gone
        self.source = f"{slot.name}{leaf}"
        with self.shared.lock:
            axes = [entry.axis for key, entry in slot.table.items() if key[1:] == ("output", leaf)]
        self.inherits = axes[0] if axes else None

    def _observe_output(self, module: nn.Module, args: Any, output: Any) -> None:
        shared, forward = self.shared, self.shared.forward
        recompute = in_backward()  # of a checkpoint; reentrant ones take their gradients from it
        if not recompute:
            self._count_call(forward, args)
        phase = shared.current_phase()
        call = "" if recompute else self.call_suffix()
        for path, tensor in leaves(output):
            suffix = call + path
            reason = unreadable_part(tensor)
            if reason is not None:
                shared.skip(self.name + suffix, reason)
                continue
            if not recompute:
                self.gave(forward, suffix, tensor)
                if "output" in shared.options.capture:
                    self._add("output", suffix, module, tensor, phase, forward.mask)
            if "grad" in shared.options.capture:
                self._watch_gradient(suffix, tensor, phase, forward.mask, recompute)

    def _observe_input(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        phase, forward = self.shared.current_phase(), self.shared.forward
        self._find_source(forward, args)
        self.shared.begin_alone()
        forward.entered.add(self)
        call = self.call_suffix(ahead=1)
        capture = self.shared.options.capture
        z = args[0] if args else None
        if (
            self.z_before
            and "output" in capture
            and isinstance(z, Tensor)
            and not unreadable_part(z)
        ):
            self._judge(call, module, z, phase, forward.mask)
        if "input" not in capture:
            return
        for path, tensor in input_leaves(args, kwargs):
            reason = unreadable_part(tensor)
            if reason is not None:
                self.shared.skip(f"{self.name}{call}{path}:input", reason)
            else:
                self._add("input", call + path, module, tensor, phase, forward.mask)

    def _add(
        self,
        kind: str,
        suffix: str,
        module: nn.Module,
        tensor: Tensor,
        phase: str,
        mask: Mask | None,
        scale: float | Tensor | None = None,
    ) -> None:
        for part in parts(tensor):
            self._add_part(kind, suffix + part.path, module, part, phase, mask, scale)

    def _add_part(
        self,
        kind: str,
        suffix: str,
        module: nn.Module,
        part: Part,
        phase: str,
        mask: Mask | None,
        scale: float | Tensor | None,
    ) -> None:
        leaf = self._leaf(kind, suffix, module, part, phase)
        x, axis = self._masked(part, leaf, mask)
        with self.shared.lock:
            self._fit(leaf, x, axis, part.pooled)
            if not leaf.state.custom:
                self._hand_over(leaf, x, axis, scale, part.zeros)
                if self.table.get((phase, kind, suffix)) is leaf:  # not forgotten meanwhile
                    self._quicken(kind, suffix, phase, leaf)
                return
        self._add_with_custom(leaf, x, axis, scale)

    def _quicken(self, kind: str, suffix: str, phase: str, leaf: Leaf) -> None:
        """Let tensors like this one take the short way."""
        if suffix or self.per_call or self.dead or not self.shared.options.outside:
            return
        if kind == "output":
            self.quick[phase] = leaf
        elif kind == "grad":
            self.quick_gradients[phase] = leaf

    def _hand_over(
        self,
        leaf: Leaf,
        x: Tensor,
        axis: int | None,
        scale: float | Tensor | None,
        zeros: int = 0,
    ) -> None:
        """Hand a tensor to the kernel; called with the lock."""
        self.shared.observed = leaf.observed = True
        leaf.ahead = False
        step, state = self.shared.step, leaf.state
        repeats.observe(leaf.kernel, x, state, unit_axis=axis, step=step, scale=scale, zeros=zeros)

    def _add_with_custom(
        self, leaf: Leaf, x: Tensor, axis: int | None, scale: float | Tensor | None
    ) -> None:
        """Hand a tensor to the kernel and to the user's own statistics, in the same window.

        These work on copies and not under the lock, since they may wait for another thread. Where
        that was quicker, or the window has closed meanwhile, they work again, and the second time
        from nothing: what they make of the tensor alone is merged.
        """
        values = x if scale is None else x.double() / scale
        for alone in (False, True):
            version, drafts = self._drafted(leaf, values, axis, alone=alone)
            with self.shared.lock:
                if alone or leaf.version == version:
                    self._fit(leaf, x, axis)
                    self._hand_over(leaf, x, axis, scale)
                    (leaf.join if alone else leaf.keep)(drafts)
                    return

    def _drafted(
        self, leaf: Leaf, x: Tensor, axis: int | None, *, alone: bool
    ) -> tuple[int, dict[Kind, Tensor]]:
        """Return copies of the user's own statistics with a tensor added, and their version.

        With ``alone`` they know nothing but the tensor. An error turns that statistic off here.
        """
        with self.shared.lock:
            version, drafts = leaf.drafts(empty=alone)
        for kind in tuple(drafts):
            try:
                kind.update(kind.views(drafts[kind]), x, axis)
            except Exception as error:
                if self.shared.options.strict:
                    raise
                del drafts[kind]
                with self.shared.lock:
                    leaf.drop(kind, f"{type(error).__name__}: {error}")
                what = f"{kind.name} of {leaf.site.key}"
                logger.warning("%s is not recorded any more: %s", what, error, exc_info=error)
        return version, drafts

    def _judge(
        self, suffix: str, module: nn.Module, z: Tensor, phase: str, mask: Mask | None
    ) -> None:
        shared = self.shared
        for part in parts(z):
            leaf = self._leaf("output", suffix + part.path, module, part, phase)
            x, axis = self._masked(part, leaf, mask)
            with shared.lock:
                shared.observed = leaf.ahead = True
                self._fit(leaf, x, axis, part.pooled)
                step, state = shared.step, leaf.state
                repeats.judge(leaf.kernel, x, state, unit_axis=axis, step=step, zeros=part.zeros)

    def _watch_gradient(
        self, suffix: str, tensor: Tensor, phase: str, mask: Mask | None, recompute: bool
    ) -> None:
        if not has_gradient(tensor):
            return
        if recompute and self.per_call:
            self.shared.skip(f"{self.name}:grad", RECOMPUTED)
        else:
            watch_gradient(tensor, GradientHook(self, suffix, phase, mask))

    def _masked(self, part: Part, leaf: Leaf, mask: Mask | None) -> tuple[Tensor, int | None]:
        """Leave masked samples out; the mask's axes are the first ones beside the units'."""
        x, axis = plain(local(part.values)), leaf.axis
        if mask is None:
            return x, axis
        shape, keep = mask
        if part.irregular:
            self.shared.skip(leaf.site.key, "a mask does not fit this layout: all samples taken")
            return x, axis
        if axis == 1 and len(shape) > 1:
            x, axis = x.movedim(1, -1), -1
        samples = x.dim() - (axis is not None)  # axes that a mask may speak of
        if len(shape) > samples or tuple(x.shape[: len(shape)]) != shape:
            self.shared.skip(leaf.site.key, f"mask of shape {shape} did not fit: all samples taken")
            return x, axis
        return x.flatten(0, len(shape) - 1).index_select(0, keep.to(x.device)), axis

    def _fit(self, leaf: Leaf, x: Tensor, axis: int | None, pooled: str = "") -> None:
        """Move with the model; pool the units from now on if their number changed, or is none.

        ``pooled`` says why there are none. Called with the lock.
        """
        for kind in tuple(leaf.state.custom) if pooled else ():
            leaf.drop(kind, pooled)
        if leaf.state.device != x.device:
            leaf.state.to(x.device)
            leaf.kernel = self.shared.kernel_for(x)
        if not leaf.units:
            return
        fits = axis is not None and x.dim() > max(axis, 0) and x.shape[axis] == leaf.units
        if fits and not pooled:
            return
        leaf.state.pool()
        changed = f"the width changed from {leaf.units} (shape {tuple(x.shape)})"
        leaf.notes["units"] = pooled or changed
        leaf.units, leaf.shard = 0, None

    # ---- making a site ----------------------------------------------------------------------

    def _leaf(self, kind: str, suffix: str, module: nn.Module, part: Part, phase: str) -> Leaf:
        leaf = self.table.get((phase, kind, suffix))
        if leaf is None:
            made = self._make_leaf(kind, suffix, module, part)  # may run an activation
            with self.shared.lock:
                leaf = self.table.setdefault((phase, kind, suffix), made)
                leaf.state.coarsen(self.shared.coarsest)
        return leaf

    def _make_leaf(self, kind: str, suffix: str, module: nn.Module, part: Part) -> Leaf:
        options, tensor = self.shared.options, part.values
        judged = kind == "output" and self.activation is not None
        activation = self.activation if judged else None
        site = Site(
            self.name,
            kind,
            suffix,
            self.module_type,
            None if activation is None else activation.key,
            self.source,
            self.order,
            self.shared.place(self.name, kind, suffix),
            str(part.dtype).removeprefix("torch."),
            trainable(module),
            kind == "grad" and self.shared.grad_scale is not None,
        )
        known = self.shared.axes
        inherits = self.inherits if self.inherits is not None else known.get(tuple(tensor.shape))
        axis = None
        if not part.pooled:
            axis = known[tuple(tensor.shape)] = unit_axis(module, tensor, inherits)
        mine = units_of(tensor, axis)
        width = 0 if axis is None else tensor.shape[axis]
        notes = {}
        if inherits is None and axis is not None and not knows_units(module, tensor):
            notes["axis"] = f"axis {axis} of shape {tuple(tensor.shape)} is taken for the units'"
        if kind == "output" and self.reason:
            notes["activation"] = self.reason
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
            resolution=min(lookup(options.resolution, site.key, 3), self.shared.coarsest),
            width=max(units, 1),
            gate=make_gate(activation, options.saturation_slope),
            asymptote=activation is not None and activation.ends_at_one,
            edges=lookup(options.edges, site.key),
            custom=kinds(own, units, notes),
        )
        state, kernel = State(spec, tensor.device), self.shared.kernel_for(tensor)
        return Leaf(site, state, kernel, axis, activation, units, notes, shard)


class InputHook(_Hook):
    """Forward pre-hook: reads what goes in."""

    __slots__ = ("slot",)

    def __init__(self, slot: Slot) -> None:
        self.slot = slot

    def run(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Observe a module's input."""
        self.slot.observe_input(module, args, kwargs)

    def trace(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Leave an op that observes the input's leaves."""
        if self.slot.shared.active:
            compiled.trace(self.slot.shared, self.key, input_leaves(args, kwargs))

    def replay(self, found: Leaves, watched: Sequence[str]) -> int:
        """Observe the input's leaves."""
        module = self.slot.module()
        if module is not None:
            self.run(module, (found.whole(),), {})
        return 0

    def replay_skip(self, path: str, reason: str) -> None:
        """Count a leaf that the op could not be given."""
        call = self.slot.call_suffix(ahead=1)
        self.slot.shared.skip(f"{self.slot.name}{call}{path}:input", reason)


class GradientHook(_Hook):
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
            return _Hook.__call__(self, grad)
        leaf = slot.quick_gradients.get(self.phase)
        if leaf is None:
            return self.run(grad)
        lock = shared.lock
        try:
            lock.acquire()  # as in `Slot`
            plan = leaf.state.plan
            seen = plan is not None and plan.repeat(grad, leaf.state, leaf.axis, shared.step)
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
            slot._add("grad", self.suffix, module, grad, self.phase, self.mask, scale)


class EnterHook(_Hook):
    """Pre-hook of a module that delimits forwards (the model), or calls functions."""

    __slots__ = ("is_root", "slot")

    def __init__(self, slot: Slot, *, is_root: bool) -> None:
        self.slot = slot
        self.is_root = is_root

    def run(self, module: nn.Module, args: Any) -> None:
        """Push the module; the outermost begins a forward."""
        if self.slot.shared.active and not in_backward():
            self._enter(self.slot.shared.begin)
            self.slot.shared.see_functions()

    def trace(self, module: nn.Module, args: Any) -> None:
        """Leave an op that does the same."""
        if self.slot.shared.active:
            compiled.trace(self.slot.shared, self.key)

    def replay(self, found: Leaves, watched: Sequence[str]) -> int:
        """Push the module."""
        if not in_backward():
            self._enter(self.slot.shared.begin_in_graph)
        return 0

    def _enter(self, begin: Callable[[], None]) -> None:
        forward, module = self.slot.shared.forward, self.slot.module()
        if self.is_root and forward.stack and not (module is not None and calls_itself(module)):
            self.slot.shared.break_off(forward)
        if not forward.stack:
            begin()
        forward.enter(self.slot)


class ExitHook(_Hook):
    """Forward hook of a module that delimits forwards; called after an exception too."""

    __slots__ = ("slot",)

    def __init__(self, slot: Slot) -> None:
        self.slot = slot

    def run(self, module: nn.Module, args: Any, output: Any) -> None:
        """Pop the module and what it left behind; the outermost ends the forward."""
        self._leave()
        self.slot.shared.see_functions()

    def trace(self, module: nn.Module, args: Any, output: Any) -> None:
        """Leave an op that does the same."""
        if self.slot.shared.active:
            compiled.trace(self.slot.shared, self.key)

    def replay(self, found: Leaves, watched: Sequence[str]) -> int:
        """Pop the module."""
        self._leave()
        return 0

    def _leave(self) -> None:
        forward = self.slot.shared.forward
        if not in_backward() and forward.leave(self.slot):
            forward.end()


def register(
    module: nn.Module, slot: Slot, *, observed: bool, delimits: bool, is_root: bool, deep: bool
) -> Iterator[RemovableHandle]:
    """Put the hooks of one module in place, and yield their handles."""
    slot.module = weakref.ref(module)
    if delimits:
        enter = _enrolled(EnterHook(slot, is_root=is_root))
        yield module.register_forward_pre_hook(enter, prepend=True)
    if observed:
        if deep or slot.z_before:
            yield module.register_forward_pre_hook(_enrolled(InputHook(slot)), with_kwargs=True)
        yield module.register_forward_hook(_enrolled(slot))
    if delimits:
        # An interrupted forward of the root ends when its next one begins, unless a function mode
        # waits. Compiled code is made anew for each number of a hook that is always called.
        always = slot.shared.make_mode is not None or not is_root
        yield module.register_forward_hook(_enrolled(ExitHook(slot)), always_call=always)


def _enrolled(hook: _Hook) -> _Hook:
    hook.key = compiled.enrol(hook)
    return hook
