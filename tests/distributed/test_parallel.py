"""DDP, FSDP2 and tensor parallelism: every value is counted once, on the unit that it is of."""

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


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_data_parallel_ranks_merge_to_what_one_process_sees(folder, name):
    got = merged(folder, name)
    together = record(range(WORLD), lambda rank: 3, net=network(), capture="output").recording
    assert {site for site in got if ":" not in site} == set(together)
    for site in together:
        assert_same_integers(got[site], together[site], site=site)
        assert got[f"{site}:grad"].count == together[site].count
    assert not [note for note in got.notes if note.startswith("skipped")]


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


def test_a_rank_tells_its_units_from_those_of_others(folder):
    first, second = read(folder, "tensor", WORLD, "own")
    assert [one["1"].units for one in (first, second)] == [UNITS, UNITS]
    assert (first["1"].moments.n > 0).tolist() == [True] * 4 + [False] * 3  # as torch.chunk cuts
    assert (second["1"].moments.n > 0).tolist() == [False] * 4 + [True] * 3
    last_active = first["1"].judged.last_active
    assert (last_active[:4] >= 0).all()
    assert (last_active[4:] == -1).all()  # never
    assert first["1"].why("dead_fraction") == "0 samples are too few (at least 30)"


def test_of_replicas_the_first_rank_records_one(folder):
    first, second = read(folder, "tensor", WORLD, "own")
    assert "2" in first
    assert "2" not in second
    reason = "a replica, which the first rank of the mesh records"
    assert f"skipped 3 x 2: {reason}" in second.notes


def test_partial_sums_are_left_out_with_the_reason(folder):
    got = merged(folder, "partial")
    assert "0" not in got
    reason = "a DTensor of partial sums, which no rank has the values of"
    assert f"skipped {WORLD} x 0: {reason}" in got.notes


def test_tokens_that_are_spread_are_all_counted(folder):
    got = merged(folder, "sequence")["0"]
    x = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    assert_same_integers(got, actstats.TensorStats.from_tensor(x.tanh(), activation="tanh"))
