import functools

import numpy as np
import pytest
import torch
from torch import nn

from actstats.models import make_mlp


class TutorialNet(nn.Module):
    """The published tutorial's network, from the description of its random draws."""

    def __init__(self, bn):
        super().__init__()
        self.order = []
        if bn:
            self._add("bn0", nn.BatchNorm1d(1, momentum=0.5))
        for i in range(8):
            self._add(f"fc{i + 1}", self._linear(1 if i == 0 else 10, 10))
            if bn:
                self._add(f"bn{i + 1}", nn.BatchNorm1d(10, momentum=0.5))
        self._add("out", self._linear(10, 1))

    def _add(self, name, module):
        setattr(self, name, module)
        self.order.append(name)

    @staticmethod
    def _linear(n, m):
        linear = nn.Linear(n, m)
        nn.init.normal_(linear.weight, mean=0.0, std=0.1)
        nn.init.constant_(linear.bias, -0.2)
        return linear

    def forward(self, x):
        for name in self.order:
            x = getattr(self, name)(x)
            last_of_layer = name[:2] == "bn" if hasattr(self, "bn0") else name[:2] == "fc"
            if last_of_layer and name != "bn0":
                x = torch.tanh(x)
        return x


def tutorial_pair(bn, seed):
    torch.manual_seed(seed)
    TutorialNet(bn=False)  # the tutorial builds the plain net first
    expected = TutorialNet(bn)
    torch.manual_seed(seed)
    make_mlp(weight_std=0.1, bias_init=-0.2)
    return expected, make_mlp(bn=bn, bn_momentum=0.5, weight_std=0.1, bias_init=-0.2)


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("bn", [False, True])
def test_make_mlp_is_the_tutorials_network(bn, seed):
    expected, got = tutorial_pair(bn, seed)
    ours = dict(got.named_parameters())
    theirs = dict(expected.named_parameters())
    assert list(ours) == list(theirs)
    for name, parameter in theirs.items():
        assert torch.equal(ours[name], parameter), name
    x = torch.linspace(-7, 10, 64)[:, None]
    assert torch.equal(got(x), expected(x))


def test_make_mlp_leaves_the_generator_where_the_tutorial_does():
    torch.manual_seed(3)
    TutorialNet(bn=True)
    expected = torch.rand(4)
    torch.manual_seed(3)
    make_mlp(bn=True, weight_std=0.1, bias_init=-0.2)
    assert torch.equal(torch.rand(4), expected)


def test_make_mlp_without_initialisation_is_torchs_own():
    torch.manual_seed(1)
    first, out = nn.Linear(3, 4), nn.Linear(4, 2)
    torch.manual_seed(1)
    net = make_mlp(3, [4], 2)
    for ours, theirs in ((net.fc1, first), (net.out, out)):
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.bias, theirs.bias)


def test_make_mlp_bias_alone_leaves_the_weights():
    torch.manual_seed(1)
    plain = make_mlp()
    torch.manual_seed(1)
    net = make_mlp(bias_init=-0.2)
    assert torch.equal(net.fc3.weight, plain.fc3.weight)
    biases = [p for name, p in net.named_parameters() if name.endswith("bias")]
    assert len(biases) == 9
    assert all((bias == -0.2).all() for bias in biases)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({}, "fc1 act1 fc2 act2 out"),
        ({"bn": True}, "bn0 fc1 bn1 act1 fc2 bn2 act2 out"),
        ({"bn": True, "input_bn": False}, "fc1 bn1 act1 fc2 bn2 act2 out"),
        ({"input_bn": True}, "bn0 fc1 act1 fc2 act2 out"),
        ({"hidden": []}, "out"),
        ({"hidden": (), "bn": True}, "bn0 out"),
    ],
)
def test_make_mlp_children(arguments, names):
    net = make_mlp(**{"hidden": (4, 5), **arguments})
    assert [name for name, _ in net.named_children()] == names.split()


