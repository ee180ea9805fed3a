"""Two recordings compared: what belongs together, and where and when it separates."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

import actstats
from actstats import ActivationRecorder, Recording, TensorStats, Window, make_mlp
from actstats.comparison import wasserstein
from actstats.comparison.judging import in_order_of_computing, since
from comparison_nets import TUTORIAL, trained


def noise(seed, shift=0.0, n=500):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)) + shift


def literal(shifts, *, sites=("fc1", "act1"), phase="train", width=1, seed=0, first=0):
    """Windows of samples; ``shifts[site][window]`` is what is added to the site's."""
    windows = []
    for i in range(len(next(iter(shifts.values())))):
        stats = {
            site: TensorStats.from_tensor(noise(seed + 97 * i + k, shifts[site][i]))
            for k, site in enumerate(sites)
        }
        start = first + width * i
        windows.append(Window(start, start + width - 1, phase, stats))
    return Recording(windows)


CALM = {"fc1": [0.0] * 12, "act1": [0.0] * 12}


def shifted(**at):
    """Shifts of 1 from a window on, by site."""
    return {site: [0.0] * at.get(site, 12) + [1.0] * (12 - at.get(site, 12)) for site in CALM}


# ---- where and when ------------------------------------------------------------------------------


def test_identical_runs_are_at_distance_exactly_0():
    comparison = actstats.compare(trained(), trained())
    assert comparison.identical
    assert comparison.first is None
    assert not comparison.measured.w1.any()
    assert not comparison.measured.psi.any()
    assert comparison.verdict.startswith("The two are identical: every distance is exactly 0")


def test_samples_of_one_distribution_do_not_separate():
    comparison = actstats.compare(literal(CALM), literal(CALM, seed=5000))
    assert comparison.first is None
    assert not comparison.identical
    assert comparison.verdict.startswith(
        "The two do not separate: no W1 is beyond the noise and a run's own movement; over all "
        "steps the largest is 0.0"
    )
    assert comparison.verdict.endswith("Compared: 2 sites in 12 windows, steps 0-11.")


def constant(at, value, like):
    """A recording whose site fc1 is almost constant in one window."""
    windows = list(like.windows)
    stats = {**windows[at].stats, "fc1": TensorStats.from_tensor(1e-3 * noise(at) + value)}
    windows[at] = Window(windows[at].first_step, windows[at].last_step, "train", stats)
    return Recording(windows)


def test_a_large_distance_that_does_not_count_says_why():
    a, b = literal(CALM), literal(CALM, seed=5000)
    found = actstats.compare(constant(1, 0.0, a), constant(1, 0.1, b))
    assert found["fc1"].most == pytest.approx(2, abs=0.01)
    assert found.verdict.startswith(
        "The two do not separate: the largest W1 beyond the noise is 2 of the standard deviation, "
        "at fc1 from step 1, but not in 3 windows in a row; the site is nearly constant there."
    )


def test_what_is_within_the_noise_is_not_the_largest_distance():
    walk = {"fc1": [0.0, 40.0] * 6, "act1": [0.0] * 12}  # moves by more than it differs
    b = literal({"fc1": [0.0, 41.0] * 6, "act1": [0.08] * 12})
    found = actstats.compare(literal(walk), b, threshold=0.9)
    assert found["fc1"].most > 0.5
    assert "at fc1" not in found.verdict


def test_the_first_site_and_window_are_found():
    b = literal(shifted(act1=5, fc1=8), seed=5000)
    comparison = actstats.compare(literal(CALM), b)
    first = comparison.first
    assert (first.site, first.window, first.first_step, first.last_step) == ("act1", 5, 5, 5)
    assert first.w1_normalised == pytest.approx(1 / math.sqrt(1.25), rel=0.05)
    assert [row.since for row in comparison] == [8, 5]
    assert [row.site for row in comparison.separated] == ["act1", "fc1"]
    assert "act1 in step 5" in comparison.verdict
    assert comparison["act1"].most == np.nanmax(comparison.series("act1").values)


def test_of_sites_in_one_window_the_first_that_is_computed():
    comparison = actstats.compare(literal(CALM), literal(shifted(act1=5, fc1=5), seed=5000))
    assert comparison.first.site == "fc1"
    sites = ["fc1", "fc1:grad", "act1", "act1:grad", "act1:input"]
    assert [sites[i] for i in in_order_of_computing(sites)] == [
        *("fc1", "act1", "act1:input", "act1:grad", "fc1:grad")
    ]


