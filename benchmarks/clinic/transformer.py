"""A small language model: `embed`, `place`, `blocks.0.attn.query` ... `norm`, `out`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.clinic.mlp import ACTIVATIONS


class Attention(nn.Module):
    """Causal self-attention whose softmax is a module.

    Parameters
    ----------
    width, heads : int
        Features, and how many heads share them.
    hides_itself : bool, default False
        Whether a token may not look at itself either: the first then sees nothing, and its
        softmax is over minus infinities only.
    """

    def __init__(self, width: int, heads: int, hides_itself: bool = False) -> None:
        super().__init__()
        self.heads, self.hides_itself = heads, hides_itself
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.weights = nn.Softmax(-1)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = (
            f(x).view(n, t, self.heads, -1).transpose(1, 2)
            for f in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / (c // self.heads) ** 0.5
        hidden = torch.ones(t, t, dtype=torch.bool).triu(0 if self.hides_itself else 1)
        weights = self.weights(scores.masked_fill(hidden, -torch.inf))
        return self.project((weights @ v).transpose(1, 2).reshape(n, t, c))


class Block(nn.Module):
    """Attention and a feed-forward part, with norms before, after or not at all.

    Parameters
    ----------
    width, heads : int
        Sizes.
    order : {"pre", "post", "none"}
        Where the norms are.
    activation : str
        Of the feed-forward part.
    """

    def __init__(self, width: int, heads: int, order: str, activation: str) -> None:
        super().__init__()
        self.order = order
        self.norm1 = nn.Identity() if order == "none" else nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.Identity() if order == "none" else nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.act = ACTIVATIONS[activation]()
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        if self.order == "post":
            x = self.norm1(x + self.attn(x))
            return self.norm2(x + self.down(self.act(self.up(x))))
        x = x + self.attn(self.norm1(x))
        return x + self.down(self.act(self.up(self.norm2(x))))


class Gpt(nn.Module):
    """A language model over 16 tokens.

    Parameters
    ----------
    width, heads, depth : int
        Sizes; depth in blocks.
    order : {"pre", "post", "none"}
        Where the norms are.
    activation : str
        Of the feed-forward parts.
    std : float, optional
        Of all weights, biases 0; None leaves torch's own initialisation.
    skipped : int, optional
        A block that is built and never called.
    untracked : int, optional
        A block that runs under `no_grad`.
    """

    def __init__(
        self,
        width: int = 32,
        heads: int = 2,
        depth: int = 2,
        *,
        order: str = "pre",
        activation: str = "gelu",
        std: float | None = None,
        skipped: int | None = None,
        untracked: int | None = None,
        vocabulary: int = 16,
        length: int = 16,
    ) -> None:
        super().__init__()
        self.skipped, self.untracked = skipped, untracked
        self.embed = nn.Embedding(vocabulary, width)
        self.place = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, order, activation) for _ in range(depth))
        self.norm = nn.LayerNorm(width) if order == "pre" else nn.Identity()
        self.out = nn.Linear(width, vocabulary)
        if std is not None:
            self.apply(lambda module: _normal(module, std))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.place(torch.arange(x.shape[1]))
        for i, block in enumerate(self.blocks):
            if i == self.untracked:
                with torch.no_grad():
                    step = block(x) - x
                x = x + step
            elif i != self.skipped:
                x = block(x)
        return self.out(self.norm(x))


def _normal(module: nn.Module, std: float) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


class Encoder(nn.Module):
    """torch's own encoder, whose output projections are never called as modules."""

    def __init__(self, width: int = 32, depth: int = 2, norm_first: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(16, width)
        layer = nn.TransformerEncoderLayer(
            width, 2, 4 * width, dropout=0.0, batch_first=True, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.out = nn.Linear(width, 16)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.out(self.encoder(self.embed(x), mask=mask))
