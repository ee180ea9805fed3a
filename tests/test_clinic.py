"""The clinic counts rightly, its cases build, and its faults are there."""

import json
import math
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.clinic import __main__ as command  # noqa: E402
from benchmarks.clinic import (  # noqa: E402
    cases,
    fresh,
    healthy,
    models,
    proof,
    published,
    score,
    show,
    sick,
    split,
)
from benchmarks.clinic.case import RULES, Case, Setup, distance, layers_of, places  # noqa: E402
from benchmarks.clinic.mlp import mlp  # noqa: E402
from benchmarks.clinic.recurrent import Reader  # noqa: E402
from benchmarks.clinic.transformer import Gpt  # noqa: E402

from actstats import ActivationRecorder, make_mlp  # noqa: E402

BY_ROUNDING = {"fresh-non-finite-siamese-angle"}
SICK_ONES, HEALTHY_ONES = sick.CASES + fresh.SICK, healthy.CASES + fresh.HEALTHY
CHEAP = [
    c for c in SICK_ONES if c.steps == 0 and "deep-bn" not in c.name and "tutorial" not in c.name
]
LAYERS = (("fc1", "act1"), ("fc2", "act2"), ("fc3", "act3"), ("out",))


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ---- intervals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    # Agresti & Coull 1998 for 0 of 10; the others by statsmodels' proportion_confint("wilson")
    [
        (0, 10, 0.0, 0.2775),
        (8, 10, 0.4902, 0.9433),
        (10, 10, 0.7225, 1.0),
        (95, 100, 0.8882, 0.9785),
    ],
)
def test_wilson_is_that_of_tables(hits, n, low, high):
    assert score.wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_of_nothing_is_everything():
    assert score.wilson(0, 0) == (0.0, 1.0)


def test_wilson_solves_its_equation():
    for hits, n in ((1, 7), (30, 41), (128, 129)):
        for p in score.wilson(hits, n):
            distance_ = abs(hits / n - p) / math.sqrt(p * (1 - p) / n)
            assert distance_ == pytest.approx(1.959964, rel=1e-6)


# ---- layers and sites ----------------------------------------------------------------------------


def test_norms_and_activations_belong_to_the_layer_before():
    net = mlp((4, 8, 8, 2), normed="bn")
    assert layers_of(net) == (("fc1", "norm1", "act1"), ("fc2", "norm2", "act2"), ("out",))
    assert layers_of(Reader()) == (("rnn",), ("out",))


@pytest.mark.parametrize(
    ("site", "wanted"),
    [
        ("fc2", [1]),
        ("act2:grad", [1]),
        ("fc2#3:input", [1]),
        ("fc2.weight", [1]),
        ("fc2.relu()#2", [1]),
        ("nowhere", []),
        (None, []),
        ("(root)", []),
    ],
)
def test_places(site, wanted):
    assert places(site, LAYERS) == wanted


def test_place_of_a_container_is_all_it_has():
    layers = layers_of(Gpt(depth=2))
    found = places("blocks.1", layers)
    assert all(layers[i][0].startswith("blocks.1.") for i in found)
    assert len(found) == 6


def test_distance_is_to_the_nearest_right_site():
    assert distance("act1", ["fc2", "out"], LAYERS) == 1
    assert distance("fc3:grad", ["fc2", "out"], LAYERS) == 1
    assert distance("out", ["fc1"], LAYERS) == 3
    assert distance(None, ["fc1"], LAYERS) is None


@pytest.mark.parametrize(
    ("name", "kind", "many"),
    [
        ("dead-mlp-functional", "relu", 6),
        ("fresh-saturated-functional-tanh", "tanh", 4),
        ("fresh-silent-functional-gelu", "gelu", 3),
    ],
)
def test_functional_sites_have_their_layer(name, kind, many):
    setup = next(c for c in SICK_ONES if c.name == name).build(0)
    recorder = score.recorded(setup, 0)
    calls = [site for site in recorder if f"{kind}()" in site and ":" not in site]
    assert [places(site, setup.layers) for site in calls] == [[i] for i in range(many)]


# ---- counting ------------------------------------------------------------------------------------

SICK = Case(
    "a-init", "mlp", lambda seed: None, fault="dead-units", also=("silent-units",), site="fc2"
)
WELL = Case("b-init", "mlp", lambda seed: None)


