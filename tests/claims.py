"""What tests claim, said once: an exact oracle, error bounds, failures that show the numbers."""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from actstats import TensorStats

U = 2.0**-53  # unit roundoff of float64
TINY = 2.0**-1074  # what one underflow may cost


# ---- the oracle: every float is a rational number ------------------------------------------------


@dataclass(frozen=True)
class Exact:
    """Moments of finite values without any rounding."""

    n: int
    mean: Fraction
    var: Fraction
    abs_sum: Fraction
    largest: float

    @property
    def kappa(self) -> float:
        """sqrt(1 + mean**2 / var), the condition of the variance."""
        return math.inf if self.var == 0 else math.sqrt(1 + float(self.mean**2 / self.var))


def as_float64(values: Any) -> np.ndarray:
    """Return values of any dtype, exactly, as a flat float64 array."""
    if isinstance(values, Tensor):
        values = values.detach().double().cpu().numpy()
    return np.asarray(values, dtype=np.float64).reshape(-1)


def exact(values: Any) -> Exact:
    """Compute the moments of the finite values in rational arithmetic."""
    flat = as_float64(values)
    finite = flat[np.isfinite(flat)]
    n = len(finite)
    if n == 0:
        return Exact(0, Fraction(0), Fraction(0), Fraction(0), 0.0)
    ratios = [x.as_integer_ratio() for x in finite.tolist()]
    unit = max(below for _, below in ratios)  # powers of two: the largest is common to all
    whole = [above * (unit // below) for above, below in ratios]
    total, squares = sum(whole), sum(x * x for x in whole)
    return Exact(
        n,
        mean=Fraction(total, n * unit),
        var=Fraction(n * squares - total * total, (n * unit) ** 2),
        abs_sum=Fraction(sum(map(abs, whole)), unit),
        largest=float(np.abs(finite).max()),
    )


def depth(n: int, merges: int = 0) -> float:
    """Roundings on the way of one value: log2 n in sums of blocks, one a merge."""
    return math.log2(max(n, 2)) + merges


def variance_bound(truth: Exact, merges: int = 0) -> float:
    """Bound the error of a variance: constant * kappa * u * log2(n) * var.

    Chan, Golub & LeVeque 1983. ``kappa * var`` is ``std * rms``, which stays finite for constants,
    where the square of the mean's own rounding is what is left.
    """
    small = 8 * U * depth(truth.n, merges)
    var, mean = float(truth.var), float(truth.mean)
    return (
        small * math.sqrt(var) * math.hypot(math.sqrt(var), mean)
        + (small * truth.largest) ** 2
        + 64 * TINY
    )


def mean_bound(truth: Exact, merges: int = 0) -> float:
    """Bound the error of a mean: constant * u * log2(n) * mean |x|."""
    size = float(truth.abs_sum / max(truth.n, 1))
    return 4 * U * depth(truth.n, merges) * size + 8 * TINY


def assert_within(what: str, got: float, truth: Fraction | float, bound: float) -> None:
    """Claim |got - truth| <= bound, in rational arithmetic."""
    assert math.isfinite(got), f"{what}: {got!r}; truth {float(truth)!r}"
    error = abs(Fraction(got) - Fraction(truth))
    assert error <= Fraction(bound), (
        f"{what}: got {got!r}, truth {float(truth)!r}, "
        f"error {float(error):.3g} above the bound {bound:.3g}"
    )


# ---- statistics ----------------------------------------------------------------------------------


def assert_moments_close(
    stats: TensorStats, values: Any, *, merges: int = 0, site: str = "tensor"
) -> None:
    """Claim that mean, variance and mean |x| are those of the values, within the bounds."""
    truth = exact(values)
    label = f"{site}, n={truth.n}, kappa={truth.kappa:.3g}"
    if truth.n == 0:
        assert math.isnan(stats.mean), f"{label}: mean {stats.mean}"
        assert math.isnan(stats.var), f"{label}: var {stats.var}"
        return
    assert_within(f"mean of {label}", stats.mean, truth.mean, mean_bound(truth, merges))
    assert_within(f"var of {label}", stats.var, truth.var, variance_bound(truth, merges))
    assert_within(
        f"abs_mean of {label}", stats.abs_mean, truth.abs_sum / truth.n, mean_bound(truth, merges)
    )


def assert_counts_exact(stats: TensorStats, values: Any, *, site: str = "tensor") -> None:
    """Claim that every counter and both extrema are those of the values."""
    flat = as_float64(values)
    finite = flat[np.isfinite(flat)]
    want = {
        "count": flat.size,
        "zeros": int((flat == 0).sum()),
        "nan_count": int(np.isnan(flat).sum()),
        "posinf_count": int(np.isposinf(flat).sum()),
        "neginf_count": int(np.isneginf(flat).sum()),
        "inf_count": int(np.isinf(flat).sum()),
        "finite_count": finite.size,
    }
    got = {name: getattr(stats, name) for name in want}
    assert got == want, f"{site} of {flat.size} values: got {got}, want {want}"
    assert stats.bits.total == finite.size - want["zeros"], (site, stats.bits)
    if finite.size:
        assert (stats.min, stats.max) == (finite.min(), finite.max()), (
            f"{site}: got [{stats.min}, {stats.max}], want [{finite.min()}, {finite.max()}]"
        )
    else:
        assert math.isnan(stats.min), f"{site}: min {stats.min}"
        assert math.isnan(stats.max), f"{site}: max {stats.max}"


def assert_stats_of(
    stats: TensorStats, values: Any, *, merges: int = 0, site: str = "tensor"
) -> None:
    """Claim that these are the statistics of these values."""
    assert_counts_exact(stats, values, site=site)
    assert_moments_close(stats, values, merges=merges, site=site)


def integers(stats: TensorStats) -> dict[str, Any]:
    """Return all of the state that must not depend on the order of merging."""
    names = ("count", "zeros", "nan_count", "posinf_count", "neginf_count")
    state: dict[str, Any] = {name: getattr(stats, name) for name in names}
    state |= {"at_one": (stats.at_minus_one, stats.at_plus_one)}
    state |= {"range": (repr(stats.min + 0.0), repr(stats.max + 0.0))}  # repr: nan is nan
    state |= {"bits": stats.bits.dense().tolist(), "n": stats.moments.n.tolist()}
    if stats.asymptote is not None:
        state["asymptote"] = stats.asymptote.dense().tolist()
    if stats.linear is not None:
        state["linear"] = stats.linear.tolist()
    state["first_non_finite_step"] = stats.first_non_finite_step
    if stats.judged is not None:
        for name in ("seen", "active", "low", "high", "last_active"):
            state[name] = getattr(stats.judged, name).tolist()
    return state


def assert_same_integers(a: TensorStats, b: TensorStats, *, site: str = "tensor") -> None:
    """Claim that two statistics hold the same integers and extrema."""
    one, other = integers(a), integers(b)
    assert one.keys() == other.keys(), (site, one.keys() ^ other.keys())
    for name in one:
        if one[name] != other[name]:
            pairs = zip(np.atleast_1d(one[name]), np.atleast_1d(other[name]), strict=True)
            different = [(i, x, y) for i, (x, y) in enumerate(pairs) if x != y][:5]
            raise AssertionError(f"{site}: {name} differs at (index, one, other) {different}")


def frozen(stats: TensorStats) -> dict[str, Any]:
    """Copy all of a TensorStats, floats to the last bit, to compare with later."""
    moments = {
        name: [x.hex() for x in getattr(stats.moments, name).tolist()]
        for name in ("high", "low", "m2", "abs_sum")
    }
    rest: dict[str, Any] = {"calls": stats.calls, "units": stats.units, "notes": dict(stats.notes)}
    if stats.judged is not None:
        rest["openness"] = stats.judged.openness.hex()
    return integers(stats) | moments | rest


def assert_identical(a: TensorStats, b: TensorStats, *, site: str = "tensor") -> None:
    """Claim that two statistics are equal to the last bit."""
    one, other = frozen(a), frozen(b)
    different = [name for name in one | other if one.get(name) != other.get(name)]
    shown = {name: (str(one.get(name))[:80], str(other.get(name))[:80]) for name in different}
    assert not different, f"{site}: {shown}"


def merge_tree(parts: Sequence[Any], seed: int) -> Any:
    """Merge parts in a random tree and a random order."""
    rng = random.Random(seed)
    left = list(parts)
    while len(left) > 1:
        a = left.pop(rng.randrange(len(left)))
        b = left.pop(rng.randrange(len(left)))
        left.append(a.merge(b))
    return left[0]


# ---- models --------------------------------------------------------------------------------------


class Watched:
    """What plain hooks see: the reference that a recorder is compared with."""

    def __init__(self, model: nn.Module, names: Iterable[str] | None = None) -> None:
        self.seen: dict[str, list[Tensor]] = {}
        self.handles = []
        wanted = None if names is None else set(names)
        for name, module in model.named_modules():
            chosen = not module._modules if wanted is None else name in wanted
            if chosen:
                self.handles.append(module.register_forward_pre_hook(self._input(name)))
                self.handles.append(module.register_forward_hook(self._output(name)))

    def _input(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor):
                self.seen.setdefault(f"{name}:input", []).append(args[0].detach().clone())

        return hook

    def _output(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self.seen.setdefault(name, []).append(output.detach().clone())
                if output.requires_grad and not output.is_leaf:
                    output.register_hook(
                        lambda grad: self.seen.setdefault(f"{name}:grad", []).append(grad.clone())
                    )

        return hook

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def values(self, site: str) -> np.ndarray:
        """Return all values seen at a site, flat."""
        return np.concatenate([as_float64(t) for t in self.seen[site]])


def assert_recorded(recorder: Any, watched: Watched, sites: Iterable[str] | None = None) -> None:
    """Claim that the recorder knows exactly what plain hooks saw."""
    for site in watched.seen if sites is None else sites:
        parts = len(watched.seen[site])
        assert_stats_of(recorder[site], watched.values(site), merges=parts, site=site)
        calls = recorder[site].calls
        assert calls == parts, f"{site}: {calls} calls recorded, {parts} happened"


HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def hook_counts(model: nn.Module) -> dict[str, int]:
    """Count the entries of each hook dictionary, over all modules."""
    return {name: sum(len(getattr(m, name)) for m in model.modules()) for name in HOOKS}


def assert_no_hooks(model: nn.Module) -> None:
    """Claim that every hook dictionary of every module is empty."""
    assert not any(hook_counts(model).values()), hook_counts(model)


def assert_tensors_equal(one: dict[str, Tensor], other: dict[str, Tensor], what: str) -> None:
    """Claim bit-equality (NaN equals NaN) of two sets of tensors."""
    assert one.keys() == other.keys(), (what, one.keys() ^ other.keys())
    for name, tensor in one.items():
        same = torch.equal(tensor, other[name]) or bool(
            torch.equal(tensor.isnan(), other[name].isnan())
            and torch.equal(tensor.nan_to_num(), other[name].nan_to_num())
        )
        assert same, f"{what} {name} of shape {tuple(tensor.shape)}: not bit-identical"
