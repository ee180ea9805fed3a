"""What all hooks of one recorder share: the hot state, and where forwards begin and end."""

from __future__ import annotations

import logging
import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from actstats import kernels
from actstats._torch import PLAIN
from actstats.activations import Activation
from actstats.compiled import Pending, make_order
from actstats.kernels import Spec, State
from actstats.sharding import Units, widened
from actstats.sites import Site
from actstats.stats import TensorStats

if TYPE_CHECKING:
    from actstats.functional import FunctionalMode
    from actstats.hooks import Slot

__all__ = ["Leaf", "Mask", "Options", "Shared", "nowhere"]

logger = logging.getLogger("actstats")

_FUSED = (nn.MultiheadAttention, nn.TransformerEncoder)  # they ask whether functions are seen
Mask = tuple[tuple[int, ...], Tensor]  # its shape, and the samples that stay


@dataclass(frozen=True)
class Options:
    """What was asked of the recorder, as far as hooks need it."""

    capture: frozenset[str]
    resolution: Mapping[str, int]
    edges: Mapping[str, tuple[float, ...]]
    per_call: tuple[str, ...]
    saturation_slope: float
    strict: bool


@dataclass
class Leaf:
    """One observed leaf: its state, how it is laid out, what is known of it."""

    site: Site
    state: State
    kernel: ModuleType
    axis: int | None
    activation: Activation | None
    units: int
    notes: dict[str, str] = field(default_factory=dict)
    shard: Units | None = None  # which units these are, where other ranks have others

    def snapshot(self, saturation_slope: float) -> TensorStats:
        """Copy what the state holds."""
        memory = np.array(self.state.memory.cpu().numpy())  # one copy, from wherever it is
        if self.shard is not None:
            memory = widened(memory, self.state.spec, self.shard)
        return TensorStats.from_memory(
            memory,
            self.spec,
            activation=self.activation,
            saturation_slope=saturation_slope,
            units=self.all_units,
            notes=self.notes,
        )

    @property
    def all_units(self) -> int:
        """Units told apart, those of other ranks too."""
        return self.units if self.shard is None else self.shard.whole

    @property
    def spec(self) -> Spec:
        """What is kept, with room for the units of other ranks."""
        spec = self.state.spec
        return spec if self.shard is None else replace(spec, width=self.shard.whole)


def nowhere() -> None:
    """Refer to nothing, as a weak reference does whose object is gone."""


class Shared:
    """What all hooks of one recorder share; never refers to the recorder or the model."""

    def __init__(self, options: Options, kernel: ModuleType | None) -> None:
        self.options = options
        self.kernel = kernel
        self.active = True
        self.forked = False
        self.observed = False  # anything, in the open step
        self.steady = False  # in a forward of the model, without a mask: hooks may take short ways
        self.sought = 0  # modules that were not called yet, and will look for their source
        self.busy = False
        self.lock = RLock()  # held while a step ends
        self.step = 0
        self.phase: str | None = None
        self.root: Callable[[], nn.Module | None] = nowhere
        self.slots: list[Slot] = []
        self.stack: list[Slot] = []  # delimiting modules whose forward is running
        self.forward = 0  # number of the forward that runs
        self.delimited = False  # some module tells where forwards begin
        self.mask: Mask | None = None
        self.mask_used = False
        self.axes: dict[tuple[int, ...], int | None] = {}  # of the units, by shape
        self.grad_scale: Any = None
        self.producers: dict[int, tuple[Slot, str, weakref.ref[Tensor]]] = {}
        self.skipped: Counter[tuple[str, str]] = Counter()
        self.off: dict[str, str] = {}
        self.coarsest = 7
        self.places: dict[tuple[str, str, str], int] = {}  # of sites, in the order they were seen
        self.mode: FunctionalMode | None = None
        self.order = make_order()
        self.pending = Pending()
        self.watches = "grad" in options.capture
        _ALIVE.add(self)

    def kernel_for(self, tensor: Tensor) -> ModuleType:
        """Return the kernel that was asked for, or the best one for a tensor like this."""
        dtype = tensor.dtype if tensor.dtype in PLAIN else torch.float32
        return self.kernel or kernels.best(tensor.device.type, dtype)

    def current_phase(self) -> str:
        """Return the phase that a forward belongs to now."""
        if self.phase is not None:
            return self.phase
        root = self.root()
        return "eval" if root is not None and not root.training else "train"

    def skip(self, site: str, reason: str) -> None:
        """Count something that could not be observed."""
        self.skipped[site, reason] += 1

    def seek(self) -> None:
        """Keep in view which site gives out what, until every module has found its source."""
        self.sought = sum(not slot.calls for slot in self.slots)

    def leaves(self) -> Iterator[tuple[str, Leaf]]:
        """Yield every observed leaf with its phase."""
        for slot in self.slots:
            for (phase, _, _), leaf in slot.table.items():
                yield phase, leaf

    @property
    def nbytes(self) -> int:
        """Memory of the hot state, in bytes."""
        return sum(leaf.state.nbytes for _, leaf in self.leaves())

    def failed(self, slot: Slot, error: Exception) -> None:
        """Turn a site off after an error, and say so once."""
        if self.options.strict:
            raise error
        if slot.name not in self.off:
            self.off[slot.name] = f"{type(error).__name__}: {error}"
            logger.warning("%s is not recorded any more: %s", slot.name, error, exc_info=error)
        slot.dead = True
        slot.quick.clear()
        slot.quick_gradients.clear()

    # ---- where a forward begins and ends --------------------------------------------------------

    def begin(self) -> None:
        """Start a forward: call numbers begin again."""
        self.begin_in_graph()
        if self.mode is not None:
            self.mode.switch(True)

    def begin_in_graph(self) -> None:
        """Start a forward in a compiled graph, where functions are not seen."""
        self.begin_alone()
        self.steady = self.mask is None

    def begin_alone(self) -> None:
        """Start the forward of a module that was called outside the model's."""
        self.steady = False
        self.forward += 1
        self.producers.clear()
        if self.mask_used:
            self.mask = None
        self.mask_used = self.mask is not None

    def see_functions(self) -> None:
        """See what the innermost module calls, unless it would then compute in another way."""
        if self.mode is not None and self.stack:
            self.mode.switch(not isinstance(self.stack[-1].module(), _FUSED))

    def end(self) -> None:
        """End a forward: a mask has served."""
        self.steady = False
        self.stack.clear()
        self.mask = None
        self.producers.clear()
        if self.mode is not None:
            self.mode.switch(False)


_ALIVE: weakref.WeakSet[Shared] = weakref.WeakSet()


def _after_fork() -> None:
    """Make recorders inert in a forked worker: their data belong to the parent."""
    for shared in _ALIVE:
        shared.forked, shared.active, shared.steady = True, False, False
        shared.lock = RLock()  # the parent's may be held by a thread that is not here


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
