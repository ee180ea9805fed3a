"""Networks and data of the fresh part: other ones than the halves have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.clinic import data
from benchmarks.clinic.mlp import FunctionalMlp, initialise
from benchmarks.clinic.models import Logits, quiet

Draw = Callable[[int], data.Batches]

# ---- parts ---------------------------------------------------------------------------------------


class Call(nn.Module):
    """Any function of one tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Skip(nn.Sequential):
    """What its children make is added to what came in."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Beside(nn.ModuleList):
    """Branches side by side, joined along axis 1."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], 1)


class Scaled(nn.Module):
    """A learned factor: ReZero's if it begins at 0, a layer scale if it is small."""

    def __init__(self, width: int, value: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((width,), value))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


# ---- perceptrons ---------------------------------------------------------------------------------


def stack(
    sizes: Sequence[int],
    activation: Callable[[], nn.Module] = nn.ReLU,
    init: str | float = "he",
    gain: float = 1.0,
    norm: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """Return blocks in numbers: `0.0` a layer, `0.1` its activation or norm, ..., a last layer."""
    blocks: list[nn.Module] = []
    for a, b in pairwise(sizes[:-1]):
        parts = (nn.Linear(a, b), *([norm(b)] if norm else ()), activation())
        blocks.append(nn.Sequential(*parts))
    net = nn.Sequential(*blocks, nn.Linear(*sizes[-2:]))
    return initialise(net, init, gain)


def residual(
    depth: int, width: int = 40, activation: Callable[[], nn.Module] = nn.GELU, normed: bool = True
) -> nn.Sequential:
    """Return a residual perceptron in numbers: `0` stem, `1` ... blocks, a last layer."""
    opens = (lambda: nn.RMSNorm(width)) if normed else nn.Identity
    blocks = [
        Skip(opens(), nn.Linear(width, 2 * width), activation(), nn.Linear(2 * width, width))
        for _ in range(depth)
    ]
    return initialise(nn.Sequential(nn.Linear(64, width), *blocks, nn.Linear(width, 10)), "he")


class Functional(FunctionalMlp):
    """A perceptron that calls a function of this name."""

    def __init__(self, sizes: Sequence[int], call: Callable[[Tensor], Tensor], kind: str) -> None:
        super().__init__(sizes, call)
        self.kind = kind
        initialise(self, "xavier")

    def layers(self) -> tuple[tuple[str, ...], ...]:
        return super().layers(self.kind)


class Highway(nn.Module):
    """Srivastava et al. 2015: gates mix what a layer makes with what came in."""

    def __init__(self, width: int = 40, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.depth = depth
        for i in range(depth):
            self.add_module(f"make{i}", nn.Linear(width, width))
            self.add_module(f"bend{i}", nn.Tanh())
            self.add_module(f"gate{i}", nn.Linear(width, width))
            self.add_module(f"open{i}", nn.Sigmoid())
            nn.init.constant_(getattr(self, f"gate{i}").bias, -1.0)
        self.out = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i in range(self.depth):
            part = {n: self.get_submodule(f"{n}{i}") for n in ("make", "bend", "gate", "open")}
            share = part["open"](part["gate"](x))
            x = share * part["bend"](part["make"](x)) + (1 - share) * x
        return self.out(x)


class Coder(nn.Module):
    """An autoencoder: `encode`, `decode`, both in numbers; the code may be rounded."""

    def __init__(
        self,
        activation: Callable[[], nn.Module] = nn.ReLU,
        init: str = "he",
        code: int = 24,
        rounded: bool = False,
        width: int = 48,
    ) -> None:
        super().__init__()
        self.rounded = rounded
        self.encode = stack((64, width, width, code), activation, init)
        self.decode = stack((code, width, width, 64), activation, init)

    def forward(self, x: Tensor) -> Tensor:
        code = self.encode(x)
        return self.decode(code.round() if self.rounded else code)


class Siamese(nn.Module):
    """Two digits through one shared tower: are they of one kind?"""

    def __init__(self, activation: Callable[[], nn.Module] = nn.ELU, angle: bool = False) -> None:
        super().__init__()
        self.tower = stack((64, 48, 48, 24), activation)
        self.angle = Call(lambda x: x.clamp(-1, 1).acos()) if angle else None
        self.out = nn.Linear(2 if angle else 48, 2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = (self.tower(part) for part in x.unbind(1))
        if self.angle is None:
            return self.out(torch.cat([(a - b).abs(), a * b], 1))
        cosine = F.cosine_similarity(a, b)[:, None]
        return self.out(torch.cat([self.angle(cosine), cosine], 1))


class Experts(nn.Module):
    """A mixture of perceptrons; each sample goes to the two that the router prefers.

    Parameters
    ----------
    many : int
        Experts.
    only : int, optional
        How many experts the router may use, by a mistake.
    """

    def __init__(self, many: int = 4, only: int | None = None) -> None:
        super().__init__()
        self.only = only or many
        self.stem = nn.Linear(64, 32)
        self.router = nn.Linear(32, many)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 48), nn.SiLU(), nn.Linear(48, 32)) for _ in range(many)
        )
        self.out = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        logits, chosen = self.router(x)[:, : self.only].topk(2)
        weights = logits.softmax(-1)
        mixed = x.clone()
        for i, expert in enumerate(self.experts):
            row, column = (chosen == i).nonzero(as_tuple=True)
            if len(row):
                mixed = mixed.index_add(0, row, weights[row, column, None] * expert(x[row]))
        return self.out(mixed)


