"""What every kernel must leave in a state, said once for the tests of all of them."""

import importlib.util
import math

import numpy as np
import pytest
import torch

from actstats import TensorStats, activations
from actstats.gate import make_gate
from actstats.kernels import Spec, State, cpu, reference
from claims import (
    TINY,
    U,
    as_float64,
    assert_same_integers,
    assert_within,
    depth,
    exact,
    mean_bound,
    variance_bound,
)

_needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed"
)
FASTER = [pytest.param(cpu, id="cpu", marks=_needs_numba)]
KERNELS = [pytest.param(reference, id="reference"), *FASTER]
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, math.nan, math.inf, -math.inf, 1e-45, -1e-45, 5e-324, 3.4e38)
LAYOUTS = {  # of a contiguous tensor with four axes
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3),
    "permuted": lambda x: x.permute(2, 3, 1, 0),
    "rows with gaps": lambda x: x.flatten(0, 2)[:, : x.shape[3] - 1],
    "every other row": lambda x: x.flatten(0, 2)[::2],
    "every other column": lambda x: x.flatten(0, 2)[:, ::2],
    "runs with gaps": lambda x: x.flatten(2)[:, :, 1:],
    "sliced": lambda x: x[::2, 1:, :, ::3],
    "one sample": lambda x: x[-1:],
    "one unit": lambda x: x[:, 1:2],
    "without its beginning": lambda x: x.flatten()[3 : 3 + x.shape[0] * 9].view(-1, 9),
    "expanded samples": lambda x: x[:1, :, :1].expand(4, -1, 5, -1),
    "expanded units": lambda x: x[:, :1, :, :1].expand(-1, 7, -1, 3),
    "overlapping": lambda x: x.flatten().unfold(0, 5, 2),
    "scalars of one value": lambda x: x[0, 0, 0, 0].expand(6, 4),
}


def gate_of(name, saturation_slope=0.05):
    """Return the gate of a named activation."""
    return make_gate(activations.get(name), saturation_slope)


def width_of(x, axis):
    """Return how many units a tensor has, at least one."""
    if axis is None or x.dim() == 0:
        return 1
    return max(x.shape[axis if axis < x.dim() else -1], 1)


def fed(kernel, *xs, unit_axis=-1, scale=None, judged=False, **spec):
    """Return a state that has observed (or judged) tensors one after the other."""
    state = State(Spec(width=width_of(xs[0], unit_axis), **spec))
    for step, x in enumerate(xs):
        if judged:
            kernel.judge(x, state, unit_axis=unit_axis, step=step)
        else:
            kernel.observe(x, state, unit_axis=unit_axis, step=step, scale=scale)
    return state


def observed(kernel, *xs, unit_axis=-1, **more):
    """Return the statistics of tensors observed one after the other."""
    state = fed(kernel, *xs, unit_axis=unit_axis, **more)
    return TensorStats.from_state(state, units=0 if unit_axis is None else state.spec.width)


def assert_units_of(stats, x, axis, *, merges=4):
    """Claim the moments of each unit."""
    columns = np.moveaxis(x.detach().double().numpy(), axis, 0).reshape(x.shape[axis], -1)
    for u, column in enumerate(columns):
        truth, moments = exact(column), stats.moments
        site = f"unit {u} of shape {tuple(x.shape)}"
        assert moments.n[u] == truth.n, site
        if truth.n:
            size = float(moments.abs_sum[u]) / truth.n
            mean, var = float(moments.mean[u]), float(moments.var[u])
            assert_within(f"mean of {site}", mean, truth.mean, mean_bound(truth, merges))
            assert_within(f"var of {site}", var, truth.var, variance_bound(truth, merges))
            assert_within(
                f"mean |x| of {site}", size, truth.abs_sum / truth.n, mean_bound(truth, merges)
            )


