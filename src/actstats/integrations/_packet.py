"""What loggers are sent at once, and what of a window it holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from actstats.custom import known_figures
from actstats.recording import Window
from actstats.sites import close_matches
from actstats.stats import FIGURES, TensorStats

__all__ = ["USUAL", "Packet", "checked_figures", "numbers"]

USUAL = ("rms", "std", "saturated_fraction", "dead_fraction", "signal_fraction")


@dataclass(frozen=True)
class Packet:
    """What is sent at once.

    Parameters
    ----------
    step : int
        The last step that it tells of.
    phase : str
        Of the window; empty for findings.
    figures : mapping of str to float
        Numbers by tag: ``<prefix>/<figure>/<phase>/<site>``.
    histograms : mapping of str to TensorStats
        Of the sites that saw finite values, by site.
    findings : str
        What the diagnosis says, where it has changed; else empty.
    """

    step: int
    phase: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, TensorStats] = field(default_factory=dict)
    findings: str = ""


def numbers(
    window: Window,
    sites: Set[str],
    figures: Sequence[str] | None,
    tag: Callable[[str, str, str], str],
) -> Iterator[tuple[str, float]]:
    """Yield figures of some sites with their tags; None: the usual ones and the user's own."""
    rows, found = window.figures
    own = (name for name in found if name not in FIGURES)
    for figure in (*USUAL, *own) if figures is None else figures:
        values = found[figure].tolist() if figure in found else [math.nan] * len(rows)
        for site, value in zip(rows, values, strict=True):
            if site in sites and not math.isnan(value):
                yield tag(figure, window.phase, site), value


def checked_figures(figures: str | Sequence[str]) -> tuple[str, ...]:
    """Return names of figures that there are."""
    names, every = (figures,) if isinstance(figures, str) else tuple(figures), known_figures()
    for name in names:
        if name not in (*FIGURES, *every):
            hint = close_matches(str(name), (*FIGURES, *every))
            more = f" or of your own statistics, {every}," if every else ""
            raise ValueError(f"`figures` must be some of {FIGURES}{more}; got {name!r}{hint}")
    return names
