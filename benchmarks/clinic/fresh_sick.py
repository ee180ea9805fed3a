"""Sick networks of the fresh part: each rule's fault in other networks, at other places and times.

Many faults come about while the network trains: what happens, happens just before a step of the
recorded run. `also` follows the reasons that `sick.py` gives; where it holds more, the proof shows
that too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.clinic import bases, data, fresh_nets, injure, proof
from benchmarks.clinic.bases import Base, of
from benchmarks.clinic.case import Case, Setup
from benchmarks.clinic.fresh_nets import (
    Both,
    Call,
    Coder,
    Excited,
    Experts,
    Functional,
    Highway,
    Mixer,
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
from benchmarks.clinic.mlp import Leak
from benchmarks.clinic.recurrent import fill, scale
from benchmarks.clinic.sick import FLAT, GONE, SILENT

AROUND = ("silent-units", "input-independent")
"""What follows where all units are dead, and gradients have a way around them."""
SLOW = {"optimizer": "sgd", "lr": 1e-4}
CASES: list[Case] = []
Event = tuple[int, Callable[[Setup], Any]]


def case(
    name: str,
    family: str,
    base: Base,
    hurt: Callable[[nn.Module], Any] | None = None,
    *,
    setup: Callable[[Setup], Any] | None = None,
    warm: int = 0,
    at: Event | None = None,
    **label: Any,
) -> None:
    """Add a case: a base, trained `warm` steps, what is done then, and what happens at a step."""

    def make(seed: int) -> Setup:
        made = base(seed).train(warm)
        if hurt is not None:
            hurt(made.model)
        if setup is not None:
            setup(made)
        if at is not None:
            made.events[at[0]] = at[1]
        return made

    CASES.append(Case(f"fresh-{name}", family, make, fresh=True, **label))


def rate(lr: float) -> Callable[[Setup], None]:
    """Return what sets the learning rate."""

    def change(setup: Setup) -> None:
        for group in setup.optimizer.param_groups:
            group["lr"] = lr

    return change


def wide(*widths: int) -> tuple[int, ...]:
    return (64, *widths, 10)


def unet(lr: float = 2e-3, training: dict[str, Any] | None = None, **options: Any) -> Base:
    build = lambda: UNet(**options)  # noqa: E731
    return of(build, fresh_nets.noisy, bases.squared, lr=lr, **(training or {}))


def coder(*arguments: Any, training: dict[str, Any] | None = None, **options: Any) -> Base:
    build = lambda: Coder(*arguments, **options)  # noqa: E731
    return of(build, fresh_nets.copies, bases.squared, **(training or {}))


def stacked(*arguments: Any, training: dict[str, Any] | None = None, **options: Any) -> Base:
    return of(lambda: stack(*arguments, **options), **(training or {}))


def lined(*arguments: Any, training: dict[str, Any] | None = None, **options: Any) -> Base:
    return of(lambda: lines(*arguments, **options), data.rows, **(training or {}))


# ---- dead-units ----------------------------------------------------------------------------------

dead = {"fault": "dead-units"}
case(
    "dead-stack-first", "mlp", stacked(wide(40, 40, 40, 40, 40)),
    lambda net: injure.bias(net[0][0], -30, 0.6),
    site="0.0", also=SILENT, proof=proof.dead("0.1", 0.59), **dead,
)  # fmt: skip
case(  # all at once, half-way through the run
    "dead-stack-last-at-step", "mlp", stacked(wide(48, 48, 48)),
    at=(20, lambda s: injure.bias(s.model[2][0], -30)), steps=45,
    site="2.0", also=GONE, proof=proof.dead("2.1"), **dead,
)  # fmt: skip
case(
    "dead-bert-relu", "transformer", of(lambda: bert("relu"), data.tokens, lr=2e-3),
    lambda net: injure.bias(net.model.bert.encoder.layer[1].intermediate.dense, -20),
    site="model.bert.encoder.layer.1.intermediate.dense", also=AROUND,
    proof=proof.dead("model.bert.encoder.layer.1.intermediate.intermediate_act_fn"), **dead,
)  # fmt: skip
case(
    "dead-mobile-depthwise-at-step", "cnn", of(mobile, bases.images, lr=2e-3),
    at=(15, lambda s: injure.bias(s.model[2][1], -15, 0.6)), steps=35,
    site="2.0", also=SILENT, proof=proof.dead("2.2", 0.55), **dead,
)  # fmt: skip
case(  # the bottleneck; skips pass by it
    "dead-unet-middle", "cnn", unet(), lambda net: injure.bias(net.middle[0], -30),
    site="middle.0", also=AROUND, proof=proof.dead("middle.1"), **dead,
)  # fmt: skip
case(  # exactly 0 below -3, and so is its slope: flat, too
    "dead-stack-hardswish", "mlp", stacked(wide(56, 56, 56), nn.Hardswish),
    lambda net: injure.bias(net[1][0], -40), site="1.0", also=(*GONE, "saturated"),
    proof=proof.dead("1.1"), **dead,
)  # fmt: skip
case(  # a rate that jumps for three steps kills for good
    "dead-stack-rate-jump", "mlp",
    stacked(wide(48, 48, 48, 48), training={"optimizer": "sgd", "lr": 0.05}),
    setup=lambda s: s.events.update({15: rate(10.0), 18: rate(0.05)}), steps=45,
    also=GONE, proof=proof.one_of(*(proof.dead(f"{i}.1", 0.5) for i in range(4))), **dead,
)  # fmt: skip

# ---- silent-units --------------------------------------------------------------------------------

silent = {"fault": "silent-units"}
case(
    "silent-stack-mish-first", "mlp", stacked(wide(96, 48, 48), nn.Mish),
    lambda net: injure.bias(net[0][0], -40), site="0.0",
    also=("saturated", "input-independent", "vanishing-gradient"),  # all but zero
    proof=proof.shut("0.1"), **silent,
)  # fmt: skip
case(
    "silent-stack-selu-last-at-step", "mlp", stacked(wide(40, 40, 40), nn.SELU, "lecun"),
    at=(15, lambda s: injure.bias(s.model[2][0], -25, 0.6)), steps=40,
    site="2.0", also=("saturated",), proof=proof.shut("2.1", 0.55), **silent,
)  # fmt: skip
case(
    "silent-lines-elu", "cnn", lined((24, 24, 24)), lambda net: injure.bias(net[1][0], -30),
    site="1.0", also=(*FLAT, "input-independent"), proof=proof.shut("1.1"), **silent,
)  # fmt: skip
case(
    "silent-distilbert", "transformer", of(distilbert, data.tokens, lr=2e-3),
    lambda net: injure.bias(net.model.distilbert.transformer.layer[0].ffn.lin1, -20, 0.7),
    site="model.distilbert.transformer.layer.0.ffn.lin1", also=("saturated",),
    proof=proof.shut("model.distilbert.transformer.layer.0.ffn.activation", 0.65), **silent,
)  # fmt: skip
case(
    "silent-coder-celu-half", "mlp", coder(nn.CELU, "lecun"),
    lambda net: injure.bias(net.decode[0][0], -25, 0.5),
    site="decode.0.0", also=("saturated",), proof=proof.shut("decode.0.1", 0.5), **silent,
)  # fmt: skip

case(
    "silent-functional-gelu", "mlp", of(lambda: Functional(wide(48, 48, 48), F.gelu, "gelu")),
    lambda net: injure.bias(net.fc1, -30), site="fc1", also=(*FLAT, "input-independent"),
    proof=proof.shut_after("fc1", F.gelu, 1.0), **silent,
)  # fmt: skip

# ---- dormant-units -------------------------------------------------------------------------------

dormant = {"fault": "dormant-units"}
case(
    "dormant-stack-prelu-first", "mlp", stacked(wide(48, 48, 48), nn.PReLU),
    lambda net: injure.weigh(net[0][0], 1e-4, 0.6),
    site="0.0", proof=proof.dormant("0.1", 0.55), **dormant,
)  # fmt: skip
case(
    "dormant-mobile-last-at-step", "cnn", of(mobile, bases.images, **SLOW),
    at=(15, lambda s: injure.weigh(s.model[2][4], 1e-4, 0.5)), steps=35,
    site="2.3", proof=proof.dormant("2.5", 0.45), **dormant,
)  # fmt: skip
case(
    "dormant-coder-softsign", "mlp", coder(nn.Softsign, "xavier"),
    lambda net: injure.weigh(net.encode[1][0], 1e-4, 0.5),
    site="encode.1.0", proof=proof.dormant("encode.1.1", 0.45), **dormant,
)  # fmt: skip
case(
    "dormant-neox", "transformer", of(neox, data.tokens, lr=2e-3),
    lambda net: injure.weigh(net.model.gpt_neox.layers[1].mlp.dense_h_to_4h, 1e-4, 0.5),
    site="model.gpt_neox.layers.1.mlp.dense_h_to_4h",
    proof=proof.dormant("model.gpt_neox.layers.1.mlp.act", 0.45), **dormant,
)  # fmt: skip

case(
    "dormant-siamese-tower", "siamese", of(Siamese, fresh_nets.pairs),
    lambda net: injure.weigh(net.tower[0][0], 1e-4, 0.5),
    site="tower.0.0", proof=proof.dormant("tower.0.1", 0.45), **dormant,
)  # fmt: skip

# ---- saturated -----------------------------------------------------------------------------------

saturated = {"fault": "saturated"}
case(
    "saturated-stack-softsign", "mlp", stacked(wide(48, 48, 48), nn.Softsign, "xavier"),
    lambda net: injure.weights(net[1][0], 80),
    site="1.0", proof=proof.shut("1.1", 0.8, unit=False), **saturated,
)  # fmt: skip
case(
    "saturated-functional-tanh", "mlp",
    of(lambda: Functional(wide(48, 48, 48, 48), torch.tanh, "tanh")),
    lambda net: injure.weights(net.fc4, 40),
    site="fc4", proof=proof.shut_after("fc4", torch.tanh, 0.8), **saturated,
)  # fmt: skip
case(  # a gate that is shut for all: silent and constant, and what it gates learns nothing
    "saturated-highway-gate", "mlp", of(Highway),
    lambda net: injure.bias(net.gate1, -20.0), site=("gate1", "make1"),
    also=("silent-units", "input-independent", "vanishing-gradient"),
    proof=proof.shut("open1"), **saturated,
)  # fmt: skip
case(
    "saturated-excited-gate-at-step", "cnn", of(Excited, bases.images, lr=2e-3),
    at=(15, lambda s: injure.bias(s.model.excite[0], 25.0)), steps=40, site="excite.0",
    also=AROUND, proof=proof.shut("excite.1"), **saturated,
)  # fmt: skip
case(
    "saturated-lines-tanh-last-at-step", "cnn", lined((24, 24, 24), nn.Tanh, "xavier"),
    at=(15, lambda s: injure.weights(s.model[2][0], 60)), steps=40,
    site="2.0", proof=proof.shut("2.1", 0.8, unit=False), **saturated,
)  # fmt: skip
case(
    "saturated-stack-hardsigmoid-first", "mlp", stacked(wide(64, 32), nn.Hardsigmoid, "xavier"),
    lambda net: injure.weights(net[0][0], 100),
    site="0.0", proof=proof.shut("0.1", 0.8, unit=False), **saturated,
)  # fmt: skip
case(  # a rate that jumps; by then most are on one side
    "saturated-coder-rate-jump", "mlp", coder(nn.Tanh, "xavier"),
    setup=lambda s: s.events.update({15: rate(2.0), 20: rate(1e-3)}), steps=45,
    also=("vanishing-gradient", "input-independent", "silent-units"),
    proof=proof.one_of(*(
        proof.shut(f"{part}.{i}.1", 0.8, unit=False)
        for part in ("encode", "decode") for i in (0, 1)
    )),
    **saturated,
)  # fmt: skip

# ---- input-independent ---------------------------------------------------------------------------

deaf = {"fault": "input-independent"}


def _deaf(layer: nn.Module) -> None:
    injure.weights(layer, 0.0)
    injure.random_bias(layer)


case(
    "independent-stack-mish-first", "mlp", stacked(wide(48, 48, 48), nn.Mish),
    lambda net: _deaf(net[0][0]), site="0.0", proof=proof.constant("0.0"), **deaf,
)  # fmt: skip


def _stick(setup: Setup) -> None:
    injure.inputs(setup, lambda x: x[:1].expand_as(x).clone())
    setup.batches = [(setup.batches[0][0], y) for _, y in setup.batches]


case(  # a sensor that sticks half-way through the run
    "independent-stack-stuck-at-step", "mlp", stacked(wide(40, 40, 40), nn.ELU, "lecun"),
    at=(15, _stick), steps=45, site="0.0", proof=proof.constant("0.0", 1e-9), **deaf,
)  # fmt: skip
case(
    "independent-siamese-tower", "siamese", of(Siamese, fresh_nets.pairs),
    lambda net: _deaf(net.tower[2]), site="tower.2",
    also=("vanishing-gradient",), proof=proof.constant("tower.2"), **deaf,
)  # fmt: skip


def _one_value_groups() -> nn.Sequential:
    net = stack(wide(32, 32, 32), nn.SiLU, norm=lambda n: nn.GroupNorm(1, n))
    net[1][1] = nn.GroupNorm(32, 32)
    injure.random_bias(net[1][1])
    return net


case(  # each group has one value, which minus its mean is 0: what is left is the norm's bias
    "independent-stack-group-norm", "mlp", of(_one_value_groups), site="1.0",
    also=("vanishing-gradient",),  # what passes back is 0 but for rounding
    proof=proof.both(proof.constant("1.1"), proof.fades("0.2", "1.2", 1e-4)), **deaf,
)  # fmt: skip


case(  # the second of two reads nothing of what the first says
    "independent-gru-second", "gru", of(Both, data.rows, lr=5e-3),
    lambda net: scale(net.rnn2, 0.0, "weight_ih"), site="rnn2",
    also=("vanishing-gradient",), proof=proof.constant("out", 1e-6), **deaf,
)  # fmt: skip

# ---- vanishing-gradient --------------------------------------------------------------------------

vanishing = {"fault": "vanishing-gradient"}
case(
    "vanishing-stack-softsign", "mlp", stacked(wide(*[48] * 9), nn.Softsign, "xavier", 0.3),
    proof=proof.fades("0.1", "8.1", 1e-4), **vanishing,
)  # fmt: skip
case(
    "vanishing-lines-elu", "cnn", lined((24,) * 8, nn.ELU, "lecun", 0.25),
    proof=proof.fades("0.1", "7.1", 1e-3), **vanishing,
)  # fmt: skip
case(
    "vanishing-stack-mish-last", "mlp", stacked(wide(48, 48, 48, 48, 48), nn.Mish),
    lambda net: injure.weigh(net[4][0], 1e-5), site="4.0",
    proof=proof.fades("3.1", "4.1", 1e-3), **vanishing,
)  # fmt: skip
case(
    "vanishing-stack-selu-at-step", "mlp",
    stacked(wide(*[40] * 6), nn.SELU, "lecun", training={"optimizer": "sgd", "lr": 1e-5}),
    at=(20, lambda s: injure.weigh(s.model[2][0], 1e-5)), steps=45, site="2.0",
    proof=proof.fades("1.1", "2.1", 1e-3), **vanishing,
)  # fmt: skip
case(  # slopes of 1/6, and the signal drowns in the constant 0.5
    "vanishing-stack-hardsigmoid", "mlp", stacked(wide(*[48] * 7), nn.Hardsigmoid, "xavier"),
    also=("input-independent",),
    proof=proof.both(proof.fades("0.1", "6.1", 1e-3), proof.constant("6.1")), **vanishing,
)  # fmt: skip

# ---- exploding-gradient --------------------------------------------------------------------------

bursting = {"fault": "exploding-gradient"}
case(  # too large weights drive it to its ends, too
    "exploding-gradient-stack-hardtanh", "mlp",
    stacked(wide(*[48] * 14), nn.Hardtanh, "lecun", 5.0),
    also=("saturated",),
    proof=proof.both(proof.grows_backwards("0.1", "13.1", 30), proof.shut("6.1", 0.3, unit=False)),
    **bursting,
)  # fmt: skip
case(
    "exploding-gradient-stack-bn-mish", "mlp",
    stacked(wide(*[40] * 45), nn.Mish, norm=nn.BatchNorm1d),
    proof=proof.grows_backwards("0.2", "44.2", 100), **bursting,
)  # fmt: skip


case(
    "exploding-gradient-lines-tanh", "cnn", lined((24,) * 12, nn.Tanh, "lecun", 5.0),
    also=("saturated",),
    proof=proof.both(proof.grows_backwards("0.1", "11.1", 30), proof.shut("6.1", 0.3, unit=False)),
    **bursting,
)  # fmt: skip


case(
    "exploding-gradient-lines-deep-bn", "cnn",
    lined((16,) * 45, nn.GELU, norm=nn.BatchNorm1d),
    proof=proof.grows_backwards("0.2", "44.2", 100), **bursting,
)  # fmt: skip


def _louder(setup: Setup) -> None:
    injure.each(setup.model, injure.weights, 5.0)


case(
    "exploding-gradient-stack-tanh-at-step", "mlp",
    stacked(wide(*[64] * 12), nn.Tanh, "lecun", training=SLOW), at=(12, _louder), steps=30,
    also=("saturated",),
    proof=proof.both(proof.grows_backwards("0.1", "11.1", 30), proof.shut("6.1", 0.3, unit=False)),
    **bursting,
)  # fmt: skip

# ---- exploding-activation ------------------------------------------------------------------------

exploding = {"fault": "exploding-activation", "also": ("exploding-gradient",)}
case(
    "exploding-stack-mish-last-at-step", "mlp",
    stacked(wide(48, 48, 48, 48), nn.Mish, training={"optimizer": "sgd", "lr": 1e-9}),
    at=(15, lambda s: injure.weights(s.model[3][0], 300)), steps=35,
    site="3.0", proof=proof.grows("2.1", "3.1", 100), **exploding,
)  # fmt: skip
case(
    "exploding-unet-middle", "cnn", unet(), lambda net: injure.weights(net.middle[0], 500),
    site="middle.0", proof=proof.grows("down2.1", "middle.1", 100), **exploding,
)  # fmt: skip
case(
    "exploding-residual-no-norm", "mlp", of(lambda: residual(14, normed=False)),
    proof=proof.grows("0", "14", 100), **exploding,
)  # fmt: skip
case(
    "exploding-lines-celu-all", "cnn", lined((24,) * 8, nn.CELU, "he", 4.0),
    proof=proof.grows("0.1", "7.1", 1e3), **exploding,
)  # fmt: skip
case(
    "exploding-stack-softplus-first", "mlp", stacked(wide(56, 56, 56), nn.Softplus),
    lambda net: injure.weights(net[0][0], 1e3),
    site="0.0", proof=proof.larger("0.1", 300), **exploding,
)  # fmt: skip

case(  # the norm behind it takes the scale away again, and what came by the skip with it
    "exploding-distilbert-feed-forward", "transformer", of(distilbert, data.tokens, lr=2e-3),
    lambda net: injure.weights(net.model.distilbert.transformer.layer[1].ffn.lin2, 3e4),
    site="model.distilbert.transformer.layer.1.ffn.lin2", fault="exploding-activation",
    proof=proof.grows(
        "model.distilbert.transformer.layer.1.ffn.activation",
        "model.distilbert.transformer.layer.1.ffn.lin2", 1e3,
    ),
)  # fmt: skip

# ---- non-finite ----------------------------------------------------------------------------------

broken = {"fault": "non-finite"}


def _root() -> nn.Sequential:
    net = stack(wide(40, 40, 40))
    net[2][1] = Call(lambda x: (x * (x > 0)).sqrt())  # rectified by hand
    return net


case(  # the root of 0 has an infinite slope, which then meets the 0 of the mask
    "non-finite-stack-root-backward", "mlp", of(_root), site="2.0",
    proof=proof.breaks_backward("2.1"), learns=False, **broken,
)  # fmt: skip


def _same_twice(setup: Setup) -> None:
    def change(x: Tensor) -> Tensor:
        x[:12, 1] = x[:12, 0]
        return x

    injure.inputs(setup, change)


def _deviation(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)


def _blank_lines(setup: Setup) -> None:
    def change(x: Tensor) -> Tensor:
        x[2] = 0
        return x

    injure.inputs(setup, change)


def _by_deviation() -> nn.Sequential:
    net = lines()
    net[0].append(Call(_deviation))
    return net


case(  # a blank digit has no deviation: 0/0
    "non-finite-lines-deviation", "cnn", of(_by_deviation, data.rows), setup=_blank_lines,
    site="0.0", proof=proof.breaks_forward("0.2"), learns=False, **broken,
)  # fmt: skip
case(  # a pair of equal digits has a cosine of 1, where the slope of the angle is infinite
    "non-finite-siamese-angle", "siamese", of(lambda: Siamese(angle=True), fresh_nets.pairs),
    setup=_same_twice, site="angle", proof=proof.breaks_backward("angle"), learns=False, **broken,
)  # fmt: skip


def _overflow(setup: Setup) -> None:
    with torch.no_grad():
        setup.model.rnn2.weight_hh_l0[1, 1] = math.inf


case(
    "non-finite-gru-weight-at-step", "gru", of(Both, data.rows, lr=5e-3), at=(14, _overflow),
    steps=30, site="rnn2", proof=proof.breaks_first("rnn2"), **broken,
)  # fmt: skip


def _missing(setup: Setup) -> None:
    def change(x: Tensor) -> Tensor:
        x.view(len(x), -1)[::7, 20] = math.nan
        return x

    injure.inputs(setup, change)


case(
    "non-finite-mixer-data-at-step", "mixer", of(Mixer, data.rows, lr=2e-3), at=(14, _missing),
    steps=30, site="stem",
    proof=proof.after(proof.breaks_at_input), **broken,
)  # fmt: skip
case(
    "non-finite-stack-rate-jump", "mlp",
    of(
        lambda: stack((10, 40, 40, 1)), data.friedman, bases.squared, optimizer="sgd", lr=0.01
    ),
    at=(15, rate(20.0)), steps=40, also=("exploding-activation", "exploding-gradient"),
    proof=proof.breaks, **broken,
)  # fmt: skip

# ---- low-precision-range -------------------------------------------------------------------------

narrow = {"fault": "low-precision-range"}


def _fp16(factor: float = 1.0) -> Callable[[Setup], None]:
    def change(setup: Setup) -> None:
        loss = bases.under_autocast(setup.loss_fn, torch.float16)
        setup.loss_fn = bases.scaled_loss(loss, factor)

    return change


def _half(setup: Setup) -> None:
    """Make all of it float16, with a loss that is a thousandth."""
    setup.model.half()
    injure.inputs(setup, lambda x: x.half())
    setup.loss_fn = bases.scaled_loss(setup.loss_fn, 1e-3)


case(
    "low-precision-unet-underflow", "cnn", unet(), setup=_fp16(1e-4),
    proof=proof.underflows("middle.0", 0.9), **narrow,
)  # fmt: skip
case(  # the scale of the loss collapses
    "low-precision-mixer-underflow-at-step", "mixer", of(Mixer, data.rows, lr=1e-3),
    setup=_fp16(), at=(12, lambda s: setattr(s, "loss_fn", bases.scaled_loss(s.loss_fn, 1e-5))),
    steps=30, proof=proof.underflows("along.1.1.0", 0.9), **narrow,
)  # fmt: skip
case(  # weights and data in float16, by hand
    "low-precision-stack-half-underflow", "mlp",
    stacked(wide(48, 48, 48), nn.SiLU, training={"optimizer": "sgd", "lr": 0.1}), setup=_half,
    proof=proof.underflows("1.0", 0.8), **narrow,
)  # fmt: skip
case(  # beyond 65,504
    "low-precision-lines-overflow", "cnn", lined((24, 24, 24), nn.Mish),
    lambda net: injure.weights(net[2][0], 1e5), setup=_fp16(), site="2.0",
    also=("non-finite", "exploding-activation"), proof=proof.overflows("2.0"), **narrow,
)  # fmt: skip

case(
    "low-precision-bert-underflow-after-training", "transformer", of(bert, data.tokens, lr=1e-3),
    setup=_fp16(1e-5), steps=8,
    proof=proof.underflows("model.bert.encoder.layer.1.intermediate.dense", 0.9), **narrow,
)  # fmt: skip

# ---- scale-drift ---------------------------------------------------------------------------------

drifting = {"fault": "scale-drift"}
case(
    "drift-coder-weight-decay", "mlp",
    coder(nn.ELU, "lecun", training={"optimizer": "sgd", "lr": 0.05, "weight_decay": 1.5}),
    steps=60, also=("vanishing-gradient",), proof=proof.drifts("encode.1.1", 10), **drifting,
)  # fmt: skip


def _leaking() -> nn.Sequential:
    net = lines((24, 24))
    net[1].append(Leak(1.08))
    return net


case(
    "drift-lines-leak", "cnn", of(_leaking, data.rows, lr=1e-5), steps=60, site="1.0",
    proof=proof.drifts("1", 10), **drifting,
)  # fmt: skip


def _fading_sensor(setup: Setup) -> None:
    setup.batches = [(x * 0.92**i, y) for i, (x, y) in enumerate(list(setup.batches) * 8)]


case(  # inputs end at a 140th of their scale
    "drift-stack-fading-sensor", "mlp", stacked(wide(40, 40), nn.Mish, training={"lr": 1e-4}),
    setup=_fading_sensor, steps=60, site="0.0", also=("unnormalised-input",),
    proof=proof.drifts("0.0", 10), **drifting,
)  # fmt: skip


def _grow(name: str, factor: float) -> Callable[[Setup], None]:
    """Return what makes a layer's weights grow before every step, by a mistake in the loop."""

    def again(setup: Setup) -> None:
        injure.weights(setup.model.get_submodule(name), factor)

    return lambda setup: setup.events.update(dict.fromkeys(range(1, 60), again))


