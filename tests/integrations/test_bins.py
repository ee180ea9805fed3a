"""Rows of bins without gaps: no count is lost, and none has moved further than its bin."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actstats import TensorStats
from actstats.integrations._bins import all_bins, bins_at_most

values = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=200
)


def stats_of(numbers, **options):
    return TensorStats.from_tensor(torch.tensor(numbers, dtype=torch.float32)[:, None], **options)


def test_gaps_are_empty_bins_and_zeros_have_no_width():
    counts, edges = all_bins(stats_of([-1.0, 0.0, 0.0, 1.0, 3.0]))
    assert edges.tolist() == [-1.125, -1.0, 0.0, 0.0, 1.0, 1.125, 3.0, 3.25]
    assert counts.tolist() == [1, 0, 2, 0, 1, 0, 1]


def test_values_at_the_end_of_tanh_have_no_width():
    counts, edges = all_bins(stats_of([0.75, 1.0, 1.0], activation="tanh"))
    assert edges[-2:].tolist() == [1.0, 1.0]
    assert counts[-1] == 2


@given(values)
def test_all_bins_hold_what_is_between_their_edges(numbers):
    stats = stats_of(numbers)
    counts, edges = all_bins(stats)
    assert (np.diff(edges) >= 0).all()
    assert counts.sum() == len(numbers)
    assert counts.dtype == np.int64
    found = dict(zip(pairwise(edges), counts, strict=True))
    for low, high, count in zip(*stats.distribution.bins(), strict=True):
        assert found[low, high] == count


@given(values)
def test_at_most_so_many_bins_with_the_same_counts(numbers):
    stats = stats_of(numbers)
    counts, edges = bins_at_most(stats, 512)
    assert counts.sum() == len(numbers)
    assert len(edges) == len(counts) + 1
    assert len(counts) <= 512
    assert (np.diff(edges) >= 0).all()
    assert edges[0] <= stats.min
    assert stats.max <= edges[-1]


def test_coarser_bins_are_sums_of_the_finer_ones():
    torch.manual_seed(0)
    x = torch.randn(20_000) * torch.logspace(-8, 8, 20_000)
    stats = stats_of(x.tolist(), resolution=5)
    assert len(all_bins(stats)[0]) > 512
    counts, coarse = bins_at_most(stats, 512)
    assert 256 < len(counts) <= 512
    low, high, kept = stats.distribution.bins()
    for first, last, count in zip(coarse[:-1], coarse[1:], counts, strict=True):
        assert kept[(low >= first) & (high <= last)].sum() == count


def test_no_more_than_512_bins_though_every_exponent_is_there():
    exponents = 2.0 ** torch.arange(-149, 128, dtype=torch.float64)
    x = torch.cat([exponents, -exponents, torch.zeros(1)]).float()
    counts, _ = bins_at_most(stats_of(x.tolist(), resolution=0), 512)
    assert len(counts) == 511
    assert counts.sum() == len(x)


def test_zeros_have_a_width_where_bins_are_drawn_to_scale():
    counts, edges = bins_at_most(stats_of([-1.0, 0.0, 0.0, 2.0]), 512)
    assert edges.tolist() == [-1.125, -1.0, 2.0, 2.25]
    assert counts.tolist() == [1, 2, 1]


@pytest.mark.parametrize("n", [1, 30])
def test_zeros_alone_are_as_wide_as_numpys(n):
    counts, edges = bins_at_most(stats_of([0.0] * n), 512)
    assert counts.tolist() == [n]
    assert edges.tolist() == np.histogram([0.0] * n, 1)[1].tolist()
