"""The four networks that training steps are timed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from actstats import make_mlp

TUTORIAL = "tutorial net, 26 leaves of 64 x 10"
MLP = "MLP 6 x 1024, batch 256"
RESNET = "ResNet-18, 16 x 3 x 64 x 64"
TRANSFORMER = "transformer, 4 blocks, d 384, 4 x 256 tokens"
LABELS = {"tutorial": TUTORIAL, "mlp": MLP, "resnet": RESNET, "transformer": TRANSFORMER}


@dataclass
class Net:
    """A model, one batch of what a step trains on, a small batch to warm up with, and its loss."""

    name: str
    model: nn.Module
    batch: Tensor
    small: Tensor
    output: Callable[[nn.Module, Tensor], Tensor]

    def __post_init__(self) -> None:
        # A tiny rate: the values stay as they were drawn, however many steps are timed.
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-6)

    @property
    def label(self) -> str:
        return LABELS[self.name]

    def train(self, batch: Tensor) -> None:
        """Forward, backward, SGD."""
        self.optimizer.zero_grad()
        self.output(self.model, batch).square().mean().backward()
        self.optimizer.step()


def tutorial() -> Net:
    model = make_mlp(bn=True, weight_std=0.1, bias_init=-0.2)
    batch = torch.randn(64, 1)
    return Net("tutorial", model, batch, batch[:8], lambda net, x: net(x))


def mlp() -> Net:
    model = make_mlp(1024, (1024,) * 6, 10, activation="relu")
    batch = torch.randn(256, 1024)
    return Net("mlp", model, batch, batch[:8], lambda net, x: net(x))


def resnet() -> Net:
    import transformers

    config = transformers.ResNetConfig(
        layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512]
    )
    model = transformers.ResNetForImageClassification(config)
    batch = torch.randn(16, 3, 64, 64)
    return Net("resnet", model, batch, batch[:2], lambda net, x: net(x).logits)


def transformer() -> Net:
    import transformers

    config = transformers.GPT2Config(n_layer=4, n_embd=384, n_head=6, n_positions=256)
    model = transformers.GPT2Model(config)
    batch = torch.randn(4, 256, 384)
    return Net(
        "transformer",
        model,
        batch,
        batch[:2, :8],
        lambda net, x: net(inputs_embeds=x).last_hidden_state,
    )


MAKERS: dict[str, Callable[[], Net]] = {
    "tutorial": tutorial,
    "mlp": mlp,
    "resnet": resnet,
    "transformer": transformer,
}


def make(name: str) -> Net:
    """Return a net with the same random weights and batch in every run, in training mode."""
    torch.manual_seed(0)
    net = MAKERS[name]()
    net.model.train()
    return net
