"""Each rule on recordings made by hand: where it finds, where all is well, where it is silent."""

import math
from dataclasses import replace

import pytest
import torch
from recordings import N, answer, chain, normal, recording

from actstats import Recording
from actstats.diagnosis import RULES
from actstats.diagnosis.numbers import FORMATS
from actstats.diagnosis.rule import STAGES


def relu(x):
    return x.relu()


def only(given):
    assert given.reason is None, given.reason
    (finding,) = given.findings
    return finding


# ---- units ---------------------------------------------------------------------------------------


def dead(sick: int, width: int = 10):
    x = normal(width)
    x[:, :sick] = -1.0
    return recording({"fc1": x, "act1": relu(x)}, activations={"act1": "relu"})


@pytest.mark.parametrize(
    ("sick", "severity"), [(3, "info"), (4, "warning"), (5, "warning"), (6, "critical")]
)
def test_dead_units_are_as_grave_as_their_share(sick, severity):
    finding = only(answer("dead-units", dead(sick)))
    assert (finding.site, finding.severity) == ("act1", severity)
    assert finding.evidence["dead"] == sick
    assert finding.evidence["samples"] == N
    assert finding.evidence["largest_probability"] == pytest.approx(3 / N)


def test_a_narrow_layer_that_is_wholly_dead_is_critical():
    assert only(answer("dead-units", dead(2, width=2))).severity == "critical"


def test_dead_units_name_the_bias_to_raise():
    x = normal(mean=-3.0, std=0.3)
    made = recording({"fc1": x, "act1": relu(x)}, activations={"act1": "relu"})
    assert "Set the bias of fc1 to 0 or raise it by 3" in only(answer("dead-units", made)).remedy


def test_live_units_are_healthy():
    assert answer("dead-units", dead(0)).verdict == "healthy"


def test_dead_units_do_not_apply_to_tanh():
    made = recording({"act1": normal().tanh()}, activations={"act1": "tanh"})
    assert answer("dead-units", made).reason == (
        "tanh is never exactly flat, so its units do not die"
    )


def test_dead_units_do_not_apply_to_few_samples():
    made = recording({"act1": relu(normal())[:20]}, activations={"act1": "relu"})
    assert answer("dead-units", made).reason == "20 samples are too few (at least 30)"


def test_births_and_revivals_are_counted_between_windows():
    alive, half, other = (normal(seed=i) for i in range(3))
    half[:, :4] = -1
    other[:, 2:6] = -1
    windows = ({"act1": relu(x)} for x in (alive, half, other))
    made = recording(*windows, activations={"act1": "relu"}, steps=10)
    finding = only(answer("dead-units", made))
    assert finding.evidence["births"] == 4 + 2
    assert finding.evidence["revivals"] == 2
    assert finding.evidence["since_the_beginning"] == 0
    assert finding.since == 10  # as many were dead in the window before


def test_silent_units_are_found_where_a_slope_is_left():
    x = normal()
    x[:, :4] = -3.0
    made = recording(
        {"act1": torch.nn.functional.leaky_relu(x)}, activations={"act1": "leaky_relu"}
    )
    finding = only(answer("silent-units", made))
    assert (finding.severity, finding.evidence["silent"]) == ("warning", 4)


def test_silent_units_are_never_critical():
    made = recording({"act1": normal(mean=5.0, std=0.1).tanh()}, activations={"act1": "tanh"})
    assert only(answer("silent-units", made)).severity == "warning"


def test_silent_units_leave_units_that_can_die_to_their_rule():
    assert answer("silent-units", dead(5)).reason == "every unit here can die"


@pytest.mark.parametrize("rule", ["dead-units", "silent-units"])
def test_without_activations_no_unit_is_said_to_die_or_not(rule):
    assert "no activation function was seen" in answer(rule, recording({"fc1": normal()})).reason


@pytest.mark.parametrize(
    ("born_so", "later", "said"),
    [
        (0, 6, "but they were alive before"),
        (2, 4, "but 4 of these were alive before"),
        (4, 2, None),
    ],
)
def test_the_remedy_of_dead_units_asks_what_became_of_most(born_so, later, said):
    x, y = normal(seed=0), normal(seed=1)
    x[:, :born_so] = -1.0
    y[:, : born_so + later] = -1.0
    made = recording(*({"act1": relu(z)} for z in (x, y)), activations={"act1": "relu"})
    finding = only(answer("dead-units", made))
    assert finding.evidence["since_the_beginning"] == born_so
    assert (said or "Look at act1: 6 of 10 units never fired") in finding.remedy
    assert ("alive before" in finding.remedy) == (said is not None)


