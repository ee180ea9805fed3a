"""W1 and PSI from bins: known values, exact ones from raw samples, and the laws of a distance."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from actstats import TensorStats
from actstats.comparison import psi, wasserstein


def stats(values, **options):
    return TensorStats.from_tensor(torch.as_tensor(values, dtype=torch.float32), **options)


def normal(seed, n=20_000):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


PAIRS = {
    "two samples of one": (normal(0), normal(1)),
    "a small shift": (normal(0), normal(1) + 0.05),
    "a large shift": (normal(0), normal(1) + 7),
    "a scale": (normal(0), 1.5 * normal(1)),
    "far from zero": (normal(0) + 10, normal(1) + 10.2),
    "one side": (normal(0).relu(), (normal(1) + 0.3).relu()),
    "dead": (normal(0).relu(), torch.zeros(500)),
    "heavy tails": (normal(0) ** 3, 1.3 * normal(1) ** 3),
    "sizes that differ": (normal(0), normal(1, 333) - 1),
    "many decades": (normal(0).exp() * 1e-20, normal(1) * 1e-3),
}


@pytest.mark.parametrize("name", PAIRS)
def test_w1_is_that_of_the_samples_within_a_few_thousandths_of_the_std(name):
    x, y = PAIRS[name]
    exact = wasserstein_distance(x.double().numpy(), y.double().numpy())
    scale = math.sqrt((x.var() + y.var()) / 2 + (x.mean() - y.mean()) ** 2 / 4)
    assert abs(wasserstein(stats(x), stats(y)) - exact) < 2e-3 * scale


def test_w1_near_an_asymptote_reads_its_own_bins_and_atoms():
    x, y = (20 * normal(0)).tanh(), (30 * normal(1)).tanh()
    a, b = stats(x, activation="tanh"), stats(y, activation="tanh")
    assert min(a.at_plus_one, b.at_minus_one) > 1000
    exact = wasserstein_distance(x.double().numpy(), y.double().numpy())
    error = abs(wasserstein(a, b) - exact)
    without = abs(wasserstein(a, stats(y)) - exact)  # the other side has no such bins
    assert error < 1e-4
    assert 20 * error < without < 0.01


@pytest.mark.parametrize("shift", [0.25, -3.0, 100.0])
def test_w1_of_a_shift_is_the_shift_however_wide_the_bins(shift):
    x = normal(0, 1000).double()
    a, b = (TensorStats.from_tensor(one, resolution=0) for one in (x, x + shift))
    assert wasserstein(a, b) == pytest.approx(abs(shift), rel=1e-3)
    assert wasserstein(a, b) >= abs(a.mean - b.mean)


def test_w1_of_constants_in_one_bin_is_their_difference():
    assert wasserstein(stats([1.01] * 9), stats([1.05] * 4)) == pytest.approx(0.04, abs=1e-6)


def test_psi_of_two_bins():
    a, b = stats([0.0] * 5 + [3.0] * 5), stats([0.0] * 8 + [3.0] * 2)
    assert psi(a, b) == pytest.approx(0.3 * math.log(0.8 / 0.5) + 0.3 * math.log(0.5 / 0.2))


def test_psi_of_an_empty_bin_takes_a_ten_thousandth():
    a, b = stats([0.0] * 10), stats([0.0] * 5 + [3.0] * 5)
    expected = 0.5 * math.log(1 / 0.5) + (0.5 - 1e-4) * math.log(0.5 / 1e-4)
    assert psi(a, b) == pytest.approx(expected)


def test_psi_of_a_shifted_normal_is_near_that_of_its_deciles():
    a, b = stats(normal(0)), stats(normal(1) + 1)
    both = torch.cat([normal(0), normal(1) + 1]).numpy()
    edges = np.quantile(both, np.linspace(0, 1, 11))
    p, q = (np.histogram(x.numpy(), edges)[0] / 20_000 for x in (normal(0), normal(1) + 1))
    expected = float(((p - q) * np.log(p / q)).sum())
    assert psi(a, b) == pytest.approx(expected, rel=0.05)


def test_atoms_are_bins_of_their_own():
    x = normal(0).abs()
    kept, dropped = x.clone(), x.clone()
    dropped[:4000] = 0.0  # a fifth, from the whole range
    p, q = 1e-4, 0.2
    alone = (q - p) * math.log(q / p)
    rest = -0.2 * math.log(0.8)  # every other bin lost a fifth
    assert psi(stats(kept), stats(dropped)) == pytest.approx(alone + rest, rel=0.02)


@pytest.mark.parametrize("distance", [wasserstein, psi])
def test_equal_statistics_are_at_distance_exactly_0(distance):
    for x, y in PAIRS.values():
        for one in (stats(x), stats(y, activation="tanh") if y.abs().max() < 1 else stats(y)):
            assert distance(one, one) == 0.0


@pytest.mark.parametrize("distance", [wasserstein, psi])
def test_nothing_finite_has_no_distance(distance):
    assert math.isnan(distance(stats([1.0]), TensorStats.empty()))
    assert math.isnan(distance(stats([math.nan, math.inf]), stats([1.0])))
    assert math.isnan(distance(TensorStats.empty(), TensorStats.empty()))


def test_non_finite_values_are_left_out():
    assert wasserstein(stats([1.0, math.nan, -math.inf]), stats([3.0])) == pytest.approx(2.0)


@pytest.mark.parametrize(("k", "other"), [(7, 0), (3, 5)])
def test_unequal_resolutions_are_read_at_the_coarser(k, other):
    x, y = normal(0), normal(1) + 0.5
    found = psi(stats(x, resolution=k), stats(y, resolution=other))
    k = min(k, other)
    assert found == psi(stats(x, resolution=k), stats(y, resolution=k))


values = st.lists(
    st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1.0, -1.0]), min_size=1, max_size=30
)


@given(values, values)
def test_distances_are_symmetric_and_not_negative(x, y):
    a, b = stats(x), stats(y)
    for distance in (wasserstein, psi):
        assert distance(a, b) >= 0
        assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-9, abs=1e-12)


@given(values, values, values)
def test_w1_fulfils_the_triangle_inequality(x, y, z):
    a, b, c = stats(x), stats(y), stats(z)
    direct, around = wasserstein(a, c), wasserstein(a, b) + wasserstein(b, c)
    bins = 2.0**-2 * max(map(abs, (*x, *y, *z)))  # what values may be off by in theirs
    assert direct <= around + bins


@given(values, values)
def test_w1_is_never_below_the_difference_of_the_means(x, y):
    a, b = stats(x), stats(y)
    exact = wasserstein_distance(np.float32(x).astype(float), np.float32(y).astype(float))
    assert abs(a.mean - b.mean) <= wasserstein(a, b) * (1 + 1e-12) + 1e-9
    widest = 2.0**-2 * max(map(abs, (*x, *y)))  # a value moves by less than its bin on each side
    assert abs(wasserstein(a, b) - exact) <= widest + 1e-6


def test_a_small_atom_is_told_apart_from_the_decile_around_it():
    rest = normal(0, 9500)
    a = stats(torch.cat([rest, torch.zeros(500)]))
    b = stats(torch.cat([rest, torch.zeros(95)]))  # 5 % and 1 %
    assert psi(a, b) == pytest.approx(0.0401 * math.log(5.05), rel=0.05)


def test_w1_inside_one_bin_is_the_difference_of_the_means():
    def mixed(many, few):
        return stats([many] * 9 + [few], resolution=0)  # all in one bin, the same ends

    a, b = mixed(70.0, 120.0), mixed(120.0, 70.0)
    assert a.bits == b.bits
    assert wasserstein(a, b) == pytest.approx(0.8 * 50)
