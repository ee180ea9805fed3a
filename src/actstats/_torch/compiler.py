"""The compiler: what it is asked to leave alone, and what it has compiled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn

from actstats._torch.modules import is_hooked

__all__ = ["compiled_as_they_are", "interpreted", "keep_effects", "run_by_others_code"]

_F = TypeVar("_F", bound=Callable[..., Any])


def interpreted(function: _F) -> _F:
    """Mark a function that is inlined into a graph but never compiled as a frame of its own.

    Where the compiler leaves a model's code to Python (a graph break, a root's own hooks) it
    would make a graph of each hook, and look into what the hook calls.
    """
    frames: Any = getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None)
    try:
        skip = frames._FrameAction.SKIP
        strategy = frames._FrameExecStrategy(skip, skip)  # this frame, and what it calls
        frames.set_code_exec_strategy(function.__code__, strategy)
    except AttributeError:  # another torch
        pass
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
    for code, root, _ in _compiled_code():
        for local in root.get_child_managers():
            source, kind = local.get_source(), local.get_type_of_guarded_value()
            asked = set(_sources(local))
            if any("_forward_hooks" in one or "_pre_hooks" in one for one in asked):
                continue  # it holds the hooks of the module that it was made for
            for module in modules:
                if type(module) is kind and _fits(root, source, {source[3:-2]: module}):
                    yield from filter(is_hooked, _called(code, source, module, asked))


def _called(code: Any, source: str, module: nn.Module, asked: set[str]) -> Iterator[nn.Module]:
    """Yield the modules that code calls: guards ask what is in them; of others only the type.

    A forward calls what is inside its module, not the module itself: its own hooks run outside.
    """
    if f"{source}.__dict__" in asked:
        if not _is_forward(code, source, module):
            yield module
        yield from _called_inside(source, module, asked)


def _called_inside(source: str, module: nn.Module, asked: set[str]) -> Iterator[nn.Module]:
    held = f"{source}._modules"
    looped = held in asked and not any(one.startswith(f"{held}[") for one in asked)
    for name, child in module.named_children():
        path = f"{held}[{name!r}]"
        if looped:  # as in a Sequential: guards name none
            yield from child.modules()
        elif f"{path}.__dict__" in asked:
            yield child
            yield from _called_inside(path, child, asked)


def _is_forward(code: Any, source: str, module: nn.Module) -> bool:
    """Tell whether code is the forward of a module, or what is left of it after a graph break."""
    if source.startswith("L['___stack"):
        return False
    forwards = (vars(kind).get("forward") for kind in type(module).__mro__)
    owns = (getattr(forward, "__code__", None) for forward in forwards)
    return any(code is own or _is_rest_of(code, own) for own in owns if own is not None)


def _is_rest_of(code: Any, whole: Any) -> bool:
    """Tell whether code is what is left of a function after a graph break."""
    name = f"torch_dynamo_resume_in_{whole.co_name}_at_"
    return bool(code.co_name.startswith(name) and code.co_filename == whole.co_filename)


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