def test_a_moment_apart_is_no_separation():
    shifts = {"fc1": [0.0] * 5 + [1.0] * 2 + [0.0] * 5, "act1": [0.0] * 12}
    b = literal(shifts, seed=5000)
    assert actstats.compare(literal(CALM), b).first is None
    assert actstats.compare(literal(CALM), b, hold=2).first.window == 5


@pytest.mark.parametrize(
    ("apart", "hold", "expected"),
    [
        ("0011100", 3, 2),
        ("0110110", 3, None),
        ("11", 3, 0),
        ("01", 3, None),
        ("1x1x1", 3, 0),
        ("xxx", 3, None),
        ("0001", 1, 3),
    ],
)
def test_since(apart, hold, expected):
    found = np.array([c == "1" for c in apart])
    seen = np.array([c != "x" for c in apart])
    assert since(found, seen, hold) == expected


def test_a_small_shift_is_below_the_mark_until_it_is_asked_for():
    a, b = literal(CALM), literal({site: [0.07] * 12 for site in CALM}, seed=0)
    assert actstats.compare(a, b).first is None
    assert actstats.compare(a, b, threshold=0.05).first is None  # of so few samples it is noise
    many = [literal({"fc1": [s] * 3}, sites=("fc1",), seed=0) for s in (0.0, 0.07)]
    many = [actstats.merge([one] * 64) for one in many]
    assert actstats.compare(*many, threshold=0.05).first.site == "fc1"


def test_what_a_run_moves_by_itself_is_no_difference():
    walk = [0.5 * i for i in range(12)]
    a = literal({"fc1": walk, "act1": [0.0] * 12})
    b = literal({"fc1": [x + 0.3 for x in walk], "act1": [0.3] * 12}, seed=5000)
    comparison = actstats.compare(a, b)
    assert comparison["fc1"].since is None
    assert comparison["act1"].since == 0


def test_a_different_shape_is_told_by_psi_where_w1_is_small():
    x = torch.cat([torch.randn(40_000), torch.full((40,), 1e4)])  # outliers rule the std
    y = torch.cat([3 * torch.randn(40_000), torch.full((40,), 1e4)])
    sides = [Window(0, 0, "train", {"fc1:grad": TensorStats.from_tensor(v)}) for v in (x, y)]
    comparison = actstats.compare(*sides)
    assert comparison.first.w1_normalised < 0.01
    assert comparison.first.psi > 0.25


# ---- the uses ------------------------------------------------------------------------------------


def test_with_and_without_batch_norm():
    plain, bn = trained(**TUTORIAL), trained(bn=True, **TUTORIAL)
    comparison = actstats.compare(plain, bn)
    assert comparison.first.window == 0
    assert comparison["act4"].is_apart
    assert comparison.only_in_a == ()
    assert {"bn0", "bn4", "bn4:grad"} <= set(comparison.only_in_b)
    assert "only in b: bn0" in str(comparison)


def test_before_and_after_a_change():
    def broken(net, step):
        if step >= 12:
            with torch.no_grad():
                net.fc3.bias.fill_(2.0)

    comparison = actstats.compare(trained(hidden=[32] * 4), trained(hidden=[32] * 4, act=broken))
    assert (comparison.first.site, comparison.first.first_step) == ("fc3", 12)
    assert comparison["fc2"].most < 0.1


def test_bfloat16_is_near_float32_and_not_the_same():
    comparison = actstats.compare(
        trained(hidden=[32] * 3), trained(hidden=[32] * 3, dtype=torch.bfloat16)
    )
    assert comparison.first is None
    assert not comparison.identical
    assert 0 < np.nanmax(comparison.measured.normalised) < 0.1


def test_training_against_live_data():
    torch.manual_seed(0)
    net = make_mlp(2, [16, 16], 1)
    recorder, live = (ActivationRecorder(net, window=1) for _ in range(2))
    with recorder:
        for _ in range(8):
            net(torch.randn(200, 2))
            recorder.step()
    with live, live.phase("live"):
        net(torch.randn(200, 2) + 1.5)
    comparison = actstats.compare(recorder, live, phase_b="live", align="whole")
    assert len(comparison.pairs) == 1
    assert comparison.first.site == "fc1"
    assert "compared as a whole: steps 0-7 of a with steps 0-0 of b" in comparison.notes
    assert comparison.verdict.startswith("The two differ at fc1: W1 is ")
    assert "in a row" not in str(comparison)


