"""What is done to a network to make it sick. All change a module in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from benchmarks.clinic.case import Setup


@torch.no_grad()
def bias(layer: nn.Module, value: float, share: float = 1.0) -> None:
    """Set the bias of the first units to a value."""
    layer.bias[: round(share * len(layer.bias))] = value


@torch.no_grad()
def random_bias(layer: nn.Module, std: float = 0.5) -> None:
    nn.init.normal_(layer.bias, 0.0, std)


@torch.no_grad()
def weigh(layer: nn.Module, factor: float, share: float = 1.0) -> None:
    """Multiply the weights that lead to the first units, and their biases."""
    many = round(share * len(layer.weight))
    layer.weight[:many] *= factor
    if getattr(layer, "bias", None) is not None:
        layer.bias[:many] *= factor


@torch.no_grad()
def weights(layer: nn.Module, factor: float) -> None:
    """Multiply the weights and leave the bias."""
    layer.weight.mul_(factor)


@torch.no_grad()
def twins(layer: nn.Module, then: nn.Module, share: float = 1.0) -> None:
    """Make the first units of a layer equal for good: same weights in, and same weights out.

    With different weights in the layer that reads them they would get different gradients, and
    part.
    """
    many = round(share * len(layer.weight))
    layer.weight[:many] = layer.weight[:1].clone()
    layer.bias[:many] = layer.bias[:1].clone()
    then.weight[:, :many] = then.weight[:, :1].clone()


@torch.no_grad()
def constant(layer: nn.Module) -> None:
    """Give all weights the same number, 1 over the fan-in, and no bias."""
    layer.weight.fill_(1.0 / layer.weight[0].numel())
    layer.bias.zero_()


def each(model: nn.Module, do: Callable[..., None], *arguments: Any) -> None:
    """Do it to every linear and convolution layer."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            do(module, *arguments)


def regroup(setup: Setup, layer: str, lr: float) -> None:
    """Give one layer a learning rate of its own."""
    own = list(setup.model.get_submodule(layer).parameters())
    ids = {id(p) for p in own}
    rest = [p for p in setup.model.parameters() if id(p) not in ids]
    group = setup.optimizer.param_groups[0]
    setup.optimizer = type(setup.optimizer)(
        [{"params": rest}, {"params": own, "lr": lr}], lr=group["lr"]
    )


def inputs(setup: Setup, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change every batch's inputs."""
    setup.batches = [(change(x.clone()), y) for x, y in setup.batches]


def set_to(columns: Iterable[int], factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what multiplies some columns."""

    def change(x: torch.Tensor) -> torch.Tensor:
        x[:, list(columns)] *= factor
        return x

    return change
