"""Statistics and windows as plain numbers, strings and tensors.

``torch.save`` and ``torch.load(weights_only=True)`` take them; nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actstats import activations
from actstats.activations import Activation
from actstats.custom import Custom, spec_from_json, spec_to_json
from actstats.gate import Judged
from actstats.histogram import AsymptoteHistogram, BitHistogram
from actstats.moments import Moments
from actstats.recording import Scalar, Window
from actstats.stats import TensorStats

__all__ = ["pack", "pack_scalars", "pack_window", "unpack", "unpack_scalars", "unpack_window"]


def pack(stats: TensorStats) -> dict[str, Any]:
    """Return the statistics as numbers, strings and tensors."""
    packed: dict[str, Any] = {}
    for f in fields(TensorStats):
        value = getattr(stats, f.name)
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        elif isinstance(value, Activation):
            value = value.key
        elif f.name == "custom":
            value = [
                [spec_to_json(one.spec), torch.from_numpy(one.values)] for one in value.values()
            ]
        elif isinstance(value, Mapping):
            value = dict(value)
        elif hasattr(value, "__dataclass_fields__"):
            value = {
                part.name: torch.as_tensor(getattr(value, part.name))
                if isinstance(getattr(value, part.name), np.ndarray)
                else getattr(value, part.name)
                for part in fields(value)
            }
        packed[f.name] = value
    return packed


_PARTS: dict[str, type[Any]] = {
    "moments": Moments,
    "bits": BitHistogram,
    "asymptote": AsymptoteHistogram,
    "judged": Judged,
}


def unpack(packed: Mapping[str, Any]) -> TensorStats:
    """Rebuild what :func:`pack` made."""
    values = dict(packed)
    for name, kind in _PARTS.items():
        part = values[name]
        if part is not None:
            values[name] = kind(
                **{k: v.numpy() if isinstance(v, Tensor) else v for k, v in part.items()}
            )
    if values["linear"] is not None:
        values["linear"] = values["linear"].numpy()
    if values["edges"] is not None:
        values["edges"] = tuple(values["edges"])
    found = ((spec_from_json(told), words.numpy()) for told, words in values.pop("custom", ()))
    values["custom"] = {spec.name: Custom(spec, words) for spec, words in found}
    if values["activation"] is not None:
        values["activation"] = activations.activation_from_key(values["activation"])
    return TensorStats(**values)


def pack_window(window: Window) -> dict[str, Any]:
    """Return a window as plain numbers, strings and tensors."""
    return {
        "first_step": window.first_step,
        "last_step": window.last_step,
        "phase": window.phase,
        "stats": {site: pack(stats) for site, stats in window.stats.items()},
        "scalars": pack_scalars(window.scalars),
    }


def pack_scalars(scalars: Mapping[str, Scalar]) -> dict[str, list[float]]:
    """Return scalars as lists of numbers."""
    return {name: [s.count, s.total, s.min, s.max, s.last] for name, s in scalars.items()}


def unpack_scalars(packed: Mapping[str, Sequence[float]]) -> dict[str, Scalar]:
    """Rebuild what :func:`pack_scalars` made."""
    return {name: Scalar(int(count), *values) for name, (count, *values) in packed.items()}


def unpack_window(packed: Mapping[str, Any]) -> Window:
    """Rebuild what :func:`pack_window` made."""
    return Window(
        packed["first_step"],
        packed["last_step"],
        packed["phase"],
        {site: unpack(stats) for site, stats in packed["stats"].items()},
        unpack_scalars(packed["scalars"]),
    )