def outcome(case, seed, *found):
    kept = [score.Found(rule, site, severity) for rule, site, severity in found]
    return score.Outcome(case, seed, tuple(kept), {}, LAYERS)


def test_a_hit_wants_a_right_rule_at_warning():
    assert outcome(SICK, 0, ("dead-units", "fc2", "warning")).hit
    assert outcome(SICK, 0, ("silent-units", "fc2", "critical")).hit
    assert not outcome(SICK, 0, ("dead-units", "fc2", "info")).hit
    assert not outcome(SICK, 0, ("saturated", "fc2", "critical")).hit
    assert not outcome(SICK, 0, ("silent-units", "fc2", "critical")).exact_rule


def test_the_first_right_alarm_gives_the_site_and_roots_come_first():
    wrong = score.Found("saturated", "fc2", "critical")
    follows = score.Found("dead-units", "fc2", "warning", root=False)
    root = score.Found("silent-units", "out", "warning")
    seen = score.Outcome(SICK, 0, (wrong, follows, root), {}, LAYERS)
    assert seen.off == 2
    assert not seen.named_first
    assert seen.wrong_roots == (wrong,)


def test_most_seeds_decide_and_all_seeds_are_told():
    hit = ("dead-units", "fc3", "warning")
    counted = score.score([outcome(SICK, 0, hit), outcome(SICK, 1, hit), outcome(SICK, 2)])
    overall = counted["overall"]
    assert (overall["hit"]["hits"], overall["hit_all_seeds"]["hits"]) == (1, 0)
    assert (overall["site_exact"]["hits"], overall["site_within_one"]["hits"]) == (0, 1)
    assert counted["by_fault"].keys() == {"dead-units"}
    assert counted["healthy"]["alarmed"]["n"] == 0


def test_alarms_on_healthy_networks():
    alarm, remark = ("saturated", "fc1", "warning"), ("dormant-units", "fc1", "info")
    rows = [outcome(WELL, 0, alarm), outcome(WELL, 1, remark), outcome(WELL, 2, remark)]
    counted = score.score(rows)["healthy"]
    assert counted["alarmed"]["hits"] == 0
    assert counted["any_seed"]["hits"] == 1
    assert (counted["networks"]["hits"], counted["networks"]["n"]) == (1, 3)
    assert [row["what"] for row in score.failures(rows)] == ["false alarm"]


def test_whole_net_faults_do_not_count_for_sites():
    whole = replace(SICK, site=None)
    counted = score.score([outcome(whole, 0, ("dead-units", None, "critical"))])["overall"]
    assert (counted["hit"]["hits"], counted["site_exact"]["n"]) == (1, 0)


def test_an_error_is_a_miss_and_an_alarm():
    assert replace(outcome(WELL, 0), error="ValueError: x").alarmed
    (row,) = score.failures([replace(outcome(SICK, 0), error="ValueError: x")])
    assert row["what"] == "miss"
    assert "raised ValueError: x" in show.failure_list([row])


# ---- cases ---------------------------------------------------------------------------------------


def test_numbers_of_cases_are_those_promised():
    every = cases()
    names = [c.name for c in every]
    assert len(set(names)) == len(names)
    assert len(sick.CASES) >= 100
    assert len(healthy.CASES) >= 100
    assert {c.fault for c in sick.CASES} == set(RULES)
    for rule in RULES:
        assert sum(c.fault == rule for c in sick.CASES) >= 5, rule
    assert len(fresh.SICK) >= 48
    assert len({split.network(c.name) for c in fresh.HEALTHY}) >= 50
    for rule in RULES:
        assert sum(c.fault == rule for c in fresh.SICK) >= 3, rule
    assert all(c.proof is not None for c in SICK_ONES)
    assert all(c.learns for c in HEALTHY_ONES)
    assert not any(c.fault in c.also for c in SICK_ONES)


def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match="names of rules"):
        replace(SICK, fault="sick")


@pytest.mark.parametrize("case", SICK_ONES, ids=lambda c: c.name)
def test_sites_exist(case):
    _wants(case)
    if case.sites:
        layers = _layers_untrained(case)
        assert all(places(site, layers) for site in case.sites)


def _wants(case):
    """Skip a case whose network is of an absent package."""
    if any(word in case.name for word in ("model-", "bert", "neox")):
        pytest.importorskip("transformers")


