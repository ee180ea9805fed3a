"""One site of a comparison: its distances, its figures, its row in the table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actstats.names import plain

__all__ = ["DISTANCES", "HEAD", "SiteComparison", "cells", "shown"]

DISTANCES = ("w1", "w1_normalised", "psi")

_SHOWN = (  # differences in the table, with what they are multiplied by
    ("Δmean", "mean", 1),
    ("Δstd", "std", 1),
    ("Δzero %", "zero_fraction", 100),
    ("Δsaturated %", "saturated_fraction", 100),
    ("Δdead %", "dead_fraction", 100),
)
HEAD = ("site", "W1/std", "PSI", *(title for title, *_ in _SHOWN), "most", "at step", "since")


@dataclass(frozen=True)
class SiteComparison:
    """One site in both recordings, over all compared steps.

    Parameters
    ----------
    site, site_b : str
        Its names in `a` and in `b`.
    w1 : float
        Wasserstein-1 distance, in the unit of the values; nan where a side has no finite value.
    w1_normalised : float
        The same over the standard deviation of both together: 0 to 2.
    psi : float
        Population stability index.
    most : float
        Largest `w1_normalised` of a window.
    most_step : int, optional
        First step of that window.
    since : int, optional
        First step from which on the site is apart; None where it is not.
    a, b : mapping of str to float
        Figures of both sides, by the names of ``actstats.stats.FIGURES``.
    """

    site: str
    site_b: str
    w1: float
    w1_normalised: float
    psi: float
    most: float
    most_step: int | None
    since: int | None
    a: Mapping[str, float]
    b: Mapping[str, float]

    @property
    def difference(self) -> dict[str, float]:
        """Each figure of `b` less that of `a`; nan where it does not apply to one of them."""
        return {name: self.b[name] - self.a[name] for name in self.a}

    @property
    def is_apart(self) -> bool:
        """Whether the two runs separate at this site."""
        return self.since is not None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them; None for what does not apply."""
        numbers = {name: getattr(self, name) for name in (*DISTANCES, "most")}
        return {
            "site": self.site,
            "site_b": self.site_b,
            **plain(numbers),
            "most_step": self.most_step,
            "since": self.since,
            "difference": plain(self.difference),
        }


def cells(row: SiteComparison) -> tuple[str, ...]:
    """Return the cells of a row below `HEAD`."""
    name = row.site if row.site == row.site_b else f"{row.site} → {row.site_b}"
    difference = row.difference
    figures = (_signed(times * difference[figure]) for _, figure, times in _SHOWN)
    steps = ("-" if step is None else f"{step:,}" for step in (row.most_step, row.since))
    return (name, shown(row.w1_normalised), shown(row.psi), *figures, shown(row.most), *steps)


def shown(value: float) -> str:
    """Write a distance; ``-`` where there is none."""
    return "-" if math.isnan(value) else f"{value:.3g}"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else "0" if value == 0 else f"{value:+.3g}"
