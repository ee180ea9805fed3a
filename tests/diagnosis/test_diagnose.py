"""diagnose(): the tutorial's nets, causes before symptoms, and what is shown."""

import json

import pytest
import torch
from recordings import chain, normal, recording

import actstats
from actstats import ActivationRecorder, Recording, make_mlp
from actstats.diagnosis import RULES, Finding, Rule, Thresholds
from actstats.diagnosis.reading import Reading


def tutorial_data(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2000, 1, generator=generator) * 17 - 7
    return x, x**2 - 5 + 2 * torch.randn(2000, 1, generator=generator)


def tutorial(activation, bn, seed, epochs=0):
    """Record the tutorial's net at its first step, or over some epochs."""
    torch.manual_seed(seed)
    net = make_mlp(activation=activation, bn=bn, bn_momentum=0.5, weight_std=0.1, bias_init=-0.2)
    x, y = tutorial_data(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    starts = list(range(0, 2000, 64)) * epochs or [0]
    with ActivationRecorder(net, capture=("output", "input", "grad")) as recorder:
        for start in starts:
            optimizer.zero_grad()
            loss = (net(x[start : start + 64]) - y[start : start + 64]).square().mean()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.item())
    return recorder


def by_rule(diagnosis, rule):
    return [finding for finding in diagnosis if finding.rule == rule]


# ---- the tutorial --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_the_plain_tanh_net_is_lost_at_its_first_step(seed):
    diagnosis = actstats.diagnose(tutorial("tanh", False, seed))
    (vanishing,) = by_rule(diagnosis, "vanishing-gradient")
    assert vanishing.severity == "critical"
    assert vanishing.evidence["cause"] == "weights"
    assert by_rule(diagnosis, "input-independent")[0].severity == "critical"
    (root,) = [f for f in diagnosis.roots if f.severity == "critical"]
    assert root.rule == "input-independent"
    assert vanishing.root is root


def test_the_trained_tanh_net_is_saturated_and_its_gates_are_shut():
    diagnosis = actstats.diagnose(tutorial("tanh", False, 0, epochs=12))
    assert diagnosis.roots[0].rule == "saturated"
    (vanishing,) = by_rule(diagnosis, "vanishing-gradient")
    assert (vanishing.severity, vanishing.evidence["cause"]) == ("critical", "gates")
    assert vanishing.root.rule == "saturated"


@pytest.mark.parametrize("seed", range(3))
def test_the_plain_relu_net_is_born_dead(seed):
    diagnosis = actstats.diagnose(tutorial("relu", False, seed))
    root = diagnosis.roots[0]
    assert (root.rule, root.severity) == ("dead-units", "critical")
    assert root.evidence["since_the_beginning"] == root.evidence["dead"]
    cut = by_rule(diagnosis, "no-gradient")
    assert cut
    assert all(finding.root.rule == "dead-units" for finding in cut)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("seed", range(10))
def test_the_nets_with_batch_norm_are_healthy_at_their_first_step(activation, seed):
    diagnosis = actstats.diagnose(tutorial(activation, True, seed))
    assert diagnosis.ok, str(diagnosis)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_trained_nets_with_batch_norm_have_nothing_critical(activation):
    diagnosis = actstats.diagnose(tutorial(activation, True, 0, epochs=12))
    assert diagnosis.severity != "critical", str(diagnosis)


# ---- causes --------------------------------------------------------------------------------------


def dead_net():
    """Make a net whose second layer is dead, so that what follows is constant."""
    z2, z3 = torch.full_like(normal(), -1), torch.full_like(normal(), -0.5)
    tensors = {"fc1": normal(), "act1": normal().relu(), "fc2": z2, "act2": z2.relu()}
    tensors |= {"fc3": z3, "act3": z3.relu()}
    nothing = torch.zeros_like(z2)
    gradients = {f"{name}:grad": nothing for name in tensors}
    return recording({**tensors, **gradients}, activations={f"act{i}": "relu" for i in (1, 2, 3)})


def test_what_follows_stands_beneath_its_root():
    diagnosis = actstats.diagnose(dead_net())
    root = diagnosis.roots[0]
    assert (root.rule, root.site, root.caused_by) == ("dead-units", "act2", None)
    follows = diagnosis.follows_from(root)
    assert {f.rule for f in follows} == {"dead-units", "input-independent", "no-gradient"}
    assert diagnosis.findings[: 1 + len(follows)] == (root, *follows)


def test_nan_silences_what_follows_from_it():
    broken = torch.full_like(normal(), torch.nan)
    broken[:, :4] = normal()[:, :4].abs() - 100
    made = recording({"fc1": broken, "act1": broken.relu()}, activations={"act1": "relu"})
    diagnosis = actstats.diagnose(made)
    assert [root.rule for root in diagnosis.roots] == ["non-finite"]


class Breaks(torch.nn.Module):
    """A net whose backward breaks at one step: sqrt has no finite slope at 0."""

    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(4, 8), torch.nn.Linear(8, 1)

    def forward(self, x):
        return self.last(self.first(x).abs().sqrt())


def test_the_step_of_the_first_nan_is_exact_in_a_wide_window():
    torch.manual_seed(0)
    net = Breaks()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with ActivationRecorder(net, capture=("output", "grad"), window=10) as recorder:
        for step in range(10):
            optimizer.zero_grad()
            if step == 6:
                torch.nn.init.zeros_(net.first.weight)
                torch.nn.init.zeros_(net.first.bias)
            net(torch.randn(64, 4)).square().mean().backward()
            optimizer.step()
            recorder.step()
    (found,) = by_rule(actstats.diagnose(recorder), "non-finite")
    assert (found.site, found.since) == ("first:grad", 6)  # outputs are NaN from step 7 on
    assert recorder["first"].first_non_finite_step == 7


