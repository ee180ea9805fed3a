"""Library calls that go wrong without a word on a CPU: sums, norms, counters, histograms."""

import numpy as np
import pytest
import torch
from torch import nn

from actstats import ActivationRecorder, TensorStats
from claims import assert_stats_of

KERNELS = pytest.mark.parametrize("kernel", ["reference", "cpu"])


def observed(kernel, *batches, **options):
    """Return the statistics of what passes through one module."""
    net = nn.Sequential(nn.Identity())
    with ActivationRecorder(net, kernel=kernel, strict=True, **options) as recorder:
        for batch in batches:
            net(batch)
    return recorder["0"]


def far(mean, std, dtype, first=None, size=200):
    generator = np.random.default_rng(5)
    batches = [mean + std * generator.standard_normal(size) for _ in range(40)]
    batches = [torch.tensor(batch).to(dtype) for batch in batches]
    return batches if first is None else [torch.full((size,), first, dtype=dtype), *batches]


FAR = {
    "1e3 and 1": far(1e3, 1, torch.float32),
    "1e4 and 1e-2": far(1e4, 1e-2, torch.float32),
    "1e6 and 1e-3": far(1e6, 1e-3, torch.float64),
    "1e8 and 1e-3": far(1e8, 1e-3, torch.float64),
    "1e6 and 1e-3, one by one": far(1e6, 1e-3, torch.float64, size=1),
    "zeros, then 1e6 and 1e-3": far(1e6, 1e-3, torch.float64, first=0.0),
    "log-normal": [batch.exp() for batch in far(0, 20, torch.float32)],
}


@KERNELS
@pytest.mark.parametrize("name", FAR)
def test_moments_of_many_batches_are_within_the_bound(kernel, name):
    batches = FAR[name]
    got = observed(kernel, *batches)
    assert_stats_of(got, torch.cat(batches), merges=len(batches))


@KERNELS
def test_data_without_a_variance_left_say_so_by_their_condition(kernel):
    got = observed(kernel, *far(1e6, 1e-3, torch.float32))  # float32 is 0.0625 apart there
    assert got.condition > 1e6


@KERNELS
def test_squares_are_not_added_in_float32(kernel):
    x = torch.rand(2**22)
    truth = x.double().square().mean().sqrt().item()
    assert observed(kernel, x).rms == pytest.approx(truth, rel=1e-12)
    ones = observed(kernel, torch.ones(1, dtype=torch.bfloat16).expand(2**31))
    assert (ones.rms, ones.abs_mean, ones.count) == (1.0, 1.0, 2**31)


@KERNELS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_counters_do_not_stick_in_sixteen_bits(kernel, dtype):
    x = torch.cat([torch.zeros(1_000_000), torch.ones(5_000)]).to(dtype)
    got = observed(kernel, x, edges={"0": (2, -1.0, 1.0)})
    assert (got.zeros, got.bits.total) == (1_000_000, 5_000)
    assert got.histogram(2, (-1.0, 1.0))[0].tolist() == [0, 1_005_000]


@KERNELS
def test_what_lies_outside_a_histogram_is_counted(kernel):
    x = torch.tensor([-5.0, 0.0, 0.5, 9.0, torch.nan, torch.inf])
    got = observed(kernel, x, edges={"0": (2, 0.0, 1.0)})
    below, *inside, above = got.linear.tolist()
    assert (below, inside, above, got.nan_count) == (1, [1, 1], 2, 1)


@KERNELS
def test_sums_of_halves_do_not_overflow(kernel):
    x = torch.full((4096, 2), 300.0, dtype=torch.half)
    got = observed(kernel, x)
    assert (got.mean, got.var, got.rms) == (300.0, 0.0, 300.0)
    x[::2] *= -1
    got = observed(kernel, x)
    assert (got.mean, got.var) == (0.0, 90_000.0)


@KERNELS
def test_counters_do_not_stick_at_24_or_wrap_at_32_bits(kernel):
    one = torch.ones(1, dtype=torch.bfloat16)
    batches = [one.expand(2**33), *[one] * 100]
    got = observed(kernel, *batches)
    assert (got.count, got.bits.total, got.calls) == (2**33 + 100, 2**33 + 100, 101)
    assert (got.mean, got.var) == (1.0, 0.0)


def test_quantiles_of_more_values_than_torch_takes():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None].expand(4, 2**24)
    got = TensorStats.from_tensor(x, unit_axis=None)
    assert got.count == 2**26
    assert got.quantile(0.5) == pytest.approx(2.5, rel=0.25)


@KERNELS
def test_subnormal_values_are_no_zeros_in_a_float64_sum(kernel):
    got = observed(kernel, torch.full((8,), 1e-42))
    assert got.zeros == 0
    assert got.mean == float(torch.tensor(1e-42))
