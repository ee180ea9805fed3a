"""What gates and weights do to the gradient: algebra of nets with known weights."""

import itertools
import math

import pytest
import torch
from recordings import normal
from torch import nn

from actstats import ActivationRecorder, TensorStats
from actstats.gains import gate_gain, geometric_mean, norm, steps_back
from actstats.layers import Layers, gradient_key


def steps(*widths, weight):
    """Linear layers with all weights equal, ReLUs that are open, so that gains are known."""
    pieces = []
    for before, after in itertools.pairwise(widths):
        pieces += [nn.Linear(before, after), nn.ReLU()]
        nn.init.constant_(pieces[-2].weight, weight)
        nn.init.constant_(pieces[-2].bias, 1.0)
    net = nn.Sequential(*pieces)
    with ActivationRecorder(net, capture=("output", "grad")) as recorder:
        net(torch.rand(5, widths[0])).sum().backward()
    recording = recorder.recording
    layers = Layers(recording.sites.values()).layers
    seen = [(layer, recording[gradient_key(layer.a)]) for layer in layers]
    return steps_back(seen, lambda z: None if z is None else recording[gradient_key(z)])


def test_gains_of_equal_weights_are_known():
    found = steps(2, 4, 9, 16, weight=0.5)
    assert [step.gate for step in found] == [1, 1]
    # an even gradient g on n units becomes n * w * g on each of m: the norm grows by w * sqrt(n m)
    assert [step.weight for step in found] == pytest.approx([0.5 * 6, 0.5 * 12])
    assert [step.gain for step in found] == [step.weight for step in found]


def test_gate_gain_is_nan_where_it_cannot_be_told():
    whole, none = TensorStats.from_tensor(normal()), TensorStats.from_tensor(torch.zeros(9, 4))
    assert gate_gain(whole, whole) == 1
    for g_a, g_z in ((None, whole), (whole, None), (none, whole), (whole, none)):
        assert math.isnan(gate_gain(g_a, g_z))


def test_norm_is_of_one_call():
    one = TensorStats.from_tensor(torch.full((4, 4), 0.5))
    assert norm(one) == norm(one + one) == pytest.approx(2)
    assert math.isnan(norm(TensorStats.empty()))


def test_geometric_mean_leaves_out_what_has_no_logarithm():
    assert geometric_mean([1, 100, 0, math.nan]) == pytest.approx(10)
    assert math.isnan(geometric_mean([0, math.nan]))
