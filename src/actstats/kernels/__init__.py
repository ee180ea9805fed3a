"""One pass over a tensor: what is kept, and which implementation keeps it.

A kernel is a module with two functions, ``observe(tensor, state, ...)`` and
``judge(z, state, ...)``, that add to a :class:`~actstats.kernels.state.State`.
``reference`` is the meaning; faster ones must leave the same integers and moments within the
same bound.
"""

from __future__ import annotations

from types import ModuleType

from actstats.kernels import reference
from actstats.kernels.state import Gate, Spec, State

__all__ = ["Gate", "Spec", "State", "choose"]

_KERNELS = {"reference": reference}
_PLANNED = ("cpu", "cuda")


def choose(name: str | None = None) -> ModuleType:
    """Return the kernel called ``name``, or the best one where ``name`` is None.

    Parameters
    ----------
    name : {"reference", "cpu", "cuda"}, optional
        A named kernel is used or refused with the reason; only ``None`` may fall back.

    Raises
    ------
    ValueError
        If the name is unknown.
    NotImplementedError
        If the kernel is planned but not part of this version.
    """
    if name is None:
        return reference
    if name in _KERNELS:
        return _KERNELS[name]
    if name in _PLANNED:
        raise NotImplementedError(
            f"`kernel={name!r}` is not part of this version; leave `kernel` out or use 'reference'."
        )
    raise ValueError(f"`kernel` must be one of {sorted(_KERNELS)} or None; got {name!r}.")