def test_active_units_are_not_silent():
    made = recording({"act1": normal(std=0.5).tanh()}, activations={"act1": "tanh"})
    assert answer("silent-units", made).verdict == "healthy"


@pytest.mark.parametrize(("sick", "severity"), [(2, "info"), (4, "warning")])
def test_dormant_units_give_next_to_nothing(sick, severity):
    a = normal().tanh()
    a[:, :sick] *= 1e-3
    finding = only(answer("dormant-units", recording({"act1": a}, activations={"act1": "tanh"})))
    assert (finding.severity, finding.evidence["dormant"]) == (severity, sick)


def recurrent(output, state):
    made = recording({"rnn[0]": output, "rnn[1][0]": state})
    for key in ("rnn[0]", "rnn[1][0]"):
        made.sites[key] = replace(made.sites[key], module="rnn", leaf=key[3:], module_type="LSTM")
    return made


def test_the_outputs_of_recurrent_layers_have_units_too_their_states_have_not():
    h = normal()
    h[:, :4] *= 1e-3
    assert answer("dormant-units", recording({"rnn": h})).reason is not None
    finding = only(answer("dormant-units", recurrent(h, h)))
    assert (finding.site, finding.evidence["dormant"]) == ("rnn[0]", 4)


def test_final_states_that_are_the_same_for_all_are_found():
    same, nearly = torch.ones(N, 10), normal(mean=1.0, std=0.02)
    assert only(answer("input-independent", recurrent(normal(), same))).site == "rnn[1][0]"
    assert answer("input-independent", recurrent(normal(), nearly)).verdict == "healthy"


def test_dead_units_are_not_counted_as_dormant_too():
    assert answer("dormant-units", dead(5)).verdict == "healthy"


def same(columns: int, gradient: bool = True, part: bool = False):
    x = normal()
    x[:, :columns] = x[:, :1]
    g = normal(seed=1)
    g[:, :columns] = g[:, :1]
    if part:
        g = normal(seed=1)
    tensors = {"fc1": x} | ({"fc1:grad": g} if gradient else {})
    return recording(tensors)


def test_identical_units_are_critical_where_their_gradients_agree():
    finding = only(answer("identical-units", same(6)))
    assert (finding.severity, finding.evidence["identical"]) == ("critical", 6)


@pytest.mark.parametrize("made", [same(2), same(6, part=True), same(6, gradient=False)])
def test_units_that_will_part_are_healthy(made):
    assert answer("identical-units", made).verdict == "healthy"


def test_without_gradients_all_units_have_to_agree():
    assert only(answer("identical-units", same(10, gradient=False))).severity == "warning"


# ---- gates ---------------------------------------------------------------------------------------


def test_saturation_names_side_and_bias():
    z = normal(mean=4.0, std=0.5)
    made = recording({"fc1": z, "act1": z.tanh()}, activations={"act1": "tanh"})
    finding = only(answer("saturated", made))
    assert finding.severity == "critical"
    assert "high side" in finding.message
    assert "Set the bias of fc1 to 0" in finding.remedy


def test_saturation_on_both_sides_names_the_factor():
    z = normal(std=20.0)
    made = recording({"fc1": z, "act1": z.tanh()}, activations={"act1": "tanh"})
    finding = only(answer("saturated", made))
    assert "both sides" in finding.message
    assert f"Divide the weights of fc1 by {z.square().mean().sqrt():.2g}" in finding.remedy


def test_a_head_may_be_sure_of_itself_and_may_rest():
    """A classifier ends saturated; before it learned, its sigmoid gives one half for all."""
    for z, rule in ((normal(std=30.0), "saturated"), (normal(std=0.01), "input-independent")):
        made = recording({"fc1": normal(), "act9": z.sigmoid()}, activations={"act9": "sigmoid"})
        sites = {key: site for key, site in made.sites.items() if key != "out"}
        windows = [replace(w, stats={k: w[k] for k in sites}) for w in made.windows]
        found = answer(rule, Recording(windows, sites)).findings
        assert all(finding.severity == "info" for finding in found)


