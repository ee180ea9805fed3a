"""What is known of a run beside its numbers."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["about"]

MOST_TEXT = 20_000  # characters of a model's summary


def about(model: nn.Module | Mapping[str, nn.Module], *, summary: bool = False) -> dict[str, Any]:
    """Return what a recording says of its run; the model is only looked at.

    Parameters
    ----------
    model : Module or mapping of str to Module
        What is recorded.
    summary : bool
        Whether to add how the model prints itself, which takes a while where it is large.

    Returns
    -------
    dict
        ``"created"`` (ISO 8601, UTC), ``"seed"`` (torch's at this moment), ``"versions"`` (by
        name) and ``"model"``: its class, its numbers of modules and parameters.
    """
    from actstats import __version__  # the facade is not imported at the top by what it imports

    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": torch.initial_seed(),
        "versions": {
            "actstats": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "model": _about_model(model) | ({"summary": _printed(model)} if summary else {}),
    }


def _about_model(model: nn.Module | Mapping[str, nn.Module]) -> dict[str, Any]:
    parts = dict(model) if isinstance(model, Mapping) else {"": model}
    parameters = {id(p): p for part in parts.values() for p in part.parameters()}.values()
    sizes = [0 if nn.parameter.is_lazy(p) else p.numel() for p in parameters]
    return {
        "class": type(model).__name__,
        "modules": sum(1 for part in parts.values() for _ in part.modules()),
        "parameters": sum(sizes),
        "trainable": sum(n for n, p in zip(sizes, parameters, strict=True) if p.requires_grad),
    }


def _printed(model: nn.Module | Mapping[str, nn.Module]) -> str:
    try:
        return repr(model)[:MOST_TEXT]
    except Exception as error:  # it is the user's code
        return f"cannot be printed: {error}"
