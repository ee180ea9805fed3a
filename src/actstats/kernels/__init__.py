"""One pass over a tensor: what is kept, and which implementation keeps it.

A kernel is a module with two functions, ``observe(tensor, state, ...)`` and
``judge(z, state, ...)``, that add to a :class:`~actstats.kernels.state.State`, and with
``why_not()``, which tells why it cannot run here. It may leave a plan in the state, whose
``read_alike(x, state, axis, step)`` observes a tensor that is as the last one was, and tells
whether it is. ``reference`` is the meaning; the faster ones leave the same integers, and moments
within the same bound.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from types import ModuleType

import torch

from actstats.kernels import cpu, cuda, reference
from actstats.kernels.state import Gate, Spec, State

__all__ = ["Gate", "Spec", "State", "best", "choose"]

KERNELS: dict[str, ModuleType] = {"reference": reference, "cpu": cpu, "cuda": cuda}

logger = logging.getLogger("actstats")


def choose(name: str) -> ModuleType:
    """Return the kernel called ``name``, which must be able to run here.

    Parameters
    ----------
    name : {"reference", "cpu", "cuda"}
        ``"cpu"`` is compiled by numba, ``"cuda"`` by Triton.

    Raises
    ------
    ValueError
        If the name is unknown.
    RuntimeError
        If the kernel cannot run here, with the reason.
    """
    if name not in KERNELS:
        raise ValueError(f"`kernel` must be one of {sorted(KERNELS)} or None; got {name!r}.")
    kernel = KERNELS[name]
    reason = kernel.why_not()
    if reason is not None:
        raise RuntimeError(f"`kernel={name!r}` cannot run here: {reason}")
    return kernel


@lru_cache(maxsize=64)
def best(device_type: str, dtype: torch.dtype) -> ModuleType:
    """Return the fastest kernel for tensors of a device and dtype; say once why it is not faster.

    Parameters
    ----------
    device_type : str
        As of ``torch.device.type``.
    dtype : torch.dtype
        Of the tensors.
    """
    reason: str | None
    if device_type == "cpu":
        reason = cpu.why_not(dtype)
    elif device_type == "cuda":
        reason = cuda.why_not()
    else:
        return reference
    if reason is None:
        return KERNELS[device_type]
    logger.warning("the slower reference kernel records on %s: %s", device_type, reason)
    return reference
