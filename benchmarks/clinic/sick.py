"""Sick networks: each rule's fault at a known place, and a proof that it is there.

`also` names rules that state the same fault, its cause or what must follow from it. The sets that
are used more than once, and why they are true:

- a dead unit is silent by definition, and one that is silent by its flat slope is saturated on
  the low side (slopes below 5 % of the largest are the definition of both);
- a layer of which all units are dead gives zeros: it does not depend on its input, and no
  gradient passes through it where there is no way around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from actstats import make_mlp
from benchmarks.clinic import bases, data, injure, proof
from benchmarks.clinic.bases import Base, convolutions, gates, gpt, of, perceptron, reader, residual
from benchmarks.clinic.case import Case, Setup
from benchmarks.clinic.conv import FunctionalCnn, Shortcut
from benchmarks.clinic.mlp import (
    Detached,
    Exp,
    Forgotten,
    FunctionalMlp,
    Leak,
    Length,
    Log,
    Share,
    Untracked,
    mlp,
    replaced,
)
from benchmarks.clinic.recurrent import Reader, Tagger, fill, scale
from benchmarks.clinic.transformer import Gpt

SIX = (64, 32, 32, 32, 32, 32, 32, 10)
SILENT = ("silent-units",)
GONE = ("silent-units", "input-independent", "vanishing-gradient")
FLAT = ("saturated", "vanishing-gradient")
CASES: list[Case] = []


def case(
    name: str,
    family: str,
    base: Base,
    hurt: Callable[[nn.Module], Any] | None = None,
    *,
    setup: Callable[[Setup], Any] | None = None,
    warm: int = 0,
    **label: Any,
) -> None:
    """Add a case: a base, trained `warm` steps, and then what is done to model or setup."""

    def make(seed: int) -> Setup:
        made = base(seed).train(warm)
        if hurt is not None:
            hurt(made.model)
        if setup is not None:
            setup(made)
        return made

    CASES.append(Case(name, family, make, **label))


# ---- dead-units ----------------------------------------------------------------------------------

dead = {"fault": "dead-units"}
case(
    "dead-mlp-relu", "mlp", perceptron(), lambda net: injure.bias(net.fc3, -20),
    site="fc3", also=GONE, proof=proof.dead("act3"), learns=False, **dead,
)  # fmt: skip
case(
    "dead-mlp-relu-half", "mlp", perceptron(), lambda net: injure.bias(net.fc2, -20, 0.5),
    site="fc2", also=SILENT, proof=proof.dead("act2", 0.5), **dead,
)  # fmt: skip
case(
    "dead-mlp-relu-after-training", "mlp", perceptron(), lambda net: injure.bias(net.fc3, -20),
    warm=30, steps=20, site="fc3", also=GONE, proof=proof.dead("act3"), **dead,
)  # fmt: skip
case(
    "dead-mlp-relu-bn", "mlp", perceptron(normed="bn"), lambda net: injure.bias(net.norm2, -12),
    site="fc2", also=GONE, proof=proof.dead("act2"), **dead,
)  # fmt: skip
case(
    "dead-mlp-functional", "mlp", of(lambda: FunctionalMlp(SIX)),
    lambda net: injure.bias(net.fc2, -20),
    site="fc2", also=GONE, proof=proof.dead_before("fc2"), **dead,
)  # fmt: skip
case(
    "dead-mlp-numbered", "mlp", perceptron(numbered=True), lambda net: injure.bias(net[4], -20),
    site="4", also=GONE, proof=proof.dead("5"), **dead,
)  # fmt: skip
case(
    "dead-mlp-wide-relu6", "mlp", perceptron((128,) * 3, "relu6"),
    lambda net: injure.bias(net.fc2, -20, 0.75),
    site="fc2", also=SILENT, proof=proof.dead("act2", 0.74), **dead,
)  # fmt: skip
case(
    "dead-cnn-relu", "cnn", convolutions(), lambda net: injure.bias(net.conv2, -20),
    site="conv2", also=GONE, proof=proof.dead("act2"), **dead,
)  # fmt: skip
case(
    "dead-cnn-relu-bn-half-after-training", "cnn", convolutions(normed="bn"),
    lambda net: injure.bias(net.norm1, -12, 0.5), warm=20, steps=20,
    site="conv1", also=SILENT, proof=proof.dead("act1", 0.5), **dead,
)  # fmt: skip
case(  # no vanishing: the residual stream goes around the block
    "dead-transformer-relu", "transformer", gpt(activation="relu"),
    lambda net: injure.bias(net.blocks[1].up, -20), site="blocks.1.up",
    also=("silent-units", "input-independent"), proof=proof.dead("blocks.1.act"), **dead,
)  # fmt: skip
case(
    "dead-residual-after-training", "mlp", residual(4),
    lambda net: injure.bias(net.blocks[2].up, -20), warm=20, steps=20, site="blocks.2.up",
    also=("silent-units", "input-independent"), proof=proof.dead("blocks.2.act"), **dead,
)  # fmt: skip


def _born_dead() -> nn.Sequential:
    net = mlp((64, 32, 32, 32, 32, 32, 10), "relu", "torch")
    injure.each(net, injure.bias, -0.2)
    return net


case(  # by measure 5 %, 35 %, 100 % ...: the third layer is the first that is dead altogether
    "dead-mlp-born", "mlp", of(_born_dead), site="fc3", also=GONE,
    proof=proof.dead("act3", 0.9), learns=False, **dead,
)  # fmt: skip
case(  # a natural death: plain SGD with a rate far too large, on the first steps
    "dead-mlp-large-rate", "mlp",
    perceptron((32,) * 4, training={"optimizer": "sgd", "lr": 5.0}), warm=10, steps=20,
    also=GONE,
    proof=proof.one_of(*(proof.dead(f"act{i}", 0.5) for i in (1, 2, 3, 4))), learns=False, **dead,
)  # fmt: skip

# ---- silent-units: never active, though the slope is not exactly 0 -------------------------------

silent = {"fault": "silent-units"}
for activation in ("gelu", "silu", "elu"):
    case(
        f"silent-mlp-{activation}", "mlp", perceptron(activation=activation),
        lambda net: injure.bias(net.fc3, -25),
        site="fc3", also=FLAT, proof=proof.shut("act3"), **silent,
    )  # fmt: skip
case(  # its slope of 1 % lets some gradient through: neither dead nor vanishing
    "silent-mlp-leaky", "mlp", perceptron(activation="leaky"),
    lambda net: injure.bias(net.fc2, -20), site="fc2", also=("saturated",),
    proof=proof.shut("act2"), **silent,
)  # fmt: skip
case(
    "silent-mlp-softplus-half", "mlp", perceptron((32,) * 3, "softplus"),
    lambda net: injure.bias(net.fc2, -60, 0.5), site="fc2", also=("saturated",),
    proof=proof.shut("act2", 0.5), **silent,
)  # fmt: skip
case(
    "silent-cnn-gelu", "cnn", convolutions(activation="gelu"),
    lambda net: injure.bias(net.conv2, -30),
    site="conv2", also=FLAT, proof=proof.shut("act2"), **silent,
)  # fmt: skip
case(
    "silent-transformer-gelu-after-training", "transformer", gpt(depth=3),
    lambda net: injure.bias(net.blocks[1].up, -20), warm=20, steps=20, site="blocks.1.up",
    also=("saturated",), proof=proof.shut("blocks.1.act"), **silent,
)  # fmt: skip

# ---- dormant-units -------------------------------------------------------------------------------

dormant = {"fault": "dormant-units"}
for activation in ("relu", "tanh"):
    case(
        f"dormant-mlp-{activation}", "mlp",
        perceptron(activation=activation, init="xavier"),
        lambda net: injure.weigh(net.fc3, 1e-4, 0.5),
        site="fc3", proof=proof.dormant("act3"), **dormant,
    )  # fmt: skip
case(
    "dormant-mlp-gelu-after-training", "mlp",
    perceptron(activation="gelu", training={"optimizer": "sgd", "lr": 1e-4}),
    lambda net: injure.weigh(net.fc2, 1e-4, 0.5),
    steps=20, site="fc2", proof=proof.dormant("act2"), **dormant,
)  # fmt: skip
case(
    "dormant-mlp-bn", "mlp", perceptron(normed="bn"),
    lambda net: injure.weigh(net.norm2, 1e-4, 0.5),
    site="fc2", proof=proof.dormant("act2"), **dormant,
)  # fmt: skip
case(
    "dormant-cnn-relu", "cnn", convolutions(), lambda net: injure.weigh(net.conv2, 1e-4, 0.5),
    site="conv2", proof=proof.dormant("act2"), **dormant,
)  # fmt: skip
case(
    "dormant-transformer", "transformer", gpt(),
    lambda net: injure.weigh(net.blocks[0].up, 1e-4, 0.5),
    site="blocks.0.up", proof=proof.dormant("blocks.0.act"), **dormant,
)  # fmt: skip


def _narrow_embedding(net: Tagger) -> None:
    with torch.no_grad():
        net.embed.weight[:, ::2] *= 1e-4


case(
    "dormant-lstm-embedding", "lstm", bases.tagger(), _narrow_embedding,
    site="embed", proof=proof.dormant("embed"), **dormant,
)  # fmt: skip


def _shut_output_gates(net: Reader) -> None:
    hidden = net.rnn.hidden_size
    with torch.no_grad():
        net.rnn.bias_ih_l0[3 * hidden : 3 * hidden + hidden // 2] = -14.0


case(
    "dormant-lstm-output-gates", "lstm", reader(), _shut_output_gates,
    site="rnn", proof=proof.dormant("rnn"), **dormant,
)  # fmt: skip

# ---- saturated -----------------------------------------------------------------------------------

saturated = {"fault": "saturated"}
case(
    "saturated-mlp-tanh", "mlp", perceptron(activation="tanh", init="xavier"),
    lambda net: injure.weights(net.fc3, 30),
    site="fc3", proof=proof.shut("act3", 0.8, unit=False), **saturated,
)  # fmt: skip
case(
    "saturated-mlp-tanh-all", "mlp", perceptron((64,) * 4, "tanh", "xavier", gain=30),
    also=("exploding-gradient",), proof=proof.shut("act2", 0.8, unit=False), **saturated,
)  # fmt: skip # weights 30 times too large multiply the gradient by more than the gates take
case(
    "saturated-mlp-sigmoid", "mlp", perceptron((32,) * 3, "sigmoid", "xavier"),
    lambda net: injure.weights(net.fc2, 100),
    site="fc2", proof=proof.shut("act2", 0.6, unit=False), **saturated,
)  # fmt: skip
case(  # all stuck on one side: also silent by definition, constant, and shut to gradients
    "saturated-mlp-sigmoid-one-side", "mlp", perceptron((32,) * 3, "sigmoid", "xavier"),
    lambda net: injure.bias(net.fc2, 15), site="fc2", also=GONE,
    proof=proof.shut("act2"), **saturated,
)  # fmt: skip
case(  # slope exactly 0 for most values, but few units are on the flat sides for all samples
    "saturated-mlp-hardtanh", "mlp", perceptron(activation="hardtanh", init="xavier"),
    lambda net: injure.weights(net.fc3, 30),
    site="fc3", proof=proof.shut("act3", 0.8, unit=False), **saturated,
)  # fmt: skip
case(  # no gradient from the high side: dead by algebra, and constant at 6
    "saturated-mlp-relu6-high", "mlp", perceptron(activation="relu6"),
    lambda net: injure.bias(net.fc2, 40), site="fc2",
    also=("dead-units", "silent-units", "input-independent", "vanishing-gradient"),
    proof=proof.dead("act2"), **saturated,
)  # fmt: skip
case(
    "saturated-mlp-tanh-bn", "mlp", perceptron(activation="tanh", init="xavier", normed="bn"),
    lambda net: injure.weigh(net.norm3, 30),
    site="fc3", proof=proof.shut("act3", 0.8, unit=False), **saturated,
)  # fmt: skip
case(
    "saturated-cnn-tanh", "cnn", convolutions(activation="tanh", init="xavier"),
    lambda net: injure.weights(net.conv2, 40),
    site="conv2", proof=proof.shut("act2", 0.8, unit=False), **saturated,
)  # fmt: skip


def _loud_gates(net: nn.Module) -> None:
    injure.weights(net.from_input, 40)


case(  # every gate is a call of the same two layers, so any of the gates is the right place
    "saturated-lstm-gates", "lstm", gates(), _loud_gates,
    site=("from_state", "from_input"), proof=proof.shut("gate_in", 0.6, unit=False), **saturated,
)  # fmt: skip
case(  # by training: with a rate far too large the gates shut and stay so
    "saturated-lstm-gates-by-training", "lstm",
    gates(lr=30.0, optimizer="sgd"), warm=20, steps=20, site=("from_state", "from_input"),
    also=("vanishing-gradient",), proof=proof.shut("gate_in", 0.5, unit=False), learns=False,
    **saturated,
)  # fmt: skip


def _tutorial(activation: str, lr: float = 0.03) -> Base:
    build = lambda: make_mlp(activation=activation, weight_std=0.1, bias_init=-0.2)  # noqa: E731
    return of(build, lambda seed: data.tutorial(seed, raw=True), bases.squared, lr=lr)


case(  # DEFINITIONS: gates shut in the last layers; the deep ones do not see their input
    "saturated-mlp-tutorial-after-training", "mlp", _tutorial("tanh"), warm=200, steps=30,
    also=("vanishing-gradient", "input-independent"),
    proof=proof.shut("act8", 0.8, unit=False), **saturated,
)  # fmt: skip
case(
    "saturated-mlp-tanh-large-rate", "mlp",
    perceptron((32,) * 4, "tanh", "xavier", training={"lr": 1.0}), warm=20, steps=20,
    also=("vanishing-gradient", "input-independent"),  # all on one side by then
    proof=proof.shut("act4", 0.8, unit=False), learns=False, **saturated,
)  # fmt: skip

# ---- input-independent ---------------------------------------------------------------------------

deaf = {"fault": "input-independent"}


def _deaf(layer: nn.Module, factor: float = 0.0) -> None:
    injure.weights(layer, factor)
    injure.random_bias(layer)


case(  # weights of zero: what passes back through them is zero
    "independent-mlp-relu", "mlp", perceptron(), lambda net: _deaf(net.fc3),
    site="fc3", also=("vanishing-gradient",), proof=proof.constant("fc3"), **deaf,
)  # fmt: skip
case(
    "independent-mlp-tanh", "mlp", perceptron(activation="tanh", init="xavier"),
    lambda net: _deaf(net.fc4, 1e-3),
    site="fc4", also=("vanishing-gradient",), proof=proof.constant("act4"), **deaf,
)  # fmt: skip
case(
    "independent-mlp-functional-after-training", "mlp", of(lambda: FunctionalMlp(SIX)),
    lambda net: _deaf(net.fc3, 1e-4), warm=20, setup=lambda s: injure.regroup(s, "fc3", 0.0),
    steps=15, site="fc3", also=("vanishing-gradient",), proof=proof.constant("fc3"), **deaf,
)  # fmt: skip
case(  # DEFINITIONS: signal below 1 % by layer 5, gradients 5,000-fold smaller over 7 layers
    "independent-mlp-tutorial", "mlp", _tutorial("tanh"), also=("vanishing-gradient",),
    site=("fc4", "fc5", "fc6", "fc7", "fc8"), proof=proof.constant("act5"), **deaf,
)  # fmt: skip
case(
    "independent-mlp-deep-sigmoid", "mlp", perceptron((32,) * 8, "sigmoid", "torch"),
    also=("vanishing-gradient",),  # proved beside it
    proof=proof.both(proof.constant("act5"), proof.fades("act1", "act8", 1e-3)), learns=False,
    **deaf,
)  # fmt: skip
case(
    "independent-cnn-relu", "cnn", convolutions(), lambda net: _deaf(net.conv2),
    site="conv2", also=("vanishing-gradient",), proof=proof.constant("conv2"), **deaf,
)  # fmt: skip


def _one_token(net: Gpt) -> None:
    with torch.no_grad():
        net.embed.weight[:] = net.embed.weight[:1].clone()


case(  # all rows of the table are equal, whatever the token
    "independent-transformer-embedding", "transformer", gpt(), _one_token,
    site="embed", proof=proof.constant("embed"), **deaf,
)  # fmt: skip
case(  # it runs by itself, the same way for every sequence; the last states are all equal
    "independent-lstm-reader", "lstm", reader(), lambda net: scale(net.rnn, 0.0, "weight_ih"),
    site="rnn", proof=proof.constant("out", 1e-6), **deaf,
)  # fmt: skip


def _stuck_loader(setup: Setup) -> None:
    injure.inputs(setup, lambda x: x[:1].expand_as(x).clone())


case(  # a data loader that repeats one sample
    "independent-mlp-stuck-loader", "mlp", perceptron((32,) * 3), setup=_stuck_loader,
    site="fc1", proof=proof.constant("fc1", 1e-9), learns=False, **deaf,
)  # fmt: skip

# ---- vanishing-gradient --------------------------------------------------------------------------

vanishing = {"fault": "vanishing-gradient"}
case(
    "vanishing-mlp-tanh-weights", "mlp",
    perceptron((32,) * 10, "tanh", "lecun", gain=0.3, training={"optimizer": "sgd", "lr": 0.05}),
    proof=proof.fades("act1", "act10", 1e-4), learns=False, **vanishing,
)  # fmt: skip
case(
    "vanishing-mlp-relu-weights", "mlp", perceptron((32,) * 10, gain=0.3),
    proof=proof.fades("act1", "act10", 1e-4), **vanishing,
)  # fmt: skip
case(
    "vanishing-mlp-gelu-weights", "mlp",
    perceptron((64,) * 8, "gelu", "lecun", gain=0.2, training={"optimizer": "sgd", "lr": 0.05}),
    proof=proof.fades("act1", "act8", 1e-4), learns=False, **vanishing,
)  # fmt: skip
case(
    "vanishing-mlp-one-layer", "mlp", perceptron(activation="tanh", init="xavier"),
    lambda net: injure.weigh(net.fc4, 1e-4),
    site="fc4", proof=proof.fades("act3", "act4", 1e-3), **vanishing,
)  # fmt: skip
case(  # slopes of at most 1/4, 8 times; the signal drowns in the constant 0.5: proved beside it
    "vanishing-mlp-sigmoid", "mlp", perceptron((64,) * 8, "sigmoid", "xavier"),
    also=("input-independent",),
    proof=proof.both(proof.fades("act1", "act8", 1e-3), proof.constant("act8")), learns=False,
    **vanishing,
)  # fmt: skip
case(
    "vanishing-mlp-tanh-after-training", "mlp",
    perceptron((32,) * 10, "tanh", "lecun", gain=0.3, training={"optimizer": "sgd", "lr": 0.01}),
    steps=20, proof=proof.fades("act1", "act10", 1e-4), learns=False, **vanishing,
)  # fmt: skip
case(
    "vanishing-cnn-relu-weights", "cnn", convolutions((12,) * 8, gain=0.3),
    proof=proof.fades("act1", "act8", 1e-3), **vanishing,
)  # fmt: skip


def _weak_tower(net: nn.Module) -> None:
    for i in range(1, net.depth + 1):
        scale(getattr(net, f"rnn{i}"), 0.1)


case(  # biases are left, so that the layers above hear less and less: proved beside it
    "vanishing-lstm-tower", "lstm", bases.tower(4, optimizer="sgd"), _weak_tower,
    also=("input-independent",),
    proof=proof.both(proof.fades("rnn1", "rnn4", 1e-3), proof.constant("out", 1e-4)),
    learns=False, **vanishing,
)  # fmt: skip


def _shut_by_bias(net: nn.Module) -> None:
    for i in (2, 3, 4):
        injure.bias(getattr(net, f"fc{i}"), 4.0)


case(  # by gates: three layers of tanh at +4 pass a thousandth each; constant and saturated too
    "vanishing-mlp-tanh-gates", "mlp", perceptron(activation="tanh", init="xavier"), _shut_by_bias,
    site=("fc2", "fc3", "fc4"), also=("silent-units", "input-independent", "saturated"),
    proof=proof.fades("act1", "act5", 1e-4), **vanishing,
)  # fmt: skip

# ---- exploding-gradient --------------------------------------------------------------------------

bursting = {"fault": "exploding-gradient"}
chaotic = {"also": ("saturated",)}  # the same weights, too large, drive tanh to its ends: proved
chaos = proof.both(proof.grows_backwards("act1", "act12", 30), proof.shut("act6", 0.3, unit=False))
case(
    "exploding-gradient-mlp-tanh", "mlp", perceptron((64,) * 12, "tanh", "lecun", gain=5.0),
    proof=chaos, **chaotic, **bursting,
)  # fmt: skip
case(
    "exploding-gradient-mlp-tanh-after-training", "mlp",
    perceptron((64,) * 12, "tanh", "lecun", gain=5.0, training={"optimizer": "sgd", "lr": 1e-4}),
    steps=15, proof=chaos, **chaotic, **bursting,
)  # fmt: skip
case(
    "exploding-gradient-cnn-tanh", "cnn",
    convolutions((12,) * 12, "tanh", "lecun", gain=5.0), proof=chaos, **chaotic, **bursting,
)  # fmt: skip
case(  # Yang et al. 2019, A Mean Field Theory of Batch Normalization: 1.2 times a layer
    "exploding-gradient-mlp-deep-bn", "mlp", perceptron((32,) * 50, normed="bn", size=128),
    proof=proof.grows_backwards("act1", "act50", 500), **bursting,
)  # fmt: skip
case(
    "exploding-gradient-mlp-deep-bn-linear", "mlp",
    perceptron((48,) * 40, "leaky", normed="bn", size=96),
    proof=proof.grows_backwards("act1", "act40", 100), **bursting,
)  # fmt: skip

# ---- exploding-activation: the same factor comes back with the gradient --------------------------

exploding = {"fault": "exploding-activation", "also": ("exploding-gradient",)}
case(
    "exploding-mlp-relu", "mlp", perceptron((64,) * 4), lambda net: injure.weights(net.fc3, 200),
    site="fc3", proof=proof.grows("act2", "act3", 100), **exploding,
)  # fmt: skip
case(
    "exploding-mlp-relu-all", "mlp", perceptron((32,) * 8, gain=4.0),
    proof=proof.grows("act1", "act8", 1e3), **exploding,
)  # fmt: skip
case(
    "exploding-mlp-gelu-all", "mlp", perceptron((64,) * 8, "gelu", gain=4.0),
    proof=proof.grows("act1", "act8", 1e3), **exploding,
)  # fmt: skip
case(
    "exploding-mlp-leaky-after-training", "mlp",
    perceptron((32,) * 8, "leaky", gain=4.0, training={"optimizer": "sgd", "lr": 1e-9}),
    steps=15, proof=proof.grows("act1", "act8", 1e3), **exploding,
)  # fmt: skip
case(
    "exploding-cnn-relu", "cnn", convolutions(), lambda net: injure.weights(net.conv2, 200),
    site="conv2", proof=proof.grows("act1", "act2", 100), **exploding,
)  # fmt: skip
case(
    "exploding-mlp-residual", "mlp", residual(16, None),
    proof=proof.grows("stem", "blocks.15", 100), **exploding,
)  # fmt: skip
case(
    "exploding-transformer-no-norm", "transformer", gpt(depth=6, order="none", std=0.35),
    proof=proof.grows("embed", "blocks.5", 100), **exploding,
)  # fmt: skip


def _loud_state(net: Reader) -> None:
    scale(net.rnn, 12.0, "weight_hh")


case(  # ReLU states multiply by some 4 with each of 8 rows; gradients within the cell are unseen
    "exploding-rnn-relu", "lstm", reader("rnn", nonlinearity="relu"), _loud_state,
    site="rnn", proof=proof.larger("rnn", 1e3), **exploding,
)  # fmt: skip

# ---- non-finite ----------------------------------------------------------------------------------

broken = {"fault": "non-finite"}
case(
    "non-finite-mlp-log", "mlp", perceptron((32,) * 4, "tanh", "xavier"),
    lambda net: replaced(net, "act2", Log()), site="fc2",
    proof=proof.breaks_forward("act2"), learns=False, **broken,
)  # fmt: skip
case(
    "non-finite-mlp-zero-by-zero", "mlp", perceptron((32, 2, 32)),
    lambda net: replaced(net, "act2", Share()), site="fc2",
    proof=proof.breaks_forward("act2"), learns=False, **broken,
)  # fmt: skip


def _blank(x: Tensor) -> Tensor:
    x[3] = 0
    return x


case(  # a blank image has length 0, where the slope of the root is infinite: 0/0 on the way back
    "non-finite-mlp-root-backward", "mlp", perceptron((32,) * 4),
    lambda net: replaced(net, "act1", Length()), setup=lambda s: injure.inputs(s, _blank),
    site="fc1", proof=proof.breaks_backward("act1"), learns=False, **broken,
)  # fmt: skip


def _unit_length(net: Tagger) -> None:
    net.spare = Length()
    with torch.no_grad():
        net.embed.weight[0] = 0


case(  # the same with a row of the table that is zero, for padding
    "non-finite-lstm-root-backward", "lstm", bases.tagger(), _unit_length,
    site="embed", proof=proof.breaks_backward("spare"), learns=False, **broken,
)  # fmt: skip


def _towering(net: nn.Sequential) -> None:
    replaced(net, "act2", Exp())
    injure.weights(net.fc2, 200)


case(  # exp of some hundreds; values too large for float32 are what explodes
    "non-finite-mlp-exp", "mlp", perceptron((32,) * 4), _towering,
    site="fc2", also=("exploding-activation", "low-precision-range"),
    proof=proof.breaks_forward("act2"), learns=False, **broken,
)  # fmt: skip
case(
    "non-finite-cnn-log", "cnn", convolutions(), lambda net: replaced(net, "act3", Log()),
    site="conv3", proof=proof.breaks_forward("act3"), learns=False, **broken,
)  # fmt: skip


def _hide_itself(net: Gpt) -> None:
    net.blocks[1].attn.hides_itself = True


case(  # the softmax over minus infinities only; the projection is the layer it feeds
    "non-finite-transformer-mask", "transformer", gpt(), _hide_itself,
    site="blocks.1.attn.weights", proof=proof.breaks_forward("blocks.1.attn.weights"),
    learns=False, **broken,
)  # fmt: skip


def _poison(net: Reader) -> None:
    with torch.no_grad():
        net.rnn.weight_hh_l0[0, 0] = math.nan


case(
    "non-finite-lstm-weight-after-training", "lstm", reader(), _poison, warm=10, steps=10,
    site="rnn", proof=proof.breaks_forward("rnn"), learns=False, **broken,
)  # fmt: skip


def _gap(x: Tensor) -> Tensor:
    x.view(-1)[5] = math.nan
    return x


case(  # a missing value in the data
    "non-finite-mlp-data", "mlp", perceptron((32,) * 3),
    setup=lambda s: injure.inputs(s, _gap), site="fc1", proof=proof.breaks_at_input,
    learns=False, **broken,
)  # fmt: skip


def _bare_log(model: nn.Module, batch: Any) -> Tensor:
    x, y = batch
    return -model(50 * x).softmax(-1).gather(1, y[:, None]).log().mean()


case(  # probabilities that round to 0; what is wrong lies behind the last layer
    "non-finite-mlp-loss", "mlp", perceptron((32,) * 3),
    setup=lambda s: setattr(s, "loss_fn", _bare_log), site="out",
    proof=proof.breaks, learns=False, **broken,
)  # fmt: skip
case(  # a run that diverges: weights grow until they overflow
    "non-finite-mlp-diverged", "mlp",
    perceptron((32,) * 3, task="friedman", training={"optimizer": "sgd", "lr": 10.0}), steps=20,
    also=("exploding-activation", "exploding-gradient"), proof=proof.breaks, learns=False,
    **broken,
)  # fmt: skip

# ---- low-precision-range -------------------------------------------------------------------------

narrow = {"fault": "low-precision-range"}


def _fp16(factor: float = 1.0) -> Callable[[Setup], None]:
    def change(setup: Setup) -> None:
        loss = bases.under_autocast(setup.loss_fn, torch.float16)
        setup.loss_fn = bases.scaled_loss(loss, factor)

    return change


case(  # gradients below fp16's range, for want of a loss scale
    "low-precision-mlp-fp16-underflow", "mlp", perceptron((32,) * 4), setup=_fp16(1e-5),
    proof=proof.underflows("fc2", 0.9), **narrow,
)  # fmt: skip
case(
    "low-precision-cnn-fp16-underflow-after-training", "cnn", convolutions(), setup=_fp16(1e-4),
    steps=10, proof=proof.underflows("conv2", 0.9), **narrow,
)  # fmt: skip
case(  # beyond 65,504: infinite from here on, which is the same fault seen later
    "low-precision-mlp-fp16-overflow", "mlp", perceptron((32,) * 4),
    lambda net: injure.weights(net.fc2, 5e4), setup=_fp16(), site="fc2",
    also=("non-finite", "exploding-activation"), proof=proof.overflows("fc2"), **narrow,
)  # fmt: skip
case(
    "low-precision-transformer-fp16-underflow", "transformer", gpt(), setup=_fp16(1e-5),
    proof=proof.underflows("blocks.0.up", 0.9), **narrow,
)  # fmt: skip


def _denormal(net: nn.Sequential) -> None:
    injure.weigh(net.fc2, 1e-22)
    injure.weigh(net.fc3, 1e-20)


case(  # values below 2**-126: float32 itself is too narrow; and nothing passes back, of course
    "low-precision-mlp-float32-subnormal", "mlp", perceptron((32,) * 4), _denormal,
    site=("fc2", "fc3"), also=("vanishing-gradient",),
    proof=proof.underflows("fc3", 0.9, "outputs", 2.0**-126), **narrow,
)  # fmt: skip

# ---- scale-drift ---------------------------------------------------------------------------------

drifting = {"fault": "scale-drift"}
case(  # decay far too strong: what is left of the weights after 40 steps passes nothing on
    "drift-mlp-weight-decay", "mlp",
    perceptron(training={"optimizer": "sgd", "lr": 0.05, "weight_decay": 1.0}), steps=60,
    also=("vanishing-gradient",), proof=proof.drifts("act6", 10), learns=False, **drifting,
)  # fmt: skip


def _leak_after(name: str) -> Callable[[nn.Sequential], Any]:
    def change(net: nn.Sequential) -> None:
        replaced(net, name, nn.Sequential(net.get_submodule(name), Leak(1.1)))

    return change


case(
    "drift-mlp-leak", "mlp", perceptron((32,) * 4, training={"lr": 1e-5}), _leak_after("act2"),
    steps=60, site="fc2", proof=proof.drifts("act2", 10), **drifting,
)  # fmt: skip
case(
    "drift-cnn-leak", "cnn", convolutions(lr=1e-5), _leak_after("act1"),
    steps=50, site="conv1", proof=proof.drifts("act1", 10), **drifting,
)  # fmt: skip


def _drifting_sensor(setup: Setup) -> None:
    setup.batches = [
        (x * 1.08**i, y) for i, (x, y) in enumerate(list(setup.batches) * 8)
    ]  # 64 batches


case(
    "drift-mlp-sensor", "mlp", perceptron((32,) * 3, training={"lr": 1e-4}),
    setup=_drifting_sensor, steps=60, site="fc1", also=("unnormalised-input",),
    proof=proof.drifts("fc1", 10), **drifting,
)  # fmt: skip # inputs end at 90 times their scale: not normalised
case(
    "drift-transformer-weight-decay", "transformer",
    gpt(lr=0.01, training={"optimizer": "adamw", "weight_decay": 8.0}), steps=60,
    proof=proof.drifts("blocks.1.down", 10), **drifting,
)  # fmt: skip
case(
    "drift-lstm-sensor", "lstm", reader(), setup=_drifting_sensor, steps=60, site="rnn",
    also=("unnormalised-input",), proof=proof.input_drifts(10), **drifting,
)  # fmt: skip

# ---- identical-units -----------------------------------------------------------------------------

twins = {"fault": "identical-units"}
case(
    "identical-mlp-relu", "mlp", perceptron(), lambda net: injure.twins(net.fc3, net.fc4),
    site="fc3", proof=proof.identical("fc3"), **twins,
)  # fmt: skip
case(
    "identical-mlp-tanh-all", "mlp", perceptron((32,) * 3, "tanh"),
    lambda net: injure.each(net, injure.constant), site=("fc1", "fc2", "fc3", "out"),
    proof=proof.identical("fc2"), **twins,
)  # fmt: skip
case(
    "identical-mlp-gelu-all-after-training", "mlp", perceptron((32,) * 3, "gelu"),
    lambda net: injure.each(net, injure.constant), steps=20,
    site=("fc1", "fc2", "fc3"), proof=proof.identical("fc2"), **twins,
)  # fmt: skip
case(
    "identical-cnn-relu", "cnn", convolutions(), lambda net: injure.twins(net.conv2, net.conv3),
    site="conv2", proof=proof.identical("conv2"), **twins,
)  # fmt: skip
case(
    "identical-mlp-half", "mlp", perceptron((64,) * 3),
    lambda net: injure.twins(net.fc2, net.fc3, 0.5),
    site="fc2", proof=proof.identical("fc2", 0.5), **twins,
)  # fmt: skip


def _lstm_twins(net: Reader) -> None:
    fill(net.rnn, 0.1)
    with torch.no_grad():
        net.out.weight[:] = net.out.weight[:, :1].clone()


case(
    "identical-lstm", "lstm", reader(), _lstm_twins,
    site="rnn", proof=proof.identical("rnn"), **twins,
)  # fmt: skip
case(
    "identical-gru-after-training", "gru", reader("gru", 24),
    lambda net: (fill(net.rnn, 0.1), fill(net.out, 0.05)), steps=15,
    site="rnn", proof=proof.identical("rnn"), **twins,
)  # fmt: skip
case(
    "identical-transformer", "transformer", gpt(),
    lambda net: injure.twins(net.blocks[1].up, net.blocks[1].down),
    site="blocks.1.up", proof=proof.identical("blocks.1.up"), **twins,
)  # fmt: skip

# ---- unnormalised-input --------------------------------------------------------------------------

raw = {"fault": "unnormalised-input"}


def _pixels(setup: Setup) -> None:
    injure.inputs(setup, lambda x: (x - x.min()) / (x.max() - x.min()) * 255)


case(
    "raw-mlp-pixels", "mlp", perceptron((64,) * 3), setup=_pixels, site="fc1",
    proof=proof.input_scale(50, 50), **raw,
)  # fmt: skip
case(
    "raw-mlp-tanh-pixels", "mlp", perceptron((64,) * 3, "tanh", "xavier"), setup=_pixels,
    site="fc1", also=("saturated",),  # its first layer is driven to the ends: proved beside it
    proof=proof.both(proof.input_scale(50, 50), proof.shut("act1", 0.9, unit=False)), **raw,
)  # fmt: skip
case(
    "raw-cnn-pixels-after-training", "cnn", convolutions(), setup=_pixels, steps=15,
    site="conv1", proof=proof.input_scale(50, 50), **raw,
)  # fmt: skip
case(  # the mean drowns the signal in the first layer, and so in all: proved beside it
    "raw-mlp-mean-1000", "mlp", perceptron((32,) * 3, task="friedman"),
    setup=lambda s: injure.inputs(s, lambda x: x + 1000), site="fc1",
    also=("input-independent",),
    proof=proof.both(proof.input_scale(mean=900), proof.constant("fc1", 1e-3)), **raw,
)  # fmt: skip
case(  # one column in other units than the rest
    "raw-mlp-one-column", "mlp", perceptron((32,) * 3, task="friedman"),
    setup=lambda s: injure.inputs(s, injure.set_to([7], 1e4)), site="fc1",
    proof=proof.input_scale(ratio=5e3), learns=False, **raw,
)  # fmt: skip
case(
    "raw-mlp-tiny", "mlp", perceptron((32,) * 3, task="blobs"),
    setup=lambda s: injure.inputs(s, lambda x: x * 1e-4), site="fc1",
    proof=proof.input_below(1e-3), **raw,
)  # fmt: skip
case(
    "raw-lstm-pixels", "lstm", reader(), setup=_pixels, site="rnn",
    proof=proof.input_scale(50, 50), **raw,
)  # fmt: skip
case(
    "raw-mlp-year-after-training", "mlp", perceptron((32,) * 3, "gelu", task="blobs"),
    setup=lambda s: injure.inputs(s, lambda x: x + 2000), steps=20, site="fc1",
    also=("input-independent",),
    proof=proof.both(proof.input_scale(mean=1900), proof.constant("fc1", 1e-3)), **raw,
)  # fmt: skip

# ---- no-gradient ---------------------------------------------------------------------------------

cut = {"fault": "no-gradient"}


class Auxiliary(FunctionalMlp):
    """A perceptron with a second head, called, whose output the loss does not use."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__(sizes)
        self.aux = nn.Linear(sizes[-2], 4)

    def between(self, layer: int, x: Tensor) -> Tensor:
        if layer == self.depth:
            self.kept = self.aux(x).detach()
        return x


