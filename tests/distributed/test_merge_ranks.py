"""Recordings of several ranks merged in their process group: exact, alike, and never for ever."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import CASES, even, record, statistics

import actstats
from actstats import ActivationRecorder, Scalar, make_mlp
from actstats._torch import default_store
from actstats.distributed.exchange import Exchange
from claims import assert_identical, assert_same_integers

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")

WORLDS = (2, 3)


def start(what, world, folder):
    """Start the ranks of a group, each a process."""
    script = Path(__file__).with_name("ranks.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return [
        subprocess.Popen(
            [sys.executable, str(script), what, str(rank), str(world), str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


def wait(processes, seconds=150):
    """Return what each process wrote to stderr."""
    try:
        return [process.communicate(timeout=seconds)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module", params=WORLDS, ids=lambda world: f"{world} ranks")
def group(request, tmp_path_factory):
    """Return how many ranks there were, and the folder with what they wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    processes = start("cases", request.param, folder)
    for process, told in zip(processes, wait(processes), strict=True):
        assert process.returncode == 0, told
    return request.param, folder


def read(folder, name, world, kind):
    return [actstats.load(folder / f"{name}.{rank}.{kind}") for rank in range(world)]


def told(folder, name, rank):
    return json.loads((folder / f"{name}.{rank}.json").read_text())


def assert_same_recording(one, other):
    assert [repr(w) for w in one.windows] == [repr(w) for w in other.windows]
    for a, b in zip(one.windows, other.windows, strict=True):
        assert a.scalars == b.scalars
        for site in b:
            assert_identical(a[site], b[site], site=site)
    for name in ("sites", "notes", "never_called", "metadata"):
        assert getattr(one, name) == getattr(other, name), name
    assert list(one) == list(other)


# ---- exactness -----------------------------------------------------------------------------------


@pytest.mark.hostile(81, 82, 83, 84, 85)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_every_rank_gets_what_files_merge_to(group, case):
    world, folder = group
    merged = read(folder, case.__name__, world, "merged")
    want = actstats.merge(read(folder, case.__name__, world, "own"))
    for one in merged:
        assert_same_recording(one, want)


@pytest.mark.hostile(79, 81, 82, 83, 84, 85)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_merge_is_what_one_process_sees(group, case):
    world, folder = group
    merged = actstats.load(folder / f"{case.__name__}.0.merged")
    together = case(range(world)).recording
    assert set(merged) == set(together)
    assert set(merged.phases) == set(together.phases)
    for phase in together.phases:
        one, other = merged.select(phase=phase), together.select(phase=phase)
        for site in other:
            assert_same_integers(one[site], other[site], site=site)
            assert one[site].mean == pytest.approx(other[site].mean, rel=1e-12, abs=1e-12)
            assert one[site].var == pytest.approx(other[site].var, rel=1e-12, nan_ok=True)


def test_statistics_of_the_users_own_are_those_of_all_ranks(group):
    world, folder = group
    whole = statistics(range(world)).recording
    for merged in read(folder, "statistics", world, "merged"):
        assert merged["fc1"].largest_norm == whole["fc1"].largest_norm
        assert merged["fc1"].samples_seen == sum((3 + r) * (5 + 8 * r) for r in range(world))
        assert merged["fc1"].effective_rank == pytest.approx(whole["fc1"].effective_rank, rel=1e-9)
        assert merged["act1"].why("effective_rank") == "not kept alike in all that was merged"


def test_scalars_are_those_of_all_ranks(group):
    world, folder = group
    total = 2.0 * sum(range(world))  # each rank gave its own number, twice a window
    want = Scalar(2 * world, total, 0.0, world - 1.0, world - 1.0)
    for window in actstats.load(folder / "even.1.merged").windows:
        assert window.scalars == {"loss": want}


@pytest.mark.hostile(91)
@pytest.mark.parametrize("case", [even, CASES[1]], ids=lambda case: case.__name__)
def test_the_recorder_is_left_as_it_was(group, case):
    world, folder = group
    for rank, after in enumerate(read(folder, case.__name__, world, "own")):
        untouched = case([rank]).recording
        assert [repr(w) for w in after.windows] == [repr(w) for w in untouched.windows]
        for site in untouched:
            assert_identical(after[site], untouched[site], site=site)


@pytest.mark.hostile(83)
def test_what_no_rank_called_is_never_called(group):
    _, folder = group
    merged = actstats.load(folder / "sometimes.0.merged")
    assert merged.never_called == {"idle": "none"}
    assert [n for n in merged.notes if n.startswith("never called")] == ["never called: idle"]


@pytest.mark.hostile(93)
def test_counts_beyond_what_a_double_holds_stay_exact(group):
    world, folder = group
    want = sum(3 * 2**53 + 1 + rank for rank in range(world))
    assert float(want) != want
    for merged in read(folder, "huge", world, "merged"):
        assert merged["ones"].count == merged["ones"].bits.total == want
        assert (merged["ones"].mean, merged["ones"].var) == (1.0, 0.0)


def test_what_was_skipped_is_added_up(group):
    world, folder = group
    calls = sum(range(1, world + 1))
    assert f"skipped {calls} x 1: dtype int64" in actstats.load(folder / "skipping.1.merged").notes


@pytest.mark.hostile(82)
def test_sites_that_do_not_merge_are_refused_on_every_rank_alike(group):
    world, folder = group
    ends = {told(folder, "unequal", rank)["ended"] for rank in range(world)}
    assert len(ends) == 1
    assert ends.pop().startswith(
        "ValueError: site 'fc1' has unequal saturation slopes and does not merge: 0.1 in rank 0, "
        "0.05 in rank 1."
    )


