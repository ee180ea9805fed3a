"""The hooks of a recorder: on the model, and off it again."""

from __future__ import annotations

from torch import nn
from torch.utils.hooks import RemovableHandle

from actstats.hooks import register
from actstats.liveness import Liveness
from actstats.shared import Shared
from actstats.targets import Target, Targets
from actstats.updates import Updates

__all__ = ["Attachment"]


class Attachment:
    """Every handle of a recorder's hooks, to remove them by; it holds the model weakly.

    Parameters
    ----------
    targets : Targets
        The modules that get hooks.
    shared : Shared
        What the hooks share.
    updates : Updates
        The optimizers that get hooks.
    liveness : Liveness
        What is told before hooks come.
    """

    def __init__(
        self, targets: Targets, shared: Shared, updates: Updates, liveness: Liveness
    ) -> None:
        self._targets = targets
        self._shared = shared
        self._updates = updates
        self._liveness = liveness
        self.handles: list[RemovableHandle] = []

    def __bool__(self) -> bool:
        """Whether the hooks are in place."""
        return bool(self.handles)

    def put(self) -> None:
        """Put the hooks in place; where that breaks off, some may be.

        Raises
        ------
        RuntimeError
            If the model is gone.
        """
        self._shared.hooked = True
        self._liveness.before_hooks()
        for target in self._targets.modules:
            module = target.module()
            if module is not None:
                self._put_on(module, target)
            elif self._shared.root() is None:  # else it was only taken out of the model
                raise RuntimeError("the model is gone: keep a reference to it while recording.")
        for watch in self._updates.watches:
            self.handles += watch.register()

    def _put_on(self, module: nn.Module, target: Target) -> None:
        self.handles += register(
            module,
            target.slot,
            observed=target.is_observed,
            delimits=target.delimits,
            is_root=module is self._shared.root(),
            deep="input" in self._shared.options.capture,
        )

    def remove(self) -> None:
        """Remove every hook, and end the forward that may be under way."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        self._shared.hooked = False
        self._shared.forward.end()
