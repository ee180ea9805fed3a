"""What a recorder does not see although it looks alive, and why.

Modules never called, new in a model, or run by code that was compiled without their hooks.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from actstats._torch import compiled_as_they_are, has_forward_hooks, run_by_others_code
from actstats.hooks import Slot
from actstats.shared import Shared, logger
from actstats.sites import named_sites, selected
from actstats.targets import Targets
from actstats.text import listed

__all__ = ["Liveness"]

PATIENCE = 8  # observed steps after which a module that was never called is worth a word
_READ_BY_OTHERS = (NonDynamicallyQuantizableLinear,)  # nn.MultiheadAttention's `out_proj`


class Liveness:
    """What is not seen of a model, when to look for it, and what was said of it.

    Parameters
    ----------
    targets : Targets
        The modules with hooks.
    shared : Shared
        What the hooks share.
    every : int
        Steps between observed ones.
    """

    def __init__(self, targets: Targets, shared: Shared, every: int) -> None:
        self._targets = targets
        self._shared = shared
        self._every = every
        self._steps = 0
        self._said: set[str] = set()
        self._unseen: dict[Slot, int] = {}  # compiled before the hooks came; calls until then
        self._shadowed: dict[str, None] = {}  # run by code that was compiled for an equal model

    def forget(self) -> None:
        """Begin to be patient anew, as calls are counted anew; ask before they are forgotten."""
        self._steps = 0
        self._unseen = {slot: 0 for slot, calls in self._unseen.items() if slot.calls == calls}
        self._shadowed.clear()  # found again if it still is so

    def notes(self) -> Iterator[str]:
        """Say what runs without hooks; ask for :meth:`find_shadowed` first to know all of it."""
        yield from filter(None, [self._unseen_note(), self._shadowed_note(), self._new_note()])

    # ---- looking ---------------------------------------------------------------------------------

    def before_hooks(self) -> None:
        """Find, and log, modules that were compiled without the hooks they are about to get."""
        self._unseen = {slot: slot.calls for slot in self._compiled_before()}
        if self._unseen:
            logger.warning("%s", self._unseen_note())

    def after_step(self) -> None:
        """Say once, in the log, what is not seen; a long run looks ever more rarely."""
        self._steps += 1
        if self._steps & (self._steps - 1):
            return
        self.find_shadowed()
        for note in (self._shadowed_note(), self._new_note(), self._silent_note()):
            if note and note not in self._said:
                self._said.add(note)
                logger.warning("%s", note)

    def find_shadowed(self) -> None:
        """Look for modules that code runs which was compiled for an equal module without hooks."""
        is_eager = not self._shared.replayed and any(slot.calls for slot in self._shared.slots)
        if is_eager or not self._shared.hooked:
            return
        observed = self._targets.observed()
        names = {id(m): slot.name for m, slot in observed if slot not in self._unseen}
        shadowed = run_by_others_code(self._targets.insides().values())
        self._shadowed |= {names[id(m)]: None for m in shadowed if id(m) in names}

    def _compiled_before(self) -> Iterator[Slot]:
        observed = self._targets.observed()
        hookless = {id(m): slot for m, slot in observed if not has_forward_hooks(m)}
        for module, whole in compiled_as_they_are(self._targets.insides().values()):
            for inner in module.modules():
                if id(inner) in hookless and (whole or inner is not module):
                    yield hookless[id(inner)]

    # ---- modules never called --------------------------------------------------------------------

    def never_called(self) -> tuple[str, ...]:
        """Return observed modules whose forward has not run."""
        return tuple(slot.name for slot in self._shared.slots if not slot.calls)

    def uncalled(self) -> dict[str, str]:
        """Return modules that were not called, with what is known of their parameters."""
        silent = [(m, slot.name) for m, slot in self._targets.observed() if not slot.calls]
        root = self._shared.root()
        if not silent or root is None:
            return {}
        trained = any(p.grad is not None for p in root.parameters())
        return {name: _use_of_parameters(module, trained) for module, name in silent}

    def _read_by_others(self) -> Iterator[str]:
        """Return modules whose parameters others use, as torch made them: they are never called."""
        observed = self._targets.observed()
        return (slot.name for m, slot in observed if isinstance(m, _READ_BY_OTHERS))

    def _newcomers(self) -> tuple[str, ...]:
        """Return modules that a recorder made now would observe, and this one has never met."""
        root = self._shared.root()
        if root is None or self._targets.is_mapping:
            return ()
        modules, _ = named_sites(root)
        new = {name: module for name, module in modules.items() if module not in self._targets.met}
        try:
            return tuple(selected(new, *self._targets.choice)) if new else ()
        except Exception:  # none is chosen, or a predicate of the user's does not know them
            return ()

    # ---- what is said ----------------------------------------------------------------------------

    def _unseen_note(self) -> str:
        """Say which modules run without their hooks, and what to do; empty if none does."""
        names = [slot.name for slot, calls in self._unseen.items() if slot.calls == calls]
        if not names:
            return ""
        return (
            f"not seen, since compiled before the recorder was attached: {listed(names)}; "
            "attach before the first call, or call torch.compiler.reset() after attaching"
        )

    def _shadowed_note(self) -> str:
        """Say which modules ran without their hooks for an equal one's sake; empty if none did."""
        if not self._shadowed:
            return ""
        return (
            "seen only in part, since torch runs what it compiled for an equal model without a "
            f"recorder: {listed(list(self._shadowed))}; set torch._dynamo.config."
            "skip_nnmodule_hook_guards = False before the first call, or record both models"
        )

    def _new_note(self) -> str:
        """Say which modules came after the recorder, and what to do; empty if none did."""
        names = self._newcomers()
        if not names:
            return ""
        return (
            "not seen, since put into the model after the recorder was made: "
            f"{listed(names)}; make a new recorder to see them"
        )

    def _silent_note(self) -> str:
        """Say which modules with parameters were never called so far; empty if that is known."""
        if self._steps < PATIENCE * self._every:
            return ""
        known = {slot.name for slot in self._unseen} | set(self._read_by_others())
        silent = self.uncalled().items()
        names = [name for name, use in silent if use != "none" and name not in known]
        return f"never called in {PATIENCE} steps or more: {listed(names)}" if names else ""


def _use_of_parameters(module: nn.Module, trained: bool) -> str:
    own = list(module.parameters(recurse=False))
    if not own:
        return "none"
    if any(p.grad is not None for p in own) or isinstance(module, _READ_BY_OTHERS):
        return "used"
    return "unused" if trained and any(p.requires_grad for p in own) else "unknown"
