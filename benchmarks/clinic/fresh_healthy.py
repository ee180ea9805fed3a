"""Healthy networks of the fresh part, at initialisation and after some training.

That each of them learns is measured by `python -m benchmarks.clinic.verify --only 'fresh-*'`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from benchmarks.clinic import bases, data, fresh_nets
from benchmarks.clinic.bases import Base, of
from benchmarks.clinic.case import Case, Setup
from benchmarks.clinic.fresh_nets import (
    Beside,
    Both,
    Call,
    Coder,
    Excited,
    Experts,
    Functional,
    Highway,
    Mixer,
    Scaled,
    Siamese,
    Skip,
    Translate,
    UNet,
    bert,
    distilbert,
    lines,
    mobile,
    neox,
    residual,
    stack,
)
from benchmarks.clinic.mlp import initialise
from benchmarks.clinic.models import Logits, quiet

CASES: list[Case] = []


def case(name: str, family: str, base: Base, steps: int = 0, learn_steps: int = 150) -> None:
    """Add one case."""
    tail = "trained" if steps else "init"
    label = {"steps": steps, "learns": True, "learn_steps": learn_steps, "fresh": True}
    CASES.append(Case(f"fresh-{name}-{tail}", family, base, **label))


def pair(name: str, family: str, base: Base, learn_steps: int = 150, steps: int = 30) -> None:
    """Add a case at initialisation, and one after some training."""
    case(name, family, base, 0, learn_steps)
    case(name, family, base, steps, learn_steps)


def images(size: int = 64, **options: Any) -> fresh_nets.Draw:
    return lambda seed: data.digits(seed, size, **({"zoom": 1} | options))


# ---- perceptrons ---------------------------------------------------------------------------------

ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "softsign": (nn.Softsign, "xavier"),
    "mish": (nn.Mish, "he"),
    "prelu": (nn.PReLU, "he"),
    "hardswish": (nn.Hardswish, "he"),
    "celu": (nn.CELU, "lecun"),
    "softplus": (nn.Softplus, "xavier"),
    "rrelu": (nn.RReLU, "he"),
    "logsigmoid": (nn.LogSigmoid, "xavier"),
    "tanhshrink": (nn.Tanhshrink, "he"),
}
for activation, (kind, init) in ACTIVATIONS.items():
    pair(f"stack-{activation}", "mlp", of(lambda k=kind, i=init: stack((64, 56, 40, 10), k, i)))
for name, base in {
    "stack-mish-batch-norm": of(lambda: stack((64, *[40] * 5, 10), nn.Mish, norm=nn.BatchNorm1d)),
    "stack-hardtanh-layer-norm": of(
        lambda: stack((64, *[40] * 4, 10), nn.Hardtanh, "xavier", norm=nn.LayerNorm)
    ),
    "stack-silu-rms-norm": of(lambda: stack((64, *[56] * 4, 10), nn.SiLU, norm=nn.RMSNorm)),
    "stack-elu-group-norm": of(
        lambda: stack((64, *[48] * 3, 10), nn.ELU, norm=lambda n: nn.GroupNorm(4, n))
    ),
    "residual-gelu-rms": of(lambda: residual(6)),
    "residual-mish-deep": of(lambda: residual(16, 24, nn.Mish)),
    "experts": of(Experts),
}.items():
    pair(name, "mlp norm" if "norm" in name else "mlp", base)
for name, base in {
    "highway": of(Highway),
    "functional-tanh": of(lambda: Functional((64, 48, 48, 10), torch.tanh, "tanh"), lr=2e-3),
    "functional-mish": of(lambda: Functional((64, 48, 48, 48, 10), F.mish, "mish")),
    "stack-relu-wide-two": of(lambda: stack((64, 400, 400, 10))),
    "stack-selu-deep": of(lambda: stack((64, *[32] * 12, 10), nn.SELU, "lecun")),
    "stack-relu-tiny": of(lambda: stack((8, 6, 5)), data.blobs, lr=1e-2),
    "stack-elu-hourglass": of(lambda: stack((64, 96, 12, 96, 10), nn.ELU)),
    "stack-swish-friedman": of(
        lambda: stack((10, 64, 64, 1), nn.SiLU), data.friedman, bases.squared, lr=3e-3
    ),
    "stack-elu-adagrad": of(
        lambda: stack((64, 48, 48, 10), nn.ELU, "lecun"), optimizer="adagrad", lr=1e-2
    ),
    "stack-relu-rmsprop": of(lambda: stack((64, 48, 48, 10)), optimizer="rmsprop", lr=1e-3),
    "stack-mish-nadam": of(lambda: stack((64, 48, 48, 10), nn.Mish), optimizer="nadam", lr=1e-3),
    "stack-relu-momentum": of(
        lambda: stack((64, 48, 48, 10)), optimizer="sgd", lr=0.02, momentum=0.9, weight_decay=1e-4
    ),
    "stack-gelu-decay": of(
        lambda: stack((64, 48, 48, 10), nn.GELU), optimizer="adamw", lr=1e-3, weight_decay=0.1
    ),
}.items():
    case(name, "mlp", base, 30 if len(name) % 2 else 0)
pair("siamese", "siamese", of(Siamese, fresh_nets.pairs, lr=3e-3), 300)

# ---- autoencoders --------------------------------------------------------------------------------


class Chance(nn.Module):
    """A variational autoencoder: what it gives is the digit and its code's divergence."""

    def __init__(self, code: int = 8) -> None:
        super().__init__()
        self.encode = stack((64, 64, 2 * code), nn.Softplus, "xavier")
        self.decode = stack((code, 64, 64), nn.SiLU)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encode(x).chunk(2, -1)
        code = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1).mean() / 2
        return self.decode(code), divergence