def _layers_untrained(case):
    """Build without training: what is warmed up has the same layers."""
    original, Setup.train = Setup.train, lambda self, steps: self
    try:
        return case.build(0).layers
    finally:
        Setup.train = original


@pytest.mark.parametrize("case", CHEAP, ids=lambda c: c.name)
def test_fault_is_there(case):
    _wants(case)
    if case.name in BY_ROUNDING and not torch.__version__.startswith("2.13."):
        pytest.skip("a cosine is exactly 1 by the roundings of torch 2.13, which drew the clinic")
    assert case.proof(case.build(0), case.steps)


@pytest.mark.parametrize("rule", ["scale-drift", "no-gradient"])
def test_fault_is_there_after_training(rule):
    case = next(c for c in sick.CASES if c.fault == rule and c.steps)
    assert case.proof(case.build(0), case.steps)


@pytest.mark.parametrize(
    "name",
    [
        "fresh-dead-stack-last-at-step",
        "fresh-non-finite-gru-weight-at-step",
        "fresh-raw-stack-pixels-at-step",
    ],
)
def test_what_happens_at_a_step_brings_the_fault(name):
    case = next(c for c in fresh.SICK if c.name == name)
    assert case.proof(case.build(0), case.steps)
    spared = case.build(0)
    spared.events.clear()
    assert not case.proof(spared, case.steps)


def test_events_happen_once_and_before_their_step():
    seen = []
    setup = healthy.CASES[0].build(0)
    setup.events = {i: lambda s, i=i: seen.append((i, s is setup)) for i in (0, 2, 9)}
    setup.train(3)
    setup.train(3)
    assert seen == [(0, True), (2, True)]
    assert list(setup.events) == [9]


def test_proofs_can_fail():
    base = next(c for c in healthy.CASES if c.name == "mlp-relu-he-init")
    for claim in (
        proof.dead("act2", 0.1),
        proof.dormant("act2"),
        proof.identical("fc2"),
        proof.constant("act3"),
        proof.fades("act1", "act3", 0.1),
        proof.grows("act1", "act3", 10),
        proof.breaks,
        proof.breaks_forward("act2"),
        proof.ungraded("fc1"),
        proof.uncalled("fc1"),
        proof.updates(low=1e-6, high=1.0),
        proof.input_scale(50, 50),
        proof.overflows("act2"),
        proof.underflows("fc2", 0.5),
        proof.breaks_first("fc1"),
        proof.shut_after("fc2", torch.tanh, 0.8),
        proof.after(proof.breaks_at_input),
    ):
        assert not claim(base.build(0), 0)


@pytest.mark.parametrize("case", HEALTHY_ONES, ids=lambda c: c.name)
def test_healthy_networks_give_a_finite_loss(case):
    _wants(case)
    setup = case.build(0)
    loss = setup.loss_fn(setup.model, setup.batches[0])
    assert math.isfinite(loss.item())


def test_a_healthy_network_learns_and_a_dead_one_does_not():
    well = next(c for c in healthy.CASES if c.name == "mlp-relu-he-init").build(0)
    dead = next(c for c in sick.CASES if c.name == "dead-mlp-relu").build(0)
    assert not proof.fails_to_learn(well, 40)
    assert proof.fails_to_learn(dead, 40)


def test_building_is_repeatable_and_leaves_the_random_state():
    case = healthy.CASES[0]
    before = torch.get_rng_state()
    one, two = case.build(1), case.build(1)
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(next(case.build(2).model.parameters()), next(one.model.parameters()))


def test_committed_labels_are_true():
    stored = ROOT / "benchmarks" / "results" / "clinic-learning.json"
    rows = json.loads(stored.read_text())["networks"]
    measured = {row["case"] for row in rows}
    wanted = {c.name for c in cases()}
    if not models.has_minilm():
        measured = {name for name in measured if "minilm" not in name}
    assert measured == wanted
    assert not [row for row in rows if False in (row.get("as_labelled"), row.get("fault_is_there"))]


# ---- halves --------------------------------------------------------------------------------------


def test_halves_are_even_in_each_stratum_and_keep_variants_together():
    every = cases()
    half = split.halves(every)
    assert half == split.halves(reversed(every))
    by_network = {}
    for c in every:
        by_network.setdefault((c.stratum, split.network(c.name)), set()).add(half[c.name])
    assert all(len(found) == 1 for found in by_network.values())
    for stratum in {c.stratum for c in every}:
        found = [next(iter(h)) for (s, _), h in by_network.items() if s == stratum]
        assert abs(found.count("tune") - found.count("report")) <= 1, stratum