def test_a_sigmoid_that_rests_at_one_half_still_tells_samples_apart():
    made = recording({"act1": normal(std=0.1).sigmoid()}, activations={"act1": "sigmoid"})
    assert answer("input-independent", made).verdict == "healthy"


def test_switches_beside_other_activations_may_be_the_same_for_all():
    """The gates of squeeze-and-excitation hardly differ from sample to sample."""
    gate = normal(mean=2.0, std=0.01).sigmoid()
    alone = recording({"act1": gate}, activations={"act1": "sigmoid"})
    assert answer("input-independent", alone).verdict == "found"
    beside = recording(
        {"act1": normal().tanh(), "act2": gate}, activations={"act1": "tanh", "act2": "sigmoid"}
    )
    assert answer("input-independent", beside).verdict == "healthy"


def test_a_softplus_far_below_its_rest_still_tells_samples_apart():
    a = torch.nn.functional.softplus(normal(mean=-4.0, std=0.5))
    made = recording({"act1": a}, activations={"act1": "softplus"})
    assert answer("input-independent", made).verdict == "healthy"


def test_open_gates_are_healthy():
    made = recording({"act1": normal().tanh()}, activations={"act1": "tanh"})
    assert answer("saturated", made).verdict == "healthy"


def test_saturation_does_not_apply_to_relu():
    assert answer("saturated", dead(0)).reason == "no activation here is bounded on both sides"


# ---- scales --------------------------------------------------------------------------------------


def shrinking(gain: float, layers: int = 6):
    z = [normal(mean=-0.2, std=0.1 * gain**i, seed=i) for i in range(layers)]
    tensors = {}
    for i, x in enumerate(z, start=1):
        tensors |= {f"fc{i}": x, f"act{i}": x.tanh()}
    return recording(tensors, activations={f"act{i + 1}": "tanh" for i in range(layers)})


def test_input_independence_names_the_factor_of_the_weights():
    found = answer("input-independent", shrinking(0.25)).findings
    assert found[0].site == "act3"
    assert found[0].severity == "critical"  # as grave as what becomes of it
    assert found[0].modules == ("fc2", "fc3", "fc4", "fc5", "fc6")
    assert found[0].evidence["factor"] == pytest.approx(4, rel=0.05)
    assert "Scale the initial weights of fc2…fc6 by 4 (Xavier" in found[0].remedy


def test_one_layer_that_stops_the_signal_is_named():
    tensors = {}
    for i, std in enumerate((0.5, 0.45, 0.4, 4e-4, 4e-4, 4e-4), start=1):
        z = normal(mean=-0.1, std=std, seed=i)
        tensors |= {f"fc{i}": z, f"act{i}": z.tanh()}
    made = recording(tensors, activations={f"act{i}": "tanh" for i in range(1, 7)})
    found = answer("input-independent", made).findings
    assert (found[0].site, found[0].modules) == ("act4", ("fc4",))
    assert found[0].evidence["factor"] == pytest.approx(1000, rel=0.2)


def test_a_branch_that_hardly_varies_beside_one_that_does_is_healthy():
    weak, strong = normal(mean=-0.2, std=0.015).tanh(), normal().tanh()
    kinds = {"act1": "tanh", "act2": "tanh"}
    beside = recording({"act1": weak, "act2": strong}, activations=kinds)
    assert answer("input-independent", beside).verdict == "healthy"
    behind = recording({"act1": weak, "act2": weak}, activations=kinds)
    assert len(answer("input-independent", behind).findings) == 2


def test_layers_that_pass_on_what_varies_are_healthy():
    assert answer("input-independent", shrinking(1.0)).verdict == "healthy"


def test_an_activation_of_zeros_has_no_signal():
    made = recording({"act1": torch.zeros(N, 10)}, activations={"act1": "tanh"})
    assert only(answer("input-independent", made)).evidence["signal_fraction"] == 0


def test_input_independence_does_not_apply_without_units():
    made = recording({"act1": normal().tanh().flatten()}, activations={"act1": "tanh"})
    assert "no layer here tells its units apart" in answer("input-independent", made).reason


def growing(factor: float):
    return recording({f"fc{i}": normal(std=factor**i, seed=i) for i in range(1, 6)})


