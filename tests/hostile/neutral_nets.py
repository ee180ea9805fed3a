"""Small nets of the kinds that people train, to be run with a recorder and without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence

__all__ = ["NETS", "Net", "gpt2", "tokens"]


@dataclass(frozen=True, eq=False)
class Net:
    """A net, and batches for it.

    Parameters
    ----------
    name : str
        For messages.
    make : callable
        Makes a new one of torch's random numbers.
    batch : callable
        Draws what the net is called with.
    has_blocks : bool
        Whether ``net.blocks`` can be compiled, or checkpointed, one by one.
    is_compiled : bool
        Whether it is worth the seconds that a compiler takes.
    has_fast_path : bool
        Whether torch computes it in another way, in eval, as long as no module has any hook.
    unfit : mapping of str to str
        Modes that it cannot be run in, without a recorder either, and why.
    """

    name: str
    make: Callable[[], nn.Module]
    batch: Callable[[], tuple[Any, ...]]
    has_blocks: bool = False
    is_compiled: bool = False
    has_fast_path: bool = False
    unfit: dict[str, str] = field(default_factory=dict)


class Blocks(nn.Module):
    """A stem, blocks, a head."""

    def __init__(self, stem: nn.Module, blocks: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Convolution(nn.Module):
    """A convolution with batch norm, overwritten by its activation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout2d(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.act(self.bn(self.conv(x))))


def convolutions() -> nn.Module:
    head = (nn.SiLU(inplace=True), nn.Flatten(), nn.Dropout(0.5, inplace=True), nn.Linear(16, 3))
    return Blocks(nn.Conv2d(1, 4, 3), [Convolution(), Convolution()], nn.Sequential(*head))


class Residual(nn.Module):
    """A residual block with layer norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, width)
        self.act = nn.GELU()
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.act(self.fc(self.norm(x))))


def residual() -> nn.Module:
    return Blocks(nn.Linear(3, 8), [Residual(8) for _ in range(3)], nn.Linear(8, 2))


class Packed(nn.Module):
    """An LSTM over sequences of several lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, num_layers=2, dropout=0.3)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out, (hidden, _) = self.lstm(pack_padded_sequence(x, [6, 4, 1]))
        return self.head(F.relu(out.data)), hidden


class Attends(nn.Module):
    """Attention of a sequence to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(8, 2, dropout=0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.mha(x, x, x)[0]


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 2)


def padded_batch() -> tuple[Any, ...]:
    padding = torch.zeros(4, 5, dtype=torch.bool)
    padding[1, 3:] = True
    return torch.randn(4, 5, 8), None, padding


def gpt2(**checkpointing: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")  # here: it takes seconds
    sizes = {"vocab_size": 50, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    net = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, use_cache=False))
    if checkpointing:
        old = net.gradient_checkpointing_enable  # its name until transformers 5
        getattr(net, "activation_checkpointing_enable", old)(checkpointing)
    return net


class Shares(nn.Module):
    """One activation called again and again, one module under two names, a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = self.first
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.first.weight
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.again, self.tied):
            x = self.act(layer(x))
        return x


class Names(nn.Module):
    """Nested outputs, and activations that are functions, in place and not."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> dict[str, Any]:
        hidden = F.silu(self.fc(x), inplace=True)
        return {
            "logits": torch.tanh(hidden),
            "all": (x, [hidden * 2, None]),
            "n": 3,
        }


class Outer(nn.Module):
    """A net of one part."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any) -> Any:
        return self.inner(*args)


def lazy() -> nn.Module:
    layers = (nn.LazyConv1d(4, 3), nn.LazyBatchNorm1d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    return nn.Sequential(*layers)


def parametrized() -> nn.Module:
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(3, 5)),
        nn.Tanh(),
        parametrizations.spectral_norm(nn.Linear(5, 2)),
    )


def normal(*shape: int) -> Callable[[], tuple[Any, ...]]:
    return lambda: (torch.randn(*shape),)


def tokens() -> tuple[Any, ...]:
    return (torch.randint(0, 50, (3, 12)),)


PACKS = "torch.func has no rule for packing sequences"
FUSED = "torch.func has no rules for attention and nested tensors"
INTEGERS = "what goes in are integers, which have no derivative"
ASKS_GRADIENTS = "where it checkpoints it asks for gradients of the input, which torch.func refuses"
CHECKPOINTS = {"func jvp": INTEGERS} | dict.fromkeys(("func grad", "func vmap"), ASKS_GRADIENTS)
MAKES_PARAMETERS = "its parameters are made in its first call"
FUNC = ("functional_call", "func grad", "func jvp", "func vmap")
LAZY = dict.fromkeys(("validation first", *FUNC), MAKES_PARAMETERS)
CHANGES_BUFFERS = "its forward changes buffers in place, which torch.func refuses"
NETS = (
    Net("residual", residual, normal(6, 3), has_blocks=True, is_compiled=True),
    Net(
        "convolutions",
        convolutions,
        normal(6, 1, 8, 8),
        has_blocks=True,
        is_compiled=True,
        unfit={"func grad": CHANGES_BUFFERS},
    ),
    Net("packed", Packed, normal(6, 3, 3), unfit=dict.fromkeys(FUNC[1:], PACKS)),
    Net("attention", Attends, normal(5, 3, 8)),
    Net("encoder", encoder, padded_batch, has_fast_path=True, unfit=dict.fromkeys(FUNC[2:], FUSED)),
    Net("gpt2", gpt2, tokens, unfit={"func jvp": INTEGERS}),
    Net("gpt2 checkpointed", partial(gpt2, use_reentrant=False), tokens, unfit=CHECKPOINTS),
    Net("gpt2 reentrant", partial(gpt2, use_reentrant=True), tokens, unfit=CHECKPOINTS),
    Net("shares", Shares, normal(6, 4), is_compiled=True),
    Net("names", lambda: Outer(Names()), normal(6, 3)),
    Net("lazy", lazy, normal(6, 2, 5), unfit=LAZY),
    Net("parametrized", parametrized, normal(6, 3), unfit={"func grad": CHANGES_BUFFERS}),
)