def test_saturation_by_a_raw_input_is_the_inputs_fault():
    z = normal(std=300)
    tensors = {"fc1": z, "fc1:input": normal(mean=500, std=100), "act1": z.tanh()}
    diagnosis = actstats.diagnose(recording(tensors, activations={"act1": "tanh"}))
    (saturated,) = by_rule(diagnosis, "saturated")
    assert saturated.root.rule == "unnormalised-input"


# ---- asking --------------------------------------------------------------------------------------


def test_only_the_rules_asked_for_answer():
    diagnosis = actstats.diagnose(chain([0.1] * 7), rules=["vanishing-gradient", "saturated"])
    assert list(diagnosis.answers) == ["saturated", "vanishing-gradient"]  # in causal order


def test_a_rule_of_ones_own_answers():
    def always(reading, thresholds):
        yield Finding("own", "fc1", "warning", f"{reading.steps} steps")

    own = Rule("own", "Own", ("output",), always, "nothing", "me")
    assert actstats.diagnose(recording({"fc1": normal()}), rules=[own])[0].message == "1 steps"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rules": ["dead-unit"]}, "no rule 'dead-unit'; did you mean 'dead-units'"),
        ({"thresholds": {"vanish": 1}}, "no 'vanish'; did you mean 'vanish"),
        ({"thresholds": {"vanishing": -1}}, "must be a positive finite number; got -1"),
    ],
)
def test_what_is_unknown_is_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        actstats.diagnose(recording({"fc1": normal()}), **asked)


def test_a_model_is_refused():
    with pytest.raises(TypeError, match=r"must be a recorder, a Recording.*; got Linear"):
        actstats.diagnose(torch.nn.Linear(1, 1))


def test_thresholds_change_the_verdict():
    made = chain([0.9] * 7)
    assert actstats.diagnose(made).ok
    assert not actstats.diagnose(made, thresholds={"vanishing": 0.2}).ok


def test_an_empty_recording_is_not_judged():
    diagnosis = actstats.diagnose(Recording())
    assert diagnosis.ok
    assert "dead-units" in diagnosis.not_judged


# ---- what is shown -------------------------------------------------------------------------------


def test_the_verdict_is_one_paragraph_with_what_to_do_first():
    verdict = actstats.diagnose(dead_net()).verdict
    assert "\n" not in verdict
    assert verdict.startswith("Units without gradient (critical) at act2 since step 0: 10 of 10")
    assert "From it follows: input-independent at 2 sites, dead-units at 1 site" in verdict
    assert "First: Set the bias of fc2 to 0 or raise it by 1:" in verdict


def test_a_healthy_verdict_says_how_much_was_judged():
    diagnosis = actstats.diagnose(recording({"fc1": normal(), "fc2": normal(seed=1)}))
    applied = len(RULES) - len(diagnosis.not_judged)
    assert diagnosis.verdict == f"Nothing alarming: {applied} rules of {len(RULES)} applied."


def test_the_text_has_one_line_for_each_rule_that_follows():
    text = str(actstats.diagnose(dead_net()))
    assert "CRITICAL dead-units at act2 (since step 0)" in text
    assert "  | dead-units at act3 (critical)" in text
    assert "Not judged: " in text


def test_the_table_is_aligned_and_indents_what_follows():
    lines = actstats.diagnose(dead_net()).table().splitlines()
    assert lines[0].split() == ["severity", "rule", "site", "since", "what"]
    assert len({line.index(line.split()[0]) for line in lines}) == 1
    assert "  input-independent" in lines[2]
    assert "critical  dead-units" in lines[1]


def test_html_escapes_names():
    made = recording({"<b>": torch.full_like(normal(), torch.nan)})
    page = actstats.diagnose(made)._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_plain_values_are_json():
    found = json.loads(json.dumps(actstats.diagnose(dead_net()).to_dict()))
    assert not found["ok"]
    assert found["findings"][0]["rule"] == "dead-units"
    assert found["findings"][1]["caused_by"] == {"rule": "dead-units", "site": "act2"}


def test_a_diagnosis_is_true_and_says_what_it_found():
    diagnosis = actstats.diagnose(recording({"fc1": normal()}))
    assert diagnosis
    assert repr(diagnosis).endswith("nothing found>")
    assert "critical" in repr(actstats.diagnose(dead_net()))


# ---- long recordings -----------------------------------------------------------------------------


def test_of_very_many_windows_a_history_reads_neighbours_together():
    made = recording(*({"a": torch.full((40, 2), float(i))} for i in range(200)))
    reading = Reading(made, Thresholds())
    history = list(reading.history("a"))
    assert len(history) == 50
    assert [(w.first_step, w.last_step) for w, _ in history][:2] == [(0, 3), (4, 7)]
    assert sum(stats.count for _, stats in history) == 200 * 80
    assert reading.since("a", lambda stats: stats.min >= 100) == 100
    assert len(reading.scales("a")) == 200


def test_the_last_of_the_windows_read_together_are_whole():
    made = recording(*({"a": torch.ones(40, 2)} for _ in range(66)))
    history = [(w.first_step, w.last_step) for w, _ in Reading(made, Thresholds()).history("a")]
    assert len(history) == 33
    made = recording(*({"a": torch.ones(40, 2)} for _ in range(65)))
    history = [(w.first_step, w.last_step) for w, _ in Reading(made, Thresholds()).history("a")]
    assert (history[0], history[-1]) == ((0, 0), (63, 64))