def test_exploding_activations_begin_where_they_leave_the_ordinary():
    found = answer("exploding-activation", growing(4.0)).findings
    assert [finding.site for finding in found] == ["fc5"]
    assert found[0].evidence["over_layer_before"] == pytest.approx(4, rel=0.1)
    assert "Divide the weights of fc1…fc5 by 4 each" in found[0].remedy


def test_one_layer_that_grows_by_itself_is_found():
    tensors = {"fc1": normal(), "fc2": normal(std=30, seed=1), "fc3": normal(std=30, seed=2)}
    assert only(answer("exploding-activation", recording(tensors))).site == "fc2"


def typed(made, **types):
    """Give sites the classes of their modules: ``fc1="Conv2d"``."""
    for name, kind in types.items():
        made.sites[name] = replace(made.sites[name], module_type=kind)
    return made


def remedy_of_growth(between: str = "Identity", **types: str) -> str:
    """Return what helps a layer that grows by itself, in a net with another kind of module."""
    tensors = {"fc1": normal(), "between": normal(), "fc2": normal(std=30, seed=1)}
    made = typed(recording(tensors), between=between, **types)
    made.sites["between"] = replace(made.sites["between"], trainable=None)
    return only(answer("exploding-activation", made)).remedy


@pytest.mark.parametrize(
    ("kind", "between", "norm"),
    [
        ("Linear", "Identity", "BatchNorm1d(10)"),
        ("Linear", "BatchNorm2d", "BatchNorm1d(10)"),
        ("Linear", "LayerNorm", "LayerNorm(10)"),
        ("Linear", "LlamaRMSNorm", "RMSNorm(10)"),
        ("Linear", "GroupNorm", "LayerNorm(10)"),
        ("Linear", "MultiheadAttention", "LayerNorm(10)"),
        ("Linear", "LSTM", "LayerNorm(10)"),
        ("Conv1D", "GPT2Attention", "LayerNorm(10)"),  # transformers' linear layer
        ("Conv2d", "Identity", "BatchNorm2d(10)"),
        ("ConvTranspose3d", "InstanceNorm3d", "InstanceNorm3d(10)"),
        ("Conv1d", "GroupNorm", "GroupNorm(..., 10)"),
        ("Conv2d", "LayerNorm", "GroupNorm(1, 10)"),
        ("Conv2d", "MultiheadAttention", "BatchNorm2d(10)"),
    ],
)
def test_the_norm_against_growth_fits_the_net(kind, between, norm):
    assert f"normalise after it ({norm})" in remedy_of_growth(between, fc2=kind)


def test_the_nearest_norm_is_the_one_to_follow():
    tensors = {"stem": normal(), "norm1": normal(), "norm2": normal(), "fc": normal(std=30)}
    made = typed(recording(tensors), norm1="BatchNorm2d", norm2="LayerNorm")
    assert "(LayerNorm(10))" in only(answer("exploding-activation", made)).remedy


def test_residual_branches_are_spoken_of_where_a_net_attends():
    assert "residual branch" in remedy_of_growth("MultiheadAttention")
    assert "residual branch" not in remedy_of_growth("LayerNorm")
    assert "residual branch" not in remedy_of_growth("MultiheadAttention", fc2="Conv2d")
    tensors = {"fc1": normal(), "blocks.0.attn.value": normal(std=30, seed=1)}
    finding = only(answer("exploding-activation", recording(tensors)))
    assert "(LayerNorm(10)); where it ends a residual branch" in finding.remedy


def test_growth_from_small_scales_harms_nobody():
    tensors = {"fc1": normal(std=0.01), "fc2": normal(std=1.0)}
    assert answer("exploding-activation", recording(tensors)).verdict == "healthy"


def test_scale_drift_says_from_where_to_where():
    windows = [{"fc1": normal(std=10.0**i, seed=i)} for i in range(4)]
    finding = only(answer("scale-drift", recording(*windows)))
    assert finding.evidence["ratio"] == pytest.approx(1000, rel=0.1)
    assert "grew" in finding.message


def test_what_grows_up_to_the_ordinary_does_not_drift():
    windows = [{"fc1": normal(std=0.01 * 10.0**i, seed=i)} for i in range(4)]
    assert answer("scale-drift", recording(*windows)).verdict == "healthy"