case(
    "drift-stack-growing-layer", "mlp",
    stacked(wide(48, 48, 48), nn.Hardswish, training={"optimizer": "sgd", "lr": 1e-5}),
    setup=_grow("1.0", 1.07), steps=60, site="1.0",
    also=("exploding-activation", "exploding-gradient"),  # 50 times its size at the end
    proof=proof.drifts("1.0", 20), **drifting,
)  # fmt: skip

case(  # the gain of a norm in a residual branch
    "drift-residual-growing-gain", "mlp",
    of(lambda: residual(4), optimizer="sgd", lr=1e-5), setup=_grow("2.0", 1.07), steps=60,
    site="2.0", also=("exploding-activation", "exploding-gradient"),
    proof=proof.drifts("2.0", 20), **drifting,
)  # fmt: skip

# ---- identical-units -----------------------------------------------------------------------------

twins = {"fault": "identical-units"}
case(
    "identical-stack-hardswish-first", "mlp", stacked(wide(50, 50, 50), nn.Hardswish),
    lambda net: injure.twins(net[0][0], net[1][0], 0.6),
    site="0.0", proof=proof.identical("0.0", 0.6), **twins,
)  # fmt: skip
case(
    "identical-stack-selu-last", "mlp", stacked(wide(40, 40, 40), nn.SELU, "lecun"),
    lambda net: injure.twins(net[2][0], net[3]), steps=20,
    site="2.0", proof=proof.identical("2.0"), **twins,
)  # fmt: skip
case(
    "identical-coder-constant", "mlp", coder(nn.Softsign, "xavier", training={"lr": 1e-3}),
    lambda net: injure.each(net, injure.constant), steps=15,
    site=("encode", "decode.0", "decode.1"), proof=proof.identical("encode.1.0"), **twins,
)  # fmt: skip
case(
    "identical-bert", "transformer", of(bert, data.tokens, lr=1e-3),
    lambda net: injure.twins(
        net.model.bert.encoder.layer[2].intermediate.dense,
        net.model.bert.encoder.layer[2].output.dense,
    ),
    site="model.bert.encoder.layer.2.intermediate.dense",
    proof=proof.identical("model.bert.encoder.layer.2.intermediate.dense"), **twins,
)  # fmt: skip
case(
    "identical-gru-both", "gru", of(Both, data.rows, lr=5e-3),
    lambda net: (fill(net.rnn2, 0.1), fill(net.out, 0.05)), steps=12,
    site="rnn2", proof=proof.identical("rnn2"), **twins,
)  # fmt: skip

