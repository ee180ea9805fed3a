"""Merging recordings offline: as if one recorder had seen everything."""

import itertools
import re

import pytest
import torch
from torch import nn

import actstats
from actstats import ActivationRecorder, Recording, TensorStats, Window, make_mlp
from actstats.merging import common_spans
from actstats.sites import Site
from claims import assert_stats_of

STEPS = 8
INTEGERS = ("calls", "count", "zeros", "nan_count", "posinf_count", "neginf_count")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return make_mlp(2, [6, 5], 1, activation="relu")


def batch(rank, step):
    generator = torch.Generator().manual_seed(100 * rank + step)
    return torch.randn(16, 2, generator=generator)


def recorded(net, ranks, steps=range(STEPS), **options):
    """What one recorder sees of the batches of these ranks."""
    recorder = ActivationRecorder(net, **{"window": 2, **options})
    with recorder:
        for step in steps:
            for rank in ranks:
                net(batch(rank, step))
            recorder.step(step)
    return recorder.recording


def assert_same_integers(one, other):
    for name in INTEGERS:
        assert getattr(one, name) == getattr(other, name), name
    assert one.bits == other.bits
    assert (one.min, one.max) == (other.min, other.max)
    assert one.judged is None or (one.judged.active == other.judged.active).all()


def spans(recording, phase="train"):
    return [(w.first_step, w.last_step) for w in recording.windows if w.phase == phase]


def test_ranks_merge_to_what_one_recorder_sees_in_any_order(net):
    ranks = [recorded(net, [rank]) for rank in range(3)]
    together = recorded(net, range(3))
    for order in itertools.permutations(ranks):
        merged = actstats.merge(order)
        assert spans(merged) == spans(together)
        for window, expected in zip(merged.windows, together.windows, strict=True):
            for site in expected:
                assert_same_integers(window[site], expected[site])
    with torch.no_grad():
        values = [net.fc1(batch(r, s)) for r in range(3) for s in range(STEPS)]
    assert_stats_of(actstats.merge(ranks)["fc1"], torch.cat(values), merges=40)


def test_parts_of_a_run_follow_each_other(net):
    parts = [recorded(net, [0], range(4)), recorded(net, [0], range(4, 8))]
    merged = actstats.merge(reversed(parts))
    assert spans(merged) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert_same_integers(merged["act2"], recorded(net, [0])["act2"])
    assert merged.notes == ()


def test_windows_that_overlap_are_merged_to_what_none_crosses(net):
    narrow, wide = recorded(net, [0], window=2), recorded(net, [1], range(6), window=4)
    merged = actstats.merge([narrow, wide])
    assert spans(merged) == [(0, 3), (4, 5), (6, 7)]  # the last two steps are one rank's only
    expected = recorded(net, [0, 1], range(4), window=4)
    assert_same_integers(merged.windows[0]["fc2"], expected["fc2"])
    assert merged["fc2"].count == narrow["fc2"].count + wide["fc2"].count
    assert merged.notes == ("train windows that overlapped were merged to 1 of up to 4 steps",)


def test_bounded_recorders_of_different_length_merge(net):
    long = recorded(net, [0], range(130), window=None)  # windows of 4 steps
    short = recorded(net, [1], range(70), window=None)  # of 2
    merged = actstats.merge([short, long])
    found = spans(merged)
    assert found == sorted(found)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))
    assert len(found) > 30
    assert merged["fc1"].count == long["fc1"].count + short["fc1"].count


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([(0, 1), (2, 3)], [(0, 1), (2, 3)]),
        ([(2, 3), (0, 1), (0, 3)], [(0, 3)]),
        ([(0, 5), (4, 9), (8, 11), (12, 12)], [(0, 11), (12, 12)]),
        ([(0, 9), (2, 3), (8, 9)], [(0, 9)]),
        ([], []),
    ],
)
def test_common_spans(given, expected):
    assert common_spans(Window(first, last, "train", {}) for first, last in given) == expected


