"""Modules: what they hold, and the functions that torch makes in C."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import torch
from torch import nn

__all__ = [
    "CONVOLUTIONS",
    "NORMALISATIONS",
    "calls_itself",
    "children",
    "has_forward_hooks",
    "in_module_call",
    "is_called",
    "is_hooked",
    "native_functions",
]

NORMALISATIONS: tuple[type[nn.Module], ...] = (
    getattr(nn.modules.batchnorm, "_NormBase", nn.BatchNorm2d),
)
CONVOLUTIONS: tuple[type[nn.Module], ...] = (getattr(nn.modules.conv, "_ConvNd", nn.Conv2d),)


def children(module: nn.Module) -> Mapping[str, nn.Module | None]:
    """Return child modules by name, one under each of its names; None where there is none."""
    found: Mapping[str, nn.Module | None] | None = getattr(module, "_modules", None)
    return dict(module.named_children()) if found is None else found


def has_forward_hooks(module: nn.Module) -> bool:
    """Tell whether anybody's forward hook is on a module."""
    return bool(getattr(module, "_forward_hooks", ()))


def is_hooked(module: nn.Module) -> bool:
    """Tell whether anything of anybody's runs before or after a module's forward."""
    return has_forward_hooks(module) or bool(getattr(module, "_forward_pre_hooks", ()))


def is_called(module: nn.Module) -> bool:
    """Tell whether a call of a module is under way in this thread."""
    return any(_calls(module))


def calls_itself(module: nn.Module) -> bool:
    """Tell, inside a call of a module, whether another call of it is under way in this thread."""
    calls = _calls(module)
    return any(calls) and any(calls)


def _calls(module: nn.Module) -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "_call_impl" and frame.f_locals.get("self") is module:
            yield frame
        frame = frame.f_back


def native_functions() -> tuple[Any, ...]:
    """Return where those functions of `torch.nn.functional` stand that are made in C."""
    found = getattr(torch._C, "_nn", None)
    return () if found is None else (found,)


def in_module_call() -> bool:
    """Tell whether some module's call is under way in this thread."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not nn.Module._call_impl.__code__:
        frame = frame.f_back
    return frame is not None
