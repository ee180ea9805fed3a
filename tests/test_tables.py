"""Parts of tables and several tables as one have the bits of the sites taken one by one."""

from functools import reduce

import numpy as np
import pytest
import torch
from torch import nn

from actstats import ActivationRecorder
from actstats.table import SiteTable, union
from actstats.tables import coarsened, joined, part, summed
from claims import assert_identical

NAMES = ("a", "b", "c", "d")


def table(names, seed, **options):
    """Return what was seen of these modules, in this order."""
    torch.manual_seed(seed)
    kinds = {"a": nn.Tanh(), "b": nn.Identity(), "c": nn.ReLU(), "d": nn.Sigmoid()}
    modules = {name: kinds[name] for name in names}
    with ActivationRecorder(modules, window=1, **options) as recorder:
        for i, module in enumerate(modules.values()):
            module(torch.randn(8, 3 + i % 2) * 3)
        recorder.step()
    (window,) = recorder.recording.windows
    return SiteTable.from_stats(window.stats)


def assert_same(got, want):
    assert set(got) == set(want)
    for site in want:
        assert_identical(got[site], want[site], site=site)


@pytest.mark.parametrize("places", [[0, 1, 2, 3], [1], [0, 3], [2, 0], [3, 2, 1, 0], []])
def test_a_part_has_its_sites(places):
    whole = table(NAMES, 0)
    got = part(whole, np.array(places, np.int64))
    assert list(got) == [NAMES[place] for place in places]
    assert_same(got, {name: whole[name] for name in got})
    assert (np.diff(got.bins) > 0).all()


@pytest.mark.parametrize("resolution", range(8))
@pytest.mark.parametrize("names", [NAMES, ()])
def test_a_coarser_table_has_coarser_sites(names, resolution):
    options = {"resolution": {"b": 5, "d": 0, "*": 3}, "edges": {"a": (4, -1, 1)}}
    whole = table(names, 0, **options) if names else part(table(NAMES, 0), np.array([], np.int64))
    got = coarsened(whole, resolution)
    assert_same(got, {name: whole[name].coarsen(resolution) for name in whole})
    assert [kept.spec for kept in got.columns.sites] == [stats.spec for stats in got.values()]
    assert (np.diff(got.bins) > 0).all()


def test_a_whole_is_the_table_itself():
    whole = table(NAMES, 0)
    assert part(whole, np.arange(4)) is whole
    assert joined([whole]) is whole


@pytest.mark.parametrize("cut", [0, 1, 2, 4])
def test_parts_join_to_the_whole(cut):
    whole = table(NAMES, 0)
    got = joined([part(whole, np.arange(cut)), part(whole, np.arange(cut, 4))])
    assert list(got) == list(NAMES)
    for name in ("dense", "bins", "counts"):
        np.testing.assert_array_equal(getattr(got, name), getattr(whole, name))


@pytest.mark.parametrize(
    "names",
    [
        ["abcd", "abcd", "abcd"],
        ["ab", "cd"],  # stages of a pipeline
        ["abcd", "dcba", "bd"],  # another order, other widths
        ["abc", "abc", "b", "abc", "a"],
        ["a", "a"],
        ["", "ab", ""],
    ],
    ids="-".join,
)
def test_tables_are_summed_as_site_by_site(names):
    tables = [
        table(some, seed) if some else part(table("a", 0), np.arange(0))
        for seed, some in enumerate(names)
    ]
    assert_same(summed(tables), reduce(union, tables, {}))


def test_sites_that_are_kept_otherwise_are_summed_too():
    tables = [table(NAMES, 0), table(NAMES, 1, resolution={"b": 5}), table(NAMES, 2)]
    got = summed(tables)
    assert_same(got, reduce(union, tables, {}))
    assert got["b"].bits.resolution == 3
