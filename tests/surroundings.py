"""What torch has switched on around a test, or around a model."""

from typing import Any

import torch
from torch.nn.modules import module

__all__ = ["surroundings"]

DEVICES = ("cpu", "cuda")


def surroundings() -> dict[str, Any]:
    """Return what is set for all of the process, or this thread."""
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "autocast": [(torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in DEVICES],
        "autocast cache": torch.is_autocast_cache_enabled(),
        "dtype": torch.get_default_dtype(),
        "device": str(torch.get_default_device()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "deterministic, warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "threads": torch.get_num_threads(),
        "functions": str(torch._C._get_torch_function_state()),
        "function modes": torch._C._len_torch_function_stack(),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "functorch": torch._C._functorch.maybe_current_level(),
        "global hooks": (len(module._global_forward_hooks), len(module._global_forward_pre_hooks)),
        "traced by fx": getattr(torch.fx._symbolic_trace, "_is_fx_tracing_flag", False),
        "traced by jit": torch.jit._trace._trace_module_map is not None,
    }