def variational(model: nn.Module, batch: Any) -> Tensor:
    made, divergence = model(batch[0])
    return (made - batch[1]).square().mean() + 0.001 * divergence


pair(
    "coder-elu", "autoencoder",
    of(lambda: Coder(nn.ELU, "lecun"), fresh_nets.copies, bases.squared, lr=3e-3), 300,
)  # fmt: skip
case(
    "coder-tanh", "autoencoder",
    of(lambda: Coder(nn.Tanh, "xavier"), fresh_nets.copies, bases.squared, lr=2e-3),
)  # fmt: skip
pair("coder-variational", "autoencoder", of(Chance, fresh_nets.copies, variational, lr=3e-3), 300)
pair("unet", "autoencoder", of(UNet, fresh_nets.noisy, bases.squared, lr=3e-3))
case(
    "unet-silu", "autoencoder",
    of(lambda: UNet(8, nn.SiLU), fresh_nets.noisy, bases.squared, lr=3e-3), 30,
)  # fmt: skip

# ---- convolutions --------------------------------------------------------------------------------


def plain(*parts: nn.Module, width: int, init: str = "he") -> nn.Sequential:
    """Return parts with a pool and a last layer."""
    tail = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))
    return initialise(nn.Sequential(*parts, *tail), init)


def same(a: int, b: int, size: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(a, b, size, padding="same", **options)


def dense(grow: int = 12) -> nn.Sequential:
    """Return a DenseNet: each block's answer is joined to what it was asked."""
    blocks = [
        Beside([
            nn.Identity(),
            nn.Sequential(nn.BatchNorm2d(grow * i), nn.ReLU(), same(grow * i, grow)),
        ])
        for i in (1, 2, 3)
    ]  # fmt: skip
    return plain(same(1, grow), *blocks, nn.ReLU(), width=4 * grow)


def inception() -> nn.Sequential:
    def part(a: int) -> nn.Module:
        return Beside([
            nn.Sequential(same(a, 8, 1), nn.ReLU()),
            nn.Sequential(same(a, 8, 3), nn.ReLU()),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), same(a, 8, 1), nn.ReLU()),
        ])  # fmt: skip

    return plain(part(1), part(24), width=24)


def scattered() -> nn.Sequential:
    """Return convolutions with instance norms, strides, holes and max pools."""
    return plain(
        same(1, 16), nn.InstanceNorm2d(16, affine=True), nn.LeakyReLU(0.2),
        nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.InstanceNorm2d(24, affine=True),
        nn.LeakyReLU(0.2), same(24, 24, dilation=2), nn.LeakyReLU(0.2), nn.MaxPool2d(2), width=24,
    )  # fmt: skip