def test_one_pair_of_windows_has_no_first_and_no_row():
    a, b = literal(CALM, width=2), literal({"fc1": [1.0], "act1": [0.0]}, first=23, seed=5000)
    comparison = actstats.compare(a, b)
    assert len(comparison.pairs) == 1
    assert comparison.verdict.startswith("The two differ at fc1: W1 is ")
    assert comparison.verdict.endswith(". Of 2 sites 1 differs.")
    assert "in a row" not in str(comparison)
    assert "one pair of windows: steps 22-23 of a with steps 23-23 of b" in comparison.notes
    same = actstats.compare(b, b)
    assert not any(note.startswith("one pair") for note in same.notes)


def test_one_pair_that_does_not_differ_names_no_step():
    one, other = ({"fc1": [x], "act1": [0.0]} for x in (0.0, 0.095))
    a, b = (actstats.merge([literal(shifts)] * 64) for shifts in (one, other))
    verdict = actstats.compare(a, b).verdict
    assert "from step" not in verdict
    assert verdict.startswith("The two do not differ: the largest W1 beyond the noise is 0.09")


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("bn", [False, True])
def test_two_seeds_of_a_healthy_net_do_not_separate(activation, bn):
    runs = [
        trained(seed, activation=activation, bn=bn, hidden=[64] * 3, lr=0.003) for seed in range(4)
    ]
    for a, b in itertools.combinations(runs, 2):
        comparison = actstats.compare(a, b)
        assert comparison.first is None
        assert any("not the same ones" in note for note in comparison.notes)


def test_whether_weights_are_the_same_is_asked_of_the_units_unless_it_is_said():
    def drawn_anew(a, b, **options):
        return any("not the same" in note for note in actstats.compare(a, b, **options).notes)

    a, other = trained(hidden=[32] * 2), trained(1, hidden=[32] * 2)
    alike = trained(hidden=[32] * 2, lr=0.02)
    assert drawn_anew(a, other)
    assert not drawn_anew(a, alike)
    assert not drawn_anew(a, other, same_weights=True)
    assert drawn_anew(a, alike, same_weights=False)


def test_flattened_channels_are_no_more_draws_than_the_channels():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv1d(1, 8, 3), torch.nn.Flatten(), torch.nn.Linear(48, 3))
    with ActivationRecorder(net) as recorder:
        net(torch.randn(50, 1, 8))
    found = actstats.compare(recorder, recorder, same_weights=False)
    from actstats.comparison.weights import drawn_units

    stats = found.pairs[0].a.stats
    assert stats["1"].units == 48
    assert drawn_units(recorder.recording, stats, ["0", "1", "2"]).tolist() == [8, 8, 0]


# ---- what belongs together -----------------------------------------------------------------------


def test_windows_of_different_width_are_compared_over_the_same_steps():
    wide = {"fc1": [0.0] * 3}
    a, b = literal({"fc1": [0.0] * 12}, sites=("fc1",)), literal(wide, sites=("fc1",), width=4)
    comparison = actstats.compare(a, b)
    assert [(p.first_step, p.last_step) for p in comparison.pairs] == [(0, 3), (4, 7), (8, 11)]
    assert [p.a["fc1"].count for p in comparison.pairs] == [8000] * 3
    expected = wasserstein(actstats.merge([a])["fc1"], b["fc1"])
    assert comparison["fc1"].w1 == pytest.approx(expected)


def test_windows_that_never_end_together_keep_the_coarser_ones():
    a = literal({"fc1": [0.0] * 4}, sites=("fc1",), width=4)
    b = literal({"fc1": [0.0] * 5}, sites=("fc1",), width=3, first=2)
    pairs = actstats.compare(a, b).pairs
    assert [(p.a.first_step, p.b.first_step, p.b.last_step) for p in pairs] == [
        *((0, 2, 4), (4, 5, 7), (8, 8, 10), (12, 11, 16))
    ]
    assert sum(p.b["fc1"].count for p in pairs) == 5 * 2000


