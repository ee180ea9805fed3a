"""What every hook is: inert in copies of a model, an op in compiled graphs.

A hook keeps no tensor, no name and no reference to the recorder; it returns None, makes no
autograd node, draws no random number and waits for no device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from actstats import compiled
from actstats._torch import interpreted, is_compiling
from actstats.sites import Leaves

__all__ = ["Hook", "enrolled"]

_Hooked = TypeVar("_Hooked", bound="Hook")


def inert(*_: Any, **__: Any) -> None:
    """Do nothing: what a copied or unpickled hook becomes."""


def _make_inert() -> Callable[..., None]:
    return inert


class Hook:
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


def enrolled(hook: _Hooked) -> _Hooked:
    """Return the hook, with what stands for it in compiled graphs."""
    hook.key = compiled.enrol(hook)
    return hook
