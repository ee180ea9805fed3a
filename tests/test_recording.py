"""Windows and recordings, from literals: no model, no recorder."""

import math

import pytest
import torch

from actstats import Recording, Scalar, TensorStats, Window
from actstats.kernels import Spec, State, reference
from actstats.kernels.state import HostCopy
from actstats.packing import pack_window, unpack_window
from actstats.recording import default_phase, merge_leading
from actstats.sites import Site
from actstats.stats import FIGURES
from actstats.table import Kept, SiteTable
from claims import assert_identical, assert_stats_of


def stats(seed: int, n: int = 10) -> TensorStats:
    return TensorStats.from_tensor(values(seed, n))


def values(seed: int, n: int = 10) -> torch.Tensor:
    return seed + torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


def window(first, last, phase="train", sites=("fc1", "act1"), **scalars):
    kept = {name: Scalar.of(value) for name, value in scalars.items()}
    return Window(first, last, phase, {site: stats(first) for site in sites}, kept)


@pytest.fixture
def recording():
    return Recording(
        [
            window(0, 4, loss=3.0),
            window(0, 9, "eval"),
            window(5, 9, sites=("fc1", "fc1:grad"), loss=1.0),
        ],
        {"fc1": Site("fc1", order=0), "act1": Site("act1", order=1)},
        ("a note",),
    )


def test_a_site_is_the_merge_of_its_windows(recording):
    assert_stats_of(recording["fc1"], torch.cat([values(0), values(5)]), merges=2)
    assert recording["fc1", "grad"] is recording["fc1:grad"]


def test_train_comes_first_and_others_by_selection(recording):
    assert recording.phases == ("train", "eval")
    assert recording["act1"].count == 20
    assert_identical(recording.select(phase="eval")["act1"], stats(0))
    assert default_phase(["eval", "train"]) == "train"
    assert default_phase(["test", "eval"]) == "test"
    assert default_phase([]) is None


@pytest.mark.parametrize(
    ("steps", "firsts"),
    [
        (7, [0, 5]),
        (2, [0, 0]),
        ((0, 4), [0, 0]),
        ((5, 6), [0, 5]),
        (range(5), [0, 0]),
        (range(0), []),
        (slice(5, None), [0, 5]),
        (slice(None, 5), [0, 0]),
        (slice(20, 30), []),
    ],
)
def test_select_steps_that_overlap(recording, steps, firsts):
    assert [w.first_step for w in recording.select(steps=steps).windows] == firsts


def test_select_sites_and_phase(recording):
    assert list(recording.select("fc*")) == ["fc1"]
    assert set(recording.select(["fc*:grad", "act1"])) == {"act1", "fc1:grad"}
    assert len(recording.select(site="act1", phase="eval", steps=3).windows) == 1
    assert recording.select("fc1").notes == ("a note",)


def test_selecting_nothing_is_a_key_error(recording):
    with pytest.raises(KeyError, match=r"no site 'fc9'.*did you mean 'fc1'"):
        recording.select("fc9")
    with pytest.raises(KeyError, match="no phase 'test'"):
        recording.select(phase="test")
    with pytest.raises(KeyError, match=r"no site 'atc1'.*did you mean 'act1'"):
        recording["atc1"]
    with pytest.raises(KeyError, match="did you mean 'act1'"):
        recording.windows[0]["atc1"]
    with pytest.raises(ValueError, match="no stride"):
        recording.select(steps=slice(0, 10, 2))


def test_mapping(recording):
    assert set(recording) == {"fc1", "act1", "fc1:grad"}
    assert len(recording) == 3
    assert "fc1" in recording
    assert "nothing" not in recording
    assert bool(Recording())
    assert dict(recording.windows[2]).keys() == {"fc1", "fc1:grad"}
    assert "steps 0-9" in repr(recording)
    assert repr(Recording()) == "Recording(empty)"


def test_adding_recordings_merges_windows_of_the_same_steps(recording):
    other = Recording([window(0, 4, loss=5.0), window(10, 14)], notes=("another",))
    joined = recording + other
    assert [(w.first_step, w.phase) for w in joined.windows] == [
        (0, "train"),
        (0, "eval"),
        (5, "train"),
        (10, "train"),
    ]
    assert joined.windows[0]["fc1"].count == 40
    assert joined.windows[0].scalars["loss"] == Scalar(2, 8.0, 3.0, 5.0, 5.0)
    assert joined.notes == ("a note", "another")
    assert recording["fc1"].count == 40
    assert other["fc1"].count == 40
    with pytest.raises(TypeError):
        recording + 3


