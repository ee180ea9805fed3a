"""DDP, FSDP2 and tensor parallelism: every value is counted once, on the unit that it is of."""

import json

import pytest
import torch
import torch.distributed as dist
from ranks import network, record
from test_merge_ranks import assert_same_recording, read, start, wait

import actstats
from actstats import TensorStats
from claims import assert_same_integers

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")

WORLD = 2
UNITS = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parallel")
    processes = start("parallel", WORLD, folder)
    for process, told in zip(processes, wait(processes), strict=True):
        assert process.returncode == 0, told
    return folder


def merged(folder, name):
    one, *others = read(folder, name, WORLD, "merged")
    for other in others:
        assert_same_recording(one, other)
    return one


@pytest.fixture(autouse=True)
def _threads_of_a_rank():
    """Sums depend on the number of threads in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def replayed(*, steps=lambda rank: 3, **options):
    """What one process sees of all ranks' batches."""
    return record(range(WORLD), steps, net=network(**options), capture="output").recording


def assert_counted_once(got, together):
    assert {site for site in got if ":" not in site} == set(together)
    for site in together:
        assert_same_integers(got[site], together[site], site=site)
        assert got[f"{site}:grad"].count == together[site].count
        assert got[f"{site}:grad"].calls == together[site].calls
    assert not [note for note in got.notes if note.startswith("skipped")]


@pytest.mark.hostile(86, 90, 92)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ddp", {"bn": True}),
        ("static", {"bn": True}),
        ("fsdp", {}),
        ("fsdp_early", {}),
    ],
)
def test_data_parallel_ranks_merge_to_what_one_process_sees(folder, name, options):
    assert_counted_once(merged(folder, name), replayed(**options))


@pytest.mark.hostile(86)
def test_no_rank_overwrites_what_another_recorded(folder):
    for rank, own in enumerate(read(folder, "ddp", WORLD, "own")):
        alone = record([rank], lambda rank: 3, net=network(bn=True), capture="output").recording
        for site in alone:
            assert_same_integers(own[site], alone[site], site=f"{site} on rank {rank}")


@pytest.mark.hostile(79, 92)
def test_a_rank_with_more_batches_is_counted_as_it_was_fed(folder):
    assert_counted_once(merged(folder, "joined"), replayed(steps=lambda rank: 3 + 2 * rank))
    for rank, own in enumerate(read(folder, "joined", WORLD, "own")):
        assert own["fc1"].calls == own["fc1:grad"].calls == 3 + 2 * rank


@pytest.mark.hostile(90)
def test_fsdp_in_bfloat16_is_seen_once_as_it_is_computed(folder):
    got = merged(folder, "fsdp_mixed")
    assert got.sites["fc1"].dtype == "bfloat16"
    seen = [torch.load(folder / f"fsdp_mixed.{rank}.seen") for rank in range(WORLD)]
    assert seen[0].dtype == torch.bfloat16
    assert_same_integers(got["fc1"], TensorStats.from_tensor(torch.cat(seen)))
    assert got["fc1:grad"].calls == 3 * WORLD


# ---- distributed tensors -------------------------------------------------------------------------


@pytest.mark.hostile(87)
@pytest.mark.parametrize(
    ("site", "activation"),
    [("0", None), ("1", "relu"), ("2:input", None), ("2", None), ("3", "gelu")],
)
def test_tensor_parallel_values_are_counted_once_on_their_units(folder, site, activation):
    seen = torch.load(folder / "tensor.0.seen")["1" if site == "2:input" else site]
    got = merged(folder, "tensor")[site]
    want = TensorStats.from_tensor(seen, activation=activation)
    assert got.units == seen.shape[-1]
    assert got.count == seen.numel()
    assert got.moments.n.tolist() == [seen.numel() / seen.shape[-1]] * seen.shape[-1]
    assert got.bits == want.bits
    assert got.unit_mean == pytest.approx(want.unit_mean, rel=1e-12)
    if activation == "relu":
        assert got.judged.active.tolist() == want.judged.active.tolist()
        assert got.active_fraction == pytest.approx(want.active_fraction)


@pytest.mark.hostile(87)
def test_a_rank_tells_its_units_from_those_of_others(folder):
    first, second = read(folder, "tensor", WORLD, "own")
    assert [one["1"].units for one in (first, second)] == [UNITS, UNITS]
    assert (first["1"].moments.n > 0).tolist() == [True] * 4 + [False] * 3  # as torch.chunk cuts
    assert (second["1"].moments.n > 0).tolist() == [False] * 4 + [True] * 3
    last_active = first["1"].judged.last_active
    assert (last_active[:4] >= 0).all()
    assert (last_active[4:] == -1).all()  # never
    assert first["1"].why("dead_fraction") == "0 samples are too few (at least 30)"


@pytest.mark.hostile(87)
def test_of_replicas_the_first_rank_records_one(folder):
    first, second = read(folder, "tensor", WORLD, "own")
    assert "2" in first
    assert "2" not in second
    reason = "a replica, which the first rank of the mesh records"
    assert f"skipped 3 x 2: {reason}" in second.notes


@pytest.mark.hostile(87)
def test_partial_sums_are_left_out_with_the_reason(folder):
    got = merged(folder, "partial")
    assert "0" not in got
    reason = "a DTensor of partial sums, which no rank has the values of"
    assert f"skipped {WORLD} x 0: {reason}" in got.notes


def test_tokens_that_are_spread_are_all_counted(folder):
    got = merged(folder, "sequence")["0"]
    x = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    assert_same_integers(got, actstats.TensorStats.from_tensor(x.tanh(), activation="tanh"))


def seen_locally(folder):
    return [torch.load(folder / f"local.{rank}.seen") for rank in range(WORLD)]


@pytest.mark.hostile(89)
def test_a_tensor_that_is_still_arriving_is_waited_for_and_counted(folder):
    owns = read(folder, "local", WORLD, "own")
    for own, seen in zip(owns, seen_locally(folder), strict=True):
        assert seen["kinds"]["2"] == "AsyncCollectiveTensor"
        assert_same_integers(own["2"], TensorStats.from_tensor(seen["2"]))
        assert own["2:grad"].count == own["2"].count
        assert not [note for note in own.notes if note.startswith("skipped")]


@pytest.mark.hostile(89)
def test_local_outputs_are_this_ranks_part(folder):
    owns = read(folder, "local", WORLD, "own")
    for own, seen in zip(owns, seen_locally(folder), strict=True):
        assert own["0"].units == 4
        assert_same_integers(own["0"], TensorStats.from_tensor(seen["0"]))


@pytest.mark.hostile(89)
def test_attached_before_the_model_is_spread_it_sees_distributed_tensors(folder):
    got = merged(folder, "local_early")
    whole = torch.cat([seen["0"] for seen in seen_locally(folder)], -1)
    assert got["0"].units == 8
    assert_same_integers(got["0"], TensorStats.from_tensor(whole))
    assert "2" not in got
    reason = "a DTensor of partial sums, which no rank has the values of"
    assert f"skipped {3 * WORLD} x 2: {reason}" in got.notes


@pytest.mark.hostile(79, 88)
def test_recording_adds_no_collective(folder):
    for rank in range(WORLD):
        without, recorded = json.loads((folder / f"communicate.{rank}.json").read_text())
        assert recorded == without
        assert sum(without.values()) > 0


@pytest.mark.hostile(88)
def test_one_rank_may_record_alone(folder):
    one, other = (json.loads((folder / f"one_sided.{r}.json").read_text()) for r in range(WORLD))
    assert one["same"]
    assert other["same"]
    assert one["seen"] > 0
    assert other["seen"] == 0
