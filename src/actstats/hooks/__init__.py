"""The hot part: small callables on modules that hand tensors to a kernel, at once."""

from __future__ import annotations

from actstats.hooks.base import Hook
from actstats.hooks.gradients import GradientHook
from actstats.hooks.placing import register
from actstats.hooks.slot import Slot, call_suffix

__all__ = ["GradientHook", "Hook", "Slot", "call_suffix", "register"]
