"""Describe: what one panel says of one site's statistics, before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actstats.activations import Zone
from actstats.plot._style import nice_range, number, percent
from actstats.stats import TensorStats

__all__ = ["Atom", "Panel", "Range", "check_range", "check_ranges", "describe", "pooled_range"]

Range = tuple[float, float]

KINDS = ("pre", "act", "input")
ATOM_SHARE = 0.01  # smaller atoms stay in the bars
BADGE_SHARE = 0.005  # smaller shares get no badge
CLIPPED_SHARE = 0.01  # smaller shares outside get a sign, but no number
TAIL = 0.005  # of the pooled values left out of a default range, on each side
_QUANTILES = (np.arange(200) + 0.5) / 200


@dataclass(frozen=True)
class Atom:
    """A value that holds a share of the mass all by itself."""

    value: float
    count: float
    share: float

    @property
    def label(self) -> str:
        """Such as ``63 % at 0``."""
        return f"{percent(self.share)} at {number(self.value)}"


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel in numbers and words.

    Parameters
    ----------
    counts, edges : ndarray, shape (bins,), (bins + 1,)
        All values by bin, atoms too.
    spread : ndarray, shape (bins,)
        The counts without the atoms.
    total : float
        Values seen.
    atoms : tuple of Atom
        Inside the range.
    below, above : str
        What lies outside, told at that side.
    badges : tuple of (str, str)
        Short facts with their tone: ``"plain"``, ``"dead"`` or ``"alarm"``.
    note : str
        Said instead of a histogram.
    """

    counts: NDArray[Any] = field(default_factory=lambda: np.zeros(1))
    edges: NDArray[Any] = field(default_factory=lambda: np.array([0.0, 1.0]))
    spread: NDArray[Any] = field(default_factory=lambda: np.zeros(1))
    total: float = 0.0
    atoms: tuple[Atom, ...] = ()
    below: str = ""
    above: str = ""
    badges: tuple[tuple[str, str], ...] = ()
    note: str = ""

    @property
    def top(self) -> float:
        """Share of all values in the highest bar."""
        return float(self.counts.max()) / self.total if self.total else 0.0

    @property
    def lines(self) -> int:
        """Lines of text that want room above the bars."""
        told = bool(self.atoms or len(self.below) > 1 or len(self.above) > 1)
        return max(len(self.badges), int(told))


def describe(
    stats: TensorStats | None,
    *,
    bins: int = 10,
    range: Range = (0.0, 1.0),
    own_edges: bool = True,
    judged: bool = False,
    why: str = "not recorded",
) -> Panel:
    """Say what a panel shows.

    Parameters
    ----------
    stats : TensorStats, optional
        None gives an empty panel that says ``why``.
    bins : int
        Equal bins over ``range``.
    range : (float, float)
        Ends of the bins.
    own_edges : bool
        Use the site's named edges instead, where it has some.
    judged : bool
        Tell saturated and dead shares.
    why : str
        What an empty panel says.
    """
    if stats is None:
        return Panel(note=why)
    if not stats.count:
        return Panel(note="nothing seen")
    named = own_edges and stats.edges is not None
    found = stats.histogram() if named else stats.histogram(bins, range)
    atoms = tuple(_atoms(stats, found.edges))
    return Panel(
        counts=found.counts,
        edges=found.edges,
        spread=_without(atoms, found.counts, found.edges),
        total=stats.count,
        atoms=atoms,
        below=_outside(found.below, stats.count, "{} <", "<"),
        above=_outside(found.above, stats.count, "> {}", ">"),
        badges=tuple(_badges(stats, judged)),
    )


def _atoms(stats: TensorStats, edges: NDArray[Any]) -> Iterable[Atom]:
    if not stats.finite_count:
        return
    counts = {-1.0: stats.at_minus_one, 0.0: stats.zeros, 1.0: stats.at_plus_one}
    if stats.min == stats.max:
        counts = {stats.min: stats.finite_count}
    for value, count in counts.items():
        if edges[0] <= value <= edges[-1] and count > ATOM_SHARE * stats.count:
            yield Atom(value, count, count / stats.count)


