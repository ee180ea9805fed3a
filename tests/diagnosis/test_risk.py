"""The risk of not learning: features against algebra, and words that are never a certainty."""

import math

import pytest
import torch
from torch import nn

from actstats import ActivationRecorder, make_mlp
from actstats.diagnosis.features import Features
from actstats.diagnosis.fitted import MODELS, Rate
from actstats.diagnosis.risk import Risk, in_words, risk


def recorded(net, x, y, **kept):
    """Return the recording of one forward and backward."""
    recorder = ActivationRecorder(net, capture=("output", "input", "grad"), functional=True)
    with recorder:
        loss = (net(x) - y).square().mean()
        loss.backward()
        recorder.step(**(kept or {"loss": loss.item()}))
    return recorder.recording


def features(net, x, y, optimizer=None):
    recording = recorded(net, x, y)
    return Features.of(recording, optimizer=optimizer, parameters=net.named_parameters())


@pytest.fixture
def data():
    torch.manual_seed(0)
    x = torch.randn(64, 3)
    return x, x.sum(1, keepdim=True)


def tutorial(data, **options):
    """Return the tutorial's plain tanh net, whose loss never falls below the constant's."""
    torch.manual_seed(1)
    return make_mlp(3, **{"weight_std": 0.1, "bias_init": -0.2, **options}), *data


# ---- features ------------------------------------------------------------------------------------


def test_distance_of_squared_error_is_half_of_its_rms(data):
    x, y = data
    net = make_mlp(3, [8, 8])
    error = (net(x) - y).square().mean().sqrt().item()
    assert features(net, x, y).distance == pytest.approx(math.log10(error / 2), abs=1e-5)


def test_width_and_steps_follow_the_last_layer_and_the_rate(data):
    net = make_mlp(3, [8, 16])
    made = features(net, *data, torch.optim.Adam(net.parameters(), lr=0.01))
    assert made.width == pytest.approx(math.log10(16))
    assert made.steps == pytest.approx(made.distance + 2)
    assert made.capacity == pytest.approx(made.width - made.steps)  # tanh ends at 1


def test_progress_of_sgd_is_the_fall_of_the_loss_to_first_order(data):
    x, y = data
    x = x - x.mean(0)
    net = nn.Sequential(nn.Linear(3, 1, bias=False))  # all of its gradient depends on the input
    rate = 1e-4
    made = features(net, x, y, torch.optim.SGD(net.parameters(), lr=rate))
    before = (net(x) - y).square().mean().item()
    with torch.no_grad():
        net[0].weight -= rate * net[0].weight.grad
    after = (net(x) - y).square().mean().item()
    assert 10**made.last_progress == pytest.approx((before - after) / before, rel=0.01)


def test_input_that_never_changes_gives_no_progress():
    x, y = torch.ones(64, 3), torch.randn(64, 1)
    made = features(make_mlp(3, [8]), x, y)
    assert made.last_motion < -5
    assert made.last_progress < -8
    assert made.reach < -2


def test_momentum_makes_plain_steps_longer(data):
    net = make_mlp(3, [8, 8])
    plain, heavy = (
        features(net.requires_grad_(), *data, torch.optim.SGD(net.parameters(), 0.1, momentum=m))
        for m in _fresh(net, (0.0, 0.9))
    )
    assert plain.family == heavy.family == "plain"
    assert heavy.last_motion - plain.last_motion == pytest.approx(1, abs=1e-6)
    assert heavy.last_progress - plain.last_progress == pytest.approx(1, abs=1e-6)


def _fresh(net, values):
    for value in values:
        net.zero_grad()
        yield value


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop])
def test_optimizers_that_normalise_are_adaptive(kind, data):
    net = make_mlp(3, [8])
    assert features(net, *data, kind(net.parameters(), lr=0.01)).family == "adaptive"


def test_each_group_has_its_own_rate(data):
    net = make_mlp(3, [8])
    groups = [{"params": net.fc1.parameters(), "lr": 0.5}, {"params": net.out.parameters()}]
    made = features(net, *data, torch.optim.SGD(groups, lr=0.01))
    assert made.steps == pytest.approx(made.distance + 2)


