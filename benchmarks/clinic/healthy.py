"""Healthy networks, at initialisation and after some training.

That each of them learns is measured by `python -m benchmarks.clinic.verify`, which trains it with
its own optimizer and stores losses before and after in `results/clinic-learning.json`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actstats import make_mlp
from benchmarks.clinic import bases, data, models
from benchmarks.clinic.bases import Base, convolutions, gates, gpt, of, perceptron, reader, residual
from benchmarks.clinic.case import Case, Setup
from benchmarks.clinic.conv import FunctionalCnn, Shortcut, cnn
from benchmarks.clinic.mlp import FunctionalMlp, mlp
from benchmarks.clinic.transformer import Encoder

CASES: list[Case] = []
TRAINED = 25
"""Steps of training that are recorded, where a network is judged after some."""


def case(name: str, family: str, base: Base, steps: int = 0, learn_steps: int = 150) -> None:
    """Add one case."""
    tail = "trained" if steps else "init"
    CASES.append(
        Case(f"{name}-{tail}", family, base, steps=steps, learns=True, learn_steps=learn_steps)
    )


def pair(name: str, family: str, base: Base, learn_steps: int = 150, steps: int = TRAINED) -> None:
    """Add a case at initialisation, and one after some training."""
    case(name, family, base, 0, learn_steps)
    case(name, family, base, steps, learn_steps)


# ---- perceptrons: activations and initialisations ------------------------------------------------

PLAIN = {
    "relu": "he",
    "leaky": "he",
    "gelu": "he",
    "silu": "he",
    "elu": "lecun",
    "relu6": "he",
    "tanh": "xavier",
    "hardtanh": "xavier",
    "selu": "lecun",
}
for activation, init in PLAIN.items():
    pair(f"mlp-{activation}-{init}", "mlp", perceptron((64,) * 3, activation, init))
for activation in ("relu", "tanh", "gelu", "leaky", "silu"):
    pair(f"mlp-{activation}-bn", "mlp bn", perceptron((64,) * 4, activation, "he", normed="bn"))
for activation in ("relu", "tanh", "gelu", "elu"):
    pair(f"mlp-{activation}-ln", "mlp ln", perceptron((48,) * 4, activation, "he", normed="ln"))

# ---- widths, depths, batch sizes, data -----------------------------------------------------------

for name, base in {
    "mlp-relu-shallow-torch": perceptron((32,), "relu", "torch"),
    "mlp-relu-two-torch": perceptron((64, 64), "relu", "torch"),
    "mlp-tanh-two-torch": perceptron((64, 64), "tanh", "torch"),
    "mlp-relu-blobs": perceptron((16, 16), task="blobs"),
    "mlp-relu-wide": perceptron((256,) * 3, size=128),
    "mlp-relu-deep": perceptron((64,) * 8),
    "mlp-relu-friedman": perceptron((64,) * 3, task="friedman", training={"lr": 3e-3}),
    "mlp-tanh-friedman": perceptron((32,) * 3, "tanh", "xavier", task="friedman"),
    "mlp-relu-parabola": perceptron((32,) * 3, task="tutorial", training={"lr": 5e-3}),
    "mlp-tanh-parabola": perceptron((32,) * 2, "tanh", "xavier", task="tutorial",
                                    training={"lr": 1e-2}),
    "mlp-tanh-deep": perceptron((64,) * 8, "tanh", "xavier"),
    "mlp-selu-deep": perceptron((64,) * 8, "selu", "lecun"),
    "mlp-relu-large-batch": perceptron((64,) * 3, size=200),
    "mlp-relu-small-batch": perceptron((64,) * 3, size=16),
    "mlp-sigmoid-one": perceptron((64,), "sigmoid", "xavier", training={"lr": 5e-3}),
    "mlp-relu-sgd": perceptron((64,) * 3, training={"optimizer": "sgd", "lr": 0.1}),
    "mlp-gelu-dropout": perceptron((64,) * 3, "gelu", dropout=0.2),
    "mlp-pyramid": perceptron((128, 64, 32, 16)),
}.items():  # fmt: skip
    case(name, "mlp", base, learn_steps=300 if "parabola" in name else 150)
for name, base in {
    "mlp-relu-wide-bn": perceptron((256,) * 2, normed="bn", size=128),
    "mlp-relu-deep-bn": perceptron((32,) * 8, normed="bn"),
    "mlp-relu-blobs-bn": perceptron((16, 16), normed="bn", task="blobs"),
    "mlp-relu-deep-ln": perceptron((32,) * 8, normed="ln"),
    "mlp-tanh-friedman-ln": perceptron((32,) * 3, "tanh", "xavier", normed="ln", task="friedman"),
}.items():
    case(name, "mlp bn" if "bn" in name else "mlp ln", base, TRAINED)


def tutorial(activation: str) -> Base:
    """Return the published network with batch normalization, on its data as published."""
    build = lambda: make_mlp(  # noqa: E731
        activation=activation, bn=True, bn_momentum=0.5, weight_std=0.1, bias_init=-0.2
    )
    return of(build, lambda seed: data.tutorial(seed, raw=True), bases.squared, lr=0.03)


case("mlp-tutorial-tanh", "mlp bn", tutorial("tanh"), learn_steps=300)
case("mlp-tutorial-relu", "mlp bn", tutorial("relu"), learn_steps=300)
pair("mlp-residual", "mlp ln", residual(4))
case("mlp-residual-deep", "mlp ln", residual(12))
case("mlp-residual-bn", "mlp bn", residual(6, "bn"), TRAINED)
pair("mlp-functional", "mlp", of(lambda: FunctionalMlp((64, 48, 48, 48, 10))))
case("mlp-numbered", "mlp", perceptron((48,) * 3, numbered=True))

# ---- what looks odd and is on purpose ------------------------------------------------------------


class Unused(FunctionalMlp):
    """A perceptron with modules without parameters that it never calls."""

    def __init__(self) -> None:
        super().__init__((64, 48, 48, 10))
        self.relu, self.drop = nn.ReLU(), nn.Dropout(0.1)


class Tied(nn.Module):
    """A language model whose output layer is the embedding, used as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(16, 32)
        nn.init.normal_(self.embed.weight, 0.0, 0.3)
        self.rnn = nn.GRU(32, 32, batch_first=True)
        self.norm = nn.LayerNorm(32)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(self.rnn(self.embed(x))[0]), self.embed.weight)