class Mixer(nn.Module):
    """Tolstikhin et al. 2021: perceptrons over the rows of a digit and over their features."""

    def __init__(self, width: int = 24, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Linear(8, width)
        self.across = nn.ModuleList(self._part(width, 8, 16) for _ in range(depth))
        self.along = nn.ModuleList(self._part(width, width, 48) for _ in range(depth))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 10)

    @staticmethod
    def _part(width: int, size: int, inner: int) -> nn.ModuleList:
        layers = nn.Sequential(nn.Linear(size, inner), nn.GELU(), nn.Linear(inner, size))
        return nn.ModuleList([nn.LayerNorm(width), layers])

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for (n1, rows), (n2, features) in zip(self.across, self.along, strict=True):
            x = x + rows(n1(x).transpose(1, 2)).transpose(1, 2)
            x = x + features(n2(x))
        return self.out(self.norm(x).mean(1))


# ---- convolutions --------------------------------------------------------------------------------


def lines(
    channels: Sequence[int] = (24, 24, 24),
    activation: Callable[[], nn.Module] = nn.ELU,
    init: str | float = "he",
    gain: float = 1.0,
    norm: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """Return convolutions along the rows of a digit: `0.0`, `0.1`, ..., pool, flat, last layer."""
    blocks = [
        nn.Sequential(nn.Conv1d(a, b, 3, padding=1), *([norm(b)] if norm else ()), activation())
        for a, b in zip((8, *channels[:-1]), channels, strict=True)
    ]
    net = nn.Sequential(
        *blocks, nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(2 * channels[-1], 10)
    )
    return initialise(net, init, gain)


def mobile(
    width: int = 16,
    depth: int = 2,
    activation: Callable[[], nn.Module] = nn.ReLU6,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    classes: int = 10,
) -> nn.Sequential:
    """Return depthwise and pointwise convolutions: `1.0` depthwise, `1.3` pointwise, and so on."""
    stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), norm(width), activation())
    blocks = [
        nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width), norm(width), activation(),
            nn.Conv2d(width, width, 1), norm(width), activation(),
        )
        for _ in range(depth)
    ]  # fmt: skip
    return nn.Sequential(
        stem, *blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, classes)
    )


class UNet(nn.Module):
    """Take the noise from a digit: `down1`, `down2`, `middle`, `up1`, `up2`, `out`, with skips.

    Parameters
    ----------
    width : int
        Channels at full size.
    activation : callable
        Makes one.
    untracked : bool, default False
        Whether the way down runs under `no_grad`.
    spare : bool, default False
        Whether a convolution for the skip is built and never called.
    """

    def __init__(
        self,
        width: int = 12,
        activation: Callable[[], nn.Module] = nn.ReLU,
        untracked: bool = False,
        spare: bool = False,
    ) -> None:
        super().__init__()
        self.untracked = untracked

        def part(a: int, b: int, kind: type = nn.Conv2d, **options: int) -> nn.Sequential:
            return nn.Sequential(kind(a, b, **options), activation())

        self.down1 = part(1, width, kernel_size=3, padding=1)
        self.down2 = part(width, 2 * width, kernel_size=3, padding=1, stride=2)
        self.middle = part(2 * width, 4 * width, kernel_size=3, padding=1, stride=2)
        if spare:
            self.skip = nn.Conv2d(width, width, 1)
        self.up1 = part(4 * width, 2 * width, nn.ConvTranspose2d, kernel_size=2, stride=2)
        self.up2 = part(4 * width, width, nn.ConvTranspose2d, kernel_size=2, stride=2)
        self.out = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.untracked):
            a = self.down1(x)
            b = self.down2(a)
        up = self.up1(self.middle(b))
        up = self.up2(torch.cat([up, b], 1))
        return self.out(torch.cat([up, a], 1))


