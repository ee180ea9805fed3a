"""What is known of one site in one window: exact to merge, ready to read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from actstats import activations
from actstats.activations import Activation
from actstats.custom import Custom, merged_custom, read_custom, why_absent
from actstats.gate import Judged, make_gate
from actstats.histogram import AsymptoteHistogram, BinCounts, BitHistogram, Distribution
from actstats.kernels import Spec, State, reference, repeats
from actstats.kernels.state import NEVER, Layout
from actstats.moments import Moments

__all__ = ["COUNTS", "FIGURES", "TensorStats"]

BoolArray = NDArray[np.bool_]

DORMANT_THRESHOLD = 0.025  # "tau" in Sokar et al. 2023
ENOUGH_SAMPLES = 30  # rule of three: 0 of 30 bounds P(active) below 0.1 at 95 %
SATURATED_UNIT_SHARE = 0.95

FIGURES = (
    "count",
    "zeros",
    "nan_count",
    "inf_count",
    "min",
    "max",
    "mean",
    "var",
    "std",
    "rms",
    "zero_fraction",
    "saturated_fraction",
    "saturated_low",
    "saturated_high",
    "gate_openness",
    "signal_fraction",
    "silent_fraction",
    "dead_fraction",
    "dormant_fraction",
)
"""Names of the scalar figures, in the order of tables."""

COUNTS = ("count", "zeros", "nan_count", "inf_count")
"""Those that are whole numbers."""


@dataclass(frozen=True, eq=False)
class TensorStats:
    r"""Exact, mergeable statistics of the tensors seen at one site.

    Made by a recorder or by :meth:`from_tensor`; read through its figures. ``a.merge(b)`` (or
    ``a + b``) is what would have been kept of both data sets together: integers identical,
    moments within a rounding bound, neither side changed, and ``empty()`` the identity.
    A figure that does not apply is nan (or None for arrays) and :meth:`why` says why.

    Parameters
    ----------
    calls, count, zeros, nan_count, posinf_count, neginf_count : int
        Tensors seen; values seen, all of them; exact zeros; NaN; +Inf; -Inf.
    at_plus_one, at_minus_one : int
        Values exactly at +1 and -1 (kept where the activation ends there).
    min, max : float
        Extrema of the finite values; nan where there are none.
    moments : Moments
        One column per unit, or one in all.
    bits : BitHistogram
        Finite non-zero values by float bits.
    asymptote : AsymptoteHistogram, optional
        Bins of 1 - \|x\| for a layer that ends at plus or minus one.
    edges : tuple of float, optional
        Named edges of the exact linear histogram.
    linear : ndarray of int64, optional
        Counts below, within and above the named edges.
    judged : Judged, optional
        What the activation's gate says of the samples.
    activation : Activation, optional
        The activation function, where the site is one's output.
    saturation_slope : float
        Share of the maximal slope below which a value is saturated.
    units : int
        Units told apart; 0 where they are pooled.
    notes : mapping of str to str
        Reasons why figures are missing, by the figure's name or ``"units"``.
    first_non_finite_step : int, optional
        First step with NaN or Inf; None where all is finite, or no step was told.
    custom : mapping of str to Custom
        What the user's own statistics know, by their names; their figures are read as attributes.
    """

    calls: int = 0
    count: int = 0
    zeros: int = 0
    nan_count: int = 0
    posinf_count: int = 0
    neginf_count: int = 0
    at_plus_one: int = 0
    at_minus_one: int = 0
    min: float = math.nan
    max: float = math.nan
    moments: Moments = field(default_factory=Moments.empty)
    bits: BitHistogram = field(default_factory=lambda: BitHistogram.empty(7))
    asymptote: AsymptoteHistogram | None = None
    edges: tuple[float, ...] | None = None
    linear: NDArray[np.int64] | None = None
    judged: Judged | None = None
    activation: Activation | None = None
    saturation_slope: float = 0.05
    units: int = 0
    notes: Mapping[str, str] = field(default_factory=dict)
    first_non_finite_step: int | None = None
    custom: Mapping[str, Custom] = field(default_factory=dict)

    # ---- making ------------------------------------------------------------------------------

    @classmethod
    def empty(cls) -> TensorStats:
        """Return the identity of :meth:`merge`."""
        return cls()

    @classmethod
    def from_tensor(
        cls,
        a: Tensor | ArrayLike,
        *,
        z: Tensor | None = None,
        unit_axis: int | None = -1,
        activation: str | nn.Module | Activation | None = None,
        resolution: int = 3,
        saturation_slope: float = 0.05,
        edges: Sequence[float] | tuple[int, float, float] | None = None,
    ) -> TensorStats:
        r"""Summarise one tensor.

        Parameters
        ----------
        a : Tensor or array_like
            Floating-point values of any shape; only read.
        z : Tensor, optional
            What went into the activation; needed where the output does not tell the slope
            (GELU, SiLU, ELU ...). Without it those figures are nan.
        unit_axis : int, optional
            The axis of the units, -1 by default; None pools them, as does a tensor of fewer than
            two dimensions.
        activation : str, Module or Activation, optional
            The function that made ``a``.
        resolution : int, default 3
            k of the histogram, 0 to 7.
        saturation_slope : float, default 0.05
            In (0, 1); 0.05 means \|tanh\| > 0.975.
        edges : (bins, low, high) or sequence of float, optional
            Edges of an exact linear histogram.

        Examples
        --------
        >>> import torch
        >>> from actstats import TensorStats
        >>> s = TensorStats.from_tensor(torch.tensor([[0.0, 2.0], [0.0, 4.0]]), activation="relu")
        >>> s.mean, s.zero_fraction, s.saturated_fraction
        (1.5, 0.5, 0.5)
        """
        a = (a if isinstance(a, Tensor) else torch.as_tensor(np.ascontiguousarray(a))).detach()
        if not a.is_floating_point():
            raise ValueError(f"`a` must be floating point; got {a.dtype}.")
        require_resolution(resolution)
        known = None if activation is None else activations.get(activation)
        if z is not None and (not isinstance(z, Tensor) or z.shape != a.shape):
            got = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
            raise ValueError(f"`z` must be a tensor of a's shape {tuple(a.shape)}; got {got}.")
        axis = None
        if unit_axis is not None and a.dim() > 1:
            if not -a.dim() <= unit_axis < a.dim():
                raise ValueError(
                    f"`unit_axis` must be None or an axis of shape {tuple(a.shape)}; "
                    f"got {unit_axis!r}."
                )
            a, axis = a.movedim(unit_axis, -1), -1
            z = None if z is None else z.movedim(unit_axis, -1)
        spec = Spec(
            resolution=resolution,
            width=1 if axis is None else a.shape[axis],
            gate=make_gate(known, saturation_slope),
            asymptote=known is not None and known.ends_at_one,
            edges=None if edges is None else named_edges(edges),
        )
        state = State(spec, a.device)
        repeats.observe(reference, a, state, unit_axis=axis)
        if z is not None and spec.gate is not None and not spec.gate.from_output:
            repeats.judge(reference, z.detach(), state, unit_axis=axis)
        stats = cls.from_state(
            state,
            activation=known,
            saturation_slope=saturation_slope,
            units=0 if axis is None else spec.width,
            notes={"units": "units are pooled"} if axis is None else None,
        )
        return replace(stats, first_non_finite_step=None)  # one tensor has no steps

    @classmethod
    def from_state(
        cls,
        state: State,
        *,
        activation: Activation | None = None,
        saturation_slope: float = 0.05,
        units: int = 0,
        notes: Mapping[str, str] | None = None,
    ) -> TensorStats:
        """Copy what a kernel has gathered; the state stays as it is."""
        memory = np.array(state.memory.cpu().numpy())  # one copy, from wherever it is
        return cls.from_memory(
            memory,
            state.spec,
            activation=activation,
            saturation_slope=saturation_slope,
            units=units,
            notes=notes,
        )

    @classmethod
    def from_memory(
        cls,
        memory: NDArray[np.int64],
        spec: Spec,
        *,
        activation: Activation | None = None,
        saturation_slope: float = 0.05,
        units: int = 0,
        notes: Mapping[str, str] | None = None,
    ) -> TensorStats:
        """Read a copy of a state's memory, as ``kernels.state.Layout`` says.

        The copy is used up: nothing of it is kept, and bins that are no values' become 0.
        """
        numbers, broken = memory[: Layout.EXTREMA].tolist(), int(memory[Layout.BROKEN])
        low, high = memory[Layout.EXTREMA : Layout.OPENNESS].view(np.float64).tolist()
        return cls(
            **dict(zip(_COUNTERS, numbers, strict=True)),
            min=low if low <= high else math.nan,
            max=high if low <= high else math.nan,
            **_parts(memory, spec),
            edges=spec.edges,
            activation=activation,
            saturation_slope=saturation_slope,
            units=units,
            notes=dict(notes or {}),
            first_non_finite_step=NEVER - broken if broken else None,
        )

    @property
    def spec(self) -> Spec:
        """What a state has to keep for these statistics to be read from it."""
        return Spec(
            resolution=self.bits.resolution,
            width=self.moments.width,
            gate=None if self.judged is None else make_gate(self.activation, self.saturation_slope),
            asymptote=self.asymptote is not None,
            edges=None if self.linear is None else self.edges,
            custom=tuple(one.spec for one in self.custom.values()),
        )

    def to_memory(self) -> NDArray[np.int64]:
        """Return what a state's memory would hold; :meth:`from_memory` reads the same back.

        NaN and Inf, of which no bins are kept, are in one bin each.
        """
        spec = self.spec
        at, k = Layout.of(spec), spec.resolution
        memory = np.zeros(at.words, np.int64)
        floats, first = memory.view(np.float64), self.first_non_finite_step
        memory[: Layout.EXTREMA] = [getattr(self, name) for name in _COUNTERS]
        ends = (self.min, self.max) if self.min <= self.max else (math.inf, -math.inf)
        floats[Layout.EXTREMA : Layout.OPENNESS] = ends
        memory[Layout.BROKEN] = 0 if first is None else NEVER - first
        moments = [getattr(self.moments, f.name) for f in fields(Moments)]
        floats[at.moments : at.judged] = np.concatenate(moments)
        bins = memory[at.histogram : at.asymptote]
        bins[:] = self.bits.dense()
        bins[0] += self.zeros
        beyond = 255 << k  # the bin of Inf, then those of NaN
        bins[beyond] += self.posinf_count
        bins[beyond + len(bins) // 2] += self.neginf_count
        bins[beyond + (1 << k) - 1] += self.nan_count
        if self.judged is not None:
            floats[Layout.OPENNESS] = self.judged.openness
            memory[at.judged : at.histogram] = np.concatenate(self.judged.rows)
        if self.asymptote is not None:
            memory[at.asymptote : at.linear] = self.asymptote.dense().reshape(-1)
        if self.linear is not None:
            memory[at.linear : at.custom] = self.linear
        if self.custom:
            floats[at.custom :] = np.concatenate([one.values for one in self.custom.values()])
        return memory

    # ---- merging -----------------------------------------------------------------------------

    def merge(self, other: TensorStats) -> TensorStats:
        """Return the statistics of both data sets together; neither side changes.

        Raises
        ------
        ValueError
            If the two were judged by different activations, thresholds or edges.
        """
        if other.calls == 0 and other.count == 0:
            return self
        if self.calls == 0 and self.count == 0:
            return other
        self._refuse_unequal(other)
        if self.units != other.units:
            changed = f"the width changed: {self.units or 'pooled'} and {other.units or 'pooled'}"
            reason = self.notes.get("units") or other.notes.get("units") or changed
            return self.pool_units(reason).merge(other.pool_units(reason))
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTERS}
        custom, lost = merged_custom(self.custom, other.custom)
        return replace(
            self,
            **sums,
            min=float(np.fmin(self.min, other.min)),
            max=float(np.fmax(self.max, other.max)),
            moments=self.moments.merge(other.moments),
            bits=self.bits.merge(other.bits),
            asymptote=_merged(self.asymptote, other.asymptote),
            linear=None
            if self.linear is None or other.linear is None
            else self.linear + other.linear,
            judged=_merged(self.judged, other.judged),
            notes={**lost, **self.notes, **other.notes},
            custom=custom,
            first_non_finite_step=_earlier(self.first_non_finite_step, other.first_non_finite_step),
        )

    def __add__(self, other: TensorStats) -> TensorStats:
        return self.merge(other) if isinstance(other, TensorStats) else NotImplemented

    def __radd__(self, other: object) -> TensorStats:
        return self if other == 0 else NotImplemented  # so that sum() works

    def _refuse_unequal(self, other: TensorStats) -> None:
        for name, mine, theirs in (
            ("activation", self._activation_key, other._activation_key),
            ("saturation_slope", self.saturation_slope, other.saturation_slope),
            ("edges", self.edges, other.edges),
        ):
            if mine != theirs:
                raise ValueError(
                    f"statistics with unequal `{name}` do not merge: {mine!r} and {theirs!r}."
                )

    @property
    def _activation_key(self) -> str | None:
        return None if self.activation is None else self.activation.key

    def pool_units(self, reason: str) -> TensorStats:
        """Return these statistics without per-unit detail, and the reason kept."""
        if not self.units:
            return self
        return replace(
            self,
            units=0,
            moments=self.moments.pooled(),
            judged=None if self.judged is None else self.judged.pooled(),
            notes={**self.notes, "units": reason},
            custom={name: one for name, one in self.custom.items() if not one.spec.units},
        )

    def coarsen(self, resolution: int) -> TensorStats:
        """Return these statistics with the histogram at a lower resolution."""
        if resolution >= self.bits.resolution:
            return self
        return replace(
            self,
            bits=self.bits.coarsen(resolution),
            asymptote=None if self.asymptote is None else self.asymptote.coarsen(resolution),
        )

    # ---- figures of the whole tensor ---------------------------------------------------------

    @property
    def inf_count(self) -> int:
        """Values at plus or minus infinity."""
        return self.posinf_count + self.neginf_count

    @property
    def finite_count(self) -> int:
        """Finite values; the moments and the histogram are over these."""
        return self.count - self.nan_count - self.inf_count

    @cached_property
    def _pooled(self) -> Moments:
        return self.moments.pooled()

    @property
    def mean(self) -> float:
        """Mean of the finite values."""
        return float(self._pooled.mean[0])

    @property
    def var(self) -> float:
        """Variance of the finite values, divided by n."""
        return float(self._pooled.var[0])

    @property
    def std(self) -> float:
        """Square root of :attr:`var`."""
        return math.sqrt(self.var)

    @property
    def rms(self) -> float:
        """Root of the mean square of the finite values."""
        return math.hypot(self.std, self.mean)

    @property
    def abs_mean(self) -> float:
        """Mean of the absolute values."""
        n = self.finite_count
        return float(self._pooled.abs_sum[0]) / n if n else math.nan

    @property
    def condition(self) -> float:
        """sqrt(1 + mean**2 / var): the relative error of ``var`` is about this times 1e-16."""
        if not self.finite_count:
            return math.nan
        return math.hypot(1, self.mean / self.std) if self.std else math.inf

    @property
    def zero_fraction(self) -> float:
        """Share of exact zeros among all values."""
        return self.zeros / self.count if self.count else math.nan

    @property
    def under_resolved(self) -> bool:
        """Whether the values are too narrow for the histogram: raise ``resolution`` for the site.

        True where ``std < 2 * 2**-k * abs(mean)``.
        """
        narrow = self.std < 2 * 2.0**-self.bits.resolution * abs(self.mean)
        return narrow and self.min < self.max

    # ---- figures of the gate -----------------------------------------------------------------

    def _gate_sum(self, *names: str) -> float:
        if self._missing("gate") or self.judged is None:
            return math.nan
        return sum(int(getattr(self.judged, name).sum()) for name in names) / self._judged_total

    @property
    def _judged_total(self) -> int:
        return 0 if self.judged is None else int(self.judged.seen.sum())

    @property
    def saturated_fraction(self) -> float:
        """Share of values where the activation's slope is below the threshold."""
        return self._gate_sum("low", "high")

    @property
    def saturated_low(self) -> float:
        """Share of values saturated on the low side."""
        return self._gate_sum("low")

    @property
    def saturated_high(self) -> float:
        """Share of values saturated on the high side."""
        return self._gate_sum("high")

    @property
    def gate_openness(self) -> float:
        r"""Mean of \|slope\| over its maximum: 1 lets every gradient through, 0 none."""
        if self._missing("gate") or self.judged is None:
            return math.nan
        return self.judged.openness / self._judged_total

    # ---- figures of the units ----------------------------------------------------------------

    @property
    def signal_fraction(self) -> float:
        """Mean over units of their variance, over the mean square of all: 0 ignores the input."""
        if self.why("signal_fraction"):
            return math.nan
        square = self.rms * self.rms
        return float(np.nanmean(self.moments.var)) / square if square else math.nan

    @property
    def unit_mean(self) -> NDArray[np.float64] | None:
        """Mean of each unit over its samples, shape (C,); None where units are pooled."""
        return None if self._missing("units") else self.moments.mean

    @property
    def unit_std(self) -> NDArray[np.float64] | None:
        """Standard deviation of each unit over its samples, shape (C,).

        Read it beside :attr:`std`: a layer of constants has a healthy-looking tensor std.
        """
        return None if self._missing("units") else np.sqrt(self.moments.var)

    @property
    def active_fraction(self) -> NDArray[np.float64] | None:
        """Share of active samples per unit, shape (C,), nan for units without a finite one."""
        if self._missing("active") or self.judged is None:
            return None
        with np.errstate(invalid="ignore"):
            return np.asarray(self.judged.active / self.judged.seen)

    @property
    def silent_units(self) -> BoolArray | None:
        """Units without an active sample, shape (C,); None where it does not apply."""
        if self._missing("active") or self.judged is None:
            return None
        return np.asarray((self.judged.active == 0) & (self.judged.seen > 0))

    @property
    def dead_units(self) -> BoolArray | None:
        """Silent units whose own weights get no gradient, shape (C,); needs 30 samples."""
        return None if self._missing("dead") else self.silent_units

    @property
    def dormant_units(self) -> BoolArray | None:
        r"""Units with mean \|a\| at most 2.5 % of the layer's, shape (C,); Sokar et al. 2023."""
        if self._missing("units") or not self.finite_count:
            return None
        seen = self.moments.n > 0
        size = self.moments.abs_sum / np.maximum(self.moments.n, 1)
        mean = size[seen].mean() if seen.any() else 0.0
        return np.asarray(seen & (size <= DORMANT_THRESHOLD * mean))

    @property
    def saturated_units(self) -> BoolArray | None:
        """Units with at least 95 % of their samples saturated, shape (C,)."""
        if self._missing("gate") or self._missing("active") or self.judged is None:
            return None
        hits = self.judged.low + self.judged.high
        return np.asarray(
            (hits >= SATURATED_UNIT_SHARE * self.judged.seen) & (self.judged.seen > 0)
        )

    @property
    def two_sided_units(self) -> BoolArray | None:
        """Saturated units that sit on both sides (a sign code) rather than stuck on one, (C,)."""
        saturated = self.saturated_units
        if saturated is None or self.judged is None:
            return None
        rarer = np.minimum(self.judged.low, self.judged.high)
        return saturated & (rarer >= (1 - SATURATED_UNIT_SHARE) * self.judged.seen)

    @property
    def silent_fraction(self) -> float:
        """Share of silent units."""
        return _share(self.silent_units)

    @property
    def dead_fraction(self) -> float:
        """Share of dead units."""
        return _share(self.dead_units)

    @property
    def dormant_fraction(self) -> float:
        """Share of dormant units."""
        return _share(self.dormant_units)

    # ---- why a figure is missing -------------------------------------------------------------

    def why(self, figure: str) -> str | None:
        """Return the reason why a figure does not apply, or None if it does.

        Examples
        --------
        >>> import torch
        >>> from actstats import TensorStats
        >>> TensorStats.from_tensor(torch.ones(40, 3), activation="tanh").why("dead_fraction")
        'tanh is never exactly flat, so its units do not die'
        """
        for one in self.custom.values():
            if figure in one.figures:
                return one.why(figure)
        reason = None if figure in FIGURES else why_absent(figure, self.notes)
        if reason is not None:
            return reason
        if figure not in _PREREQUISITE and figure not in FIGURES:
            raise ValueError(f"`figure` must be one of {FIGURES}; got {figure!r}.")
        if not self.count:
            return "nothing was seen"
        if figure in (*COUNTS, "zero_fraction"):
            return None
        if not self.finite_count:
            return "no finite value was seen"
        need = _PREREQUISITE.get(figure)
        if need is not None and self._missing(need):
            return self._missing(need)
        return self._missing_signal() if figure == "signal_fraction" else None

    def _missing_signal(self) -> str | None:
        if self.moments.n.max() < 2:
            return "1 sample per unit is too few"
        return None if self.rms else "all values are zero"

    def _missing(self, need: str) -> str | None:
        """Return why a prerequisite is not met, or None."""
        if need == "units":
            return None if self.units else self.notes.get("units", "units are not told apart here")
        if self.activation is None:
            return self.notes.get("activation", "not the output of an activation function")
        if need == "gate" and self.activation.reason is not None:
            return self.activation.reason
        if self._judged_total == 0:
            needs_z = self.activation.judged_from == "input" and self.finite_count
            return (
                f"{self.activation.name} is judged from z, which was not seen"
                if needs_z
                else ("no finite value was seen")
            )
        if need == "gate":
            return None
        if not self.units:
            return self._missing("units")
        if need == "dead":
            return self._missing_death()
        return None

    def _missing_death(self) -> str | None:
        assert self.activation is not None and self.judged is not None
        if not self.activation.can_die:
            return f"{self.activation.name} is never exactly flat, so its units do not die"
        least = int(self.judged.seen.min())
        if least < ENOUGH_SAMPLES:
            return f"{least} samples are too few (at least {ENOUGH_SAMPLES})"
        return None

    # ---- reading the distribution ------------------------------------------------------------

    @cached_property
    def distribution(self) -> Distribution:
        """The histogram, its atoms and its exact ends, ready to read."""
        atoms = {0.0: self.zeros, 1.0: self.at_plus_one, -1.0: self.at_minus_one}
        return Distribution(
            histogram=self.bits,
            asymptote=self.asymptote,
            atoms={value: n for value, n in atoms.items() if n},
            min=self.min,
            max=self.max,
        )

    def quantile(self, q: ArrayLike) -> Any:
        """Return quantiles of the finite values, within one histogram bin.

        Parameters
        ----------
        q : float or array_like
            In [0, 1].
        """
        return self.distribution.quantile(q)

    def histogram(
        self,
        bins: int | Sequence[float] | None = None,
        range: tuple[float, float] | None = None,
    ) -> BinCounts:
        """Return counts on a linear axis.

        Parameters
        ----------
        bins : int or sequence of float, optional
            Number of equal bins, or their edges. None: the site's named edges, else 10.
        range : (float, float), optional
            Ends of the bins; None: the least and largest value.

        Returns
        -------
        BinCounts
            Unpacks as ``(counts, edges)``; ``.exact`` where these are the site's named edges
            (then equal to ``numpy.histogram`` of the values in float64, last edge closed);
            ``.below`` and ``.above`` tell what lies outside.
        """
        if bins is None and range is None and self.edges is not None:
            edges = np.asarray(self.edges)
        else:
            edges = self._linear_edges(10 if bins is None else bins, range)
        if self.edges is not None and self.linear is not None and np.array_equal(edges, self.edges):
            below, above = int(self.linear[0]), int(self.linear[-1])
            inner = self.linear[1:-1].copy()
            return BinCounts(inner, edges, exact=True, below=below, above=above)
        return self.distribution.counts(edges)

    def _linear_edges(
        self, bins: int | Sequence[float], range: tuple[float, float] | None
    ) -> NDArray[np.float64]:
        if not isinstance(bins, int | np.integer):
            return np.asarray(bins, dtype=np.float64)
        low, high = range if range is not None else (self.min, self.max)
        if range is None and not (math.isfinite(low) and math.isfinite(high)):
            low, high = 0.0, 1.0  # as numpy.histogram of nothing
        return np.histogram_bin_edges(
            np.array([low, high], dtype=np.float64), int(bins), (low, high)
        )

    # ---- showing -----------------------------------------------------------------------------

    def to_dict(self) -> dict[str, float]:
        """Return the scalar figures by name, in the order of tables; the user's own last."""
        return {name: getattr(self, name) for name in FIGURES} | self._own

    @property
    def _own(self) -> dict[str, float]:
        """Figures of the user's own statistics, by name."""
        return {name: v for one in self.custom.values() for name, v in one.figures.items()}

    def __getattr__(self, name: str) -> float:
        for one in self.__dict__.get("custom", {}).values():  # absent while a copy is made
            if name in one.figures:
                return float(one.figures[name])
        reason = why_absent(name, self.__dict__.get("notes", {}))
        more = f": {reason}" if reason else ""
        raise AttributeError(f"{type(self).__name__} has no figure {name!r}{more}")

    @property
    def nbytes(self) -> int:
        """Memory held by the arrays, in bytes."""
        parts = [self.moments.nbytes, self.bits.nbytes]
        parts += [part.nbytes for part in (self.asymptote, self.linear) if part is not None]
        if self.judged is not None:
            parts.append(5 * self.judged.seen.nbytes)
        return sum(parts) + sum(one.values.nbytes for one in self.custom.values())

    def _repr_html_(self) -> str:
        from actstats.text import html_table  # here: only notebooks ask

        rows = [(name, f"{value:.4g}") for name, value in self.to_dict().items() if value == value]
        return html_table(("figure", "value"), rows, left=(0,), caption=f"{self.count:,} values")

    def __repr__(self) -> str:
        shown = {
            name: getattr(self, name)
            for name in ("mean", "std", "min", "max", "saturated_fraction", "dead_fraction")
        }
        figures = ", ".join(f"{k}={v:.4g}" for k, v in shown.items() if not math.isnan(v))
        return f"TensorStats(count={self.count}{', ' if figures else ''}{figures})"