def weighted() -> nn.Sequential:
    """Return convolutions whose weights are length and direction apart."""
    wrap = parametrizations.weight_norm
    return nn.Sequential(
        wrap(nn.Conv2d(1, 16, 3, padding=1)), nn.ELU(), wrap(nn.Conv2d(16, 16, 3, padding=1)),
        nn.ELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def causal(width: int = 24) -> nn.Sequential:
    """Return gated convolutions with growing holes, as WaveNet has."""

    def gated(step: int) -> nn.Module:
        wide = nn.Conv1d(width, 2 * width, 2, dilation=step, padding=step)
        cut = Call(lambda x: x[..., :8])
        return Skip(wide, cut, Call(lambda x: F.glu(x, 1)), nn.Conv1d(width, width, 1))

    parts = (nn.Conv1d(8, width, 1), gated(1), gated(2), gated(4), nn.ELU())
    return nn.Sequential(*parts, Call(lambda x: x[..., -1]), nn.Linear(width, 10))


CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], fresh_nets.Draw]] = {
    "lines-elu": (lines, data.rows),
    "lines-hardswish-norm": (
        lambda: lines((32, 32, 32), nn.Hardswish, norm=nn.BatchNorm1d), data.rows,
    ),
    "causal": (causal, data.rows),
    "mobile-relu6": (mobile, images()),
    "mobile-group-norm": (
        lambda: mobile(24, 1, nn.Hardswish, lambda n: nn.GroupNorm(4, n)), images(),
    ),
    "excited": (Excited, images()),
    "dense": (dense, images()),
    "inception": (inception, images()),
    "scattered": (scattered, images()),
    "weight-norm": (weighted, images()),
}  # fmt: skip
for name, (build, draw) in CONVOLUTIONS.items():
    pair(f"cnn-{name}", "cnn", of(build, draw, lr=3e-3))

# ---- recurrent -----------------------------------------------------------------------------------