def test_steady_scales_do_not_drift():
    windows = [{"fc1": normal(seed=i)} for i in range(4)]
    assert answer("scale-drift", recording(*windows)).verdict == "healthy"


def test_drift_needs_windows():
    assert answer("scale-drift", recording({"fc1": normal()})).reason == (
        "at least 3 windows are needed; this has 1"
    )


@pytest.mark.parametrize(
    ("mean", "std", "severity"),
    [
        *((127.0, 70.0, "warning"), (1000.0, 1.0, "critical"), (0.0, 1000.0, "critical")),
        (0.0, 1e-4, "warning"),
    ],
)
def test_inputs_far_from_zero_and_one_are_found(mean, std, severity):
    tensors = {"fc1": normal(), "fc1:input": normal(mean=mean, std=std)}
    finding = only(answer("unnormalised-input", recording(tensors)))
    assert (finding.site, finding.severity) == ("fc1:input", severity)


def test_columns_that_differ_are_standardised_one_by_one():
    x = normal(5)
    x[:, 2] = 1e5 + 3e4 * x[:, 2]
    finding = only(answer("unnormalised-input", recording({"fc1": normal(), "fc1:input": x})))
    assert "Standardise each feature by itself" in finding.remedy
    assert "feature 2 lies at 1" in finding.remedy


def test_inputs_near_zero_and_one_are_healthy():
    tensors = {"fc1": normal(), "fc1:input": normal(mean=1.5, std=5.0)}  # the tutorial's
    assert answer("unnormalised-input", recording(tensors)).verdict == "healthy"


def test_inputs_have_to_be_recorded():
    assert answer("unnormalised-input", recording({"fc1": normal()})).reason == (
        '"input" is not recorded: add it to the recorder\'s `capture`'
    )


# ---- gradients -----------------------------------------------------------------------------------


def test_gradients_that_vanish_by_weights_name_the_factor():
    finding = only(answer("vanishing-gradient", chain([0.316] * 7)))
    assert finding.severity == "critical"
    assert finding.evidence["cause"] == "weights"
    assert finding.evidence["decay_per_layer"] == pytest.approx(-0.5, abs=0.02)
    assert finding.evidence["weight_gain"] == pytest.approx(0.316, rel=0.05)
    assert finding.evidence["gate_gain"] == pytest.approx(1, rel=0.05)
    assert "Scale the initial weights of fc2…fc8 by 3.2 (Xavier" in finding.remedy


def test_gradients_that_vanish_by_gates_name_them():
    made = chain([3.0] * 7, gates=[0.5, 0.4, 0.1, 0.05, 0.02, 0.01, 0.01, 0.001])
    finding = only(answer("vanishing-gradient", made))
    assert finding.evidence["cause"] == "gates"
    assert finding.site == "act8"  # the one that is shut most
    assert "shut" in finding.message


def test_one_layer_that_stops_the_gradient_is_named():
    assert only(answer("vanishing-gradient", chain([1, 1, 1e-3, 1, 1]))).site == "fc4"


def test_gradients_that_keep_their_norm_are_healthy():
    assert answer("vanishing-gradient", chain([0.9] * 7)).verdict == "healthy"
    assert answer("exploding-gradient", chain([1.5] * 7)).verdict == "healthy"
    assert answer("exploding-gradient", chain([3.0] * 3)).verdict == "healthy"  # too few to judge


def test_depth_needs_layers():
    assert "4 layers are too few" in answer("vanishing-gradient", chain([0.3] * 3)).reason


def test_gradients_have_to_be_recorded():
    made = recording({"fc1": normal(), "fc2": normal()})
    assert '"grad" is not recorded' in answer("vanishing-gradient", made).reason


def test_gradients_that_grow_towards_the_input_are_found():
    finding = only(answer("exploding-gradient", chain([4.0] * 7)))
    assert finding.evidence["decades"] == pytest.approx(4.2, abs=0.1)
    assert "Divide the initial weights of fc2…fc8 by 4" in finding.remedy


def test_a_gradient_that_jumps_in_time_is_found():
    sizes = [1.0, 1.1, 0.9, 1.0, 1.0, 5000.0]
    windows = [{"fc1": normal(), "fc1:grad": normal(std=s, seed=3)} for s in sizes]
    made = recording(*windows)
    finding = only(answer("exploding-gradient", made))
    assert (finding.site, finding.since) == ("fc1:grad", 5)