def test_the_fresh_part_runs_only_when_asked_for():
    assert not any(c.fresh for found in command.chosen("both", "*").values() for c in found)
    assert command.chosen("fresh", "*") == {"fresh": fresh.CASES}
    assert all(c.fresh for c in fresh.CASES)
    assert not any(c.fresh for c in sick.CASES + healthy.CASES)


# ---- published rules -----------------------------------------------------------------------------


def fired(model, x):
    recorder = ActivationRecorder(model, capture=("output", "input", "grad"), functional=True)
    with recorder:
        model(x).square().mean().backward()
        recorder.step()
    return score.others(recorder.recording)


def test_published_rules_fire_where_their_formula_says():
    torch.manual_seed(0)
    net, x = mlp((8, 32, 32, 32, 2), "relu"), torch.randn(64, 8)
    with torch.no_grad():
        net.fc2.bias -= 50
    found = fired(net, x)
    assert "act2" in found["more than half of a ReLU layer inactive"]
    assert "act2" in found["all values zero"]
    assert "act2" in found["70 % of values <= 0"]
    assert "NaN or Inf anywhere" not in found


def test_published_saturation_and_scale():
    torch.manual_seed(0)
    net, x = mlp((8, 32, 32, 2), "tanh", "xavier"), torch.randn(64, 8)
    with torch.no_grad():
        net.fc2.weight *= 100
    found = fired(net, x)
    assert found["half of a tanh or sigmoid beyond 97 %"] == ["act2"]
    flat = fired(make_mlp(activation="tanh", weight_std=0.1, bias_init=-0.2), torch.randn(64, 1))
    assert {"signal fraction < 1 %", "gradient first / last < 1 %", "depth decay < -0.29"} <= set(
        flat
    )


def test_published_rules_name_rules_of_ours():
    assert all(set(rule.targets) <= set(RULES) for rule in published.RULES)
    sources = "own cut-off|et al. 20\\d\\d|SageMaker Debugger|Morvan Zhou"
    assert all(re.search(sources, rule.source) for rule in published.RULES)


# ---- a whole run, with a stand-in ----------------------------------------------------------------


@dataclass
class Finding:
    rule: str
    site: str | None
    severity: str = "critical"
    message: str = "made up"
    evidence: dict = field(default_factory=lambda: {"n": np.int64(3), "rms": math.inf})
    remedy: str = ""
    caused_by: object = None


class Fake:
    """A diagnosis that finds one fault everywhere, and notes how it was asked."""

    def __init__(self):
        self.asked = []

    def check(self, model, batch, loss_fn, *, optimizer, remedies, functional):
        assert isinstance(model, nn.Module)
        assert math.isfinite(loss_fn(model, batch).item())
        self.asked.append("check")
        return [Finding("dead-units", "act3:grad")]

    def diagnose(self, recorder):
        assert recorder.recording.windows
        self.asked.append("diagnose")
        return [Finding("dead-units", "fc3")]


def test_a_run_prints_and_writes(tmp_path, capsys):
    fake = Fake()
    options = ["--seeds", "1", "--only", "*mlp-relu-[ah]*", "--out", str(tmp_path)]
    command.main(options, fake)
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "clinic.json").read_text())
    assert (tmp_path / "clinic.md").read_text() in printed
    assert (tmp_path / "clinic.png").stat().st_size > 1000
    assert {"benchmark", "machine", "options"} <= set(result)
    assert set(fake.asked) == {"check", "diagnose"}
    dead = [h["by_fault"]["dead-units"] for h in result["halves"].values()]
    assert sum(d["hit"]["hits"] for d in dead) == sum(d["hit"]["n"] for d in dead) == 2
    assert sum(d["site_within_one"]["hits"] for d in dead) == 2  # after training it is fc3
    assert sum(d["site_exact"]["hits"] for d in dead) == 1  # in the half of a layer it is fc2
    assert "false alarm: mlp-relu-he-init, seed 0: found dead-units at act3:grad" in printed


def test_a_diagnosis_that_raises_does_not_stop_the_run():
    class Broken:
        def check(self, *_, **__):
            raise RuntimeError("no")

    seen = score.observe(healthy.CASES[0], 0, Broken())
    assert seen.error == "RuntimeError: no"
    assert seen.alarmed
