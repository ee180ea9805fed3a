"""Describe: what the figures are called in pictures, and which scale suits them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, LogNorm, Normalize, SymLogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, SymmetricalLogLocator
from numpy.typing import NDArray

from actstats.plot import _style
from actstats.sites import split_key

__all__ = ["LABELS", "SHARES", "Scale", "scale_of"]

Kind: TypeAlias = Literal["linear", "log", "symlog"]

LABELS = {
    "count": "values seen",
    "zeros": "values that are exactly 0",
    "nan_count": "values that are NaN",
    "inf_count": "values that are ±Inf",
    "min": "least value",
    "max": "largest value",
    "mean": "mean",
    "var": "variance",
    "std": "standard deviation",
    "rms": "root mean square",
    "zero_fraction": "values that are exactly 0",
    "saturated_fraction": "saturated values",
    "saturated_low": "values saturated on the low side",
    "saturated_high": "values saturated on the high side",
    "gate_openness": "gate openness",
    "signal_fraction": "signal fraction",
    "silent_fraction": "silent units",
    "dead_fraction": "dead units",
    "dormant_fraction": "dormant units",
    "values": "value",
}
SHARES = frozenset(
    {name for name in LABELS if name.endswith("_fraction")}
    | {"saturated_low", "saturated_high", "gate_openness"}
)
SIZES = frozenset({"var", "std", "rms"})  # read by their ratios
MOST_DECADES = 8  # that are written on an axis with 0 on it
WIDE = 30.0  # largest over least from which on ratios are what is read


@dataclass(frozen=True)
class Scale:
    """How a figure's values are put on an axis or into colours.

    Parameters
    ----------
    figure : str
        Its name.
    kind : {"linear", "log", "symlog"}
        symlog where there are zeros or signs among values that want a logarithm.
    low, high : float
        Ends of the finite values.
    threshold : float
        The least positive size, for symlog.
    what : str
        What the figure is of, where it is not of outputs.
    """

    figure: str
    kind: Kind
    low: float
    high: float
    threshold: float = 1.0
    what: str = ""

    @property
    def label(self) -> str:
        """The figure in words, with its unit."""
        unit = " (%)" if self.figure in SHARES else ""
        name = LABELS.get(self.figure, self.figure.replace("_", " "))  # the user may have made it
        return f"{name}{self.what}{unit}"

    def on_axis(self, axes: Axes) -> None:
        """Scale and label the y axis, on which the values are drawn already."""
        if self.kind == "symlog":
            axes.set_yscale("symlog", linthresh=self.threshold, linscale=self._around_zero)
            locator = SymmetricalLogLocator(linthresh=self.threshold, base=10)
            locator.set_params(numticks=MOST_DECADES)
            axes.yaxis.set_major_locator(locator)
            self._begin_at_zero(axes)
        elif self.kind == "log":
            axes.set_yscale("log")
            if self.high < 1000 * self.low:
                self._write_ticks(axes)
        elif self.figure in SHARES:
            shared = axes.get_shared_y_axes().get_siblings(axes)
            high = max(self.high, *(one.dataLim.y1 for one in shared))
            top = 1.0 if high > 0.5 else max(high, 0.01)
            axes.set_ylim(-0.03 * top, 1.04 * top)
        if self.kind != "log" and self.figure in SHARES:
            axes.yaxis.set_major_formatter(FuncFormatter(_percent))
        axes.set_ylabel(self.label)

    def _begin_at_zero(self, axes: Axes) -> None:
        """End the axis beneath 0 where no value is negative: decades of such would be empty."""
        shown = [one.dataLim for one in axes.get_shared_y_axes().get_siblings(axes)]
        if min(self.low, *(limits.y0 for limits in shown)) >= 0:
            high = max(self.high, *(limits.y1 for limits in shown))
            axes.set_ylim(-0.5 * self.threshold, high * (high / self.threshold) ** 0.04)

    def _write_ticks(self, axes: Axes) -> None:
        """Write plain numbers where few decades would have one power of ten or none."""
        subs = (1, 2, 5) if self.high > 8 * self.low else (1, 2, 3, 4, 5, 6, 7, 8)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _style.number(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())

    @property
    def norm(self) -> Normalize:
        """The same for colours."""
        if self.kind == "log":
            return LogNorm(self.low, self.high)
        if self.kind == "symlog":
            return SymLogNorm(self.threshold, self._around_zero, self.low, self.high)
        if self.figure in SHARES:
            return Normalize(0, 1 if self.high > 0.5 else max(self.high, 0.01))
        if self.is_signed:
            return CenteredNorm(0, max(-self.low, self.high))
        return Normalize(self.low, self.high)

    @property
    def _around_zero(self) -> float:
        """Decades that the linear part about 0 is as wide as: enough to write 0 beside the rest."""
        sides = (max(1.0, end / self.threshold) for end in (-self.low, self.high))
        return max(0.4, 0.09 * sum(map(math.log10, sides)))

    @property
    def is_signed(self) -> bool:
        """Whether the values lie on both sides of 0."""
        return self.low < 0 < self.high

    @property
    def formatter(self) -> Any:
        """What writes the ticks of a colour bar; None: as usual."""
        if self.figure not in SHARES or self.kind != "linear":
            return None
        return FuncFormatter(_percent)


def _percent(share: float, _: object) -> str:
    return _style.number(100 * share)


def scale_of(
    figure: str, values: NDArray[np.float64], log: bool | None, *, of: Sequence[str] = ()
) -> Scale:
    """Choose the scale for a figure's values.

    ``log`` forces a logarithmic axis or a linear one; None is logarithmic for std, rms and var
    that span more than 30-fold. ``of`` are the sites.
    """
    what = " of the gradient" if of and {split_key(site)[1] for site in of} == {"grad"} else ""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    sizes = np.abs(finite[finite != 0])
    least = float(sizes.min()) if sizes.size else 1.0
    if log is None:
        log = figure in SIZES and bool(sizes.size) and float(sizes.max()) > WIDE * least
    if not log or not sizes.size:
        return Scale(figure, "linear", low, high, what=what)
    if low > 0:
        return Scale(figure, "log", low, high, what=what)
    return Scale(figure, "symlog", low, high, 10.0 ** math.floor(math.log10(least)), what)