# ---- unnormalised-input --------------------------------------------------------------------------

raw = {"fault": "unnormalised-input"}


def _pixels(setup: Setup) -> None:
    injure.inputs(setup, lambda x: (x - x.min()) / (x.max() - x.min()) * 255)


case(  # integers of 16 bits
    "raw-lines-integers", "cnn", lined((24, 24, 24)),
    setup=lambda s: injure.inputs(s, lambda x: x * 8000), site="0.0",
    proof=proof.input_scale(std=7000), **raw,
)  # fmt: skip


def _dollars(x: Tensor) -> Tensor:
    x[:, 2] = 4e4 + 1e4 * x[:, 2]
    return x


case(  # one column in dollars
    "raw-stack-one-column", "mlp",
    of(lambda: stack((10, 40, 40, 1), nn.Mish), data.friedman, bases.squared),
    setup=lambda s: injure.inputs(s, _dollars), site="0.0",
    also=("exploding-activation",),  # its sole effect is to be 10,000 times too large
    proof=proof.both(proof.input_scale(ratio=5e3), proof.larger("0.0", 1e3)), **raw,
)  # fmt: skip
case(  # another loader, half-way through the run
    "raw-stack-pixels-at-step", "mlp", stacked(wide(48, 48, 48), nn.Mish, training={"lr": 1e-4}),
    at=(20, _pixels), steps=45, site="0.0", proof=proof.after(proof.input_scale(50, 50)), **raw,
)  # fmt: skip
case(
    "raw-unet-pixels", "cnn", unet(),
    setup=lambda s: injure.inputs(s, lambda x: 128 + 60 * x), site="down1.0",
    proof=proof.input_scale(100, 50), **raw,
)  # fmt: skip
case(
    "raw-gru-offset-after-training", "gru", of(Both, data.rows, lr=5e-3),
    setup=lambda s: injure.inputs(s, lambda x: x + 300), steps=15, site="rnn",
    also=("input-independent",), proof=proof.input_scale(mean=280), **raw,
)  # fmt: skip