def cut(**gradients):
    tensors = {name: normal() for name in ("fc1", "fc2", "fc3")}
    return {**tensors, **{f"{name}:grad": g for name, g in gradients.items()}}


def test_masks_of_minus_infinity_are_healthy():
    scores = normal()
    scores[:, 5:] = -torch.inf
    made = recording({"fc1": normal(), "fc1:input": scores})
    assert answer("non-finite", made).verdict == "healthy"


def test_minus_infinity_that_breaks_what_follows_is_a_fault():
    logs = normal()
    logs[:, 5:] = -torch.inf
    assert only(answer("non-finite", recording({"fc1": logs, "fc2": logs * 0}))).site == "fc1"


def test_what_recovers_is_no_longer_critical():
    nan = torch.full((N, 10), torch.nan)
    fine, bad = {"fc1": normal(), "fc1:grad": normal()}, {"fc1": normal(), "fc1:grad": nan}
    finding = only(answer("non-finite", recording(fine, bad, fine, fine)))
    assert (finding.severity, finding.since) == ("info", 1)
    assert "finite again from step 2 on" in finding.message
    finding = only(answer("non-finite", recording(fine, {"fc1": nan, "fc1:grad": nan}, fine)))
    assert finding.severity == "warning"
    assert only(answer("non-finite", recording(fine, bad))).severity == "critical"


def test_a_broken_input_is_named_only_with_what_it_breaks():
    nan = torch.full((N, 10), torch.nan)
    assert answer("non-finite", recording({"fc1": normal(), "fc1:input": nan})).findings == ()
    assert only(answer("non-finite", recording({"fc1": nan, "fc1:input": nan}))).site == "fc1:input"


def test_leaves_that_the_loss_does_not_use_are_healthy():
    made = recording({"rnn[0]": normal(), "rnn[1]": normal(), "rnn[0]:grad": normal()})
    sites = {k: replace(s, module="rnn", leaf=s.module[3:]) for k, s in made.sites.items()}
    assert answer("no-gradient", Recording(made.windows, sites)).verdict == "healthy"


def test_half_closed_rectifiers_are_not_saturated():
    made = recording({"act1": normal().clamp(0, 6)}, activations={"act1": "relu6"})
    assert answer("saturated", made).verdict == "healthy"
    made = recording({"act1": (10 + normal()).clamp(0, 6)}, activations={"act1": "relu6"})
    assert "high side" in only(answer("saturated", made)).message


def test_blocks_are_compared_place_by_place():
    """Queries get far less gradient than what comes after: that is no decay over depth."""
    tensors = {}
    for block in range(3):
        for name, size in (("query", 1e-3), ("up", 1.0), ("down", 1.0)):
            key = f"blocks.{block}.{name}"
            tensors |= {key: normal(), f"{key}:grad": normal(std=size)}
    assert "3 layers are too few" in answer("vanishing-gradient", recording(tensors)).reason


def test_norms_may_make_gradients_grow_unless_the_net_is_deep():
    shallow, deep = chain([3.0] * 7), chain([1.5] * 24)
    for made in (shallow, deep):
        assert only(answer("exploding-gradient", made)).severity in ("warning", "critical")
        made.sites["fc1"] = replace(made.sites["fc1"], module_type="BatchNorm1d")
    assert answer("exploding-gradient", shallow).verdict == "healthy"
    assert answer("exploding-gradient", deep).verdict == "found"


def test_a_layer_without_gradient_is_cut_off():
    made = recording(cut(fc3=normal()))
    found = answer("no-gradient", made).findings
    assert [(f.site, f.severity) for f in found] == [("fc1", "critical"), ("fc2", "critical")]
    assert "between fc2 and fc3" in found[1].remedy


def test_a_layer_that_is_cut_off_in_the_middle_of_a_run_is_found():
    before, after = cut(fc1=normal(), fc2=normal(), fc3=normal()), cut(fc2=normal(), fc3=normal())
    finding = only(answer("no-gradient", recording(before, before, before, after, steps=10)))
    assert (finding.site, finding.severity) == ("fc1", "critical")


