"""What torch is doing at this moment in this thread: backward, tracing, transforms, modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = [
    "function_mode",
    "functorch_level",
    "graph_task",
    "in_backward",
    "innermost_mode",
    "is_compiling",
    "is_tracing",
    "quiet",
    "untraceable",
]

graph_task: Callable[[], int] = getattr(torch._C, "_current_graph_task_id", lambda: -1)
is_tracing: Callable[[], bool] = getattr(torch._C, "_is_tracing", lambda: False)
functorch_level: Callable[[], int | None] = getattr(
    getattr(torch._C, "_functorch", None), "maybe_current_level", lambda: None
)
quiet: Any = getattr(torch._C, "DisableTorchFunction", torch._C.DisableTorchFunctionSubclass)
"""Context manager: what runs inside reaches neither tensor subclasses nor function modes."""


is_compiling = torch.compiler.is_compiling
function_mode: Callable[[], bool] = getattr(
    torch._C, "_is_torch_function_mode_enabled", lambda: True
)


def in_backward() -> bool:
    """Tell whether autograd is running a backward pass (then a forward is a recompute)."""
    return graph_task() != -1


def innermost_mode() -> Any:
    """Return the innermost function mode, or None where torch does not tell."""
    stack: list[Any] = getattr(torch.overrides, "_get_current_function_mode_stack", list)()
    return stack[-1] if stack else None


def untraceable() -> str | None:
    """Return why nothing may be recorded here, or None: someone is tracing or transforming."""
    if torch.compiler.is_exporting():
        return "inside torch.export"
    if is_tracing():
        return "inside torch.jit.trace"
    if functorch_level() is not None:
        return "inside torch.func"
    return None