case(
    "cut-mlp-detach", "mlp", of(lambda: Detached(SIX)), site=("fc1", "fc2", "fc3"),
    proof=proof.ungraded("fc1", "fc2", "fc3"), **cut,
)  # fmt: skip
case(
    "cut-mlp-detach-after-training", "mlp", of(lambda: Detached(SIX[:5] + SIX[-1:])), steps=20,
    site=("fc1", "fc2", "fc3"), proof=proof.ungraded("fc1", "fc2", "fc3"), **cut,
)  # fmt: skip
case(
    "cut-mlp-no-grad", "mlp", of(lambda: Untracked(SIX)), site=("fc1", "fc2"),
    proof=proof.ungraded("fc1", "fc2"), **cut,
)  # fmt: skip
case(
    "cut-cnn-no-grad", "cnn", of(lambda: FunctionalCnn(2), bases.images), site=("conv1", "conv2"),
    proof=proof.ungraded("conv1", "conv2"), **cut,
)  # fmt: skip
case(
    "cut-lstm-detach", "lstm", reader(detached=True), site="rnn",
    proof=proof.ungraded("rnn"), **cut,
)  # fmt: skip
case(
    "cut-gru-detach-after-training", "gru", reader("gru", detached=True), steps=15, site="rnn",
    proof=proof.ungraded("rnn"), **cut,
)  # fmt: skip
case(
    "cut-transformer-no-grad", "transformer", gpt(depth=3, untracked=1), site="blocks.1",
    proof=proof.ungraded("blocks.1"), **cut,
)  # fmt: skip
case(
    "cut-mlp-unused-head", "mlp", of(lambda: Auxiliary(SIX)), site="aux",
    proof=proof.ungraded("aux"), **cut,
)  # fmt: skip