class Attended(nn.Module):
    """A recurrent layer whose states are weighed by attention."""

    def __init__(self, kind: type = nn.LSTM, hidden: int = 24) -> None:
        super().__init__()
        self.rnn = kind(8, hidden, 2, batch_first=True, bidirectional=True, dropout=0.1)
        self.score = nn.Linear(2 * hidden, 1)
        self.out = nn.Linear(2 * hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        states = self.rnn(x)[0]
        return self.out((self.score(states).softmax(1) * states).sum(1))


class Cells(nn.Module):
    """A loop over a cell, with a norm."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.cell, self.norm = nn.GRUCell(8, hidden), nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), self.cell.hidden_size)
        for row in x.unbind(1):
            state = self.cell(row, state)
        return self.out(self.norm(state))


for name, build in {
    "gru-both": Both,
    "lstm-both": lambda: Both(nn.LSTM, 24, 2),
    "lstm-attended": Attended,
    "gru-attended": lambda: Attended(nn.GRU, 32),
    "gru-cells": Cells,
}.items():
    pair(name, "recurrent", of(build, data.rows, lr=5e-3))

# ---- attention, and real architectures -----------------------------------------------------------


def _named(kind: str, **options: Any) -> Callable[[], nn.Module]:
    """Return what makes a transformers model with logits: `Bert` and a task's name, of a config."""

    def build() -> nn.Module:
        import transformers as t

        quiet()
        name, task = kind.split("For")
        return Logits(getattr(t, f"{name}For{task}")(getattr(t, f"{name}Config")(**options)))

    return build


WORDS = {"vocab_size": 16, "hidden_size": 32, "num_attention_heads": 2}
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
TWO = {"num_hidden_layers": 2, "intermediate_size": 64}
PATCHES = {"image_size": 16, "patch_size": 4, "num_channels": 1, "num_labels": 10}
LANGUAGE: dict[str, Callable[[], nn.Module]] = {
    "bert": bert,
    "bert-dropout": _named("BertForMaskedLM", **WORDS, **TWO, max_position_embeddings=16),
    "distilbert": distilbert,
    "neox": neox,
    "roberta": _named(
        "RobertaForTokenClassification", **WORDS, **TWO, **QUIET, max_position_embeddings=20,
        num_labels=16, pad_token_id=1,
    ),
    "albert": _named(
        "AlbertForTokenClassification", **WORDS, **TWO, **QUIET, embedding_size=24, num_labels=16,
        max_position_embeddings=16,
    ),
    "opt": _named(
        "OPTForCausalLM", **WORDS, num_hidden_layers=3, ffn_dim=96, max_position_embeddings=16,
        word_embed_proj_dim=32, dropout=0.0,
    ),
    "qwen2": _named(
        "Qwen2ForCausalLM", **WORDS, **TWO, num_key_value_heads=1, max_position_embeddings=16
    ),
    "bloom": _named(
        "BloomForCausalLM", vocab_size=16, hidden_size=32, n_layer=2, n_head=2,
        hidden_dropout=0.0,
    ),
}  # fmt: skip
for name, build in LANGUAGE.items():
    pair(f"model-{name}", "model", of(build, data.tokens, lr=4e-3), steps=12)
VISION: dict[str, tuple[Callable[[], nn.Module], fresh_nets.Draw]] = {
    "convnext": (
        _named(
            "ConvNextForImageClassification", num_channels=1, patch_size=2, num_labels=10,
            hidden_sizes=[16, 32], depths=[2, 2], num_stages=2, image_size=16,
        ),
        images(32, zoom=2),
    ),
    "swin": (
        _named(
            "SwinForImageClassification", image_size=16, patch_size=2, num_channels=1,
            embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, num_labels=10,
        ),
        images(32, zoom=2),
    ),
    "vit-small-patches": (
        _named(
            "ViTForImageClassification", hidden_size=40, num_hidden_layers=2,
            num_attention_heads=4, intermediate_size=80, **(PATCHES | {"patch_size": 2}),
        ),
        images(32, zoom=2),
    ),
    "mobilenet-v2": (
        _named(
            "MobileNetV2ForImageClassification", num_channels=1, image_size=32,
            depth_multiplier=0.35, min_depth=8, num_labels=10, classifier_dropout_prob=0.0,
        ),
        images(32, zoom=4),
    ),
    "regnet": (
        _named(
            "RegNetForImageClassification", num_channels=1, embedding_size=16,
            hidden_sizes=[16, 32], depths=[1, 1], groups_width=8, num_labels=10,
        ),
        images(32, zoom=2),
    ),
}  # fmt: skip
for name, (build, draw) in VISION.items():
    pair(f"model-{name}", "model", of(build, draw, lr=3e-3), 300 if "vit" in name else 150, 12)
pair("mixer", "mixer", of(Mixer, data.rows, lr=3e-3))
pair("translate", "attention", of(Translate, fresh_nets.mapped, lr=3e-3))

# ---- what looks odd and is on purpose ------------------------------------------------------------


class Sine(nn.Module):
    """Sitzmann et al. 2020: layers of sines, here of a parabola's abscissa."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(1, width), nn.Linear(width, width)
        self.out = nn.Linear(width, 1)
        bound = (6 / width) ** 0.5
        nn.init.uniform_(self.fc1.weight, -3, 3)
        nn.init.uniform_(self.fc2.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.sin(self.fc2(torch.sin(self.fc1(x)))))


class Adapted(nn.Module):
    """A frozen layer beside a trained detour of low rank that begins at 0 (Hu et al. 2021)."""

    def __init__(self, fixed: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.fixed = fixed.requires_grad_(False)
        self.lower = nn.Linear(fixed.in_features, rank, bias=False)
        self.raise_ = nn.Linear(rank, fixed.out_features, bias=False)
        nn.init.zeros_(self.raise_.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.fixed(x) + self.raise_(self.lower(x))


def adapted() -> nn.Module:
    net = stack((64, 64, 64, 10), nn.GELU)
    for block in net[:2]:
        block[0] = Adapted(block[0])
    return net


def branch(width: int, *end: nn.Module) -> nn.Module:
    return Skip(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(),
                nn.Linear(2 * width, width), *end)  # fmt: skip


def zero_ends() -> nn.Module:
    """Return a residual perceptron whose branches end in weights of 0 (Zhang et al. 2019)."""
    blocks = [branch(32) for _ in range(4)]
    for block in blocks:
        nn.init.zeros_(block[3].weight)
        nn.init.zeros_(block[3].bias)
    return nn.Sequential(nn.Linear(64, 32), *blocks, nn.Linear(32, 10))


def scaled(value: float) -> Callable[[], nn.Module]:
    """Return what makes a residual perceptron whose branches end in a small factor."""
    blocks = lambda: [branch(32, Scaled(32, value)) for _ in range(4)]  # noqa: E731
    return lambda: nn.Sequential(nn.Linear(64, 32), *blocks(), nn.Linear(32, 10))


class Sets(nn.Module):
    """The largest over the rows of a digit, each read by one shared perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(8, 8) * 0.5)
        self.each = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.out = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.each(x + self.place).amax(1))