def test_steps_of_one_side_only_are_left_out_and_told():
    comparison = actstats.compare(literal(CALM), literal({s: [0.0] * 5 for s in CALM}))
    assert len(comparison.pairs) == 5
    assert "only a has steps 5-11" in comparison.notes
    assert "left out: 7 of 12 windows of a, as b has none at their steps" in comparison.notes
    assert not any("windows of b" in note for note in comparison.notes)


def test_windows_left_out_in_between_are_told_of_each_side():
    a, b = literal(CALM), literal(CALM)
    a = Recording([w for i, w in enumerate(a.windows) if i not in (3, 4)])
    b = Recording([w for i, w in enumerate(b.windows) if i != 7])
    notes = actstats.compare(a, b).notes
    assert "left out: 1 of 10 windows of a, as b has none at their steps" in notes
    assert "left out: 2 of 11 windows of b, as a has none at their steps" in notes
    merged = actstats.compare(literal(CALM), literal({s: [0.0] * 3 for s in CALM}, width=4))
    assert not any(note.startswith("left out") for note in merged.notes)


def test_recordings_without_common_steps_are_compared_as_a_whole():
    comparison = actstats.compare(literal(CALM), literal(CALM, first=100))
    assert len(comparison.pairs) == 1
    assert any(note.startswith("compared as a whole") for note in comparison.notes)


def test_names_are_matched_by_site_by_module_and_by_container():
    sites = ("enc.0.fc", "head", "head:grad", "x")
    a = literal({s: [0.0] for s in sites}, sites=sites)
    others = ("body.0.fc", "out", "out:grad", "y")
    b = literal({s: [0.0] for s in others}, sites=others)
    comparison = actstats.compare(a, b, match={"enc": "body", "head": "out"})
    assert comparison.paired.sites == {
        "enc.0.fc": "body.0.fc",
        "head": "out",
        "head:grad": "out:grad",
    }
    assert (comparison.only_in_a, comparison.only_in_b) == (("x",), ("y",))
    assert "enc.0.fc → body.0.fc" in str(comparison)
    assert comparison.identical


def test_sites_choose_and_figures_differ():
    a, b = literal(CALM), literal({s: [1.0] * 12 for s in CALM})
    comparison = actstats.compare(a, b, sites="act*")
    assert comparison.sites == ("act1",)
    difference = comparison["act1"].difference
    assert difference["mean"] == pytest.approx(1.0, abs=1e-6)
    assert difference["count"] == 0
    assert math.isnan(difference["saturated_fraction"])


def test_what_cannot_be_compared_is_refused():
    a = literal(CALM)
    with pytest.raises(ValueError, match=r"no site in common: fc1, act1 and x.*match="):
        actstats.compare(a, literal({"x": [0.0]}, sites=("x",)))
    with pytest.raises(KeyError, match=r"no site 'fc9' in `a` or `b`; did you mean 'fc1'"):
        actstats.compare(a, a, sites="fc9")
    with pytest.raises(KeyError, match=r"`match` names 'fc9', which is not in `a`; did you mean"):
        actstats.compare(a, a, match={"fc9": "fc1"})
    with pytest.raises(KeyError, match=r"`match` names 'fc9', which is not in `b`; did you mean"):
        actstats.compare(a, a, match={"fc1": "fc9"})
    with pytest.raises(ValueError, match="'fc1' and 'act1' of `a` would both belong to 'act1'"):
        actstats.compare(a, a, match={"fc1": "act1"})
    with pytest.raises(KeyError, match="no phase 'eval'"):
        actstats.compare(a, a, phase="eval")
    with pytest.raises(ValueError, match="`b` is empty: nothing was recorded"):
        actstats.compare(a, Recording())
    with pytest.raises(TypeError, match="`b` must be a recorder"):
        actstats.compare(a, 3)
    with pytest.raises(ValueError, match='`align` must be "steps" or "whole"; got \'time\''):
        actstats.compare(a, a, align="time")
    with pytest.raises(ValueError, match="`threshold` must be a number of at least 0; got -1"):
        actstats.compare(a, a, threshold=-1)
    with pytest.raises(ValueError, match="`hold` must be an integer of at least 1; got 0"):
        actstats.compare(a, a, hold=0)


# ---- what it looks like --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def comparison():
    return actstats.compare(literal(CALM), literal(shifted(act1=5), seed=5000))


