"""Torch's private corners, each behind one name and with a fallback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = [
    "has_gradient",
    "in_backward",
    "innermost_mode",
    "interpreted",
    "quiet",
    "scaler_scale",
    "unobservable",
    "untraceable",
]

_F = TypeVar("_F", bound=Callable[..., Any])

PLAIN = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_FLOAT8 = tuple(
    getattr(torch, name)
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
    if hasattr(torch, name)
)
_current_graph_task_id: Callable[[], int] = getattr(torch._C, "_current_graph_task_id", lambda: -1)
_is_tracing: Callable[[], bool] = getattr(torch.jit, "is_tracing", lambda: False)
_functorch_level: Callable[[], int | None] = getattr(
    getattr(torch._C, "_functorch", None), "maybe_current_level", lambda: None
)
quiet: Any = getattr(torch._C, "DisableTorchFunction", torch._C.DisableTorchFunctionSubclass)
"""Context manager: what runs inside reaches neither tensor subclasses nor function modes."""


is_compiling = torch.compiler.is_compiling
_function_mode: Callable[[], bool] = getattr(
    torch._C, "_is_torch_function_mode_enabled", lambda: True
)
_native_tracing: Callable[[], bool] = getattr(torch._C, "_is_tracing", _is_tracing)


def is_plain() -> bool:
    """Tell whether torch runs as it mostly does: nobody traces, transforms or watches calls."""
    return not _native_tracing() and _functorch_level() is None and not _function_mode()


def is_ordinary() -> bool:
    """Tell whether this is in addition no recompute in a backward pass."""
    return is_plain() and _current_graph_task_id() == -1


def in_backward() -> bool:
    """Tell whether autograd is running a backward pass (then a forward is a recompute)."""
    return _current_graph_task_id() != -1


def has_gradient(tensor: Tensor) -> bool:
    """Tell whether backward will bring a gradient of this tensor by."""
    return torch.is_grad_enabled() and tensor.requires_grad and not tensor.is_leaf


def innermost_mode() -> Any:
    """Return the innermost function mode, or None where torch does not tell."""
    stack: list[Any] = getattr(torch.overrides, "_get_current_function_mode_stack", list)()
    return stack[-1] if stack else None


def untraceable() -> str | None:
    """Return why nothing may be recorded here, or None: someone is tracing or transforming."""
    if torch.compiler.is_exporting():
        return "inside torch.export"
    if _is_tracing():
        return "inside torch.jit.trace"
    if _functorch_level() is not None:
        return "inside torch.func"
    return None


def unobservable(tensor: Tensor) -> str | None:
    """Return why a tensor cannot be observed, or None if it can."""
    if type(tensor) not in (Tensor, torch.nn.Parameter) and _dispatches(tensor):
        return f"{type(tensor).__name__} tensors are not supported yet"
    if tensor.is_nested:
        return "nested tensor"
    if tensor.layout is not torch.strided:
        return f"sparse or packed layout ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_meta:
        return "meta tensor"
    if tensor.dtype not in PLAIN and tensor.dtype not in _FLOAT8:
        return f"dtype {str(tensor.dtype).removeprefix('torch.')}"
    return None


def _dispatches(tensor: Tensor) -> bool:
    """Tell whether a subclass computes in its own way (DTensor, FakeTensor, ...)."""
    own = getattr(type(tensor), "__torch_dispatch__", None)
    return own is not None and own is not getattr(Tensor, "__torch_dispatch__", None)


def plain(tensor: Tensor) -> Tensor:
    """Return a detached tensor of a dtype that kernels read."""
    tensor = tensor.detach()
    return tensor if tensor.dtype in PLAIN else tensor.float()


def scaler_scale(scaler: Any) -> float | Tensor:
    """Return a gradient scaler's scale of this moment, without waiting for the device."""
    scale = getattr(scaler, "_scale", None)
    if isinstance(scale, Tensor) and scaler.is_enabled():
        return scale.detach().double()
    return float(scaler.get_scale())


def interpreted(function: _F) -> _F:
    """Mark a function that is inlined into a graph but never compiled as a frame of its own.

    Where the compiler leaves a model's code to Python (a graph break, a root's own hooks) it
    would make a graph of each hook, and look into what the hook calls.
    """
    frames: Any = getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None)
    if hasattr(frames, "set_code_exec_strategy"):
        skip = frames._FrameAction.SKIP
        strategy = frames._FrameExecStrategy(skip, skip)  # this frame, and what it calls
        frames.set_code_exec_strategy(function.__code__, strategy)
    return function