def test_phases_stay_apart(net):
    recorder = ActivationRecorder(net, window=1)
    with recorder:
        net(batch(0, 0))
        with recorder.phase("eval"):
            net(batch(1, 0))
        recorder.step(0)
    merged = actstats.merge([recorder, recorder.recording])
    assert set(merged.phases) == {"train", "eval"}
    assert merged.select(phase="eval")["fc1"].count == 2 * 16 * 6


def literal(stats, step=0, **known):
    return Recording([Window(step, step, "train", stats)], **known)


def test_what_some_did_not_see_is_taken_from_the_others():
    x = TensorStats.from_tensor(torch.randn(9, 2))
    one = literal(
        {"a": x}, sites={"a": Site("a", order=0)}, never_called={"b": "none", "c": "none"}
    )
    other = literal({"b": x}, sites={"b": Site("b", order=1)}, never_called={"c": "none"})
    merged = actstats.merge([other, one])
    assert list(merged) == ["a", "b"]
    assert merged["b"].count == 18
    assert merged.never_called == {"c": "none"}


def test_the_coarsest_resolution_is_kept():
    x, y = torch.randn(2, 200)
    fine, coarse = TensorStats.from_tensor(x, resolution=5), TensorStats.from_tensor(y)
    for order in ((fine, coarse), (coarse, fine)):
        merged = actstats.merge([literal({"a": one}) for one in order])["a"]
        assert merged.bits == TensorStats.from_tensor(torch.cat([x, y])).bits


def test_a_pooled_side_pools_the_other():
    x = torch.randn(40, 3)
    whole, pooled = TensorStats.from_tensor(x), TensorStats.from_tensor(x, unit_axis=None)
    merged = actstats.merge([literal({"a": whole}), literal({"a": pooled})])["a"]
    assert (merged.units, merged.count) == (0, 240)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": "tanh"}, "unequal activations .* relu in sources[0], tanh in sources[1]"),
        (
            {"activation": "relu", "saturation_slope": 0.1},
            "unequal saturation slopes .* 0.05 in sources[0], 0.1 in sources[1]",
        ),
        (
            {"activation": "relu", "edges": (4, -1.0, 1.0)},
            "unequal edges .* none in sources[0], 4 bins from -1 to 1 in sources[1]",
        ),
    ],
)
@pytest.mark.parametrize("step", [0, 5])  # also where their windows never meet
def test_what_was_judged_otherwise_is_refused(options, words, step):
    x = torch.randn(40, 3)
    one = literal({"act1": TensorStats.from_tensor(x, activation="relu")})
    other = literal({"act1": TensorStats.from_tensor(x, **options)}, step)
    pattern = re.escape(words).replace(r"\.\*", ".*")
    with pytest.raises(ValueError, match=f"site 'act1' has {pattern}"):
        actstats.merge([one, other])


def test_nothing_and_one_alone_are_refused(net):
    with pytest.raises(ValueError, match="at least one recording; got none"):
        actstats.merge([])
    one = recorded(net, [0])
    for alone in (one, one.windows[0], "run.actstats", ActivationRecorder(net), 3):
        with pytest.raises(TypeError, match=r"`sources` must be a list of recordings.* got one"):
            actstats.merge(alone)
    with pytest.raises(TypeError, match=r"`sources\[1\]` must be a recorder.* got int"):
        actstats.merge([one, 3])


def test_one_source_is_itself_and_none_changes(net):
    one, other = recorded(net, [0]), recorded(net, [1])
    before = one["fc1"].count
    actstats.merge([one, other])
    assert one["fc1"].count == before
    alone = actstats.merge([one])
    assert spans(alone) == spans(one)
    assert_same_integers(alone["act1"], one["act1"])


def test_an_empty_source_changes_nothing(net):
    one = recorded(net, [0])
    merged = actstats.merge([Recording(), one, Recording()])
    assert_same_integers(merged["fc1"], one["fc1"])
    assert actstats.merge([Recording()]).windows == ()


def test_modules_of_one_rank_only_stay(net):
    torch.manual_seed(0)
    other = nn.Sequential(nn.Linear(2, 3))
    merged = actstats.merge([recorded(net, [0]), recorded(other, [0])])
    assert {"fc1", "0"} <= set(merged)
