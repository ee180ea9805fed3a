"""Make the plain multilayer perceptron of the Batch Normalization tutorial and its kin."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence

from torch import nn

from actstats.activations import make_module

__all__ = ["make_mlp"]


def make_mlp(
    in_features: int = 1,
    hidden: Sequence[int] = (10,) * 8,
    out_features: int = 1,
    *,
    activation: str | Callable[[], nn.Module] = "tanh",
    bn: bool = False,
    input_bn: bool | None = None,
    bn_momentum: float | None = 0.1,
    weight_std: float | None = None,
    bias_init: float | None = None,
) -> nn.Sequential:
    """Make a multilayer perceptron with named layers, with or without batch normalization.

    Its children are ``bn0``, then ``fc1``, ``bn1``, ``act1`` to ``fcN``, ``bnN``, ``actN``, then
    ``out``. ``make_mlp(bn=True, bias_init=-0.2)`` has the shape of the published tutorial; with
    ``weight_std=0.1``, ``bn_momentum=0.5`` and the same seed it is that network, parameter for
    parameter: each Linear draws torch's own initialisation, then its weight, layer by layer.

    Parameters
    ----------
    in_features : int, default=1
        Width of the input, at least 1. The network maps ``(N, in_features)`` to
        ``(N, out_features)``.
    hidden : sequence of int, default=(10,) * 8
        Widths of the hidden layers, each at least 1. Empty gives a linear model.
    out_features : int, default=1
        Width of the output, at least 1.
    activation : str or callable, default="tanh"
        A name as in `torch.nn.functional` whose module needs no arguments, or what makes one
        module when called: a class or a function without arguments.
    bn : bool, default=False
        Put a BatchNorm1d between each hidden Linear and its activation.
    input_bn : bool or None, default=None
        Put a BatchNorm1d before the first Linear. None: as `bn`.
    bn_momentum : float or None, default=0.1
        Momentum of each BatchNorm1d, in [0, 1]. None: a cumulative average.
    weight_std : float or None, default=None
        Standard deviation of the normal initialisation of each weight, at least 0. None leaves
        torch's own.
    bias_init : float or None, default=None
        Constant that each bias starts from. None leaves torch's own.

    Returns
    -------
    nn.Sequential

    Raises
    ------
    ValueError
        If an argument has the wrong type or is outside its range.

    Source
    ------
    MorvanZhou, PyTorch-Tutorial, 504_batch_normalization.py.

    Examples
    --------
    >>> [name for name, _ in make_mlp(2, [10], bn=True).named_children()]
    ['bn0', 'fc1', 'bn1', 'act1', 'out']
    """
    _check_width("in_features", in_features)
    _check_width("out_features", out_features)
    _check_hidden(hidden)
    _check_flag("bn", bn)
    if input_bn is not None:
        _check_flag("input_bn", input_bn, " or None")
    _check_number("bn_momentum", bn_momentum, 0.0, 1.0)
    _check_number("weight_std", weight_std, 0.0)
    _check_number("bias_init", bias_init)

    layers = nn.Sequential()
    if bn if input_bn is None else input_bn:
        layers.add_module("bn0", nn.BatchNorm1d(int(in_features), momentum=bn_momentum))
    width = int(in_features)
    for i, wanted in enumerate(map(int, hidden), start=1):
        layers.add_module(f"fc{i}", _linear(width, wanted, weight_std, bias_init))
        if bn:
            layers.add_module(f"bn{i}", nn.BatchNorm1d(wanted, momentum=bn_momentum))
        layers.add_module(f"act{i}", _make_activation(activation))
        width = wanted
    if not hidden:
        _make_activation(activation)  # a bad name is an error also where nothing uses it
    layers.add_module("out", _linear(width, int(out_features), weight_std, bias_init))
    return layers


def _linear(
    in_features: int, out_features: int, weight_std: float | None, bias_init: float | None
) -> nn.Linear:
    linear = nn.Linear(in_features, out_features)
    if weight_std is not None:
        nn.init.normal_(linear.weight, 0.0, weight_std)
    if bias_init is not None:
        nn.init.constant_(linear.bias, bias_init)
    return linear


def _make_activation(activation: object) -> nn.Module:
    """Make one module from a name, a class or a function without arguments."""
    if isinstance(activation, str):
        return make_module(activation)
    if isinstance(activation, nn.Module) or not callable(activation):
        raise ValueError(
            "`activation` must be a name, or a class or function that makes a new module; "
            f"got {activation!r}."
        )
    try:
        module = activation()
    except TypeError as error:
        raise ValueError(
            f"`activation` must make a module without arguments; got {activation!r}: {error}. "
            "Wrap it, e.g. `lambda: nn.Threshold(0.1, 0.0)`."
        ) from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"`activation` must make an nn.Module; {activation!r} made {module!r}.")
    return module


def _is_width(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        return False
    return int(value) >= 1


def _check_width(name: str, value: object) -> None:
    if not _is_width(value):
        raise ValueError(f"`{name}` must be an int of at least 1; got {value!r}.")


def _check_hidden(hidden: object) -> None:
    if (
        not isinstance(hidden, Sequence)
        or isinstance(hidden, (str, bytes))
        or not all(_is_width(width) for width in hidden)
    ):
        raise ValueError(
            f"`hidden` must be a sequence of ints of at least 1, such as (10, 10); got {hidden!r}."
        )


def _check_flag(name: str, value: object, otherwise: str = "") -> None:
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True, False{otherwise}; got {value!r}.")


def _check_number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> None:
    """Accept None and finite real numbers in [low, high]."""
    if value is None:
        return
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        number = float(value)
        if math.isfinite(number) and low <= number <= high:
            return
    bounds = {(-math.inf, math.inf): "", (0.0, math.inf): " of at least 0"}
    wanted = bounds.get((low, high), f" in [{low:g}, {high:g}]")
    raise ValueError(f"`{name}` must be a finite number{wanted} or None; got {value!r}.")
