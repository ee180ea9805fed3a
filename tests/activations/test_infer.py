"""Unknown modules are tried out, and left alone."""

import os
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from actstats.activations import activation_of, get, infer, why_not


class Fn(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, x):
        return self.fn(x)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1)


def noisy(x):
    return torch.tanh(x + torch.rand(()) + random.random() + np.random.rand())  # noqa: NPY002


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.seen = []

    def forward(self, x):
        self.calls += 1
        self.seen.append(x)
        return x.relu_()


class WithDropout(nn.Module):
    def forward(self, x):
        return F.dropout(x.sin().abs() + x, training=self.training)


@pytest.mark.parametrize(
    ("fn", "key"),
    [
        (lambda x: x * torch.sigmoid(x), "silu"),
        (lambda x: x.clamp(min=0), "relu"),
        (lambda x: torch.maximum(x, torch.zeros_like(x)), "relu"),
        (lambda x: x.float().tanh(), "tanh"),
        (lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)), "gelu(approximate=none)"),
        (lambda x: F.leaky_relu_(x), "leaky_relu(negative_slope=0.01)"),
        (lambda x: F.elu(x), "elu(alpha=1.0)"),
    ],
    ids=["swish", "clamp", "maximum", "float32", "erf", "in-place", "elu"],
)
def test_infer_names_what_it_knows(fn, key):
    assert infer(Fn(fn)).key == key


def test_infer_accepts_unknown_functions():
    found = infer(Fn(lambda x: 2 * torch.tanh(x / 3)))
    assert found.max_slope == pytest.approx(2 / 3)
    assert found.limits == pytest.approx((-2, 2), abs=1e-6)
    assert [zone.side for zone in found.zones()] == ["low", "high"]
    assert infer(Fn(StraightThrough.apply)).zones()[1].low == pytest.approx(1, abs=3e-3)


@pytest.mark.parametrize(
    "module",
    [
        Fn(lambda x: x),
        Fn(lambda x: 3 * x + 1),
        Fn(lambda x: x.round()),
        Fn(torch.sign),
        Fn(torch.ones_like),
        Fn(lambda x: x - x.mean()),
        Fn(lambda x: x.cumsum(-1)),
        Fn(lambda x: torch.softmax(x, -1)),
        Fn(lambda x: F.layer_norm(x, x.shape[-1:])),
        Fn(lambda x: x.flip(-1)),
        Fn(lambda x: x * torch.arange(x.shape[-1])),
        Fn(lambda x: x.flatten()),
        Fn(lambda x: x[..., :-1]),
        Fn(lambda x: x > 0),
        Fn(lambda x: (x.relu(), None)),
        Fn(lambda x: None),
        Fn(lambda x: x.log()),
        Fn(lambda x: x.detach().relu() + 0.1 * x.detach()),
        Fn(noisy),
        Fn(lambda x: torch.tanh(x) + 1e-9 * torch.rand(())),
        Fn(lambda x: torch.where(torch.arange(x.numel()).view_as(x) == 40, 0.0, x.relu())),
        Fn(lambda x: 1 / 0),
        Fn(torch.add),
        WithDropout().train(),
        nn.Sequential(nn.ReLU()),
        nn.Module(),
    ],
)
def test_infer_declines(module):
    if isinstance(module, WithDropout):
        assert not infer(module).slope_known  # dropout is off in eval mode; the sine never settles
        assert module.training
    else:
        assert infer(module) is None
        assert why_not(module)


def test_infer_declines_parameters_and_buffers():
    with_parameter, with_buffer = Fn(torch.relu), Fn(torch.relu)
    with_parameter.p = nn.Parameter(torch.ones(1))
    with_buffer.register_buffer("b", torch.ones(1))
    assert infer(with_parameter) is None
    assert infer(with_buffer) is None
    assert why_not(with_buffer) == "it has parameters or buffers"


def random_states():
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())  # noqa: NPY002


def test_infer_leaves_random_states_alone():
    before = random_states()
    infer(Fn(noisy))
    assert random_states() == before
    noisy(torch.zeros(1))
    assert random_states() != before


def test_infer_leaves_the_module_alone():
    module = Counting()
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    found = infer(module)
    assert found == get("relu")
    assert (module.calls, module.seen, module.training, calls) == (0, [], True, [])


def test_infer_works_in_inference_mode_and_without_gradients():
    with torch.inference_mode():
        first = infer(Fn(lambda x: torch.tanh(x) ** 3))
    with torch.no_grad():
        second = infer(Fn(lambda x: torch.tanh(x) ** 3))
    assert first == second
    assert first.slope_known


def test_infer_recognises_transformers():
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    hf = pytest.importorskip("transformers.activations")
    expected = {
        hf.NewGELUActivation(): "gelu(approximate=tanh)",
        hf.FastGELUActivation(): "gelu(approximate=tanh)",
        hf.GELUActivation(): "gelu(approximate=none)",
        hf.QuickGELUActivation(): "quick_gelu",
        hf.MishActivation(): "mish",
    }
    for module, key in expected.items():
        assert activation_of(module).key == key
    assert activation_of(hf.LinearActivation()) is None
    squared = activation_of(hf.ReLUSquaredActivation())
    assert (squared.relu_like, squared.can_die, squared.slope_known) == (True, True, False)
