"""Convolutional networks: children `conv1`, `norm1`, `act1` ... `pool`, `flat`, `out`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.clinic.mlp import ACTIVATIONS, initialise, norm


def cnn(
    channels: Sequence[int] = (8, 16, 16),
    activation: str = "relu",
    init: str | float = "he",
    *,
    normed: str | None = None,
    gain: float = 1.0,
    classes: int = 10,
) -> nn.Sequential:
    """Return a network of 3 x 3 convolutions over images of one channel."""
    layers = nn.Sequential()
    for i, (a, b) in enumerate(zip((1, *channels[:-1]), channels, strict=True), start=1):
        layers.add_module(f"conv{i}", nn.Conv2d(a, b, 3, padding=1))
        if normed:
            layers.add_module(f"norm{i}", norm(normed, b, dims=2))
        layers.add_module(f"act{i}", ACTIVATIONS[activation]())
    layers.add_module("pool", nn.AdaptiveAvgPool2d(2))
    layers.add_module("flat", nn.Flatten())
    layers.add_module("out", nn.Linear(4 * channels[-1], classes))
    return initialise(layers, init, gain)


class FunctionalCnn(nn.Module):
    """Three convolutions with `F.relu`; the first ones may run untracked.

    Parameters
    ----------
    untracked : int, default 0
        How many convolutions run under `no_grad`.
    """

    def __init__(self, untracked: int = 0) -> None:
        super().__init__()
        self.untracked = untracked
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, 16, 3, padding=1)
        self.out = nn.Linear(16 * 4, 10)
        initialise(self, "he")

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate((self.conv1, self.conv2, self.conv3), start=1):
            with torch.set_grad_enabled(torch.is_grad_enabled() and i > self.untracked):
                x = F.relu(conv(x))
        return self.out(F.adaptive_avg_pool2d(x, 2).flatten(1))

    def layers(self) -> tuple[tuple[str, ...], ...]:
        calls = ("(root).relu()", "(root).relu()#2", "(root).relu()#3")
        return (*((f"conv{i}", call) for i, call in enumerate(calls, start=1)), ("out",))


class Shortcut(nn.Module):
    """Residual convolutions, one with a projection that is built and never called.

    Parameters
    ----------
    used : bool, default False
        Whether the projection is called.
    """

    def __init__(self, used: bool = False) -> None:
        super().__init__()
        self.used = used
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv1 = nn.Conv2d(16, 16, 3, padding=1)
        self.projection = nn.Conv2d(16, 16, 1)
        self.norm2 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.act = nn.ReLU()
        self.out = nn.Linear(16, 10)
        initialise(self, "he")

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm1(self.stem(x)))
        kept = self.projection(x) if self.used else x
        x = kept + self.conv1(x)
        x = x + self.conv2(self.act(self.norm2(x)))
        return self.out(self.act(x).mean((2, 3)))