_COUNTERS = (  # in the order of a state's header
    *("calls", "count", "zeros", "nan_count", "posinf_count", "neginf_count"),
    *("at_plus_one", "at_minus_one"),
)
_PREREQUISITE: dict[str, str] = {
    "saturated_fraction": "gate",
    "saturated_low": "gate",
    "saturated_high": "gate",
    "gate_openness": "gate",
    "saturated_units": "gate",
    "two_sided_units": "gate",
    "signal_fraction": "units",
    "dormant_fraction": "units",
    "dormant_units": "units",
    "unit_mean": "units",
    "unit_std": "units",
    "silent_fraction": "active",
    "silent_units": "active",
    "active_fraction": "active",
    "dead_fraction": "dead",
    "dead_units": "dead",
}


def named_edges(edges: Sequence[float] | tuple[int, float, float]) -> tuple[float, ...]:
    """Return ascending edges from ``(bins, low, high)`` or from edges.

    Three numbers are ``(bins, low, high)`` when the first is an ``int``.

    Raises
    ------
    ValueError
        If they do not ascend, or are too few.
    """
    values = list(edges)
    if len(values) == 3 and isinstance(values[0], int) and not isinstance(values[0], bool):
        bins, low, high = values
        if bins < 1 or not low < high:
            raise ValueError(
                f"`edges` as (bins, low, high) wants bins >= 1, low < high; got {edges!r}."
            )
        return tuple(np.linspace(low, high, int(bins) + 1).tolist())
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2 or not np.isfinite(array).all() or not (np.diff(array) > 0).all():
        raise ValueError(f"`edges` must be at least two finite ascending numbers; got {edges!r}.")
    return tuple(array.tolist())


