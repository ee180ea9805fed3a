"""The activation of a torch module, or why there is none."""

import pytest
import torch
from torch import nn

from actstats.activations import activation_of, get, make_module, names, why_not
from actstats.activations.lookup import NOT_ELEMENTWISE, known_class


def test_every_torch_activation_is_known_or_has_a_reason():
    arguments = {"Threshold": (0.1, 0.0), "MultiheadAttention": (4, 2)}
    for name in nn.modules.activation.__all__:
        module = getattr(nn, name)(*arguments.get(name, ()))
        known = known_class(module)
        assert known is type(module), f"torch.nn.{name} is new: give it a slope or a reason"
        assert (activation_of(module) is None) == (known in NOT_ELEMENTWISE)
        assert activation_of(module) is not None or "not elementwise" in why_not(module)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.GLU(), "gates"),
        (nn.MultiheadAttention(4, 2), "mixes positions"),
        (nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2]), "not elementwise"),
        (nn.Identity(), "Identity is not an activation"),
        (nn.Dropout(), "Dropout is not an activation"),
        (nn.Linear(1, 1), "Linear is not an activation"),
        (nn.ELU(torch.tensor(1.0)), "not plain numbers"),
    ],
    ids=repr,
)
def test_why_not(module, reason):
    assert activation_of(module) is None
    assert reason in why_not(module)
    assert why_not(nn.Tanh()) == ""


@pytest.mark.parametrize("name", sorted(set(names()) - {"threshold", "quick_gelu"}))
def test_make_module_round_trip(name):
    assert activation_of(make_module(name)).key == get(name).key
    module = make_module(name)
    if hasattr(module, "inplace"):
        module.inplace = True
        assert activation_of(module) == get(name)


class KeepsForward(nn.ReLU6):
    pass


class ChangesForward(nn.ReLU):
    def forward(self, x):
        return torch.tanh(x)


def test_activation_of_subclasses_goes_by_their_forward():
    assert activation_of(KeepsForward()) == get("relu6")
    assert activation_of(ChangesForward()) == get("tanh")