def test_text_begins_with_the_verdict_and_is_aligned(comparison):
    lines = str(comparison).splitlines()
    assert lines[0] == comparison.verdict
    assert lines[0].endswith("Of 2 sites 1 separates.")
    assert lines[2].split() == [
        *("site", "W1/std", "PSI", "Δmean", "Δstd", "Δzero", "%", "Δsaturated", "%", "Δdead", "%"),
        *("most", "at", "step", "since"),
    ]
    assert lines[4].startswith("fc1")
    assert lines[4].endswith("-")
    assert lines[5].endswith("  5")
    assert len({len(line) for line in lines[2:6]}) == 1
    assert lines[-1].startswith("apart: W1/std above 0.1 or PSI above 0.25")
    assert repr(comparison) == "<Comparison of a and b: 1 of 2 sites apart>"


def test_html_is_escaped():
    one = literal({"a<b>": [0.0]}, sites=("a<b>",))
    text = actstats.compare(one, one)._repr_html_()
    assert ">a&lt;b&gt;</td>" in text
    assert "a<b>" not in text


def test_a_dict_is_json_without_nan(comparison):
    found = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert found["first"]["site"] == "act1"
    assert found["separated"] is True
    assert found["sites"][0]["since"] is None
    assert found["sites"][0]["difference"]["saturated_fraction"] is None


def test_a_data_frame_has_a_row_per_site(comparison):
    frame = comparison.to_pandas()
    assert frame["site"].tolist() == ["fc1", "act1"]
    assert frame["since"].isna().tolist() == [True, False]
    assert frame["since"][1] == 5
    assert frame["diff_mean"][1] == pytest.approx(7 / 12, abs=0.05)


def test_series_are_distances_over_windows(comparison):
    series = comparison.series("act1", "w1")
    assert series.values.shape == (12, 1)
    assert series["act1"][5:].mean() == pytest.approx(1.0, abs=0.05)
    assert comparison.series().sites == ("fc1", "act1")
    with pytest.raises(ValueError, match=r"`distance` must be one of .* got 'ks'"):
        comparison.series(distance="ks")
    with pytest.raises(KeyError, match="no site 'atc1' was compared; did you mean 'act1'"):
        comparison.series("atc1")
    with pytest.raises(KeyError, match="no site 'atc1' was compared; did you mean 'act1'"):
        comparison["atc1"]


def test_it_is_a_sequence_of_rows(comparison):
    assert len(comparison) == 2
    assert [row.site for row in comparison] == ["fc1", "act1"]
    assert comparison[1] is comparison["act1"]
    assert comparison


def test_a_site_that_was_not_finite_has_no_distance():
    broken = TensorStats.from_tensor(torch.full((9, 2), math.nan))
    whole = TensorStats.from_tensor(torch.randn(9, 2))
    comparison = actstats.compare(
        Window(0, 0, "train", {"a": whole}), Window(0, 0, "train", {"a": broken})
    )
    assert math.isnan(comparison["a"].w1)
    assert comparison["a"].most_step is None
    assert "a side has no finite value" in comparison.verdict


def test_narrow_values_far_from_zero_are_told():
    a, b = (TensorStats.from_tensor(100 + torch.randn(500, 2)) for _ in range(2))
    comparison = actstats.compare(Window(0, 0, "train", {"a": a}), Window(0, 0, "train", {"a": b}))
    assert any(note.startswith("a: under-resolved") for note in comparison.notes)


def test_files_are_compared_and_called_by_their_names(tmp_path):
    paths = [
        literal(shifts, seed=seed).save(tmp_path / f"{name}.actstats")
        for name, shifts, seed in (("before", CALM, 0), ("after", shifted(act1=5), 5000))
    ]
    comparison = actstats.compare(*paths)
    assert comparison.first.site == "act1"
    assert comparison.first.window == 5
    assert repr(comparison).startswith("<Comparison of before.actstats and after.actstats: 1 of")
    assert actstats.merge(paths)["fc1"].count == 2 * 12 * 2000


def test_a_site_that_saw_nothing_on_one_side_is_told_as_missing():
    x = TensorStats.from_tensor(torch.randn(9, 2))
    a = Window(0, 0, "train", {"a": x, "b": x})
    b = Window(0, 0, "train", {"a": x, "b": TensorStats.empty()})
    comparison = actstats.compare(a, b)
    assert comparison.sites == ("a",)
    assert comparison.only_in_a == ("b",)
    with pytest.raises(ValueError, match="no common site was seen in the compared windows"):
        actstats.compare(a, b, sites="b")
