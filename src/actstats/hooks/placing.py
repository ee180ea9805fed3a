"""Which hooks a module gets, and in which order."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

from torch import nn
from torch.utils.hooks import RemovableHandle

from actstats.hooks.base import enrolled
from actstats.hooks.delimiting import EnterHook, ExitHook
from actstats.hooks.inputs import InputHook
from actstats.hooks.slot import Slot

__all__ = ["register"]


def register(
    module: nn.Module, slot: Slot, *, observed: bool, delimits: bool, is_root: bool, deep: bool
) -> Iterator[RemovableHandle]:
    """Put the hooks of one module in place, and yield their handles."""
    slot.module = weakref.ref(module)
    if delimits:
        enter = enrolled(EnterHook(slot, is_root=is_root))
        yield module.register_forward_pre_hook(enter, prepend=True)
    if observed:
        if deep or slot.z_before:
            yield module.register_forward_pre_hook(enrolled(InputHook(slot)), with_kwargs=True)
        yield module.register_forward_hook(enrolled(slot))
    if delimits:
        # A forward of the root that raised ends when its next one begins, unless a function mode
        # waits, or calls outside of it are left out. Otherwise no hook is always called: compiled
        # code is made anew for each number of one.
        shared = slot.shared
        always = shared.make_mode is not None or not shared.options.outside or not is_root
        yield module.register_forward_hook(enrolled(ExitHook(slot)), always_call=always)