class Excited(nn.Module):
    """Convolutions whose channels are weighed by a gate (squeeze and excitation)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())
        self.squeeze = nn.Sequential(nn.Linear(width, width), nn.SiLU())
        self.excite = nn.Sequential(nn.Linear(width, width), nn.Sigmoid())
        self.tail = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.out = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = self.excite(self.squeeze(x.mean((2, 3))))
        x = self.tail(x * gate[..., None, None])
        return self.out(F.adaptive_avg_pool2d(x, 2).flatten(1))


# ---- recurrent, attention ------------------------------------------------------------------------


class Both(nn.Module):
    """Read the rows of a digit forwards and backwards: `rnn`, `rnn2`, `out`.

    Parameters
    ----------
    kind : type
        The recurrent module.
    layers : int
        Of the first one.
    cut : bool, default False
        Whether the first one's states are taken out of the graph.
    spare : bool, default False
        Whether a layer to weigh the states is built and never called.
    """

    def __init__(
        self,
        kind: type = nn.GRU,
        hidden: int = 24,
        layers: int = 1,
        cut: bool = False,
        spare: bool = False,
    ) -> None:
        super().__init__()
        self.cut = cut
        self.rnn = kind(8, hidden, layers, batch_first=True, bidirectional=True)
        self.rnn2 = kind(2 * hidden, hidden, batch_first=True)
        if spare:
            self.attend = nn.Linear(hidden, 1)
        self.out = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.rnn(x)[0]
        return self.out(self.rnn2(x.data if self.cut else x)[0][:, -1])


class Translate(nn.Module):
    """torch's encoder and decoder: the answer is the question's tokens by a table.

    Parameters
    ----------
    cut : bool, default False
        Whether the encoder's memory is detached.
    """

    def __init__(
        self, width: int = 32, depth: int = 2, cut: bool = False, spare: bool = False
    ) -> None:
        super().__init__()
        self.cut = cut
        options = {"dropout": 0.0, "batch_first": True, "norm_first": True}
        self.embed, self.place = nn.Embedding(16, width), nn.Embedding(16, width)
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 2 * width, **options) for _ in range(depth)
        )
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(width, 2, 2 * width, **options) for _ in range(depth)
        )
        if spare:
            self.bridge = nn.Linear(width, width)
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.place(torch.arange(x.shape[1]))
        memory, y = x, x
        for layer in self.encoder:
            memory = layer(memory)
        memory = memory.detach() if self.cut else memory
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        for layer in self.decoder:
            y = layer(y, memory, tgt_mask=mask)
        return self.out(self.norm(y))


def bert(activation: str = "gelu", width: int = 40, layers: int = 3) -> nn.Module:
    """Return a BERT that names the kind of each token."""
    import transformers as t

    quiet()
    config = t.BertConfig(
        vocab_size=16, hidden_size=width, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=2 * width, max_position_embeddings=16, num_labels=16,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, hidden_act=activation,
    )  # fmt: skip
    return Logits(t.BertForTokenClassification(config))


def distilbert() -> nn.Module:
    import transformers as t

    quiet()
    config = t.DistilBertConfig(
        vocab_size=16, dim=32, n_layers=2, n_heads=2, hidden_dim=96, num_labels=16, dropout=0.0,
        attention_dropout=0.0, max_position_embeddings=16,
    )  # fmt: skip
    return Logits(t.DistilBertForTokenClassification(config))


def neox(width: int = 32, layers: int = 3) -> nn.Module:
    import transformers as t

    quiet()
    config = t.GPTNeoXConfig(
        vocab_size=16, hidden_size=width, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=3 * width, max_position_embeddings=16,
    )  # fmt: skip
    return Logits(t.GPTNeoXForCausalLM(config))


# ---- data ----------------------------------------------------------------------------------------


def copies(seed: int) -> data.Batches:
    """Return digits, to be made again."""
    return [(x, x.clone()) for x, _ in data.digits(seed)]


def noisy(seed: int) -> data.Batches:
    """Return noisy digits as images, and clean ones."""
    g = torch.Generator().manual_seed(seed + 77)
    return [(x + 0.5 * torch.randn(x.shape, generator=g), x) for x, _ in data.digits(seed, zoom=1)]


def pairs(seed: int) -> data.Batches:
    """Return pairs of digits, every second pair of one kind, and whether they are."""
    g = torch.Generator().manual_seed(seed + 55)
    found = []
    for x, y in data.digits(seed, 96):
        same = y[:, None] == y[None]
        same.fill_diagonal_(False)
        wanted = torch.arange(len(y)) % 2 == 0
        odds = torch.where(wanted[:, None], same, y[:, None] != y[None]).double() + 1e-12
        other = torch.multinomial(odds, 1, generator=g)[:, 0]
        found.append((torch.stack([x, x[other]], 1), (y == y[other]).long()))
    return found


def mapped(seed: int) -> data.Batches:
    """Return random tokens, and each one's answer by a table."""
    return [(x, (3 * x + 5) % 16) for x, _ in data.tokens(seed)]