# ---- no-gradient ---------------------------------------------------------------------------------

cut = {"fault": "no-gradient"}
case(
    "cut-unet-untracked", "cnn", unet(untracked=True), site=("down1", "down2"),
    proof=proof.ungraded("down1", "down2"), **cut,
)  # fmt: skip
case(  # the slope of rounding is 0: no more than zeros come through
    "cut-coder-rounded", "mlp", coder(nn.ELU, rounded=True), site="encode",
    also=("vanishing-gradient",), proof=proof.ungraded("encode"), **cut,
)  # fmt: skip
case(
    "cut-translate-memory", "transformer", of(lambda: Translate(cut=True), fresh_nets.mapped),
    site="encoder", proof=proof.ungraded("encoder"), **cut,
)  # fmt: skip
case(
    "cut-gru-data-after-training", "gru", of(lambda: Both(cut=True), data.rows, lr=5e-3),
    steps=20, site="rnn", proof=proof.ungraded("rnn"), **cut,
)  # fmt: skip


def _cut_memory(setup: Setup) -> None:
    setup.model.cut = True


case(
    "cut-translate-memory-at-step", "transformer",
    of(Translate, fresh_nets.mapped, lr=2e-3), at=(10, _cut_memory), steps=25,
    site="encoder", proof=proof.ungraded("encoder"), **cut,
)  # fmt: skip