def test_make_mlp_widths_and_momentum():
    net = make_mlp(3, [4, np.int64(5)], 2, bn=True, bn_momentum=None)
    assert net(torch.zeros(6, 3)).shape == (6, 2)
    assert (net.fc2.in_features, net.fc2.out_features) == (4, 5)
    assert type(net.fc2.out_features) is int
    assert net.bn0.num_features == 3
    assert net.bn2.num_features == 5
    assert net.bn2.momentum is None
    assert make_mlp(bn=True).bn1.momentum == 0.1


@pytest.mark.parametrize(
    ("activation", "kind"),
    [
        ("relu", nn.ReLU),
        ("GELU", nn.GELU),
        ("LeakyReLU", nn.LeakyReLU),
        ("leaky_relu", nn.LeakyReLU),
        ("swish", nn.SiLU),
        ("prelu", nn.PReLU),
        (nn.Softsign, nn.Softsign),
        (lambda: nn.Threshold(0.1, 0.0), nn.Threshold),
        (functools.partial(nn.ELU, alpha=0.5), nn.ELU),
    ],
)
def test_make_mlp_activation(activation, kind):
    net = make_mlp(hidden=[3, 3], activation=activation)
    assert type(net.act1) is kind
    assert net.act1 is not net.act2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_features": 0}, r"`in_features` must be an int of at least 1; got 0\."),
        ({"in_features": 1.0}, "`in_features` must be an int of at least 1; got 1.0"),
        ({"out_features": True}, "`out_features` must be an int of at least 1; got True"),
        ({"out_features": "3"}, "`out_features` .* got '3'"),
        ({"hidden": 10}, "`hidden` must be a sequence of ints .* got 10"),
        ({"hidden": "10"}, "`hidden` .* got '10'"),
        ({"hidden": [10, 0]}, r"`hidden` .* got \[10, 0\]"),
        ({"hidden": [10, True]}, r"`hidden` .* got \[10, True\]"),
        ({"hidden": [10.0]}, r"`hidden` .* got \[10.0\]"),
        ({"hidden": {10}}, r"`hidden` .* got \{10\}"),
        ({"bn": 1}, "`bn` must be True, False; got 1"),
        ({"bn": None}, "`bn` must be True, False; got None"),
        ({"input_bn": "yes"}, "`input_bn` must be True, False or None; got 'yes'"),
        (
            {"bn_momentum": 1.5},
            r"`bn_momentum` must be a finite number in \[0, 1\] or None; got 1.5",
        ),
        ({"bn_momentum": True}, "`bn_momentum` .* got True"),
        (
            {"weight_std": -0.1},
            "`weight_std` must be a finite number of at least 0 or None; got -0.1",
        ),
        ({"weight_std": float("nan")}, "`weight_std` .* got nan"),
        ({"bias_init": "zero"}, "`bias_init` must be a finite number or None; got 'zero'"),
        ({"bias_init": float("inf")}, "`bias_init` .* got inf"),
        ({"activation": "tahn"}, "`activation` .* got 'tahn': did you mean 'tanh'"),
        ({"activation": "tahn", "hidden": ()}, "did you mean 'tanh'"),
        ({"activation": "xyzzy"}, "got 'xyzzy': use one of celu, elu"),
        ({"activation": "threshold"}, r"no arguments; got 'threshold': pass `lambda: nn.Threshold"),
        ({"activation": "quick_gelu"}, "must name a module of torch.nn; got 'quick_gelu'"),
        ({"activation": nn.Tanh()}, r"`activation` must be a name, or .* got Tanh\(\)"),
        ({"activation": None}, "`activation` must be a name, or .* got None"),
        ({"activation": nn.Threshold}, "without arguments; got .*Threshold"),
        ({"activation": lambda: "tanh"}, "must make an nn.Module; .* made 'tanh'"),
    ],
)
def test_make_mlp_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_mlp(**arguments)
