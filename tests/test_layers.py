"""Which sites are a net's layers, and what feeds them."""

import torch
from torch import nn

from actstats import ActivationRecorder, make_mlp
from actstats.layers import Layers, gradient_key


def layers_of(net, x):
    with ActivationRecorder(net, capture=("output", "grad")) as recorder:
        net(x).sum().backward()
    return Layers(recorder.recording.sites.values())


def test_layers_of_a_net_with_activations_are_these():
    found = layers_of(make_mlp(2, [4, 4, 4], 1, bn=True), torch.randn(9, 2)).layers
    assert [layer.a.key for layer in found] == ["act1", "act2", "act3"]
    assert [layer.z.key for layer in found] == ["bn1", "bn2", "bn3"]
    assert [layer.name for layer in found] == ["fc1", "fc2", "fc3"]


def test_layers_of_a_net_with_one_activation_are_its_weights():
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(8)), nn.ReLU())
    found = layers_of(net, torch.randn(9, 3)).layers
    assert [layer.a.key for layer in found] == [str(i) for i in range(8)]


def test_a_sites_gradient_has_its_own_place():
    found = layers_of(make_mlp(2, [4, 4], 1), torch.randn(9, 2))
    assert gradient_key(found.layers[0].a) == "act1:grad"
    assert found.place("act1:grad") == found.place("act1") == 1
    assert found.place(None) == -1
