"""Users' own statistics as files tell them: by name and options, never by code."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from actstats.custom.spec import CustomSpec
from actstats.custom.statistic import KNOWN, Statistic, Unknown

__all__ = ["options_of", "spec_from_json", "spec_to_json"]

MOST_WORDS = 1 << 26  # of one state in a file: 512 MiB


def spec_to_json(spec: CustomSpec) -> list[Any]:
    """Return what a file says of one: name, options as JSON, units, words."""
    known = spec.statistic
    if isinstance(known, Unknown):
        return [known.called, known.options, spec.units, spec.words]
    return [known.name, options_of(known), spec.units, spec.words]


def options_of(statistic: Statistic) -> str:
    """Return the options of a statistic as JSON.

    Raises
    ------
    TypeError
        If it is no dataclass, or JSON has no word for an option.
    """
    if not dataclasses.is_dataclass(statistic):
        raise TypeError(f"{type(statistic).__name__} must be a frozen dataclass.")
    try:
        hash(statistic)
        return json.dumps(dataclasses.asdict(statistic), sort_keys=True)
    except TypeError as error:
        raise TypeError(
            f"options of {statistic.name} must be numbers, strings, booleans, None or tuples of "
            f"these: {error}"
        ) from error


def spec_from_json(told: Sequence[Any]) -> CustomSpec:
    """Rebuild what :func:`spec_to_json` was given; an unknown one where its class is not here.

    Raises
    ------
    ValueError
        If it is none.
    """
    name, options, units, words = told
    texts = isinstance(name, str) and isinstance(options, str)
    if not (texts and all(type(n) is int and 0 <= n < MOST_WORDS for n in (units, words))):
        raise ValueError(f"a statistic of {units!r} units and {words!r} words")
    unknown = CustomSpec(Unknown(name, options, words), units)
    if name not in KNOWN:
        return unknown
    try:
        spec = CustomSpec(_made(KNOWN[name], options), units)
        return spec if spec.words == words else unknown  # the class has changed since
    except Exception:  # it is a user's code, given what a file says
        return unknown


@lru_cache(maxsize=64)
def _made(kind: type[Statistic], options: str) -> Statistic:
    """Return one instance for all sites of a file, so that what goes wrong is said once."""
    return kind(**_frozen(json.loads(options)))


def _frozen(value: Any) -> Any:
    """Return what JSON says with tuples in place of lists, as options are."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return {k: _frozen(v) for k, v in value.items()} if isinstance(value, dict) else value