def test_windows_merge_by_site_and_refuse_other_phases():
    merged = window(0, 4, loss=1.0).merge(window(5, 9, sites=("fc1", "new"), loss=2.0))
    assert (merged.first_step, merged.last_step) == (0, 9)
    assert {site: s.count for site, s in merged.items()} == {"fc1": 40, "act1": 20, "new": 20}
    with pytest.raises(ValueError, match="different phases"):
        window(0, 4).merge(window(5, 9, "eval"))


def test_scalars():
    one = Scalar.of(3.0).merge(Scalar.of(1.0)).merge(Scalar.of(2.0))
    assert (one.count, one.mean, one.min, one.max, one.last) == (3, 2.0, 1.0, 3.0, 2.0)


def test_packing_a_window():
    one = window(3, 4, loss=math.pi)
    back = unpack_window(pack_window(one))
    assert (back.first_step, back.last_step, back.phase) == (3, 4, "train")
    assert back.scalars == one.scalars
    for site in one:
        assert_identical(back[site], one[site])


def test_to_pandas(recording):
    frame = recording.to_pandas()
    keys = ["window", "first_step", "last_step", "phase", "site"]
    assert list(frame.columns) == [*keys, *FIGURES]
    assert len(frame) == 6
    row = frame[(frame.window == 2) & (frame.site == "fc1")].iloc[0]
    assert (row.first_step, row["count"], row["mean"]) == (5, 20, stats(5).mean)
    assert math.isnan(row.dead_fraction)
    assert frame.site.cat.ordered
    long = recording.to_pandas(long=True)
    assert len(long) == 6 * len(FIGURES)
    assert list(long.columns) == [*keys, "figure", "value"]


def test_nbytes_counts_the_windows(recording):
    assert recording.nbytes == sum(s.nbytes for w in recording.windows for s in w.values())


# ---- windows that closed in a recorder: tables -------------------------------------------------


def table(seed, sites):
    kept, states = [Kept(site, Spec(width=2), units=2) for site in sites], []
    for i, _ in enumerate(sites):
        states.append(State(Spec(width=2)))
        reference.observe(values(seed + i), states[-1])
    return SiteTable.of(tuple(kept), HostCopy(states).words())


@pytest.fixture
def closed():
    """Windows of two phases; in train's a site comes late and goes again."""
    sites = [("a", "b"), ("a", "b"), ("a", "b", "c"), ("a", "b"), ("a", "b")]
    train = [Window(i, i, "train", table(10 * i, one)) for i, one in enumerate(sites)]
    evals = [Window(i, i, "eval", table(7 * i, ("b", "d"))) for i in range(3)]
    return [*train[:2], *evals[:2], *train[2:], evals[2]]


def test_merging_the_leading_windows_changes_no_site(closed):
    leading = merge_leading(closed)
    train, evals = [(0, 1), (2, 2), (3, 3), (4, 4)], [(0, 2)]
    assert [(w.first_step, w.last_step) for w in leading if w.phase == "train"] == train
    assert [(w.first_step, w.last_step) for w in leading if w.phase == "eval"] == evals
    for site, phase in (("a", "train"), ("b", "train"), ("c", "train"), ("d", "eval")):
        held = [w.stats[site] for w in closed if w.phase == phase and site in w.stats]
        assert_identical(Recording(closed)[site], sum(held[1:], start=held[0]), site=site)


def test_merging_the_leading_windows_leaves_statistics_alone():
    windows = [window(0, 4), window(5, 9), window(0, 4, "eval")]
    assert merge_leading(windows) == windows
    assert merge_leading([]) == []


def test_selecting_takes_no_table_apart_that_fits(closed):
    recording = Recording(closed)
    kept = recording.select(phase="train", steps=slice(0, 2)).windows
    assert [w.stats for w in kept] == [closed[0].stats, closed[1].stats]
    assert all(isinstance(w.stats, SiteTable) for w in kept)
    assert [sorted(w) for w in recording.select(["a", "d"], steps=0).windows] == [["a"], ["d"]]


def test_a_window_of_tables_is_packed_and_counted(closed):
    first = closed[0]
    again = unpack_window(pack_window(first))
    for site in first:
        assert_identical(again[site], first[site])
    assert first.nbytes == first.stats.nbytes
    both = first.merge(again)
    assert both["a"].count == 2 * first["a"].count
    assert first.map(lambda s: s.pool_units("why"))["a"].units == 0