def require_resolution(resolution: int) -> int:
    if isinstance(resolution, bool) or not isinstance(resolution, int) or not 0 <= resolution <= 7:
        raise ValueError(f"`resolution` must be an integer from 0 to 7; got {resolution!r}.")
    return resolution


def _merged(a: Any, b: Any) -> Any:
    return None if a is None or b is None else a.merge(b)


def _earlier(a: int | None, b: int | None) -> int | None:
    return min((step for step in (a, b) if step is not None), default=None)


def _share(units: BoolArray | None) -> float:
    return math.nan if units is None else float(units.mean())


def _parts(memory: NDArray[np.int64], spec: Spec) -> dict[str, Any]:
    """Return all that is more than one number, by the field's name; copies."""
    at, floats, k = Layout.of(spec), memory.view(np.float64), spec.resolution
    zeros = int(memory[Layout.COUNTS + 1])
    parts: dict[str, Any] = {
        "moments": Moments(*floats[at.moments : at.judged].reshape(5, -1).copy()),
        "bits": _finite_nonzero(memory[at.histogram : at.asymptote], zeros, k),
    }
    if spec.gate is not None:
        rows = memory[at.judged : at.histogram].reshape(5, -1).copy()
        parts["judged"] = Judged.of(rows, float(floats[Layout.OPENNESS]))
    if spec.asymptote:
        dense = memory[at.asymptote : at.linear].reshape(2, -1)
        parts["asymptote"] = AsymptoteHistogram.from_dense(dense, k)
    if spec.edges is not None:
        parts["linear"] = memory[at.linear : at.custom].copy()
    parts["custom"] = read_custom(spec.custom, floats[at.custom :])
    return parts


def _finite_nonzero(dense: NDArray[np.int64], zeros: int, k: int) -> BitHistogram:
    """Take zeros (bin 0) and NaN and Inf (exponent 255) out of the raw bins."""
    dense[0] -= zeros
    signs = dense.reshape(2, -1)
    signs[:, 255 << k :] = 0
    return BitHistogram.from_dense(dense, k)