def assert_same_moments(one, other, *, merges=8, site="tensor"):
    """Claim that moments of the same values, each within its bound, can be of one truth."""
    a, b = one.moments, other.moments
    seen = b.n > 0
    n, largest = np.where(seen, b.n, 1.0), max(abs(other.min), abs(other.max), 0.0)
    roundings = 2 * (np.log2(np.maximum(n, 2)) + merges) * U  # 2: both may be off
    with np.errstate(invalid="ignore", over="ignore"):
        var, mean, size = b.m2 / n, b.high + b.low, b.abs_sum / n
        std = np.sqrt(var)
        least = 2 * (8 * U * depth(int(n.max()), merges) * largest) ** 2 + 128 * TINY
        pairs = {
            "mean": (a.high + a.low, mean, 4 * roundings * size + 16 * TINY),
            "var": (a.m2 / n, var, 8 * roundings * std * np.hypot(std, mean) + least),
            "mean |x|": (a.abs_sum / n, size, 4 * roundings * size + 16 * TINY),
        }
        for name, (got, want, bound) in pairs.items():
            wrong = seen & (got != want) & ~(np.abs(got - want) <= bound)
            u = int(wrong.argmax())
            assert not wrong.any(), (
                f"{site}: {name} of unit {u}: {got[u]!r} and {want[u]!r}, "
                f"{abs(got[u] - want[u]):.3g} apart, more than {bound[u]:.3g}"
            )


def assert_same_openness(one, other, *, exactly=False, site="tensor"):
    """Claim the same sum of slopes: up to rounding, or to what a table of slopes may cost."""
    if other.judged is None:
        return
    got, want, n = one.judged.openness, other.judged.openness, other.judged.seen.sum()
    bound = 1e-12 * abs(want) + (0 if exactly else 2e-12 * n)
    assert abs(got - want) <= bound, f"{site}: openness of {n} values {got!r}, not {want!r}"


def assert_same_stats(one, other, *, merges=8, exactly=False, site="tensor"):
    """Claim the same integers and extrema, and moments within the same bound."""
    assert one.calls == other.calls, f"{site}: {one.calls} calls, not {other.calls}"
    assert_same_integers(one, other, site=site)
    assert_same_moments(one, other, merges=merges, site=site)
    assert_same_openness(one, other, exactly=exactly, site=site)


def assert_as_reference(kernel, *xs, unit_axis=-1, exactly=False, **more):
    """Claim that a kernel leaves what the reference leaves; return its statistics."""
    site = f"{len(xs)} x {xs[0].dtype} {tuple(xs[0].shape)} {xs[0].stride()} by {unit_axis}"
    got = observed(kernel, *xs, unit_axis=unit_axis, **more)
    want = observed(reference, *xs, unit_axis=unit_axis, **more)
    assert_same_stats(got, want, exactly=exactly, site=site)
    return got


def varied(*shape, dtype=torch.float32, special=SPECIAL):
    """Return values of many sizes, and among them the special ones."""
    sizes = torch.logspace(-3, 1, max(math.prod(shape), 1), dtype=torch.float64)
    x = (torch.randn(sizes.shape, dtype=torch.float64) * sizes)[: math.prod(shape)]
    places = torch.randperm(len(x))[: len(special)]
    x[places] = torch.tensor(special, dtype=torch.float64)[: len(places)]
    return x.to(dtype).view(shape)


def around(gate, dtype):
    """Return the ends of a gate's intervals as the dtype writes them, and their neighbours.

    Of a gate for outputs only what the activation can put out.
    """
    sides = [side or () for side in (gate.low, gate.high, gate.quiet)]
    ends = [end for side in sides for interval in side for end in interval]
    ends = torch.tensor([*ends, *gate.limits, 0.0], dtype=torch.float64)
    x = ends[ends.isfinite()].to(dtype)
    infinity = torch.tensor(math.inf, dtype=dtype)
    x = torch.cat((x, torch.nextafter(x, infinity), torch.nextafter(x, -infinity)))
    return x.clamp(*torch.tensor(gate.limits).to(dtype)) if gate.from_output else x


def flat(values):
    """Return tensors as one flat float64 array."""
    return np.concatenate([as_float64(x) for x in values])
