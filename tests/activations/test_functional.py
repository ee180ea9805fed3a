"""Calls of torch functions, as a TorchFunctionMode sees them."""

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from actstats.activations import FUNCTIONAL, functional_activation


class Seen(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = functional_activation(func, args, kwargs)
        if found is not None:
            in_place = FUNCTIONAL[func].is_in_place(args, kwargs or {})
            self.calls.append((found.key, in_place))
        return func(*args, **(kwargs or {}))


CALLS = [
    (lambda x: F.relu(x), "relu", False),
    (lambda x: F.relu(x, inplace=True), "relu", True),
    (lambda x: F.relu(x, True), "relu", True),
    (lambda x: F.relu(input=x), "relu", False),
    (lambda x: F.relu_(x), "relu", True),
    (lambda x: torch.relu(x), "relu", False),
    (lambda x: torch.relu_(x), "relu", True),
    (lambda x: x.relu(), "relu", False),
    (lambda x: x.relu_(), "relu", True),
    (lambda x: x.tanh(), "tanh", False),
    (lambda x: x.tanh_(), "tanh", True),
    (lambda x: torch.tanh(x), "tanh", False),
    (lambda x: F.tanh(x), "tanh", False),
    (lambda x: x.sigmoid_(), "sigmoid", True),
    (lambda x: torch.special.expit(x), "sigmoid", False),
    (lambda x: F.relu6(x), "relu6", False),
    (lambda x: F.gelu(x), "gelu(approximate=none)", False),
    (lambda x: F.gelu(x, approximate="tanh"), "gelu(approximate=tanh)", False),
    (lambda x: F.silu(x, inplace=True), "silu", True),
    (lambda x: F.mish(x), "mish", False),
    (lambda x: F.elu(x, 0.5), "elu(alpha=0.5)", False),
    (lambda x: F.elu(x, 0.5, True), "elu(alpha=0.5)", True),
    (lambda x: F.elu_(x, alpha=2), "elu(alpha=2.0)", True),
    (lambda x: F.selu(x), "selu", False),
    (lambda x: F.celu(x, alpha=0.5), "celu(alpha=0.5)", False),
    (lambda x: F.leaky_relu(x), "leaky_relu(negative_slope=0.01)", False),
    (lambda x: F.leaky_relu(x, 0.2, inplace=True), "leaky_relu(negative_slope=0.2)", True),
    (lambda x: F.softplus(x, 2), "softplus(beta=2.0, threshold=20.0)", False),
    (lambda x: F.logsigmoid(x), "logsigmoid", False),
    (lambda x: F.hardswish(x), "hardswish", False),
    (lambda x: F.hardsigmoid(x), "hardsigmoid", False),
    (lambda x: F.hardtanh(x, -2.0, 3), "hardtanh(min_val=-2.0, max_val=3.0)", False),
    (lambda x: F.hardtanh(x, -2.0, 3, True), "hardtanh(min_val=-2.0, max_val=3.0)", True),
    (lambda x: F.threshold(x, 0.1, 0), "threshold(threshold=0.1, value=0.0)", False),
    (lambda x: F.threshold(x, 0.1, 0, True), "threshold(threshold=0.1, value=0.0)", True),
    (lambda x: F.hardshrink(x, 0.3), "hardshrink(lambd=0.3)", False),
    (lambda x: F.softshrink(x), "softshrink(lambd=0.5)", False),
    (lambda x: F.tanhshrink(x), "tanhshrink", False),
    (lambda x: F.softsign(x), "softsign", False),
    (lambda x: F.rrelu(x, 0.1, 0.3, False, True), "rrelu(lower=0.1, upper=0.3)", True),
    (lambda x: F.rrelu(x, 0.1, 0.3, True), "rrelu(lower=0.1, upper=0.3)", False),
    (lambda x: F.prelu(x, torch.ones(1)), "prelu", False),
]


@pytest.mark.parametrize(("call", "key", "in_place"), CALLS, ids=map(str, range(len(CALLS))))
def test_functional_activation_sees_the_call(call, key, in_place):
    x = torch.linspace(-2, 2, 5)
    before, pointer = x.clone(), x.data_ptr()
    with Seen() as seen:
        result = call(x)
    assert seen.calls == [(key, in_place)]
    assert (result.data_ptr() == pointer) is in_place
    assert in_place or torch.equal(x, before)


def test_functional_activation_of_other_calls_is_none():
    x = torch.zeros(2)
    for func in (torch.add, torch.softmax, F.linear, torch.Tensor.__getitem__, len):
        assert functional_activation(func, (x, 1)) is None
    assert functional_activation(F.elu, (x, torch.tensor(1.0)), {}) is None


def test_functional_form_reads_positional_arguments():
    x = torch.zeros(2)
    assert FUNCTIONAL[F.rrelu].is_in_place((x, 0.1, 0.3, False, True), {})
    assert not FUNCTIONAL[F.rrelu].is_in_place((x, 0.1, 0.3, True), {})
    assert FUNCTIONAL[F.elu_].is_in_place((x,), {})


def test_functional_activation_is_cached():
    x = torch.zeros(2)
    first = functional_activation(F.gelu, (x,), {"approximate": "tanh"})
    assert functional_activation(F.gelu, (x,), {"approximate": "tanh"}) is first
