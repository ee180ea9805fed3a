"""Which norm fits a layer: of the kind that its net has, else of the kind that is usual there."""

from __future__ import annotations

import re
from collections.abc import Iterable

from actstats.diagnosis.reading import Reading
from actstats.sites import Site

__all__ = ["adds_to_a_stream", "fitting_norm", "has_attention", "has_sequences"]

_BY_FEATURE = ("LayerNorm", "RMSNorm")  # over the features of one sample
_KINDS = ("BatchNorm", *_BY_FEATURE, "GroupNorm", "InstanceNorm")
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_RECURRENT = re.compile(r"RNN|LSTM|GRU")
_CONVOLUTION = re.compile(r"Conv\w*?([123])d")  # transformers' Conv1D is a linear layer


def has_attention(modules: Iterable[tuple[str, str]]) -> bool:
    """Tell whether a net attends, from the names of its modules and of their classes.

    Examples
    --------
    >>> has_attention([("blocks.0.attn.query", "Linear")]), has_attention([("fc1", "Linear")])
    (True, False)
    """
    return any(_ATTENTION.search(name) or _ATTENTION.search(kind) for name, kind in modules)


def has_sequences(modules: Iterable[tuple[str, str]]) -> bool:
    """Tell whether a net attends or recurs: axis 1 is then one of positions, not of features."""
    known = tuple(modules)
    return has_attention(known) or any(_RECURRENT.search(kind) for _, kind in known)


def adds_to_a_stream(site: Site, reading: Reading) -> bool:
    """Tell whether a layer is likely to end a residual branch: in nets that attend, most do."""
    convolves = _CONVOLUTION.search(site.module_type)
    return not convolves and has_attention((s.module, s.module_type) for s in reading.sites)


def fitting_norm(site: Site, reading: Reading) -> str:
    """Name the norm that fits a layer, with its width: ``"BatchNorm1d(10)"``.

    Of the kind that stands nearest in the net; where there is none, BatchNorm, and LayerNorm for
    what attention and recurrent layers hand on. A convolution's takes its channels on axis 1.
    """
    units = reading.now(site.key).units or "..."
    dimensions = _CONVOLUTION.search(site.module_type)
    kind = _nearest_kind(site, reading)
    if dimensions is not None:
        return _of_convolution(kind or "BatchNorm", dimensions[1], units)
    if kind is None and has_sequences((s.module, s.module_type) for s in reading.sites):
        kind = "LayerNorm"
    if kind in (None, "BatchNorm"):
        return f"BatchNorm1d({units})"
    return f"{kind if kind in _BY_FEATURE else 'LayerNorm'}({units})"


def _of_convolution(kind: str, dimensions: str, units: int | str) -> str:
    if kind in ("BatchNorm", "InstanceNorm"):
        return f"{kind}{dimensions}d({units})"
    groups = "..." if kind == "GroupNorm" else 1  # one group: LayerNorm where channels come first
    return f"GroupNorm({groups}, {units})"


def _nearest_kind(site: Site, reading: Reading) -> str | None:
    """Return the kind of the norm that stands nearest to a site, None in a net without norms."""
    place = reading.place(site.key)
    kinds = {s.key: next((k for k in _KINDS if k in s.module_type), None) for s in reading.sites}
    norms = [s for s in reading.sites if kinds[s.key] is not None]
    nearest = min(norms, key=lambda s: abs(reading.place(s.key) - place), default=None)
    return None if nearest is None else kinds[nearest.key]
