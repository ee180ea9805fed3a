"""check(): a copy is judged, and nothing of the user's changes."""

import copy
import json
import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import actstats
from actstats import make_mlp
from actstats.diagnosis import Diagnosis
from actstats.diagnosis.remedies import (
    initialise,
    insert_layer_norms,
    insert_norms,
    remedies_for,
    scale_weights,
    zero_biases,
)


def loss_of(model, batch):
    return (model(batch) - batch**2).square().mean()


def batch():
    return torch.linspace(-7, 10, 64).unsqueeze(1)


def sick():
    torch.manual_seed(0)
    return make_mlp(activation="tanh", weight_std=0.1, bias_init=-0.2)


def healthy():
    torch.manual_seed(0)
    net = make_mlp(activation="tanh", bn=True, weight_std=0.1, bias_init=-0.2)
    return nn.Sequential(net, nn.Dropout(0.1))


def everything(model, optimizer):
    """Return all that a check could disturb, as plain comparable values."""
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    modes = [module.training for module in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    states = copy.deepcopy(optimizer.state_dict())
    drawn = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())  # noqa: NPY002
    return tensors, gradients, modes, hooks, states, drawn


def assert_equal(a, b):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, np.ndarray):
        assert np.array_equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    else:
        assert a == b


@pytest.mark.parametrize("make", [sick, healthy])
def test_nothing_of_the_users_changes(make):
    model, x = make(), batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    loss_of(model, x).backward()
    optimizer.step()
    before, given = everything(model, optimizer), x.clone()
    actstats.check(model, x, loss_of, optimizer=optimizer, trial_steps=3)
    assert_equal(everything(model, optimizer), before)
    assert torch.equal(x, given)


def test_nothing_of_another_model_changes_but_its_buffers():
    torch.manual_seed(0)
    generator, judge = make_mlp(4, [8], 4, activation="tanh"), make_mlp(4, [8], 1)
    noise = torch.randn(64, 4, requires_grad=True)
    judge(noise).sum().backward()
    before = [p.grad.clone() for p in (*judge.parameters(), noise)]
    actstats.check(generator, noise, lambda g, z: -judge(g(z)).mean())
    after = [p.grad for p in (*judge.parameters(), noise)]
    assert_equal(after, before)
    assert all(p.grad is None for p in generator.parameters())


def test_a_loss_that_changes_its_batch_changes_a_copy():
    def masked(model, x):
        x[:, 0] = 0
        return model(x).square().mean()

    x = batch()
    given = x.clone()
    actstats.check(healthy(), x, masked)
    assert torch.equal(x, given)


def test_what_wraps_a_model_is_taken_off():
    net = sick()
    found = [actstats.check(m, batch(), loss_of) for m in (net, nn.DataParallel(net))]
    assert [f.rule for f in found[0]] == [f.rule for f in found[1]]
    assert found[0].risk == found[1].risk


def test_the_copy_draws_what_the_next_step_would_draw():
    model = healthy()
    found = actstats.check(model, batch(), loss_of)
    assert found.loss == loss_of(model, batch()).item()


def test_the_sick_net_is_told_with_what_helps():
    found = actstats.check(sick(), batch(), loss_of)
    assert not found.ok
    assert found.roots[0].rule == "input-independent"
    best = found.tried[0]
    assert best.helps
    assert best.after.ok
    assert best.remedy.startswith("weights of fc2…fc8 times 3")
    assert best.figures["critical"] == (6, 0)
    assert f"Tried on a copy: {best}" in found.verdict
    assert found.passes == 1 + len(found.tried)


def test_a_remedy_that_is_needed_by_none_is_not_tried():
    found = actstats.check(healthy(), batch(), loss_of)
    assert found.ok
    assert found.tried == ()
    assert found.passes == 1


@pytest.mark.parametrize(("factor", "tried"), [(1.05, False), (0.95, False), (2.0, True)])
def test_weights_are_not_scaled_by_about_one(factor, tried):
    found = actstats.check(sick(), batch(), loss_of, remedies=False)
    told = [replace(f, evidence={**f.evidence, "factor": factor}) for f in found if f.modules]
    names = [remedy.name for remedy in remedies_for(Diagnosis(found.answers.values(), told))]
    assert any("times" in name for name in names) == tried


def test_remedies_may_be_left_out():
    assert actstats.check(sick(), batch(), loss_of, remedies=False).tried == ()