class Shared(nn.Module):
    """One layer used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = nn.Linear(64, 48), nn.ReLU()
        self.norm = nn.LayerNorm(48)
        self.mix, self.out = nn.Linear(48, 48), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = x + self.act(self.mix(self.norm(x)))
        return self.out(x)


def frozen_first() -> nn.Module:
    """Make a perceptron whose first layer is random features, frozen on purpose."""
    net = mlp((64, 128, 64, 10))
    net.fc1.requires_grad_(False)
    return net


def frozen_features() -> nn.Module:
    """Make a convolutional network of which only the head is trained."""
    net = cnn((16, 32))
    net.requires_grad_(False)
    net.out.requires_grad_(True)
    return net


def lower(base: Base, dtype: torch.dtype) -> Base:
    """Return what makes the same network with its forward under autocast."""

    def make(seed: int) -> Setup:
        setup = base(seed)
        setup.loss_fn = bases.under_autocast(setup.loss_fn, dtype)
        return setup

    return make


pair("odd-frozen-first", "odd", of(frozen_first))
case("odd-frozen-features", "odd", of(frozen_features, bases.images, lr=1e-2))
case("odd-unused-modules", "odd", of(Unused), TRAINED)
pair("odd-tied", "odd", of(Tied, data.tokens, lr=5e-3))
case("odd-shared", "odd", of(Shared), TRAINED)
case("odd-bf16-mlp", "odd", lower(perceptron((64,) * 3), torch.bfloat16), TRAINED)
case("odd-bf16-transformer", "odd", lower(gpt(), torch.bfloat16))
case("odd-fp16-mlp", "odd", lower(perceptron((64,) * 3), torch.float16))

# ---- convolutions --------------------------------------------------------------------------------

for name, base in {
    "cnn-relu": convolutions((16, 32, 32)),
    "cnn-relu-bn": convolutions((16, 32, 32), normed="bn"),
    "cnn-gelu": convolutions((16, 32), "gelu"),
}.items():
    pair(name, "cnn", base)
for name, base in {
    "cnn-leaky-bn-deep": convolutions((16,) * 6, "leaky", normed="bn"),
    "cnn-tanh": convolutions((16, 16, 16), "tanh", "xavier"),
    "cnn-relu-deep": convolutions((16,) * 6),
    "cnn-silu-gn": convolutions((16, 16, 16), "silu", normed="ln"),
    "cnn-relu-small-batch": convolutions((16, 32), size=16),
    "cnn-functional": of(FunctionalCnn, bases.images, lr=3e-3),
    "cnn-shortcut": of(lambda: Shortcut(used=True), bases.images, lr=3e-3),
}.items():
    case(name, "cnn", base, TRAINED if "deep" in name or "functional" in name else 0)

# ---- recurrent -----------------------------------------------------------------------------------

pair("lstm-reader", "recurrent", reader("lstm"))
pair("gru-reader", "recurrent", reader("gru"))
pair("lstm-tagger", "recurrent", bases.tagger("lstm"))
case("gru-tagger", "recurrent", bases.tagger("gru", 48))
case("lstm-reader-two-layers", "recurrent", reader("lstm", 48, 2), TRAINED)
case("lstm-reader-wide", "recurrent", reader("lstm", 96))
pair("lstm-gates", "recurrent", gates())
case("rnn-reader", "recurrent", reader("rnn", 48))

# ---- transformers --------------------------------------------------------------------------------

pair("transformer-pre", "transformer", gpt())
pair("transformer-post", "transformer", gpt(order="post"))
case("transformer-pre-deep", "transformer", gpt(depth=6), TRAINED)
case("transformer-pre-relu-gpt-init", "transformer", gpt(activation="relu", std=0.1))
case("transformer-pre-wide", "transformer", gpt(width=64, heads=4))
case("transformer-post-relu", "transformer", gpt(order="post", activation="relu", depth=3))
case("transformer-small-batch", "transformer", gpt(size=4), TRAINED)
case("transformer-torch-encoder-pre", "transformer", of(Encoder, data.tokens, lr=3e-3))
case(
    "transformer-torch-encoder-post", "transformer",
    of(lambda: Encoder(norm_first=False), data.tokens, lr=3e-3), TRAINED,
)  # fmt: skip

# ---- real architectures --------------------------------------------------------------------------

for name, (_, base) in models.MODELS.items():
    pair(f"model-{name}", "model", base, learn_steps=200 if name == "vit" else 80, steps=10)
if models.has_minilm():
    pair("model-minilm-real", "model", models.minilm(False), learn_steps=15, steps=4)
    case("model-minilm-real-frozen", "model", models.minilm(True), learn_steps=30)
