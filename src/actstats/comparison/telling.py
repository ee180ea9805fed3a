"""From distances to what is said: a row per site, the first separation, remarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actstats.comparison.judging import (
    TIMES_NOISE,
    Marks,
    Separation,
    apart,
    beyond_noise,
    in_order_of_computing,
    since,
)
from actstats.comparison.measure import Measured
from actstats.comparison.pairs import Paired, WindowPair
from actstats.comparison.rows import SiteComparison
from actstats.recording import Window

__all__ = ["first_separation", "largest_distance", "remarks", "site_rows"]

NEARLY_CONSTANT = 0.01  # of a site's std over all windows


def site_rows(
    pairs: Sequence[WindowPair],
    whole: WindowPair,
    paired: Paired,
    measured: Measured,
    marks: Marks,
) -> tuple[list[SiteComparison], list[int | None]]:
    """Return a row per site, and the window in which each separates."""
    is_apart, seen = apart(measured, marks), ~np.isnan(measured.normalised)
    figures = _figures(whole.a), _figures(whole.b)
    rows, windows = [], []
    for i, (mine, theirs) in enumerate(paired.sites.items()):
        window = since(is_apart[:, i], seen[:, i], marks.hold)
        most = int(np.argmax(np.nan_to_num(measured.normalised[:, i], nan=-1.0)))
        rows.append(
            SiteComparison(
                mine,
                theirs,
                w1=float(measured.overall[0, i]),
                w1_normalised=float(measured.overall[1, i]),
                psi=float(measured.overall[2, i]),
                most=float(measured.normalised[most, i]),
                most_step=pairs[most].first_step if seen[most, i] else None,
                since=None if window is None else pairs[window].first_step,
                a=figures[0][mine],
                b=figures[1][theirs],
            )
        )
        windows.append(window)
    return rows, windows


def _figures(window: Window) -> dict[str, dict[str, float]]:
    """Return all figures of each site."""
    sites, found = window.figures
    rows = zip(*(values.tolist() for values in found.values()), strict=True)
    named = (dict(zip(found, row, strict=True)) for row in rows)
    return dict(zip(sites, named, strict=True))


def first_separation(
    pairs: Sequence[WindowPair],
    rows: Sequence[SiteComparison],
    windows: Sequence[int | None],
    measured: Measured,
) -> Separation | None:
    """Return the earliest separation; of those in one window, what is computed first."""
    order = in_order_of_computing([row.site for row in rows])
    found = [(window, i) for i in order if (window := windows[i]) is not None]
    if not found:
        return None
    window, i = min(found, key=lambda one: one[0])  # the first of equals
    pair, row = pairs[window], rows[i]
    distance, psi = float(measured.normalised[window, i]), float(measured.psi[window, i])
    noise = float(measured.noise[0, window, i])
    steps = (
        f"step {pair.first_step:,}"
        if pair.first_step == pair.last_step
        else f"steps {pair.first_step:,}-{pair.last_step:,}"
    )
    where = f"separate first at {row.site} in {steps}"
    message = (
        f"The two {where if len(pairs) > 1 else f'differ at {row.site}'}: W1 is {distance:.3g} of "
        f"the standard deviation (noise {noise:.2g}), PSI {psi:.3g}."
    )
    return Separation(
        row.site, window, pair.first_step, pair.last_step, distance, psi, noise, message
    )


def largest_distance(
    pairs: Sequence[WindowPair], rows: Sequence[SiteComparison], measured: Measured, marks: Marks
) -> str:
    """Return in words the largest distance of runs that do not separate, and why it is none."""
    beyond = np.where(beyond_noise(measured), measured.normalised, 0.0)
    if not beyond.any():
        row = max(rows, key=lambda row: np.nan_to_num(row.w1_normalised, nan=-1.0))
        moved = " and a run's own movement" if len(pairs) > 1 else ""
        return (
            f"no W1 is beyond the noise{moved}; over all steps the largest is "
            f"{row.w1_normalised:.3g} of the standard deviation, at {row.site}"
        )
    window, i = divmod(int(np.argmax(beyond)), len(rows))
    step = f" from step {pairs[window].first_step:,}" if len(pairs) > 1 else ""
    told = (
        f"the largest W1 beyond the noise is {beyond[window, i]:.3g} of the standard deviation, "
        f"at {rows[i].site}{step}"
    )
    if beyond[window, i] <= marks.w1:
        return told
    constant = _is_nearly_constant(pairs[window], rows[i])
    return (
        f"{told}, but not{_in_a_row(marks.hold, len(pairs))}"
        f"{'; the site is nearly constant there' * constant}"
    )


def _is_nearly_constant(pair: WindowPair, row: SiteComparison) -> bool:
    """Tell whether a site varies far less in a window than in all of them, on both sides."""
    sides = ((pair.a[row.site], row.a), (pair.b[row.site_b], row.b))
    return all(stats.std < NEARLY_CONSTANT * figures["std"] for stats, figures in sides)


def _in_a_row(hold: int, windows: int) -> str:
    """Say how long a site must be apart; nothing where there is one window."""
    hold = min(hold, windows)
    if windows == 1:
        return ""
    return f" in {hold} windows in a row" if hold > 1 else " in a window"


def remarks(
    marks: Marks, whole: WindowPair, paired: Paired, windows: int, *, drawn_anew: bool
) -> list[str]:
    """Return what a reader must know besides: what counts as apart, and what limits it."""
    held = _in_a_row(marks.hold, windows)
    moved = f" and a run's own movement,{held}" if held else ""
    rule = (
        f"apart: W1/std above {marks.w1:g} or PSI above {marks.psi:g}, and above {TIMES_NOISE:g} "
        f"times the noise{moved}"
    )
    notes = [rule]
    if drawn_anew:
        notes.append(
            "weights: not the same ones, so what differs by their draw counts as noise; "
            "`same_weights=True` if both runs began alike"
        )
    coarse = [
        mine
        for mine, theirs in paired.sites.items()
        if whole.a.stats[mine].under_resolved or whole.b.stats[theirs].under_resolved
    ]
    if coarse:
        more = f" and {len(coarse) - 4} more" if len(coarse) > 4 else ""
        notes.append(
            f"{', '.join(coarse[:4])}{more}: under-resolved, so that distances are lower bounds; "
            "raise `resolution` for these sites"
        )
    return notes