def test_a_gradient_of_zeros_is_found():
    made = recording(cut(fc1=torch.zeros(N, 10), fc2=normal(), fc3=normal()))
    finding = only(answer("no-gradient", made))
    assert finding.evidence["zeros"] == finding.evidence["values"] == 10 * N


def test_what_lies_behind_weights_of_zero_is_a_remark_at_first():
    """So begin heads, adapters and branches: their first step opens the way."""
    tensors = cut(fc1=normal(), fc2=torch.zeros(N, 10), fc3=normal())
    tensors["fc3"] = torch.zeros(N, 10)
    finding = only(answer("no-gradient", recording(tensors)))
    assert (finding.site, finding.severity) == ("fc2", "info")
    finding = only(answer("no-gradient", recording(tensors, steps=10)))
    assert (finding.site, finding.severity) == ("fc2", "critical")  # it did not


def test_a_frozen_layer_is_a_remark():
    made = recording(cut(fc2=normal(), fc3=normal()))
    made.sites["fc1"] = replace(made.sites["fc1"], trainable=False)
    finding = only(answer("no-gradient", made))
    assert (finding.site, finding.severity) == ("fc1", "info")


# ---- numbers -------------------------------------------------------------------------------------


def test_the_first_non_finite_value_is_found_forward():
    broken = normal()
    broken[3, 4] = torch.inf
    nan = torch.full_like(broken, torch.nan)
    windows = [{"fc1": normal(), "fc2": normal(std=2.0**i)} for i in range(3)]
    windows += [{"fc1": normal(), "fc2": broken}, {"fc1": nan, "fc2": nan}]
    finding = only(answer("non-finite", recording(*windows)))
    assert (finding.site, finding.since) == ("fc2", 3)
    assert (finding.evidence["inf"], finding.evidence["nan"]) == (1, 0)
    assert finding.evidence["growth_before"] == pytest.approx(4, rel=0.01)
    assert "1 Inf among 2,560 values; the first in the forward pass of step 3" in finding.message


def test_a_window_of_several_steps_is_named_by_them():
    broken = normal()
    broken[3, 4] = torch.inf
    finding = only(answer("non-finite", recording({"fc1": broken}, steps=5)))
    assert "1 Inf among 2,560 values of steps 0 to 4; the first in" in finding.message


def test_the_first_non_finite_value_is_found_backward():
    nan = torch.full((N, 10), torch.nan)
    tensors = {"fc1": normal(), "fc2": normal(), "fc3": normal()}
    gradients = {"fc1:grad": nan, "fc2:grad": nan, "fc3:grad": normal()}
    finding = only(answer("non-finite", recording({**tensors, **gradients})))
    assert (finding.site, finding.evidence["backward"]) == ("fc2:grad", 1)


def test_finite_values_are_healthy():
    assert answer("non-finite", recording({"fc1": normal()})).verdict == "healthy"


def test_what_float16_cannot_hold_is_a_remark_in_float32():
    x = normal(std=1.0)
    x[:, :3] *= 2.0**-40
    finding = only(answer("low-precision-range", recording({"fc1:grad": x, "fc1": normal()})))
    assert (finding.site, finding.severity) == ("fc1:grad", "info")
    exact = float((x.abs() < 2.0**-24).sum()) / x.numel()
    assert finding.evidence["below_least_float16"] == exact


def test_float16_that_runs_out_of_range_is_a_warning():
    x = normal()
    x[:, :3] *= 2.0**-16
    made = recording({"fc1": x}, dtypes={"fc1": "float16"})
    assert only(answer("low-precision-range", made)).severity == "warning"


def test_gradients_taken_out_of_a_loss_scale_are_clear_of_float16s_end():
    x = normal(std=2.0**-20)
    made = recording({"fc1": normal(), "fc1:grad": x}, dtypes={"fc1:grad": "float16"})
    assert answer("low-precision-range", made).findings[0].severity == "warning"
    made.sites["fc1:grad"] = replace(made.sites["fc1:grad"], scaled=True)
    assert answer("low-precision-range", made).findings[0].severity == "info"


def test_values_beyond_float16_are_a_warning():
    finding = only(answer("low-precision-range", recording({"fc1": normal(std=1e5)})))
    assert finding.severity == "warning"
    assert "float16 ends at 65,504" in finding.message


