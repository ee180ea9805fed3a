"""The activations that have a name: by name and parameters, and by the key that holds both."""

from __future__ import annotations

import copyreg
import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn

from actstats.activations import curves, piecewise
from actstats.activations.parts import inapplicable
from actstats.activations.spec import Activation, Parameter


class Builtin(NamedTuple):
    """Tie a name to its module class, its parameters (None: no default) and its builder."""

    module: type[nn.Module] | None
    defaults: Mapping[str, Parameter | None]
    build: Callable[..., Activation]


KINDS: dict[str, Builtin] = {
    "celu": Builtin(nn.CELU, {"alpha": 1.0}, curves.celu),
    "elu": Builtin(nn.ELU, {"alpha": 1.0}, curves.elu),
    "gelu": Builtin(nn.GELU, {"approximate": "none"}, curves.gelu),
    "hardshrink": Builtin(nn.Hardshrink, {"lambd": 0.5}, piecewise.hardshrink),
    "hardsigmoid": Builtin(nn.Hardsigmoid, {}, piecewise.hardsigmoid),
    "hardswish": Builtin(nn.Hardswish, {}, curves.hardswish),
    "hardtanh": Builtin(nn.Hardtanh, {"min_val": -1.0, "max_val": 1.0}, piecewise.hardtanh),
    "leaky_relu": Builtin(nn.LeakyReLU, {"negative_slope": 0.01}, piecewise.leaky_relu),
    "logsigmoid": Builtin(nn.LogSigmoid, {}, curves.logsigmoid),
    "mish": Builtin(nn.Mish, {}, curves.mish),
    "prelu": Builtin(nn.PReLU, {}, piecewise.prelu),
    "quick_gelu": Builtin(None, {}, curves.quick_gelu),
    "relu": Builtin(nn.ReLU, {}, piecewise.relu),
    "relu6": Builtin(nn.ReLU6, {}, piecewise.relu6),
    "rrelu": Builtin(nn.RReLU, {"lower": 1 / 8, "upper": 1 / 3}, piecewise.rrelu),
    "selu": Builtin(nn.SELU, {}, curves.selu),
    "sigmoid": Builtin(nn.Sigmoid, {}, curves.sigmoid),
    "silu": Builtin(nn.SiLU, {}, curves.silu),
    "softplus": Builtin(nn.Softplus, {"beta": 1.0, "threshold": 20.0}, curves.softplus),
    "softshrink": Builtin(nn.Softshrink, {"lambd": 0.5}, piecewise.softshrink),
    "softsign": Builtin(nn.Softsign, {}, curves.softsign),
    "tanh": Builtin(nn.Tanh, {}, curves.tanh),
    "tanhshrink": Builtin(nn.Tanhshrink, {}, curves.tanhshrink),
    "threshold": Builtin(nn.Threshold, {"threshold": None, "value": None}, piecewise.threshold),
}
_ALIASES = {"swish": "silu"}


def names() -> tuple[str, ...]:
    """Return the names that `get` knows, sorted.

    Examples
    --------
    >>> names()[:3]
    ('celu', 'elu', 'gelu')
    """
    return tuple(sorted(KINDS))


@lru_cache(maxsize=512)
def build(name: str, values: tuple[Parameter, ...]) -> Activation:
    """Return the activation of a registered name and all its parameters, the same one each time."""
    kind = KINDS[name]
    params = tuple(zip(kind.defaults, values, strict=True))
    return replace(kind.build(*values), name=name, params=params)


def from_values(name: str, values: Sequence[object]) -> Activation | None:
    """Return `build` of what a module or a call holds, None if a value is no constant."""
    constants = tuple(
        constant
        for value, default in zip(values, KINDS[name].defaults.values(), strict=True)
        if (constant := _constant(value, default)) is not None
    )
    return build(name, constants) if len(constants) == len(values) else None


def _constant(value: object, default: Parameter | None) -> Parameter | None:
    """Return a parameter as float or str, None if it is neither (a tensor, a symbol)."""
    if isinstance(default, str):
        return value if isinstance(value, str) else None
    return float(value) if isinstance(value, (int, float)) else None


def canonical(name: str) -> str:
    """Return the registered spelling of a name, whatever its case, dashes and underscores."""
    known = {_squeeze(each): each for each in KINDS} | _ALIASES
    found = known.get(_squeeze(name))
    if found is not None:
        return found
    close = [known[each] for each in difflib.get_close_matches(_squeeze(name), known)]
    hint = f"did you mean {' or '.join(repr(each) for each in dict.fromkeys(close))}?"
    raise ValueError(
        f"`activation` must name a known activation function; got {name!r}: "
        + (hint if close else f"use one of {', '.join(names())}.")
    )


def _squeeze(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


# ------------------------------------------------------------------------------------------- keys


def activation_from_key(key: str) -> Activation:
    """Rebuild an activation from its `key`; parameters that are left out have their defaults.

    Of an activation made by `from_function` a key holds the flags and figures but not the
    function: what comes back equals it, gives nan, and says so in `reason`.

    Parameters
    ----------
    key : str
        A name, or a name with its parameters.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If the name is unknown, or if a parameter is unknown, missing or not a number.

    Examples
    --------
    >>> activation_from_key("hardtanh(min_val=-2, max_val=2)").limits
    (-2.0, 2.0)
    """
    name, given = _split_key(key)
    if "digest" in given:
        return _without_function(key, name, given)
    name = canonical(name)
    defaults = KINDS[name].defaults
    values = [
        _read_parameter(key, given[each], default) if each in given else default
        for each, default in defaults.items()
    ]
    complete = tuple(value for value in values if value is not None)
    if len(complete) < len(values) or not set(given) <= set(defaults):
        wanted = f"the parameters {', '.join(defaults)}" if defaults else "no parameters"
        raise ValueError(f"`key` must give {name} {wanted}; got {key!r}.")
    return build(name, complete)


def _split_key(key: str) -> tuple[str, dict[str, str]]:
    match = re.fullmatch(r"([^(),=]+)(?:\(([^()]*)\))?", key.strip())
    if match is None:
        raise ValueError(f'`key` must look like "name" or "name(param=value)"; got {key!r}.')
    pairs = [pair.partition("=") for pair in (match[2] or "").split(",") if pair.strip()]
    return match[1].strip(), {name.strip(): value.strip() for name, _, value in pairs}


def _read_parameter(key: str, text: str, default: Parameter | None) -> Parameter:
    if isinstance(default, str):
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"`key` must hold numbers; got {text!r} in {key!r}.") from None


def _without_function(key: str, name: str, given: Mapping[str, str]) -> Activation:
    wanted = ("digest", "relu_like", "can_die", "max_slope", "low", "high")
    if tuple(given) != wanted:
        raise ValueError(f"`key` must give {name} {', '.join(wanted)}; got {key!r}.")
    figures = {each: float(_read_parameter(key, given[each], 0.0)) for each in wanted[1:]}
    return replace(
        inapplicable(
            lambda z: torch.full_like(z.detach(), math.nan),
            f"{name} was worked out from code that its key does not hold",
        ),
        name=name,
        max_slope=figures["max_slope"],
        limits=(figures["low"], figures["high"]),
        relu_like=bool(figures["relu_like"]),
        can_die=bool(figures["can_die"]),
        params=(("digest", given["digest"]), *figures.items()),
    )


copyreg.pickle(Activation, lambda activation: (activation_from_key, (activation.key,)))
