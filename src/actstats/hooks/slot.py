"""The forward hook of a module, with what is known of the module.

Most calls take the short way of `Slot.__call__`; what else there is to do stands beside.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from actstats import compiled
from actstats._torch import (
    function_mode,
    functorch_level,
    graph_task,
    has_gradient,
    in_backward,
    interpreted,
    is_compiling,
    is_tracing,
    quiet,
    untraceable,
    watch_gradient,
)
from actstats.activations import Activation
from actstats.forwards import Forward
from actstats.hooks.base import Hook
from actstats.hooks.gradients import RECOMPUTED, GradientHook
from actstats.hooks.observing import observe_input, observe_output
from actstats.leaf import Leaf
from actstats.shared import Shared, nowhere
from actstats.sites import Leaves, leaves, matches

__all__ = ["Slot", "call_suffix"]

MAX_CALLS = 8  # calls told apart by per_call; later ones are pooled as #9+


def call_suffix(number: int) -> str:
    """Return how the n-th call is named: ``#1`` to ``#8``, then ``#9+``."""
    return f"#{number}" if number <= MAX_CALLS else f"#{MAX_CALLS + 1}+"


class Slot(Hook):
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
            return Hook.__call__(self, module, args, output)
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
            seen = plan is not None and plan.read_alike(output, leaf.state, leaf.axis, shared.step)
            if seen:
                self.calls += 1
                shared.observed = True
            lock.release()
        except BaseException as error:
            shared.broke_off(self, error)
            return None
        if not seen:
            return self.run(module, args, output)
        if self.z_before:
            shared.forward.entered.discard(self)  # the call that its pre-hook began has ended
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
        reason = untraceable()
        if reason is not None:
            self.shared.steady = False  # torch calls again, to check a trace, as if nothing were
        reason = reason or self.shared.left_out()
        if reason is None:
            self.guarded(observe_output, self, module, args, output)
        else:
            self.shared.skip(self.name, reason)

    def observe_input(self, module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Read what goes in, before the module can overwrite it."""
        shared = self.shared
        if shared.active and not (self.dead or untraceable() or shared.left_out() or in_backward()):
            self.guarded(observe_input, self, module, args, kwargs)

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
