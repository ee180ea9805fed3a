"""By what factor weights are to be scaled, and where no factor would be honest."""

from dataclasses import replace

import pytest
import torch
from recordings import answer, chain, normal, recording

from actstats import ActivationRecorder, Recording, diagnose, make_mlp


def tensors(gain: float, mean: float = -0.2, std: float = 0.1, passes: float = 1.0):
    """Make six tanh layers that pass on less and less; ``passes`` of it behind the weights."""
    made = {}
    for i in range(6):
        z = normal(mean=mean, std=std * gain**i, seed=i)
        a = z.tanh()
        made |= {f"fc{i + 1}": z, f"act{i + 1}": a.mean(0) + (a - a.mean(0)) * passes**i}
    return made


def net(*windows, **options):
    return recording(*windows, activations={f"act{i + 1}": "tanh" for i in range(6)}, **options)


def begun_at(step: int, made: Recording) -> Recording:
    def moved(window):
        first_step, last_step = window.first_step + step, window.last_step + step
        return replace(window, first_step=first_step, last_step=last_step)

    return Recording(map(moved, made.windows), made.sites)


def first(made: Recording, rule: str = "input-independent"):
    return answer(rule, made).findings[0]


def assert_no_factor(finding):
    assert "factor" not in finding.evidence
    for word in ("Scale", "Divide", "Xavier", "He "):
        assert word not in finding.remedy, finding.remedy


def test_weights_that_are_too_small_from_the_first_step_on_get_a_factor():
    finding = first(net(tensors(0.25), tensors(0.25)))
    assert finding.remedy.startswith(
        "Scale the initial weights of fc2…fc6 by 4 (Xavier initialisation gives this) or put"
    )
    assert finding.evidence["factor"] == pytest.approx(4, rel=0.05)


def test_shut_gates_get_no_factor_since_larger_weights_shut_them_further():
    trained = net(tensors(0.9, mean=0.0), tensors(0.25, mean=3.0))
    finding = first(trained)
    assert_no_factor(finding)
    assert finding.remedy == (
        "Bring what feeds act2…act6 back to an rms of 1 (it is up to 3): put BatchNorm1d(10) after"
        " fc2…fc6, or lower the learning rate that drove it there. Larger weights would shut them"
        " further."
    )


def test_gates_that_offsets_shut_at_the_first_step_name_the_biases():
    finding = first(net(tensors(0.25, mean=3.0)))
    assert_no_factor(finding)
    assert "or begin with biases of 0 in fc2…fc6." in finding.remedy


def test_gates_that_large_weights_shut_at_the_first_step_name_the_weights():
    finding = first(chain_of_shut_gates(), "vanishing-gradient")
    assert_no_factor(finding)
    assert "or begin with smaller weights in fc2…fc6." in finding.remedy


def chain_of_shut_gates() -> Recording:
    made = chain([1.0] * 5, gates=[0.05] * 6)
    wide = {f"fc{i}": normal(std=8.0, seed=i) for i in range(1, 7)}
    wide |= {f"act{i}": wide[f"fc{i}"].tanh() for i in range(1, 7)}
    (window,) = made.windows
    stats = {**window.stats, **net(wide).windows[0].stats}
    return Recording([replace(window, stats=stats)], made.sites)


def test_weights_that_became_too_small_get_no_factor():
    finding = first(net(tensors(0.9), tensors(0.25)))
    assert_no_factor(finding)
    assert finding.remedy == (
        "It came in training (0.25 each now, 0.89 at step 0): lower the learning rate or put"
        " BatchNorm1d(10) after fc2…fc6."
    )


@pytest.mark.parametrize("rule", ["input-independent", "vanishing-gradient", "exploding-gradient"])
def test_a_recording_that_begins_later_gets_no_factor(rule):
    made = {
        "input-independent": net(tensors(0.25)),
        "vanishing-gradient": chain([0.3] * 7),
        "exploding-gradient": chain([3.0] * 7),
    }[rule]
    assert "factor" in first(made, rule).evidence
    finding = first(begun_at(100, made), rule)
    assert_no_factor(finding)
    assert "Record from step 0, or `check`, to see whether fc2…fc" in finding.remedy


def test_an_initialisation_is_named_only_where_it_gives_the_factor():
    alone = first(net(tensors(0.25)))
    elsewhere = first(net(tensors(0.9, passes=0.25)))  # not the weights: they pass on 0.9
    assert elsewhere.evidence["factor"] == pytest.approx(4.4, rel=0.05)
    assert "Xavier" in alone.remedy
    assert "Xavier" not in elsewhere.remedy


@pytest.mark.parametrize(("gain", "gate", "named"), [(3.0, 1.0, True), (6.0, 0.5, False)])
def test_an_initialisation_is_named_only_where_it_divides_as_told(gain, gate, named):
    finding = first(chain([gain] * 9, gates=[gate] * 10), "exploding-gradient")
    assert finding.evidence["factor"] == pytest.approx(1 / 3, rel=0.05)
    scheme = " (Xavier initialisation gives this)" if named else ""
    assert finding.remedy == (
        f"Divide the initial weights of fc2…fc10 by 3{scheme}, or clip the gradient's norm."
    )


@pytest.mark.parametrize("kind", ["Conv2d", "Conv1D"])
def test_no_initialisation_is_named_where_the_fan_in_is_not_seen(kind):
    made = net(tensors(0.25))
    sites = {k: replace(s, module_type=kind) if "fc" in k else s for k, s in made.sites.items()}
    finding = first(Recording(made.windows, sites))
    assert "factor" in finding.evidence
    assert "Xavier" not in finding.remedy


def test_a_net_that_trained_its_gates_shut_is_not_told_to_begin_with_larger_weights():
    torch.manual_seed(1)
    net = make_mlp(activation="tanh", weight_std=0.1, bias_init=-0.2)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    x = torch.linspace(-7, 10, 256).unsqueeze(1)
    recorder = ActivationRecorder(net, capture=("output", "input", "grad"))
    with recorder:
        for _ in range(200):
            loss = (net(x) - x**2).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.item())
    findings = [f for f in diagnose(recorder) if f.rule == "input-independent"]
    assert findings
    for finding in findings:
        assert_no_factor(finding)
