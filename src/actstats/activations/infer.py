"""The activation of a stranger's module: whether it is one, and which, by trying it on numbers."""

from __future__ import annotations

import contextlib
import copy
import random
import sys
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor, nn

from actstats.activations.registry import KINDS, activation_from_key
from actstats.activations.spec import Activation
from actstats.activations.table import from_table, table_grid, tabulate
from actstats.activations.zones import Elementwise


def infer(module: nn.Module) -> Activation | None:
    """Work out the activation of an unknown leaf module by trying it on numbers.

    Only a module without children, parameters and buffers that is not torch's own is tried: a
    deep copy of it, in eval mode, by its class's forward, so that no hook runs. Random states
    and the module are left as they were. One that equals a named activation is that one.

    Parameters
    ----------
    module : nn.Module
        What may be an activation function that torch does not know.

    Returns
    -------
    Activation or None
        None if it is not a fixed, nonlinear, differentiable, elementwise function of one
        tensor, or if trying it raised any exception.

    Examples
    --------
    >>> class Swish(nn.Module):
    ...     def forward(self, x):
    ...         return x * torch.sigmoid(x)
    >>> infer(Swish()).key
    'silu'
    """
    if unfit(module) is not None:
        return None
    try:
        with _random_state_kept(), torch.inference_mode(False):
            return _try_out(copy.deepcopy(module).eval())
    except Exception:  # whatever a stranger's code does, it is not an activation we can tell
        return None


def unfit(module: nn.Module) -> str | None:
    """Say why a module is not even tried, None if it may be."""
    if type(module).__module__.split(".")[0] == "torch":
        return f"{type(module).__name__} is not an activation function"
    if next(module.children(), None) is not None:
        return "it has child modules"
    if next(module.parameters(), None) is not None or next(module.buffers(), None) is not None:
        return "it has parameters or buffers"
    return None


def _try_out(module: nn.Module) -> Activation | None:
    forward = type(module).forward

    def function(z: Tensor) -> Tensor:
        result = forward(module, z.clone())  # a clone, for modules that work in place
        if not isinstance(result, Tensor):
            raise TypeError(f"the output is no tensor: {type(result)}")
        return result

    with torch.no_grad():
        if not _is_elementwise(function):
            return None
        known = _same_as_known(function)
    if known is not None:
        return known
    values, slopes = tabulate(function)
    if float(slopes.max() - slopes.min()) <= 1e-6 * float(slopes.abs().max()):
        return None  # linear: identity, dropout, scaling
    return from_table(function, type(module).__name__, values, slopes)


@contextlib.contextmanager
def _random_state_kept() -> Iterator[None]:
    """Put the random states of torch (GPUs in use included), Python and NumPy back."""
    in_use = torch.cuda.is_initialized()
    cuda = range(torch.cuda.device_count()) if in_use else range(0)
    numpy = sys.modules.get("numpy")  # if nobody imported it, nobody can draw from it
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy is not None else None
    try:
        with torch.random.fork_rng(devices=list(cuda)):
            yield
    finally:
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)


def _close(one: Tensor, other: Tensor) -> bool:
    """Tell whether two results agree but for float32 rounding."""
    return one.shape == other.shape and torch.allclose(
        one.double(), other.double(), rtol=1e-5, atol=1e-6
    )


def _is_elementwise(function: Elementwise) -> bool:
    """Try that each output depends on its own input only, whatever the shape, and repeatably."""
    grid = torch.linspace(-7.3, 7.9, 48, dtype=torch.float64, device="cpu")
    order = torch.arange(48, device="cpu") * 29 % 48
    expected = function(grid)
    if expected.shape != grid.shape:
        return False
    shapes = [(48, 1), (1, 48), (4, 12), (2, 3, 8), (2, 2, 3, 4)]
    return (
        expected.is_floating_point()
        and torch.equal(function(grid), expected)
        and _close(function(grid[order]), expected[order])
        and all(_close(function(grid[i : i + 1]), expected[i : i + 1]) for i in (0, 11, 47))
        and all(_close(function(grid.reshape(s)), expected.reshape(s)) for s in shapes)
    )


def _coarse_grid() -> Tensor:
    return table_grid()[::16]  # every 1/32


@lru_cache(maxsize=1)
def _known_values() -> list[tuple[Activation, Tensor]]:
    # only their classes tell PReLU and RReLU from a leaky ReLU; CELU with alpha 1 is ELU
    told = set(KINDS) - {"celu", "prelu", "rrelu", "threshold"}
    known = [activation_from_key(key) for key in (*sorted(told), "gelu(approximate=tanh)")]
    return [(each, each.function(_coarse_grid())) for each in known]


def _same_as_known(function: Elementwise) -> Activation | None:
    """Return the named activation with the same values, for other people's GELU, say."""
    values = function(_coarse_grid())
    return next((each for each, known in _known_values() if _close(values, known)), None)