# ---- update-ratio --------------------------------------------------------------------------------

pace = {"fault": "update-ratio"}
case(
    "pace-stack-fast-first", "mlp", stacked(wide(48, 48, 48), nn.Mish),
    setup=lambda s: injure.regroup(s, "0.0", 2.0), site="0.0",
    proof=proof.updates(high=1.0, layer="0.0"), **pace,
)  # fmt: skip
case(
    "pace-lines-slow-last-after-training", "cnn", lined((24, 24, 24)), warm=20,
    setup=lambda s: injure.regroup(s, "5", 1e-9), site="5",
    proof=proof.updates(low=1e-6, layer="5"), **pace,
)  # fmt: skip
case(
    "pace-bert-fast", "transformer", of(bert, data.tokens, lr=2.0, optimizer="adamw"),
    proof=proof.updates(high=1.0), **pace,
)  # fmt: skip
case(
    "pace-coder-slow-rmsprop", "mlp", coder(training={"optimizer": "rmsprop", "lr": 1e-10}),
    proof=proof.updates(low=1e-6), **pace,
)  # fmt: skip
case(
    "pace-gru-rate-jump-after-training", "gru", of(Both, data.rows, lr=5e-3), warm=25,
    setup=rate(2.0), proof=proof.updates(high=1.0), **pace,
)  # fmt: skip

