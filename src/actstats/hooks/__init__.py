"""The hot part: small callables on modules that hand tensors to a kernel, at once."""

from __future__ import annotations

from actstats.hooks.base import Hook, _make_inert, inert  # by these names pickles know them
from actstats.hooks.gradients import GradientHook
from actstats.hooks.placing import register
from actstats.hooks.slot import Slot, call_suffix

__all__ = ["GradientHook", "Hook", "Slot", "_make_inert", "call_suffix", "inert", "register"]