def _without(atoms: Iterable[Atom], counts: NDArray[Any], edges: NDArray[Any]) -> NDArray[Any]:
    """Return the counts without the atoms, each taken out of its bin."""
    rest = counts.astype(np.float64)
    for atom in atoms:
        place = int(np.searchsorted(edges, atom.value, side="right")) - 1
        rest[min(place, len(rest) - 1)] -= atom.count
    return np.maximum(rest, 0.0)


def _outside(count: float, total: int, text: str, bare: str) -> str:
    if count < 0.5:  # values; a histogram that was interpolated has fractions
        return ""
    share = count / total
    return text.format(percent(share)) if share >= CLIPPED_SHARE else bare


def _badges(stats: TensorStats, judged: bool) -> Iterable[tuple[str, str]]:
    if judged:
        for word, share, tone in (
            ("sat", stats.saturated_fraction, "plain"),
            ("dead", stats.dead_fraction, "dead"),
        ):
            if share >= BADGE_SHARE:  # false for nan
                yield f"{word} {percent(share)}", tone
    for word, count in (("NaN", stats.nan_count), ("Inf", stats.inf_count)):
        if count:
            yield f"{count:,} {word}", "alarm"


# ---- shared ranges -----------------------------------------------------------------------------


def check_ranges(ranges: Mapping[str, Range] | None) -> dict[str, Range]:
    """Return the given ranges as floats.

    Raises
    ------
    ValueError
        If a key or a range is not as described.
    """
    checked = {}
    for kind, ends in (ranges or {}).items():
        if kind not in KINDS:
            raise ValueError(f"`ranges` must have keys among {KINDS}; got {kind!r}.")
        low, high = (float(end) for end in ends)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"`ranges[{kind!r}]` must be (low, high), low < high; got {ends!r}.")
        checked[kind] = (low, high)
    return checked


def check_range(range: Range | None) -> Range | None:
    """Return a given range as floats; None stays None.

    Raises
    ------
    ValueError
        If it is not as described.
    """
    if range is None:
        return None
    low, high = (float(end) for end in range)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"`range` must be (low, high), low < high; got {range!r}.")
    return low, high


def pooled_range(seen: Iterable[TensorStats], *, limited: bool = False) -> Range:
    """Return one range for many panels.

    Named edges where sites have some; else the middle 99 % of the panels' values, each panel
    weighing the same, rounded outwards.

    Parameters
    ----------
    seen : iterable of TensorStats
        Of all panels that share the range.
    limited : bool
        End at the limits of the activation functions, where they have some.
    """
    held = [stats for stats in seen if stats.finite_count]
    named = [stats.edges for stats in held if stats.edges is not None]
    if named:
        return min(edges[0] for edges in named), max(edges[-1] for edges in named)
    if not held:
        return 0.0, 1.0
    low_limit, high_limit = _limits(held) if limited else (-math.inf, math.inf)
    if math.isfinite(low_limit) and math.isfinite(high_limit):
        return low_limit, high_limit
    points = np.concatenate([stats.quantile(_QUANTILES) for stats in held])
    low, high = (float(end) for end in np.quantile(points, [TAIL, 1 - TAIL]))
    low, high = min(low, low_limit) if low_limit > -math.inf else low, high
    if not high > low and math.isfinite(low_limit):
        high = low + 1.0  # all values at the limit: a ReLU net that is dead
    low, high = nice_range(low, high)
    return (low_limit if math.isfinite(low_limit) else low), (
        high_limit if math.isfinite(high_limit) else high
    )


def _limits(held: Iterable[TensorStats]) -> Range:
    functions = [stats.activation for stats in held if stats.activation is not None]
    if not functions:
        return -math.inf, math.inf
    return min(f.limits[0] for f in functions), max(f.limits[1] for f in functions)


def visible(zones: Iterable[Zone], view: Range) -> list[Range]:
    """Return the parts of the zones inside the view."""
    cut = [(max(zone.low, view[0]), min(zone.high, view[1])) for zone in zones]
    return [(low, high) for low, high in cut if high > low]
