"""The activation of what a user or a model holds: a name, a key, a module."""

from __future__ import annotations

from torch import nn

from actstats.activations.infer import infer, unfit
from actstats.activations.registry import KINDS, activation_from_key, canonical, from_values
from actstats.activations.spec import Activation

_NAME_OF: dict[type[nn.Module], str] = {
    kind.module: name for name, kind in KINDS.items() if kind.module is not None
}

_MIXES = "it is not elementwise: its outputs depend on each other"
NOT_ELEMENTWISE: dict[type[nn.Module], str] = {
    nn.GLU: "it is not elementwise: one half of its input gates the other",
    nn.Softmax: _MIXES,
    nn.Softmin: _MIXES,
    nn.LogSoftmax: _MIXES,
    nn.Softmax2d: _MIXES,
    nn.AdaptiveLogSoftmaxWithLoss: _MIXES,
    nn.MultiheadAttention: "it is not elementwise: it mixes positions",
}


def get(activation: str | nn.Module | Activation) -> Activation:
    """Return the activation of a name, a key or a module.

    Parameters
    ----------
    activation : str, nn.Module or Activation
        A name as in `torch.nn.functional` (case, ``-`` and ``_`` do not matter), a `key`, a
        module, or an `Activation`, which is returned as it is.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If there is none by that name, or if the module is not an elementwise activation.

    Examples
    --------
    >>> get("ReLU6").limits
    (0.0, 6.0)
    >>> get("rleu")
    Traceback (most recent call last):
    ValueError: `activation` must name a known activation function; got 'rleu': did you mean ...
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        return activation_from_key(activation)
    if not isinstance(activation, nn.Module):
        raise ValueError(
            f"`activation` must be a name, a module or an Activation; got {activation!r}."
        )
    found = activation_of(activation)
    if found is None:
        raise ValueError(
            "`activation` must be an elementwise activation function; got "
            f"{type(activation).__name__}: {why_not(activation)}."
        )
    return found


def make_module(name: str) -> nn.Module:
    """Make a fresh torch module of a named activation with its default parameters.

    Parameters
    ----------
    name : str
        A name that `get` knows and whose module needs no arguments.

    Raises
    ------
    ValueError
        If the name is unknown, or if torch has no such module without arguments.

    Examples
    --------
    >>> make_module("leaky-relu")
    LeakyReLU(negative_slope=0.01)
    """
    kind = KINDS[canonical(name)]
    if kind.module is None:
        raise ValueError(
            f"`activation` must name a module of torch.nn; got {name!r}, which has none: "
            "pass a module class or a function that makes one."
        )
    if None in kind.defaults.values():
        needed = ", ".join(f"{each}=..." for each in kind.defaults)
        raise ValueError(
            f"`activation` must name a module that needs no arguments; got {name!r}: "
            f"pass `lambda: nn.{kind.module.__name__}({needed})`."
        )
    return kind.module()


def activation_of(module: nn.Module) -> Activation | None:
    """Return the activation that a module computes, or None where it computes none.

    Modules of `torch.nn`, and subclasses that keep its forward, are looked up; other leaf
    modules go through `infer`. The module is left as it was. `why_not` says why it is None.

    Parameters
    ----------
    module : nn.Module
        What may be an activation function, in place or not.

    Returns
    -------
    Activation or None

    Examples
    --------
    >>> activation_of(nn.LeakyReLU(0.2)).key
    'leaky_relu(negative_slope=0.2)'
    >>> activation_of(nn.Softmax(-1)) is None
    True
    """
    cls = known_class(module)
    if cls is None:
        return infer(module)
    if cls in NOT_ELEMENTWISE:
        return None
    name = _NAME_OF[cls]
    return from_values(name, [getattr(module, each, None) for each in KINDS[name].defaults])


def why_not(module: nn.Module) -> str:
    """Say why a module's slope is not known: why `activation_of` is None, or its `reason`.

    Parameters
    ----------
    module : nn.Module
        What `activation_of` was asked about.

    Returns
    -------
    str
        Empty if its slope is known.

    Examples
    --------
    >>> why_not(nn.Softmax(-1))
    'it is not elementwise: its outputs depend on each other'
    """
    found = activation_of(module)
    if found is not None:
        return found.reason or ""
    cls = known_class(module)
    if cls in NOT_ELEMENTWISE:
        return NOT_ELEMENTWISE[cls]
    if cls is not None:
        return "its parameters are not plain numbers"
    return unfit(module) or "it was tried on numbers and is not a fixed elementwise function"


def known_class(module: nn.Module) -> type[nn.Module] | None:
    """Return the registered class whose forward the module runs, also through a subclass."""
    cls = type(module)
    for base in cls.__mro__:
        if base in _NAME_OF or base in NOT_ELEMENTWISE:
            return base if cls.forward is base.forward else None
    return None
