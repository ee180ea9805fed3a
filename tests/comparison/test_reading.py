"""Many sites at once are read as one by one, from tables and from mappings."""

import numpy as np
import pytest
import torch
from torch import nn

from actstats import ActivationRecorder, TensorStats
from actstats.comparison import psi, wasserstein
from actstats.comparison.distances import between
from actstats.comparison.reading import Reader, resolution_of
from actstats.comparison.scale import Grid, Scale
from actstats.table import SiteTable


@pytest.fixture(scope="module")
def tables():
    """Two windows of a net with every kind of state: gates, asymptotes, edges, resolutions."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2), nn.Sigmoid())
    )
    recorder = ActivationRecorder(
        net, window=1, resolution={"0": 5, "*": 3}, edges={"2": (4, -1.0, 1.0)}
    )
    with recorder:
        for scale in (1.0, 9.0):
            net(scale * torch.randn(50, 3))
            recorder.step()
    return [window.stats for window in recorder.recording.windows]


def read(stats, sites, grid):
    return Reader(sites, grid).read(stats)


def grid_of(stats, sites):
    return Grid([Scale.of(*resolution_of(stats, site)) for site in sites])


def test_a_table_is_read_as_its_sites_are_one_by_one(tables):
    sites = ["3", "0", "1", "5", "2"]
    for table in tables:
        assert isinstance(table, SiteTable)
        grid = grid_of(table, sites)
        at_once, each = read(table, sites, grid), read(dict(table), sites, grid)
        np.testing.assert_array_equal(at_once.keys, each.keys)
        np.testing.assert_array_equal(at_once.counts, each.counts)
        for name in vars(each.moments):
            found, expected = (getattr(one.moments, name) for one in (at_once, each))
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15, err_msg=name)


def test_all_values_are_in_some_bin(tables):
    sites = list(tables[1])
    found = read(tables[1], sites, grid_of(tables[1], sites))
    totals = np.bincount(found.site, found.counts)
    np.testing.assert_array_equal(totals, [tables[1][site].finite_count for site in sites])
    assert found.cumulative[np.diff(found.site, append=-1) != 0].tolist() == [1.0] * len(sites)


def test_distances_at_once_are_those_one_by_one(tables):
    sites = list(tables[0])
    grid = grid_of(tables[0], sites)
    found = between(*(read(table, sites, grid) for table in tables))
    for i, site in enumerate(sites):
        a, b = tables[0][site], tables[1][site]
        assert found.w1[i] == pytest.approx(wasserstein(a, b), rel=1e-9)
        assert found.psi[i] == pytest.approx(psi(a, b), rel=1e-9)


def test_a_site_that_was_not_seen_is_empty(tables):
    sites = ["0", "gone", "2"]
    grid = Grid([Scale.of(3, False)] * 3)
    for stats in (tables[0], dict(tables[0])):
        found = read(stats, sites, grid)
        assert found.moments.total.tolist() == [400, 0, 250]
        w1 = between(found, found).w1
        np.testing.assert_array_equal(np.isnan(w1), [False, True, False])


@pytest.mark.parametrize("near_one", [False, True])
@pytest.mark.parametrize("k", [0, 3, 7])
def test_a_scale_ascends_without_gaps_in_its_words(k, near_one):
    scale = Scale.of(k, near_one)
    assert (np.diff(scale.low) >= 0).all()
    assert (np.diff(scale.high) >= 0).all()
    known = scale.rank[scale.rank >= 0]
    assert len(set(known.tolist())) == len(known) == len(scale.low) - scale.is_atom.sum()
    assert scale.low[scale.is_atom].tolist() == ([-1.0, 0.0, 1.0] if near_one else [0.0])


def test_normalised_distance_is_free_of_shift_and_scale_and_at_most_2():
    x, y = torch.randn(2, 4000)
    grid = Grid([Scale.of(3, False)])

    def distance(a, b):
        sides = (read({"": TensorStats.from_tensor(one)}, [""], grid) for one in (a, b))
        return float(between(*sides).normalised[0])

    base = distance(x, y + 0.5)
    assert distance(64 * x, 64 * (y + 0.5)) == pytest.approx(base, rel=1e-9)
    assert distance(torch.ones(5), 2 * torch.ones(7)) == pytest.approx(2.0)
    assert distance(torch.ones(5), torch.ones(7)) == 0.0
