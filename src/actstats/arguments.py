"""Checks of what users hand over: each returns the value in its canonical form or raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from torch import Tensor

from actstats.custom import Statistic, options_of
from actstats.sites import KINDS, join_key
from actstats.stats import TensorStats, named_edges, require_resolution

__all__ = [
    "capture",
    "edges",
    "number",
    "patterns",
    "positive",
    "resolutions",
    "share",
    "statistics",
]


def positive(name: str, value: int) -> int:
    """Return an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` must be an integer of at least 1; got {value!r}.")
    return value


def share(name: str, value: float) -> float:
    """Return a number between 0 and 1, both left out."""
    if not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(f"`{name}` must be in (0, 1); got {value!r}.")
    return float(value)


def number(name: str, value: Any) -> float:
    """Return what ``float`` makes of a scalar."""
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"scalar `{name}` must be a number; got {value!r}.") from error


def capture(capture: str | Sequence[str]) -> frozenset[str]:
    """Return the kinds of tensors to observe."""
    kinds = (capture,) if isinstance(capture, str) else tuple(capture)
    if not kinds or any(kind not in KINDS for kind in kinds):
        raise ValueError(f"`capture` must be some of {KINDS}; got {capture!r}.")
    return frozenset(kinds)


def grad_scale(scale: Any) -> Any:
    """Return a number, a GradScaler or None."""
    number_given = isinstance(scale, int | float | Tensor) and not isinstance(scale, bool)
    if scale is None or number_given or hasattr(scale, "get_scale"):
        return scale
    raise ValueError(f"`grad_scaler` must be a GradScaler, a number or None; got {scale!r}.")


def patterns(name: str, patterns: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return patterns as a tuple."""
    if patterns is not None and not isinstance(patterns, str | Sequence):
        raise ValueError(f"`{name}` must be a pattern or a list of patterns; got {patterns!r}.")
    many = (patterns,) if isinstance(patterns, str) else tuple(patterns or ())
    if any(not isinstance(pattern, str) for pattern in many):
        raise ValueError(f"`{name}` must be a pattern or a list of patterns; got {patterns!r}.")
    return many


def _by_pattern(name: str, given: Any, check: Callable[[Any], Any]) -> dict[str, Any]:
    if not isinstance(given, Mapping) or any(not isinstance(key, str) for key in given):
        raise ValueError(f"`{name}` must map site patterns to values; got {given!r}.")
    return {join_key(pattern): check(value) for pattern, value in given.items()}


def resolutions(resolution: int | Mapping[str, int]) -> dict[str, int]:
    """Return histogram resolutions by site pattern."""
    if isinstance(resolution, Mapping):
        return _by_pattern("resolution", resolution, require_resolution)
    k = require_resolution(resolution)
    return {"*": k, "*:input": k, "*:grad": k}


def statistics(
    given: Statistic | Sequence[Statistic] | Mapping[str, Any] | None,
) -> dict[str, tuple[Statistic, ...]]:
    """Return the user's own statistics by site pattern; without one, those of all outputs."""
    if given is None:
        return {}
    by_pattern = _by_pattern(
        "statistics", given if isinstance(given, Mapping) else {"*": given}, _statistics
    )
    owners: dict[str, Statistic] = {}  # of each figure's name, and of each statistic's
    for one in chain.from_iterable(by_pattern.values()):
        for name in {one.name, *one.figure_names}:
            if type(owners.setdefault(name, one)) is not type(one):
                raise ValueError(f"`statistics` must have different figures; two give {name!r}.")
    return by_pattern


def _statistics(given: Any) -> tuple[Statistic, ...]:
    many = tuple(given) if isinstance(given, Sequence) else (given,)
    for one in many:
        if not isinstance(one, Statistic) or not type(one).name:
            raise ValueError(
                "`statistics` must be instances of subclasses of actstats.statistics.Statistic "
                f"that have a name; got {one!r}."
            )
        options_of(one)
        taken = [name for name in one.figure_names if hasattr(TensorStats, name)]
        if taken:
            raise ValueError(f"`{one.name}` calls a figure {taken[0]!r}, which exists already.")
    names = [one.name for one in many]
    if len(set(names)) < len(names):
        raise ValueError(f"`statistics` must have different names; got {names}.")
    return many


def edges(edges: Mapping[str, Any] | None) -> dict[str, tuple[float, ...]]:
    """Return ascending edges by site pattern."""
    return {} if edges is None else _by_pattern("edges", edges, named_edges)
