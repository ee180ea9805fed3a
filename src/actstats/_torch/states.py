"""What torch is doing at this moment in this thread: backward, tracing, transforms, modes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.utils._python_dispatch

__all__ = [
    "dispatch_modes",
    "drop_function_mode",
    "function_mode",
    "function_modes",
    "functorch_level",
    "graph_task",
    "in_backward",
    "in_fx_trace",
    "in_jit_trace",
    "is_compiling",
    "is_profiling",
    "is_tracing",
    "quiet",
    "untraceable",
]

graph_task: Callable[[], int] = getattr(torch._C, "_current_graph_task_id", lambda: -1)
is_tracing: Callable[[], bool] = getattr(torch._C, "_is_tracing", lambda: False)
functorch_level: Callable[[], int | None] = getattr(
    getattr(torch._C, "_functorch", None), "maybe_current_level", lambda: None
)
dispatch_modes: Callable[[], int] = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 0)
is_profiling: Callable[[], bool] = getattr(torch.autograd, "_profiler_enabled", lambda: False)
_no_functions: Any = getattr(
    torch._C, "DisableTorchFunction", torch._C.DisableTorchFunctionSubclass
)
_no_dispatch: Any = getattr(torch.utils._python_dispatch, "_disable_current_modes", nullcontext)
is_compiling = torch.compiler.is_compiling
function_mode: Callable[[], bool] = getattr(
    torch._C, "_is_torch_function_mode_enabled", lambda: True
)


def quiet() -> Any:
    """Return a context manager: what runs inside reaches neither tensor subclasses nor modes.

    A profile shows it under the name ``actstats``.
    """
    if dispatch_modes() or is_profiling():
        return _unseen()
    return _no_functions()


@contextmanager
def _unseen() -> Iterator[None]:
    with _no_functions(), _no_dispatch(), torch.profiler.record_function("actstats"):
        yield


def in_backward() -> bool:
    """Tell whether autograd is running a backward pass (then a forward is a recompute)."""
    return graph_task() != -1


def function_modes() -> list[Any] | None:
    """Return the function modes of this thread, the innermost last; None where torch is silent."""
    stack: Callable[[], list[Any]] | None
    stack = getattr(torch.overrides, "_get_current_function_mode_stack", None)
    return None if stack is None else stack()


def drop_function_mode(mode: Any) -> None:
    """Take a function mode of this thread off, wherever it stands."""
    pop: Any = getattr(torch.overrides, "_pop_mode", None)
    push: Any = getattr(torch.overrides, "_push_mode", None)
    if pop is None or push is None or mode not in (function_modes() or ()):
        return
    above = []
    while (innermost := pop()) is not mode:
        above.append(innermost)
    for other in reversed(above):
        push(other)


def in_jit_trace() -> bool:
    """Tell whether `torch.jit.trace` runs a module: to trace it, or to check the trace."""
    modules = getattr(getattr(torch.jit, "_trace", None), "_trace_module_map", None)
    return is_tracing() or modules is not None


def in_fx_trace() -> bool:
    """Tell whether `symbolic_trace` or `make_fx` takes what is computed into a graph."""
    tracing = sys.modules.get("torch.fx._symbolic_trace")
    by_thread = getattr(tracing, "_get_is_fx_tracing", None)  # from torch 2.14 on
    return by_thread() if by_thread else bool(getattr(tracing, "_is_fx_tracing_flag", False))


def untraceable() -> str | None:
    """Return why nothing may be recorded here, or None: someone is tracing or transforming."""
    if torch.compiler.is_exporting():
        return "inside torch.export"
    if in_jit_trace():
        return "inside torch.jit.trace"
    if functorch_level() is not None:
        return "inside torch.func"
    return "inside torch.fx" if in_fx_trace() else None
