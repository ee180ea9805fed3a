"""Whether two runs have the same weights, and how many units were drawn if they have not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from actstats.comparison.noise import FEWEST_UNITS, units_agree
from actstats.comparison.pairs import WindowPair
from actstats.recording import Recording
from actstats.sites import Site, join_key
from actstats.stats import TensorStats

__all__ = ["drawn_units", "same_weights"]

FloatArray = NDArray[np.float64]


def same_weights(a: Recording, pair: WindowPair, sites: Mapping[str, str]) -> bool | None:
    """Tell whether both runs have the same weights in a first pair of windows.

    Asks the first layer with weights whose units tell something: layers near the end have units
    with a meaning, such as classes, that are alike in any two runs. None where nothing tells.
    Seeds tell nothing: two nets may be made from one, and one be loaded under two.
    """
    for mine, theirs in sites.items():
        if _draws(a.sites[mine]) and mine in pair.a.stats and theirs in pair.b.stats:
            figures = _unit_figures(pair.a.stats[mine]), _unit_figures(pair.b.stats[theirs])
            agree = units_agree(*figures) if figures[0] and figures[1] else None
            if agree is not None:
                return agree
    return None


def drawn_units(
    recording: Recording, seen: Mapping[str, TensorStats], sites: Iterable[str]
) -> FloatArray:
    """Return how many units' weights each site's values hang on.

    Infinity where units are not told apart; 0, so that anything may be noise, for fewer than 8,
    whose spread tells little of what other draws would give. A layer without weights of its own
    has the draws of what went into it: flattening makes more units of a convolution's channels,
    but no more of them are independent.
    """
    found = []
    for site in sites:
        units = seen[site].units
        origin = _origin(recording, site)
        if origin in seen and seen[origin].units:
            units = min(units or seen[origin].units, seen[origin].units)
        found.append(units or np.inf)
    return np.array([float(units) if units >= FEWEST_UNITS else 0.0 for units in found])


def _draws(site: Site) -> bool:
    """Tell whether a site's units come from weights that each run draws anew."""
    return (
        site.kind == "output"
        and site.trainable is not None
        and "Norm" not in site.module_type  # begins with the same weights in every run
    )


def _origin(recording: Recording, site: str) -> str:
    """Return the site whose weights made the units of this one, as far as is known."""
    known = recording.sites[site]
    at = join_key((f"{known.module}{known.leaf}", "output"))
    passed: set[str] = set()
    while at in recording.sites and at not in passed and not _draws(recording.sites[at]):
        passed.add(at)
        at = recording.sites[at].source or at
    return at


def _unit_figures(stats: TensorStats) -> list[FloatArray]:
    found = (stats.unit_mean, stats.unit_std)
    return [figure for figure in found if figure is not None]
