"""The activation of a call of a torch function, such as `F.leaky_relu`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch.nn import functional as F

from actstats._torch import native_functions
from actstats.activations.registry import KINDS, build, from_values
from actstats.activations.spec import Activation


@dataclass(frozen=True)
class FunctionalForm:
    """Read one functional form of an activation, such as `F.leaky_relu`.

    Parameters
    ----------
    name : str
        The activation's name.
    signature : tuple of str
        The arguments' names after the input, in order.
    in_place : bool
        True for the forms with a trailing underscore.

    Examples
    --------
    >>> FUNCTIONAL[F.elu](torch.zeros(1), 0.5).key
    'elu(alpha=0.5)'
    """

    name: str
    signature: tuple[str, ...]
    in_place: bool

    def __call__(self, *args: object, **kwargs: object) -> Activation | None:
        """Return the activation of the call, None if a parameter is a tensor."""
        if not KINDS[self.name].defaults:
            return build(self.name, ())
        given = dict(zip(self.signature, args[1:], strict=False)) | kwargs
        defaults = KINDS[self.name].defaults
        return from_values(self.name, [given.get(each, defaults[each]) for each in defaults])

    def is_in_place(self, args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
        """Tell whether the call overwrites its input."""
        if self.in_place or "inplace" not in self.signature:
            return self.in_place
        place = self.signature.index("inplace") + 1
        # torch.rrelu has its generator there: only a plain True counts
        return (args[place] if len(args) > place else kwargs.get("inplace")) is True


def _signature(name: str) -> tuple[str, ...]:
    parameters = tuple(KINDS[name].defaults)
    if name == "rrelu":
        parameters += ("training",)
    return (*parameters, "inplace")


def _functional_forms() -> dict[Callable[..., Any], FunctionalForm]:
    owners = (F, torch, torch.Tensor, *native_functions())
    forms = {
        getattr(owner, name + suffix): FunctionalForm(name, _signature(name), suffix == "_")
        for name in KINDS
        for owner in owners
        for suffix in ("", "_")
        if hasattr(owner, name + suffix)
    }
    forms[torch.special.expit] = FunctionalForm("sigmoid", ("inplace",), False)
    return forms


FUNCTIONAL: Mapping[Callable[..., Any], FunctionalForm] = MappingProxyType(_functional_forms())


def functional_activation(
    func: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object] | None = None
) -> Activation | None:
    """Return the activation that a call of a torch function computes, None for any other call.

    For a `TorchFunctionMode`: one dictionary look-up for functions that are none. Whether the
    call overwrites its input is ``FUNCTIONAL[func].is_in_place(args, kwargs)``.

    Parameters
    ----------
    func : callable
        What the mode was given.
    args : sequence
        The call's positional arguments, the input first.
    kwargs : mapping or None, default=None
        The call's keyword arguments.

    Returns
    -------
    Activation or None
        Also None where a parameter is a tensor rather than a number.

    Examples
    --------
    >>> functional_activation(F.hardtanh, (torch.zeros(2), -2.0), {"max_val": 2.0}).limits
    (-2.0, 2.0)
    >>> functional_activation(torch.add, (1, 2)) is None
    True
    """
    form = FUNCTIONAL.get(func)
    return None if form is None else form(*args, **(kwargs or {}))
