"""Multilayer perceptrons: children `fc1`, `norm1`, `act1` ... `out`, and their variants."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "relu6": nn.ReLU6,
    "hardtanh": nn.Hardtanh,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
}
INITS = {"he": 2.0, "xavier": 1.0, "lecun": 1.0}
"""Variance times fan-in; Xavier's is over the mean of fan-in and fan-out."""


def initialise(model: nn.Module, init: str | float, gain: float = 1.0) -> nn.Module:
    """Draw the weights of linear and convolution layers anew, and set their biases to 0.

    Parameters
    ----------
    model : Module
        Changed in place, and returned.
    init : {"he", "xavier", "lecun", "torch"} or float
        A number is the standard deviation itself; ``"torch"`` leaves all as it is.
    gain : float, default 1
        Factor on the standard deviation.
    """
    for module in model.modules():
        if init == "torch" or not isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            continue
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(module.weight)
        if isinstance(init, str):
            fan = (fan_in + fan_out) / 2 if init == "xavier" else fan_in
            std = math.sqrt(INITS[init] / fan)
        else:
            std = init
        nn.init.normal_(module.weight, 0.0, gain * std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return model


def norm(kind: str | None, width: int, dims: int = 1) -> nn.Module | None:
    """Return a norm over that many features, or None."""
    if kind == "bn":
        return nn.BatchNorm1d(width) if dims == 1 else nn.BatchNorm2d(width)
    if kind == "ln":
        return nn.LayerNorm(width) if dims == 1 else nn.GroupNorm(1, width)
    return None


def mlp(
    sizes: Sequence[int],
    activation: str = "relu",
    init: str | float = "he",
    *,
    normed: str | None = None,
    gain: float = 1.0,
    numbered: bool = False,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Return a perceptron of these sizes, input and output included."""
    layers = nn.Sequential()
    for i, (a, b) in enumerate(pairwise(sizes[:-1]), start=1):
        layers.add_module(f"fc{i}", nn.Linear(a, b))
        if normed:
            layers.add_module(f"norm{i}", norm(normed, b))
        layers.add_module(f"act{i}", ACTIVATIONS[activation]())
        if dropout:
            layers.add_module(f"drop{i}", nn.Dropout(dropout))
    layers.add_module("out", nn.Linear(*sizes[-2:]))
    initialise(layers, init, gain)
    return nn.Sequential(*layers) if numbered else layers


class FunctionalMlp(nn.Module):
    """A perceptron that calls its activation as a function; `between` may change what passes.

    Parameters
    ----------
    sizes : sequence of int
        Input and output included.
    call : callable, default torch.nn.functional.relu
        The activation.
    """

    def __init__(self, sizes: Sequence[int], call: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.call = call
        self.depth = len(sizes) - 2
        for i, (a, b) in enumerate(pairwise(sizes[:-1]), start=1):
            self.add_module(f"fc{i}", nn.Linear(a, b))
        self.out = nn.Linear(*sizes[-2:])
        initialise(self, "he")

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1, self.depth + 1):
            x = self.between(i, self.call(self.get_submodule(f"fc{i}")(x)))
        return self.out(x)

    def between(self, layer: int, x: Tensor) -> Tensor:
        """Return what layer's output becomes on its way to the next."""
        return x

    def layers(self, kind: str = "relu") -> tuple[tuple[str, ...], ...]:
        """Return the layers with the sites of their functional calls."""
        calls = ["" if i == 1 else f"#{i}" for i in range(1, self.depth + 1)]
        hidden = [(f"fc{i}", f"(root).{kind}(){c}") for i, c in enumerate(calls, start=1)]
        known = {name for group in hidden for name in group}
        rest = [(name,) for name, _ in self.named_children() if name not in known]
        return (*hidden, *rest)


class Detached(FunctionalMlp):
    """A perceptron where someone detached one layer's output."""

    cut = 3

    def between(self, layer: int, x: Tensor) -> Tensor:
        return x.detach() if layer == self.cut else x


class Untracked(FunctionalMlp):
    """A perceptron whose first layers run under `no_grad`, left there from an experiment."""

    cut = 2

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for i in range(1, self.cut + 1):
                x = self.call(self.get_submodule(f"fc{i}")(x))
        for i in range(self.cut + 1, self.depth + 1):
            x = self.call(self.get_submodule(f"fc{i}")(x))
        return self.out(x)


class Forgotten(FunctionalMlp):
    """A perceptron with a layer that was built and is never called."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__(sizes)
        self.extra = nn.Linear(sizes[1], sizes[1])


class Residual(nn.Module):
    """A perceptron with a residual stream: `stem`, `blocks.0.up`, ..., `out`.

    Parameters
    ----------
    features, width, depth, classes : int
        Sizes; depth in blocks.
    normed : str, optional
        ``"ln"`` or ``"bn"`` at the start of each block and before `out`; None leaves the stream
        to grow.
    """

    def __init__(
        self, features: int, width: int, depth: int, classes: int, normed: str | None = "ln"
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(features, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, normed) for _ in range(depth))
        self.norm = norm(normed, width) or nn.Identity()
        self.out = nn.Linear(width, classes)
        initialise(self, "he")

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


class ResidualBlock(nn.Module):
    def __init__(self, width: int, normed: str | None) -> None:
        super().__init__()
        self.norm = norm(normed, width) or nn.Identity()
        self.up = nn.Linear(width, width)
        self.act = nn.ReLU()
        self.down = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.act(self.up(self.norm(x))))


# ---- modules that harm ---------------------------------------------------------------------------


class Log(nn.Module):
    """The logarithm, of negative numbers too."""

    def forward(self, x: Tensor) -> Tensor:
        return x.log()


class Exp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


class Length(nn.Module):
    """Each sample over its length by hand; the bound comes too late for the slope of the root."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-6)


class Share(nn.Module):
    """Each sample over its sum of rectified values: 0/0 where none is positive."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.clamp(min=0)
        return x / x.sum(-1, keepdim=True)


class Leak(nn.Module):
    """A running state that is added and never reset."""

    def __init__(self, factor: float = 1.1) -> None:
        super().__init__()
        self.factor = factor
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        self.scale *= self.factor
        return x * self.scale


def replaced(model: nn.Sequential, name: str, module: nn.Module) -> nn.Sequential:
    """Put a module in a child's place."""
    model._modules[name] = module
    return model