# ---- who is absent -------------------------------------------------------------------------------


@pytest.mark.hostile(80)
def test_a_rank_that_does_not_come_is_named_and_may_come_later(group):
    world, folder = group
    for rank in range(world):
        end = told(folder, "late", rank)
        assert end["ended"].startswith("TimeoutError: ")
        assert (
            f"rank 1 did not come to merge_ranks in time ({world - 1} of {world} came)"
            in (end["ended"])
        )
        assert end["took"] < (0.9 if rank == 1 else 5)  # late, it does not wait again
    for again in read(folder, "again", world, "merged"):
        want = actstats.load(folder / "even.0.merged")
        want.metadata["created"] = again.metadata["created"]
        assert_same_recording(again, want)


@pytest.mark.hostile(91)
@pytest.mark.parametrize("stage", ["texts", "scatter", "gather"])
def test_a_rank_that_dies_in_the_middle_is_named_and_files_remain(tmp_path, stage):
    world = 3
    wait(start(stage, world, tmp_path))
    for rank in (0, 2):
        end = told(tmp_path, stage, rank)
        assert end["ended"].startswith(
            "ConnectionError: rank 1 died or hung in the middle of merge_ranks"
        )
        assert end["took"] < 20
    files = [tmp_path / f"run.{rank}.actstats" for rank in range(world)]
    merged = actstats.merge(files)
    together = record(range(world), lambda rank: 3).recording
    for site in together:
        assert_same_integers(merged[site], together[site], site=site)
    for rank in (0, 2):
        left = actstats.load(tmp_path / f"{stage}.{rank}.own")
        for site in left:
            assert_identical(left[site], actstats.load(files[rank])[site], site=site)


@pytest.mark.hostile(91)
def test_a_rank_that_fails_in_the_middle_is_told_to_the_others(tmp_path):
    wait(start("fail", 3, tmp_path))
    assert told(tmp_path, "fail", 1)["ended"] == "MemoryError: no room"
    for rank in (0, 2):
        end = told(tmp_path, "fail", rank)
        assert end["ended"].startswith(
            "ConnectionError: merge_ranks failed on rank 1: MemoryError: no room. What was"
        )
        assert end["took"] < 5


# ---- groups --------------------------------------------------------------------------------------


def test_some_ranks_merge_by_themselves(group):
    world, folder = group
    some = world - 1
    want = actstats.merge(read(folder, "even", some, "own"))
    for merged in read(folder, "some", some, "merged"):
        assert [repr(w) for w in merged.windows] == [repr(w) for w in want.windows]
        for site in want:
            assert_identical(merged[site], want[site], site=site)
    assert told(folder, "some", some)["ended"] == (
        "ValueError: `group` must be a group that this rank belongs to."
    )


@pytest.fixture
def alone(tmp_path):
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    dist.destroy_process_group()


def test_a_group_of_one_is_the_recording_itself(alone):
    recorder = even([0])
    assert_same_recording(recorder.merge_ranks(), recorder.recording)


@pytest.mark.parametrize("sites", [1, 40])
def test_collectives_are_six_however_much_there_is(alone, monkeypatch, sites):
    exchanges = []
    begin = Exchange.__init__
    monkeypatch.setattr(
        Exchange, "__init__", lambda self, *args: (exchanges.append(self), begin(self, *args))[1]
    )
    net = torch.nn.Sequential(*(torch.nn.Tanh() for _ in range(sites)))
    with ActivationRecorder(net, window=1) as recorder:
        for _ in range(3 * sites):
            net(torch.randn(4, 3))
            recorder.step()
    recorder.merge_ranks()
    assert [exchange.collectives for exchange in exchanges] == [6]  # 7 where ranks differ


@pytest.mark.hostile(93)
def test_what_travels_is_of_types_that_every_backend_takes(alone, monkeypatch):
    dtypes = set()
    tensor = Exchange._tensor
    monkeypatch.setattr(
        Exchange,
        "_tensor",
        lambda self, data: (made := tensor(self, data), dtypes.add(made.dtype))[0],
    )
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh()).bfloat16()
    with ActivationRecorder(net, window=1) as recorder:
        net(torch.randn(4, 2, dtype=torch.bfloat16))
        recorder.step()
    recorder.merge_ranks()
    assert dtypes == {torch.uint8, torch.int64}


def test_nothing_recorded_merges_to_nothing(alone):
    merged = ActivationRecorder(make_mlp(2, [3], 1)).merge_ranks()
    assert len(merged) == 0
    assert merged.windows == ()


def test_without_a_group_it_says_what_to_do():
    with pytest.raises(RuntimeError, match=r"init_process_group first, or merge the ranks' files"):
        ActivationRecorder(make_mlp(2, [3], 1)).merge_ranks()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), True, "soon"])
def test_a_timeout_is_a_positive_number(alone, timeout):
    with pytest.raises(ValueError, match="`timeout` must be a positive number of seconds"):
        ActivationRecorder(make_mlp(2, [3], 1)).merge_ranks(timeout=timeout)


def test_torch_tells_the_store_that_ranks_meet_in(alone):
    store = default_store()
    store.set("actstats", b"here")
    assert store.get("actstats") == b"here"
    assert torch.distributed.get_world_size() == 1
