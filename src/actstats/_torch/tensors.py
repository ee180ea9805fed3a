"""Tensors: which can be read, and how; gradients that come by."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "PLAIN",
    "add_to_all",
    "copy_to_all",
    "has_gradient",
    "is_own",
    "no_memory",
    "norms",
    "plain",
    "resolved",
    "scaler_scale",
    "subtract_each",
    "unobservable",
    "unreadable",
    "watch_gradient",
    "zero_all",
]

PLAIN = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_FLOAT8 = tuple(
    getattr(torch, f"float8_{name}")
    for name in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu")
    if hasattr(torch, f"float8_{name}")
)
_COMPLEX = (torch.complex32, torch.complex64, torch.complex128)


def has_gradient(tensor: Tensor) -> bool:
    """Tell whether backward will bring a gradient of this tensor by."""
    return torch.is_grad_enabled() and tensor.requires_grad and not tensor.is_leaf


def watch_gradient(tensor: Tensor, hook: Callable[[Tensor], None]) -> None:
    """Call a hook with the gradient of an output: `register_hook`, at half its cost.

    What is left out is the handle to remove the hook by, which takes most of the time.
    """
    hooks: Any
    try:
        hooks, register = tensor._backward_hooks, tensor.grad_fn._register_hook_dict  # type: ignore[union-attr]
    except AttributeError:  # another torch
        tensor.register_hook(hook)
        return
    if hooks is None:
        hooks = tensor._backward_hooks = OrderedDict()
        register(tensor)
    hooks[hook] = hook  # a key that no handle has: theirs are numbers


def unobservable(tensor: Tensor) -> str | None:
    """Return why a tensor cannot be observed, or None if it can."""
    if not is_own(tensor):
        return f"{type(tensor).__name__} tensors are not supported yet"
    if tensor.is_nested:
        return "nested tensor"
    if tensor.layout is not torch.strided:
        return f"sparse or packed layout ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_meta:
        return "meta tensor"
    if tensor.dtype not in PLAIN + _FLOAT8 + _COMPLEX:
        return f"dtype {str(tensor.dtype).removeprefix('torch.')}"
    return None


def unreadable(tensor: Tensor) -> str | None:
    """Return why a tensor cannot be observed when code runs; also asks for its memory."""
    return unobservable(tensor) or no_memory(tensor)


def no_memory(tensor: Tensor) -> str | None:
    """Return why a tensor's memory cannot be read, or None if it can."""
    try:
        tensor.data_ptr()
    except RuntimeError:  # a wrapper of torch.func or of batched gradients
        return "no memory of its own (inside vmap, say)"
    return None


def is_own(tensor: Tensor) -> bool:
    """Tell whether torch's own code computes with a tensor, not that of a subclass."""
    return type(tensor) in (Tensor, torch.nn.Parameter) or not dispatches(tensor)


def dispatches(tensor: Tensor) -> bool:
    """Tell whether a subclass computes in its own way (DTensor, FakeTensor, ...)."""
    own = getattr(type(tensor), "__torch_dispatch__", None)
    return own is not None and own is not getattr(Tensor, "__torch_dispatch__", None)


def plain(tensor: Tensor) -> Tensor:
    """Return a detached tensor of a dtype that kernels read, its values where its address says."""
    tensor = resolved(tensor.detach())
    return tensor if tensor.dtype in PLAIN else tensor.float()


def resolved(tensor: Tensor) -> Tensor:
    """Return a tensor whose memory holds its values: not their negatives, nor nothing for zeros."""
    is_zero = getattr(tensor, "_is_zerotensor", None)
    return tensor.clone() if is_zero is not None and is_zero() else tensor.resolve_neg()


def scaler_scale(scaler: Any) -> float | Tensor:
    """Return a gradient scaler's scale of this moment, without waiting for the device."""
    scale = getattr(scaler, "_scale", None)
    if isinstance(scale, Tensor) and scaler.is_enabled():
        return scale.detach().double()
    return float(scaler.get_scale())


# ---- many at once: one call where torch has one, for its Python costs more than the work ---------


def zero_all(tensors: Sequence[Tensor]) -> None:
    """Fill tensors of one device with zeros."""
    together = getattr(torch, "_foreach_zero_", None)
    if together is not None:
        together(tensors)
    else:
        for tensor in tensors:
            tensor.zero_()


def copy_to_all(tensors: Sequence[Tensor], source: Tensor) -> None:
    """Write a tensor over each of some that have its shape and device."""
    together = getattr(torch, "_foreach_copy_", None)
    if together is not None:
        together(tensors, [source] * len(tensors))
    else:
        for tensor in tensors:
            tensor.copy_(source)


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norms of tensors of one device and dtype, shape (n,), in float64.

    In float32 torch loses digits of large ones: of 2**28 ones the square is half the truth.
    """
    together = getattr(torch, "_foreach_norm", None)
    if together is not None:
        found: Sequence[Tensor] = together(list(tensors), 2, dtype=torch.float64)
    else:
        found = [torch.linalg.vector_norm(tensor, dtype=torch.float64) for tensor in tensors]
    return torch.stack(list(found))


def subtract_each(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """Subtract from each tensor another one of its shape, in place."""
    together = getattr(torch, "_foreach_sub_", None)
    if together is not None:
        together(tensors, others)
    else:
        for tensor, other in zip(tensors, others, strict=True):
            tensor.sub_(other)


def add_to_all(tensors: Sequence[Tensor], number: int) -> None:
    """Add a number to tensors of one device."""
    together = getattr(torch, "_foreach_add_", None)
    if together is not None:
        together(tensors, number)
    else:
        for tensor in tensors:
            tensor.add_(number)