# ---- update-ratio: by `check`, which is given the optimizer --------------------------------------

pace = {"fault": "update-ratio"}
case(
    "pace-mlp-slow", "mlp", perceptron(training={"optimizer": "sgd", "lr": 1e-7}),
    proof=proof.updates(high=math.inf, low=1e-6), learns=False, **pace,
)  # fmt: skip
case(
    "pace-mlp-fast", "mlp", perceptron(training={"lr": 1.0}),
    proof=proof.updates(high=1.0), learns=False, **pace,
)  # fmt: skip
case(
    "pace-cnn-fast-layer", "cnn", convolutions(),
    setup=lambda s: injure.regroup(s, "conv2", 1.0), site="conv2",
    proof=proof.updates(high=1.0, layer="conv2"), **pace,
)  # fmt: skip
case(
    "pace-mlp-slow-layer-after-training", "mlp", perceptron(), warm=20,
    setup=lambda s: injure.regroup(s, "fc2", 1e-9), site="fc2",
    proof=proof.updates(low=1e-6, layer="fc2"), **pace,
)  # fmt: skip
case(
    "pace-transformer-slow", "transformer", gpt(lr=1e-8),
    proof=proof.updates(low=1e-6), learns=False, **pace,
)  # fmt: skip
case(
    "pace-lstm-fast", "lstm", reader(lr=1.0), proof=proof.updates(high=1.0), **pace,
)  # fmt: skip
case(
    "pace-mlp-bn-fast-after-training", "mlp", perceptron((32,) * 3, normed="bn"), warm=20,
    setup=lambda s: s.optimizer.param_groups[0].update(lr=1.0),
    proof=proof.updates(high=1.0), **pace,
)  # fmt: skip

# ---- never-called: its parameters get no gradient, which must follow -----------------------------

unused = {"fault": "never-called", "also": ("no-gradient",)}
case(
    "unused-mlp", "mlp", of(lambda: Forgotten(SIX)), site="extra",
    proof=proof.uncalled("extra"), **unused,
)  # fmt: skip
case(
    "unused-mlp-after-training", "mlp", of(lambda: Forgotten(SIX)), steps=15, site="extra",
    proof=proof.uncalled("extra"), **unused,
)  # fmt: skip
case(
    "unused-cnn-shortcut", "cnn", of(Shortcut, bases.images), site="projection",
    proof=proof.uncalled("projection"), **unused,
)  # fmt: skip
case(
    "unused-transformer-block", "transformer", gpt(depth=3, skipped=1), site="blocks.1",
    proof=proof.uncalled("blocks.1"), **unused,
)  # fmt: skip


def _second_reader() -> Reader:
    net = Reader()
    net.second = nn.LSTM(32, 32, batch_first=True)
    return net


case(
    "unused-lstm-after-training", "lstm", of(_second_reader, data.rows, lr=5e-3), steps=10,
    site="second", proof=proof.uncalled("second"), **unused,
)  # fmt: skip
