"""Torch's private corners, by subject, each behind one name and with a fallback."""

from __future__ import annotations

from actstats._torch.compiler import (
    compiled_as_they_are,
    interpreted,
    keep_effects,
)
from actstats._torch.modules import (
    CONVOLUTIONS,
    NORMALISATIONS,
    children,
    has_forward_hooks,
    native_functions,
)
from actstats._torch.ranks import (
    arrived,
    default_store,
    is_arriving,
    prefixed,
)
from actstats._torch.states import (
    dispatch_modes,
    function_mode,
    functorch_level,
    graph_task,
    in_backward,
    innermost_mode,
    is_compiling,
    is_profiling,
    is_tracing,
    quiet,
    untraceable,
)
from actstats._torch.tensors import (
    PLAIN,
    add_to_all,
    copy_to_all,
    has_gradient,
    is_own,
    no_memory,
    plain,
    resolved,
    scaler_scale,
    unobservable,
    unreadable,
    watch_gradient,
    zero_all,
)

__all__ = [
    "CONVOLUTIONS",
    "NORMALISATIONS",
    "PLAIN",
    "add_to_all",
    "arrived",
    "children",
    "compiled_as_they_are",
    "copy_to_all",
    "default_store",
    "dispatch_modes",
    "function_mode",
    "functorch_level",
    "graph_task",
    "has_forward_hooks",
    "has_gradient",
    "in_backward",
    "innermost_mode",
    "interpreted",
    "is_arriving",
    "is_compiling",
    "is_own",
    "is_profiling",
    "is_tracing",
    "keep_effects",
    "native_functions",
    "no_memory",
    "plain",
    "prefixed",
    "quiet",
    "resolved",
    "scaler_scale",
    "unobservable",
    "unreadable",
    "untraceable",
    "watch_gradient",
    "zero_all",
]