def test_ordinary_values_fit_float16():
    assert answer("low-precision-range", recording({"fc1": normal()})).verdict == "healthy"


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_formats_are_torchs(form):
    info = torch.finfo(getattr(torch, form.name))
    assert form.largest == info.max
    assert 2.0**form.normal == info.smallest_normal
    digits = -round(math.log2(info.eps))
    assert form.subnormal == form.normal - digits


# ---- use -----------------------------------------------------------------------------------------


@pytest.mark.hostile(2)
def test_modules_that_never_ran_are_told_apart():
    uses = {"head": "unused", "tied": "used", "spare": "unknown", "drop": "none"}
    made = recording({"fc1": normal()}, never_called=uses)
    found = {f.site: f.severity for f in answer("never-called", made).findings}
    assert found == {"head": "warning", "spare": "info", "drop": "info"}


def test_modules_that_all_ran_are_healthy():
    assert answer("never-called", recording({"fc1": normal()})).verdict == "healthy"


@pytest.mark.parametrize(
    ("ratio", "severity"), [(10.0, "critical"), (0.6, "warning"), (1e-8, "warning")]
)
def test_steps_beyond_measure_are_found(ratio, severity):
    scalars = {f"update_ratio/fc{i}.weight": ratio for i in range(3)}
    finding = only(answer("update-ratio", recording({"fc1": normal()}, scalars=[scalars])))
    assert (finding.site, finding.severity) == (None, severity)


@pytest.mark.parametrize(
    ("ratio", "severity"), [(0.6, "info"), (3.0, "warning"), (1e-8, "warning")]
)
def test_one_parameter_that_moves_otherwise_than_the_rest_is_named(ratio, severity):
    scalars = {f"update_ratio/fc{i}.weight": 1e-3 for i in (2, 3)}
    scalars["update_ratio/fc1.weight"] = ratio
    finding = only(answer("update-ratio", recording({"fc1": normal()}, scalars=[scalars])))
    assert (finding.site, finding.severity) == ("fc1", severity)


def test_parameters_that_no_step_moves_are_a_remark():
    scalars = {f"update_ratio/fc{i}.weight": ratio for i, ratio in ((1, 0.0), (2, 1e-3), (3, 1e-3))}
    finding = only(answer("update-ratio", recording({"fc1": normal()}, scalars=[scalars])))
    assert (finding.site, finding.severity) == ("fc1", "info")
    assert "leave 1 of 3 parameters exactly as they are: fc1.weight" in finding.message
    assert finding.evidence["unmoved"] == 1


def test_where_nothing_moves_yet_nothing_is_said():
    scalars = {f"update_ratio/fc{i}.weight": 0.0 for i in (1, 2)}  # the first step of a warm-up
    made = recording({"fc1": normal()}, scalars=[scalars])
    assert answer("update-ratio", made).verdict == "healthy"


def test_steps_of_the_usual_size_are_healthy():
    scalars = [{"update_ratio/fc1.weight": 1e-3}]
    made = recording({"fc1": normal()}, scalars=scalars)
    assert answer("update-ratio", made).verdict == "healthy"


def test_updates_have_to_be_seen():
    assert "no update was seen" in answer("update-ratio", recording({"fc1": normal()})).reason


# ---- the table of rules --------------------------------------------------------------------------


def test_causes_come_before_what_they_explain():
    """By stage, then by place in the forward, then by rank: no two findings explain each other."""
    place = {rule.name: (STAGES.index(rule.stage), i) for i, rule in enumerate(RULES)}
    for rule in RULES:
        for cause in rule.causes:
            forward = rule.stage == "forward" and cause.where == "before"
            stage = place[cause.rule][0]
            assert stage < place[rule.name][0] or forward or place[cause.rule] <= place[rule.name]
            assert stage <= place[rule.name][0], (rule.name, cause.rule)


def test_every_rule_says_where_it_comes_from():
    assert all(rule.title and rule.remedy and rule.source for rule in RULES)


def test_the_names_that_are_promised_are_there():
    promised = {
        *("dead-units", "silent-units", "dormant-units", "identical-units", "saturated"),
        *("input-independent", "exploding-activation", "scale-drift", "unnormalised-input"),
        *("vanishing-gradient", "exploding-gradient", "no-gradient", "non-finite"),
        *("low-precision-range", "update-ratio", "never-called"),
    }
    assert {rule.name for rule in RULES} >= promised