# ---- never-called --------------------------------------------------------------------------------

unused = {"fault": "never-called", "also": ("no-gradient",)}
case(
    "unused-unet-skip", "cnn", unet(spare=True), site="skip", proof=proof.uncalled("skip"),
    **unused,
)  # fmt: skip
case(
    "unused-gru-attention-after-training", "gru",
    of(lambda: Both(spare=True), data.rows, lr=5e-3), steps=12, site="attend",
    proof=proof.uncalled("attend"), **unused,
)  # fmt: skip
case(
    "unused-translate-bridge", "transformer", of(lambda: Translate(spare=True), fresh_nets.mapped),
    site="bridge", proof=proof.uncalled("bridge"), **unused,
)  # fmt: skip
case(  # a router that can only choose among three of four
    "unused-experts-last", "mlp", of(lambda: Experts(only=3)), site="experts.3",
    proof=proof.uncalled("experts.3"), **unused,
)  # fmt: skip


class OneShort(nn.Module):
    """A loop over its blocks that ends one too soon."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 32)
        self.blocks = nn.ModuleList(
            Skip(nn.LayerNorm(32), nn.Linear(32, 64), nn.Mish(), nn.Linear(64, 32))
            for _ in range(4)
        )
        self.out = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i in range(len(self.blocks) - 1):
            x = self.blocks[i](x)
        return self.out(x)


case(
    "unused-residual-one-short-after-training", "mlp", of(OneShort), steps=15, site="blocks.3",
    proof=proof.uncalled("blocks.3"), **unused,
)  # fmt: skip