class Functional(nn.Module):
    """A net that calls its activations as functions."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(10, 10) for _ in range(3))
        for layer in self.layers:
            nn.init.constant_(layer.bias, -9.0)

    def forward(self, x):
        for layer in self.layers:
            x = nn.functional.relu(layer(x))
        return x


def test_nets_of_functions_are_judged_too():
    torch.manual_seed(0)
    found = actstats.check(Functional(), torch.randn(64, 10), lambda m, x: m(x).square().mean())
    assert (found.roots[0].rule, found.roots[0].severity) == ("dead-units", "critical")
    assert (
        not actstats.check(
            Functional(), torch.randn(64, 10), lambda m, x: m(x).square().mean(), functional=False
        )
        .answers["dead-units"]
        .findings
    )


def test_layers_frozen_on_purpose_are_remarks():
    torch.manual_seed(0)
    net = make_mlp(10, [16, 16], 1, activation="relu")
    net.fc1.requires_grad_(False)
    found = actstats.check(net, torch.randn(64, 10), lambda m, x: m(x).square().mean())
    frozen = [finding for finding in found if finding.rule == "no-gradient"]
    assert [(f.site, f.severity) for f in frozen] == [("fc1", "info")]
    assert found.ok


def test_a_module_that_is_never_called_is_named():
    torch.manual_seed(0)
    net = make_mlp(10, [16], 1, activation="relu")
    net.forward = lambda x: net.out(net.act1(net.fc1(x)))
    net.add_module("spare", nn.Linear(3, 3))
    model = nn.ModuleDict({"body": make_mlp(10, [16], 1, activation="relu"), "spare": net.spare})
    found = actstats.check(model, torch.randn(64, 10), lambda m, x: m["body"](x).square().mean())
    never = [f for f in found if f.rule == "never-called"]
    assert [(f.site, f.severity) for f in never] == [("spare", "warning")]


def test_the_optimizer_tells_how_far_a_step_goes():
    net = healthy()
    far = torch.optim.Adam(net.parameters(), lr=3.0)
    found = actstats.check(net, batch(), loss_of, optimizer=far)
    assert [f.severity for f in found if f.rule == "update-ratio"] == ["critical"]
    usual = torch.optim.Adam(net.parameters(), lr=1e-3)
    assert actstats.check(net, batch(), loss_of, optimizer=usual).ok


def test_a_trial_trains_the_copy():
    net = healthy()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    found = actstats.check(net, batch(), loss_of, optimizer=optimizer, trial_steps=5)
    assert len(found.trial) == 6
    assert found.trial[0] == found.loss
    assert found.trial[-1] < found.trial[0]
    assert found.passes == 1 + 5
    assert "In a trial of 5 steps the loss went from" in found.verdict


def test_a_trial_that_breaks_is_critical():
    net = healthy()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e30)
    found = actstats.check(net, batch(), loss_of, optimizer=optimizer, trial_steps=5)
    assert not found.ok
    assert "the loss is no finite number" in found.verdict
    json.dumps(found.to_dict(), allow_nan=False)


def test_optimizers_that_evaluate_the_loss_take_no_step():
    net = healthy()
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1)
    found = actstats.check(net, batch(), loss_of, optimizer=optimizer)
    assert "update-ratio" in found.not_judged
    with pytest.raises(ValueError, match="must be 0 with LBFGS"):
        actstats.check(net, batch(), loss_of, optimizer=optimizer, trial_steps=2)


def test_a_remedy_shows_its_vital_signs_before_and_after():
    best = actstats.check(sick(), batch(), loss_of).tried[0]
    before, after = best.signs["least signal fraction"]
    assert before < 1e-4 < 1e-2 < after
    decades = best.signs["gradient's decades"]
    assert decades[0] < -3 < -1 < decades[1]
    assert "least signal fraction" in str(best)


def test_plain_values_hold_what_was_tried():
    found = actstats.check(sick(), batch(), loss_of).to_dict()
    assert found["passes"] == 1 + len(found["tried"])
    assert found["tried"][0]["ok"] is True


LABELS = torch.arange(64) % 3


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        F.cross_entropy,
        partial(F.cross_entropy, label_smoothing=0.1),
    ],
)
@pytest.mark.parametrize("pair", [tuple, list])
def test_a_criterion_takes_predictions_and_targets(criterion, pair):
    net = make_mlp(1, [16], 3, activation="relu")
    asked = actstats.check(net, pair([batch(), LABELS]), criterion)
    written = actstats.check(net, batch(), lambda model, x: criterion(model(x), LABELS))
    assert asked.loss == written.loss
    assert asked.recording["fc1:grad"].rms == written.recording["fc1:grad"].rms > 0


class OwnCriterion(nn.Module):
    def forward(self, predictions, targets):
        return (predictions - targets).square().mean()


def test_an_error_in_the_loss_says_how_it_is_called():
    with pytest.raises(TypeError) as caught:
        actstats.check(healthy(), (batch(), batch()), OwnCriterion())
    (note,) = caught.value.__notes__
    assert "calls `loss_fn(model, batch)`" in note
    assert "lambda model, batch: criterion(model(batch[0]), batch[1])" in note


def test_an_error_inside_of_the_loss_is_left_as_it_is():
    with pytest.raises(AttributeError, match="no attribute 'foo'") as caught:
        actstats.check(healthy(), batch(), lambda model, x: model(x).foo)
    assert not hasattr(caught.value, "__notes__")


class GivesMore(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(1, 3)

    def forward(self, x):
        return self.out(x), x


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"model": GivesMore(), "batch": (batch(), LABELS), "loss_fn": F.cross_entropy},
            *(ValueError, "must give a tensor where .*; got a tuple of 2. Or give `loss_fn=lambda"),
        ),
        ({"loss_fn": nn.MSELoss()}, ValueError, r"must be \(inputs, targets\) .*; got a Tensor"),
        (
            {"loss_fn": nn.MSELoss(), "batch": (batch(),) * 3},
            *(ValueError, r"`batch` must be \(inputs, targets\) .*; got a tuple of 3"),
        ),
        (
            {"loss_fn": torch.compile(nn.MSELoss(), backend="eager")},
            *(ValueError, r"must be \(inputs, targets\) .*; got a Tensor"),
        ),
        ({"loss_fn": nn.MSELoss}, TypeError, "a criterion; got the class MSELoss"),
        ({"loss_fn": "mse"}, TypeError, r"must be `loss_fn\(model, batch\)` or .*; got 'mse'"),
        ({"loss_fn": lambda m, x: m(x)}, ValueError, r"tensor of one number; got shape \(64, 1\)"),
        ({"loss_fn": lambda m, x: 1.0}, ValueError, "tensor of one number; got float"),
        ({"loss_fn": lambda m, x: m(x).detach().mean()}, ValueError, "a loss without a graph"),
        ({"loss_fn": lambda m, x: sick()(x).mean()}, ValueError, "did not call the model"),
        ({"trial_steps": 5}, ValueError, "needs the `optimizer`"),
        (
            {"optimizer": torch.optim.Adam([torch.zeros(1, requires_grad=True)])},
            *(ValueError, "`optimizer` holds no parameter of `model`"),
        ),
        ({"trial_steps": -1}, ValueError, "integer of at least 0; got -1"),
        ({"optimizer": "adam"}, TypeError, "must be a torch.optim.Optimizer or None; got str"),
        ({"model": loss_of}, TypeError, "must be a torch.nn.Module; got function"),
    ],
)
def test_arguments_that_cannot_work_are_refused(given, error, message):
    asked = {"model": healthy(), "batch": batch(), "loss_fn": loss_of, **given}
    with pytest.raises(error, match=message):
        actstats.check(**asked)


def test_no_grad_around_it_does_no_harm():
    with torch.no_grad():
        assert actstats.check(healthy(), batch(), loss_of).ok


def test_the_risk_is_worded_with_its_error_rates():
    net, x = sick(), batch()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    found = actstats.check(net, x, lambda m, x: (m(x) - x).square().mean(), optimizer=optimizer)
    assert found.risk.alarmed
    assert found.risk.probability > 0.5
    assert (
        "Prognosis: at risk of not learning: networks that look like this failed" in found.verdict
    )
    assert "alarms falsely on" in found.verdict
    assert found.to_dict()["risk"] == found.risk.probability


def test_the_risk_is_read_before_the_optimizers_step():
    net, x = healthy(), batch()
    adam = torch.optim.Adam(net.parameters())  # the defaults, as where none is given
    given = actstats.check(net, x, loss_of, optimizer=adam).risk
    assert replace(given, assumed=True) == actstats.check(net, x, loss_of).risk


@pytest.mark.parametrize("rate", [10.0, 0.0])
def test_of_learning_rates_that_were_not_measured_nothing_is_said(rate):
    net = healthy()
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    risk = actstats.check(net, batch(), loss_of, optimizer=optimizer).risk
    assert not risk.alarmed
    assert "nothing can be said: a learning rate of" in str(risk)


def test_a_net_without_layers_has_no_risk():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return self.factor * x

    assert actstats.check(Scale(), batch(), loss_of).risk is None


# ---- remedies ------------------------------------------------------------------------------------


def test_biases_become_zero():
    net = sick()
    assert zero_biases(net)
    assert not any(p.any() for name, p in net.named_parameters() if name.endswith("bias"))
    assert not zero_biases(net)  # nothing is left to change


def test_only_the_weights_named_are_scaled():
    net, old = sick(), sick()
    assert scale_weights(net, ["fc2", "fc3"], 2.0)
    assert torch.equal(net.fc2.weight, 2 * old.fc2.weight)
    assert torch.equal(net.fc4.weight, old.fc4.weight)
    assert not scale_weights(net, ["nowhere"], 2.0)


def test_initialisation_draws_all_weights_anew():
    net, old = sick(), sick()
    assert initialise(net, nn.init.xavier_normal_)
    assert all(
        not torch.equal(getattr(net, n).weight, getattr(old, n).weight) for n in ("fc1", "out")
    )


def test_norms_stand_after_each_layer_but_the_last():
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)),
        nn.Flatten(),
        nn.Linear(5, 6),
        nn.Linear(6, 2),
    )
    assert insert_norms(net)
    kinds = [type(module).__name__ for module in net.modules() if not len(list(module.children()))]
    assert kinds == [
        *("Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "Flatten"),
        *("Linear", "BatchNorm1d", "Linear"),
    ]
    assert not insert_norms(net)


def test_layer_norms_stand_where_axis_1_is_one_of_positions():
    attends = nn.MultiheadAttention(6, 2, batch_first=True)
    net = nn.ModuleList([attends, nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))])
    net.append(nn.Linear(6, 2))
    assert not insert_norms(net)  # no convolution is in it
    assert insert_layer_norms(net)
    kinds = [type(module).__name__ for module in net[1]]
    assert kinds == ["Linear", "LayerNorm", "GELU", "Linear", "LayerNorm"]
    assert net[1](torch.randn(3, 5, 6)).shape == (3, 5, 6)
    assert not insert_layer_norms(net)


class ChannelAttention(nn.Sequential):
    """Weigh channels by what each of them gives, as CNNs do."""

    def forward(self, x):
        return x * super().forward(x.mean((2, 3)))[:, :, None, None]


def attending_cnn():
    torch.manual_seed(0)
    attention = ChannelAttention(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8), nn.Sigmoid())
    convolutions = [nn.Conv2d(1, 8, 3), nn.ReLU(), attention, nn.Conv2d(8, 8, 3), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


def test_convolutions_get_norms_beside_attention_too():
    net = attending_cnn()
    assert insert_norms(net)
    kinds = [type(module).__name__ for module in net]
    assert kinds[:2] == ["Conv2d", "BatchNorm2d"]
    assert kinds[4:6] == ["Conv2d", "BatchNorm2d"]
    assert not any("Norm" in type(module).__name__ for module in net[3])
    assert not insert_norms(net)


def test_a_cnn_that_attends_is_tried_with_batch_norms():
    net = attending_cnn()
    with torch.no_grad():
        net[3].bias.fill_(-9.0)
    x = torch.randn(64, 1, 8, 8)
    found = actstats.check(net, x, lambda model, x: model(x).square().mean())
    tried = [one.remedy for one in found.tried if one.helps]
    assert "BatchNorm after each Conv layer but the last" in tried


def test_layer_norms_are_not_tried_where_batches_of_features_come():
    assert not insert_layer_norms(sick())


def test_a_net_of_sequences_is_tried_with_layer_norms():
    recurrent = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    recurrent.add_module("gru", nn.GRU(8, 8, batch_first=True))
    with torch.no_grad():
        recurrent[2].bias.fill_(-9.0)
    x = torch.randn(16, 10, 4)
    found = actstats.check(recurrent, x, lambda model, x: model(x)[0].square().mean())
    tried = {one.remedy for one in found.tried}
    assert "LayerNorm after each Linear layer but the last" in tried
    assert not any("BatchNorm" in remedy for remedy in tried)
