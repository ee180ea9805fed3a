"""Torch's private corners, each behind one name and with a fallback."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = [
    "PLAIN",
    "arrived",
    "compiled_as_they_are",
    "default_store",
    "has_gradient",
    "in_backward",
    "in_jit_trace",
    "innermost_mode",
    "interpreted",
    "is_compiling",
    "keep_effects",
    "plain",
    "prefixed",
    "quiet",
    "resolved",
    "run_by_others_code",
    "scaler_scale",
    "unobservable",
    "unreadable",
    "untraceable",
    "watch_gradient",
]

_F = TypeVar("_F", bound=Callable[..., Any])

PLAIN = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_FLOAT8 = tuple(
    getattr(torch, name)
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
    if hasattr(torch, name)
)
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


def innermost_mode() -> Any:
    """Return the innermost function mode, or None where torch does not tell."""
    stack: list[Any] = getattr(torch.overrides, "_get_current_function_mode_stack", list)()
    return stack[-1] if stack else None


def in_jit_trace() -> bool:
    """Tell whether `torch.jit.trace` runs a module: to trace it, or to check the trace."""
    return is_tracing() or getattr(torch.jit._trace, "_trace_module_map", None) is not None


def in_fx_trace() -> bool:
    """Tell whether `symbolic_trace` or `make_fx` takes what is computed into a graph."""
    tracing = sys.modules.get("torch.fx._symbolic_trace")
    return bool(getattr(tracing, "_is_fx_tracing_flag", False))


def untraceable() -> str | None:
    """Return why nothing may be recorded here, or None: someone is tracing or transforming."""
    if torch.compiler.is_exporting():
        return "inside torch.export"
    if in_jit_trace():
        return "inside torch.jit.trace"
    if functorch_level() is not None:
        return "inside torch.func"
    return "inside torch.fx" if in_fx_trace() else None


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


def unreadable(tensor: Tensor) -> str | None:
    """Return why a tensor cannot be observed when code runs; also asks for its memory."""
    reason = unobservable(tensor)
    if reason is None:
        try:
            tensor.data_ptr()
        except RuntimeError:  # a wrapper of torch.func or of batched gradients
            return "no memory of its own (inside vmap, say)"
    return reason


def _dispatches(tensor: Tensor) -> bool:
    """Tell whether a subclass computes in its own way (DTensor, FakeTensor, ...)."""
    own = getattr(type(tensor), "__torch_dispatch__", None)
    return own is not None and own is not getattr(Tensor, "__torch_dispatch__", None)


def plain(tensor: Tensor) -> Tensor:
    """Return a detached tensor of a dtype that kernels read, its values where its address says."""
    tensor = resolved(tensor.detach())
    return tensor if tensor.dtype in PLAIN else tensor.float()


def resolved(tensor: Tensor) -> Tensor:
    """Return a tensor whose memory holds its values: not their negatives, nor nothing for zeros."""
    return tensor.clone() if tensor._is_zerotensor() else tensor.resolve_neg()


def scaler_scale(scaler: Any) -> float | Tensor:
    """Return a gradient scaler's scale of this moment, without waiting for the device."""
    scale = getattr(scaler, "_scale", None)
    if isinstance(scale, Tensor) and scaler.is_enabled():
        return scale.detach().double()
    return float(scaler.get_scale())


def arrived(tensor: Tensor) -> Tensor:
    """Return what an asynchronous collective gives, waiting for it; other tensors as they are."""
    wait = getattr(tensor, "wait", None) if _dispatches(tensor) else None
    return tensor if wait is None else wait()


def default_store() -> Any:
    """Return the store that the ranks of the default process group meet in; None if untold."""
    from torch.distributed import distributed_c10d

    return getattr(distributed_c10d, "_get_default_store", lambda: None)()


def prefixed(name: str, store: Any) -> Any:
    """Return a store of the same ranks whose keys begin with a name."""
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    return PrefixStore(name, store)


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


def keep_effects(op: Any) -> None:
    """Keep compilers from dropping or reordering an op that changes no tensor and returns none."""
    try:
        from torch._higher_order_ops.effects import _EffectType, _register_effectful_op
    except ImportError:
        return
    _register_effectful_op(op, _EffectType.ORDERED)


def compiled_as_they_are(modules: Iterable[nn.Module]) -> list[tuple[nn.Module, bool]]:
    """Return the modules that code compiled earlier would run as they are now.

    Hooks that such a module, or one inside it, is given now will not run: guards ask for the
    hooks that there were, not for the absence of others. The second value tells whether the
    code holds the module's own hooks, or only those of modules inside.
    """
    try:
        return list(_compiled_as_they_are(list(modules)))
    except (AttributeError, TypeError, RuntimeError):  # another torch
        return []


def run_by_others_code(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the modules with hooks inside that code compiled for an equal one, without, would run.

    Guards ask for the hooks that there were, not for the absence of others: what was compiled for
    a model without hooks is run for its equal, and no hook with it.
    """
    try:
        return list(_run_by_others_code(list(modules)))
    except (AttributeError, TypeError, RuntimeError):  # another torch
        return []


def _run_by_others_code(modules: list[nn.Module]) -> Iterator[nn.Module]:
    for _, root, _ in _compiled_code():
        for local in root.get_child_managers():
            source, kind = local.get_source(), local.get_type_of_guarded_value()
            if any("_forward_hooks" in one or "_pre_hooks" in one for one in _sources(local)):
                continue  # it holds the hooks of the module that it was made for
            for module in modules:
                fits = type(module) is kind and _fits(root, source, {source[3:-2]: module})
                if fits and _is_hooked(module):
                    yield module


def _is_hooked(module: nn.Module) -> bool:
    return any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def _sources(manager: Any) -> Iterator[str]:
    """Yield what a guard manager and those below it look at."""
    yield manager.get_source()
    for child in manager.get_child_managers():
        yield from _sources(child)


def _compiled_as_they_are(modules: list[nn.Module]) -> Iterator[tuple[nn.Module, bool]]:
    for code, root, names in _compiled_code():
        for local in root.get_child_managers():
            source, kind = local.get_source(), local.get_type_of_guarded_value()
            for module in modules:
                if type(module) is kind and _fits(root, source, {source[3:-2]: module}):
                    yield module, code is not getattr(module.forward, "__code__", None)
            for value in local.get_child_managers() if source == "G" else ():
                name = value.get_source()
                for module in modules:
                    if names.get(name[3:-2]) is module and _fits(root, name, {}):
                        yield module, True


def _compiled_code() -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Yield what was compiled: the code, the guards of one form of it, its global names."""
    compiler = sys.modules.get("torch._dynamo.convert_frame")  # importing it takes seconds
    for reference in list(compiler.input_codes.seen) if compiler else ():
        code = reference()
        if code is not None:
            for entry in torch._C._dynamo.eval_frame._debug_get_cache_entry_list(code):
                guards: Any = entry.guard_manager
                yield code, guards.root, guards.global_scope["G"]


def _fits(root: Any, source: str, local: dict[str, nn.Module]) -> bool:
    """Tell whether the guards on one variable hold for a module."""
    whole = root.get_source()
    part = root.clone_manager(
        lambda node: node.get_source() in (whole, "G") or node.get_source().startswith(source)
    )
    return bool(part.check(local))