def test_without_an_optimizer_adams_defaults_are_assumed(data):
    net = make_mlp(3, [8, 8])
    without = features(net, *data)
    net.zero_grad()
    with_adam = features(net, *data, torch.optim.Adam(net.parameters()))
    assert without.assumed
    assert not with_adam.assumed
    assert without.numbers() == with_adam.numbers()


def test_convolutions_and_functional_activations_are_read():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.out = nn.Linear(4 * 36, 1)

        def forward(self, x):
            return self.out(torch.relu(self.conv(x)).flatten(1))

    made = features(Net(), torch.randn(40, 3, 8, 8), torch.randn(40, 1))
    assert made.width == pytest.approx(math.log10(4 * 36))
    assert all(math.isfinite(value) for value in made.numbers().values())


def test_dead_network_has_finite_features(data):
    net = make_mlp(3, [8, 8], activation="relu", bias_init=-100.0)
    made = features(net, *data)
    assert made.reach <= -15
    assert all(math.isfinite(value) for value in made.numbers().values())


def test_recording_without_loss_is_refused(data):
    net = make_mlp(3, [8])
    recording = recorded(net, *data, accuracy=1.0)
    with pytest.raises(ValueError, match="must hold the loss of its step"):
        Features.of(recording, parameters=net.named_parameters())


def test_parameters_without_gradients_are_refused(data):
    net = make_mlp(3, [8])
    recording = recorded(net, *data)
    net.zero_grad()
    with pytest.raises(ValueError, match="its weight with a gradient"):
        Features.of(recording, parameters=net.named_parameters())


# ---- the risk ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", MODELS)
def test_curves_add_nothing_at_the_healthy_median(family):
    model = MODELS[family]
    healthy = Features(**model.healthy, family=family)
    assert model.parts(healthy.numbers()) == pytest.approx(
        dict.fromkeys(model.curves, 0.0), abs=2e-2
    )
    assert not risk(healthy).alarmed


@pytest.mark.parametrize("family", MODELS)
def test_bins_hold_every_network_that_was_reported(family):
    model = MODELS[family]
    assert sum(rate.of for _, rate in model.bins) == model.caught.of + model.false.of
    assert sum(rate.hits for _, rate in model.bins) == model.caught.of
    assert model.bins[-1][0] == 1.0
    assert model.false.share < 0.08


def test_tutorials_plain_net_is_at_risk_and_its_bn_net_is_not(data):
    net, x, y = tutorial(data)
    plain = risk(features(net, x, y, torch.optim.SGD(net.parameters(), lr=0.03)))
    net, x, y = tutorial(data, bn=True)
    normed = risk(features(net, x, y, torch.optim.SGD(net.parameters(), lr=0.03)))
    assert plain.alarmed
    assert not normed.alarmed
    assert plain.probability > 0.9 > 0.5 > normed.probability


def test_words_are_a_risk_with_its_error_rates(data):
    net, x, y = tutorial(data)
    judged = risk(features(net, x, y, torch.optim.SGD(net.parameters(), lr=0.03)))
    words = in_words(judged)
    assert words.startswith("at risk of not learning: networks that look like this failed")
    assert f"of {judged.alike.of} trials" in words
    assert str(judged.caught) in words
    assert str(judged.false) in words
    assert 1 <= len(judged.reasons) <= 3
    assert all(reason in words for reason in judged.reasons)
    assert str(judged) == words


@pytest.mark.parametrize(
    ("failed", "said"),
    [(5, "no sign that it will not learn: "), (37, "it may not learn, though no alarm is given: ")],
)
def test_words_agree_with_what_became_of_networks_alike(failed, said):
    rates = {"caught": Rate(15, 20), "false": Rate(4, 80)}  # 20 of 100 fail
    words = in_words(Risk(0.1, alarmed=False, alike=Rate(failed, 100), **rates))
    assert words.startswith(f"{said}networks that look like this failed to learn in {failed} %")
    assert "of 100 trials of 150 steps, all that were measured in 20 %" in words


def test_words_say_what_was_assumed(data):
    net, x, y = tutorial(data)
    assert "Adam's defaults are assumed" in in_words(risk(features(net, x, y)))


def test_rate_has_wilsons_interval():
    low, high = Rate(8, 10).interval
    assert (low, high) == pytest.approx((0.490, 0.943), abs=1e-3)
    assert Rate(0, 0).interval == (0.0, 1.0)
    assert str(Rate(9, 10)) == "90 % of 10 (60 to 98 %)"