class Padded(nn.Module):
    """Words of which one is padding, whose row of the table is 0 and stays so."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(40, 24, padding_idx=0)  # most words never occur
        self.rnn = nn.GRU(24, 32, batch_first=True)
        self.out = nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(self.embed(x))[0])


class Maxout(nn.Module):
    """Goodfellow et al. 2013."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 40 * 3), nn.Linear(40, 40 * 3)
        self.out = nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.fc1, self.fc2):
            x = layer(x).unflatten(-1, (40, 3)).amax(-1)
        return self.out(x)


def changed(draw: fresh_nets.Draw, change: Callable[[Tensor], Tensor]) -> fresh_nets.Draw:
    return lambda seed: [(change(x), y) for x, y in draw(seed)]


def unit(x: Tensor) -> Tensor:
    """Return pixels from 0 to 1, as a loader gives them."""
    return (x - x.min()) / (x.max() - x.min())


def hot(x: Tensor) -> Tensor:
    return F.one_hot(x, 16).float()


def double(base: Base) -> Base:
    """Return what makes a network in float64."""

    def make(seed: int) -> Setup:
        setup = base(seed)
        setup.model.double()
        setup.batches = [(x.double(), y) for x, y in setup.batches]
        return setup

    return make


def warmed_up(base: Base, steps: int = 40) -> Base:
    """Return what makes a network whose learning rate rises from a 40th to its full size."""

    def make(seed: int) -> Setup:
        setup = base(seed)
        full = setup.optimizer.param_groups[0]["lr"]

        def rise(to: float) -> Callable[[Setup], None]:
            return lambda s: s.optimizer.param_groups[0].update(lr=to)

        setup.events = {i: rise(full * (i + 1) / steps) for i in range(steps)}
        setup.optimizer.param_groups[0]["lr"] = full / steps
        return setup

    return make


def raw_targets(seed: int) -> data.Batches:
    """Return Friedman's function about as he wrote it, not standardised."""
    return [(x, 14.4 + 4.9 * y) for x, y in data.friedman(seed)]


def times(factor: float) -> Any:
    return bases.scaled_loss(bases.cross_entropy, factor)


ODD: dict[str, Base] = {
    "sine": of(Sine, data.tutorial, bases.squared, lr=5e-3),
    "adapted": of(adapted, lr=5e-3),
    "zero-ends": of(zero_ends, lr=3e-3),
    "rezero": of(scaled(0.0), lr=3e-3),
    "layer-scale": of(scaled(1e-4), lr=3e-3),
    "sets": of(Sets, data.rows, lr=3e-3),
    "padded": of(Padded, data.tokens, lr=5e-3),
    "maxout": of(Maxout),
    "unit-pixels": of(lambda: stack((64, 64, 64, 10)), changed(data.digits, unit), lr=2e-3),
    "one-hot-gru": of(
        lambda: nn.Sequential(
            nn.GRU(16, 32, batch_first=True), Call(lambda x: x[0]), nn.Linear(32, 16)
        ),
        changed(data.tokens, hot), lr=1e-2,
    ),
    "double": double(of(lambda: stack((64, 48, 48, 10), nn.Mish))),
    "small-loss": of(lambda: stack((64, 48, 48, 48, 10)), loss=times(1e-4)),
    "raw-targets": of(lambda: stack((10, 64, 64, 1), nn.ELU), raw_targets, bases.squared, lr=1e-2),
    "warm-up": warmed_up(of(lambda: stack((64, 48, 48, 10), nn.SiLU), lr=2e-3)),
    "dropout-half": of(
        lambda: nn.Sequential(
            nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 64), nn.ReLU(),
            nn.Dropout(0.5), nn.Linear(64, 10),
        ),
        lr=2e-3,
    ),
    "batch-of-four": of(lambda: stack((64, 48, 48, 10)), lambda seed: data.digits(seed, 4, 128)),
    "no-bias": of(
        lambda: nn.Sequential(
            nn.Linear(64, 48, bias=False), nn.BatchNorm1d(48), nn.ReLU(),
            nn.Linear(48, 48, bias=False), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 10),
        )
    ),
    "spectral-norm": of(
        lambda: nn.Sequential(
            parametrizations.spectral_norm(nn.Linear(64, 64)), nn.LeakyReLU(0.1),
            parametrizations.spectral_norm(nn.Linear(64, 64)), nn.LeakyReLU(0.1),
            nn.Linear(64, 10),
        ),
        lr=2e-3,
    ),
}  # fmt: skip
for name, base in ODD.items():
    pair(f"odd-{name}", "odd", base)
