"""Networks with their data, before anything is done to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.clinic import data
from benchmarks.clinic.case import Batch, Layers, Loss, Setup
from benchmarks.clinic.conv import cnn
from benchmarks.clinic.mlp import Residual, mlp
from benchmarks.clinic.recurrent import Gates, Reader, Tagger, Tower
from benchmarks.clinic.transformer import Gpt

Base = Callable[[int], Setup]
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    x, y = batch
    return F.cross_entropy(model(x).flatten(0, -2), y.flatten())


def squared(model: nn.Module, batch: Batch) -> Tensor:
    x, y = batch
    return (model(x) - y).square().mean()


def scaled_loss(loss: Loss, factor: float) -> Loss:
    """Return a loss that is multiplied by a factor."""
    return lambda model, batch: factor * loss(model, batch)


def under_autocast(loss: Loss, dtype: torch.dtype) -> Loss:
    """Return a loss whose forward runs in a lower precision."""

    def compute(model: nn.Module, batch: Batch) -> Tensor:
        with torch.autocast("cpu", dtype):
            return loss(model, batch)

    return compute


TASKS: dict[str, tuple[Callable[..., data.Batches], int, int, Loss]] = {
    "tutorial": (data.tutorial, 1, 1, squared),
    "friedman": (data.friedman, 10, 1, squared),
    "blobs": (data.blobs, 8, 5, cross_entropy),
    "digits": (data.digits, 64, 10, cross_entropy),
}
"""Data, features, outputs and loss."""


def ready(
    model: nn.Module,
    batches: Sequence[Batch],
    loss: Loss = cross_entropy,
    lr: float = 1e-3,
    optimizer: str = "adam",
    layers: Layers = (),
    **options: Any,
) -> Setup:
    """Return a setup with an optimizer of that name over all that takes gradients."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    return Setup(model, batches, loss, OPTIMIZERS[optimizer](wanted, lr=lr, **options), layers)


def perceptron(
    hidden: Sequence[int] = (32,) * 6,
    activation: str = "relu",
    init: str | float = "he",
    *,
    task: str = "digits",
    size: int = 64,
    training: dict[str, Any] | None = None,
    **options: Any,
) -> Base:
    """Return what makes a perceptron for a task; `options` go to :func:`mlp`."""

    def make(seed: int) -> Setup:
        draw, features, outputs, loss = TASKS[task]
        model = mlp((features, *hidden, outputs), activation, init, **options)
        return ready(model, draw(seed, size), loss, **(training or {}))

    return make


def of(
    build: Callable[[], nn.Module],
    draw: Callable[[int], Sequence[Batch]] = data.digits,
    loss: Loss = cross_entropy,
    **training: Any,
) -> Base:
    """Return what makes any model for any data."""

    def make(seed: int) -> Setup:
        model = build()
        layers = model.layers() if hasattr(model, "layers") else ()
        return ready(model, draw(seed), loss, layers=layers, **training)

    return make


def images(seed: int, size: int = 64) -> data.Batches:
    return data.digits(seed, size, zoom=1)


def convolutions(*arguments: Any, size: int = 64, lr: float = 2e-3, **options: Any) -> Base:
    return of(lambda: cnn(*arguments, **options), lambda seed: images(seed, size), lr=lr)


def reader(kind: str = "lstm", *arguments: Any, lr: float = 5e-3, **options: Any) -> Base:
    return of(lambda: Reader(kind, *arguments, **options), data.rows, lr=lr)


def tagger(kind: str = "lstm", hidden: int = 32, lr: float = 5e-3) -> Base:
    return of(lambda: Tagger(kind, hidden), data.tokens, lr=lr)


def gates(hidden: int = 32, lr: float = 5e-3, **training: Any) -> Base:
    return of(lambda: Gates(hidden=hidden), data.rows, lr=lr, **training)


def tower(depth: int = 4, lr: float = 5e-3, **training: Any) -> Base:
    return of(lambda: Tower(depth), data.rows, lr=lr, **training)


def residual(
    depth: int = 4, normed: str | None = "ln", width: int = 32, lr: float = 1e-3, **training: Any
) -> Base:
    return of(lambda: Residual(64, width, depth, 10, normed), lr=lr, **training)


def gpt(size: int = 16, lr: float = 3e-3, training: dict[str, Any] | None = None, **o: Any) -> Base:
    return of(lambda: Gpt(**o), lambda seed: data.tokens(seed, size), lr=lr, **(training or {}))
