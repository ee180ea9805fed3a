"""The flags of an activation."""

import torch
from torch import nn

from activation_modules import every_module, grid
from actstats.activations import activation_of, get, names, why_not


def test_relu_like_is_the_relu_family():
    family = {name for name in names() if name != "threshold" and get(name).relu_like}
    assert family == {"relu", "relu6", "leaky_relu", "prelu", "rrelu"}


@every_module
def test_can_die_is_an_exactly_zero_slope_wherever_not_active(module):
    activation, z = activation_of(module), grid()
    slope = activation.slope(z)
    active = activation.function(z) > 0
    if not activation.relu_like:
        active = slope.abs() >= 0.05 * activation.max_slope
    expected = bool((~active).any()) and bool((slope[~active & (z < 6)] == 0).all())
    assert activation.can_die is expected, activation.key


def test_ends_at_one():
    with_one = {name for name in names() if name != "threshold" and get(name).ends_at_one}
    assert with_one == {"celu", "elu", "hardsigmoid", "hardtanh", "sigmoid", "softsign", "tanh"}


def test_prelu_has_a_reason_and_is_active_by_its_output():
    prelu = activation_of(nn.PReLU(3))
    assert not prelu.slope_known
    assert "learned" in prelu.reason
    assert (prelu.relu_like, prelu.judged_from, prelu.can_die) == (True, "output", False)
    assert prelu.slope(torch.ones(2)).isnan().all()
    assert why_not(nn.PReLU()) == prelu.reason
    assert not activation_of(nn.CELU(-1.0)).slope_known
