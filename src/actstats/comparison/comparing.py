"""From two recordings to their comparison."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from actstats.comparison import weights
from actstats.comparison.comparison import Comparison
from actstats.comparison.judging import Marks
from actstats.comparison.measure import measure, merged
from actstats.comparison.pairs import Paired, WindowPair, pair_sites, pair_windows
from actstats.comparison.telling import first_separation, remarks, site_rows
from actstats.recording import Recording, Source, Window, as_recording, default_phase

__all__ = ["compare"]


def compare(
    a: Source,
    b: Source,
    *,
    phase: str | None = None,
    phase_a: str | None = None,
    phase_b: str | None = None,
    sites: str | Sequence[str] | None = None,
    match: Mapping[str, str] | None = None,
    align: Literal["steps", "whole"] = "steps",
    threshold: float = 0.1,
    psi_threshold: float = 0.25,
    hold: int = 3,
    same_weights: bool | None = None,
) -> Comparison:
    """Tell where and when two runs separate, and how far apart each site is.

    A site is apart in a window where its W1 distance, over the standard deviation of both sides
    together, is above `threshold`, or its population stability index above `psi_threshold`; and
    the same distance is also above twice what would be expected of equal distributions with so
    few samples, and above what the site moves between neighbouring windows of one run (median).
    It separates where it is apart in `hold` windows in a row. Identical runs are at distance 0.

    Parameters
    ----------
    a, b : Recording, ActivationRecorder, Window or path
        What to compare; differences are b's less a's.
    phase : str, optional
        Of both. None: train's where it was seen, else the first.
    phase_a, phase_b : str, optional
        Of one side, instead of `phase`.
    sites : str or sequence of str, optional
        Patterns of the sites to compare, ``"act*"``; None: all.
    match : mapping of str to str, optional
        Names in `a` to names in `b`, of sites, modules or containers of modules, where they
        differ: ``{"fc1": "layers.0"}``. Others belong together by their names.
    align : {"steps", "whole"}
        Compare windows of the same steps, or all that was seen of one side with all of the other,
        for which steps mean nothing: training with live data. Recordings without a common step
        are compared as a whole.
    threshold : float, default 0.1
        Least W1 that matters, in standard deviations.
    psi_threshold : float, default 0.25
        Least population stability index that matters.
    hold : int, default 3
        Windows in a row; all where there are fewer.
    same_weights : bool, optional
        Whether both sides began from the same weights: the same seed, or the same checkpoint. If
        not, what differs by the draw of the weights counts as noise. None: as the units of
        the first layer with weights say, whose means or spreads correlate if they are the same
        ones.

    Returns
    -------
    Comparison

    Raises
    ------
    KeyError
        If a phase, a site or a name was not recorded.
    ValueError
        If there is nothing to compare, or an argument is out of range.

    Examples
    --------
    >>> import torch, actstats
    >>> net = actstats.make_mlp(2, [64, 64], 1, activation="relu")
    >>> x = torch.randn(256, 2)
    >>> before, after = (actstats.ActivationRecorder(net, window=1) for _ in range(2))
    >>> with before:
    ...     _ = net(x)
    >>> with torch.no_grad():
    ...     _ = net.fc2.bias.sub_(1.0)
    >>> with after:
    ...     _ = net(x)
    >>> comparison = actstats.compare(before, after)
    >>> comparison.first.site, round(comparison["fc2"].w1, 3), comparison["act1"].w1
    ('fc2', 1.0, 0.0)
    """
    marks = _marks(threshold, psi_threshold, hold)
    left, right = as_recording(a, "a"), as_recording(b, "b")
    sides = _windows(left, "a", phase_a or phase), _windows(right, "b", phase_b or phase)
    paired = pair_sites(left, right, sites, match)
    pairs, notes = _aligned(*sides, align)
    whole = merged(pairs)
    paired = _seen(paired, whole)
    draws = _draws(left, right, pairs, whole, paired, same_weights)
    measured = measure(pairs, whole, paired.sites, draws)
    rows, windows = site_rows(pairs, whole, paired, measured, marks)
    first = first_separation(pairs, rows, windows, measured)
    anew = bool(np.isfinite(draws).any())
    notes += remarks(marks, whole, paired, len(pairs), drawn_anew=anew)
    return Comparison(_names(a, b), pairs, paired, measured, rows, first, marks, notes)


# ---- what was given ----------------------------------------------------------------------------


def _marks(threshold: float, psi_threshold: float, hold: int) -> Marks:
    for name, value in (("threshold", threshold), ("psi_threshold", psi_threshold)):
        if not isinstance(value, int | float) or not value >= 0:
            raise ValueError(f"`{name}` must be a number of at least 0; got {value!r}.")
    if isinstance(hold, bool) or not isinstance(hold, int) or hold < 1:
        raise ValueError(f"`hold` must be an integer of at least 1; got {hold!r}.")
    return Marks(float(threshold), float(psi_threshold), hold)


def _windows(recording: Recording, side: str, phase: str | None) -> tuple[Window, ...]:
    if not recording.windows:
        raise ValueError(f"`{side}` is empty: nothing was recorded. Run a forward while attached.")
    return recording.select(phase=phase or default_phase(recording.phases)).windows


def _names(a: Source, b: Source) -> tuple[str, str]:
    """Return what to call the two: by their files' names where these differ."""
    paths = [os.fspath(one) if isinstance(one, str | os.PathLike) else "" for one in (a, b)]
    names = [os.path.basename(path) or side for path, side in zip(paths, "ab", strict=True)]
    return (names[0], names[1]) if names[0] != names[1] else ("a", "b")


def _aligned(
    a: Sequence[Window], b: Sequence[Window], align: str
) -> tuple[list[WindowPair], list[str]]:
    """Return the windows to compare, and what must be said of them."""
    if align not in ("steps", "whole"):
        raise ValueError(f'`align` must be "steps" or "whole"; got {align!r}.')
    pairs = pair_windows(a, b) if align == "steps" else []
    if pairs:
        return pairs, [*_unequal_spans(pairs), *_left_out(pairs, a, b)]
    whole = WindowPair(*(merged([WindowPair(one, one) for one in side]).a for side in (a, b)))
    return [whole], [f"compared as a whole: {_spans(whole)}"]


def _spans(pair: WindowPair) -> str:
    spans = [f"steps {one.first_step:,}-{one.last_step:,}" for one in (pair.a, pair.b)]
    return f"{spans[0]} of a with {spans[1]} of b"


def _unequal_spans(pairs: Sequence[WindowPair]) -> list[str]:
    """Tell where the only pair is not over the same steps."""
    a, b = pairs[0].a, pairs[0].b
    same = (a.first_step, a.last_step) == (b.first_step, b.last_step)
    return [] if same or len(pairs) > 1 else [f"one pair of windows: {_spans(pairs[0])}"]


def _left_out(pairs: Sequence[WindowPair], *sides: Sequence[Window]) -> list[str]:
    notes = []
    for name, windows in zip("ab", sides, strict=True):
        last = max(window.last_step for window in windows)
        if last > pairs[-1].last_step:
            notes.append(f"only {name} has steps {pairs[-1].last_step + 1:,}-{last:,}")
    for name, other, windows in zip("ab", "ba", sides, strict=True):
        number = _unused(windows, [pair.a if name == "a" else pair.b for pair in pairs])
        if number:
            notes.append(
                f"left out: {number:,} of {len(windows):,} windows of {name}, as {other} has none "
                "at their steps"
            )
    return notes


def _unused(windows: Sequence[Window], compared: Sequence[Window]) -> int:
    """Return how many windows are in none of the compared ones, which are in order of time."""
    first = np.array([window.first_step for window in compared])
    last = np.array([window.last_step for window in compared])
    at = np.searchsorted(first, [window.first_step for window in windows], "right") - 1
    ends = np.array([window.last_step for window in windows])
    return int(np.sum((at < 0) | (ends > last[at])))


def _seen(paired: Paired, whole: WindowPair) -> Paired:
    """Leave out sites that one side did not see in the compared windows."""
    a, b = (set(window.figures[0]) for window in (whole.a, whole.b))
    sites = {mine: theirs for mine, theirs in paired.sites.items() if mine in a and theirs in b}
    if not sites:
        raise ValueError(
            f"no common site was seen in the compared windows, steps {whole.first_step}-"
            f"{whole.last_step}: choose others by `sites`, `match` or `phase`."
        )
    missing = [(mine, theirs) for mine, theirs in paired.sites.items() if mine not in sites]
    alone = [mine for mine, _ in missing if mine in a]
    others = [theirs for _, theirs in missing if theirs in b]
    return Paired(sites, (*paired.only_in_a, *alone), (*paired.only_in_b, *others))


def _draws(
    a: Recording,
    b: Recording,
    pairs: Sequence[WindowPair],
    whole: WindowPair,
    paired: Paired,
    same: bool | None,
) -> NDArray[np.float64]:
    """Return how many units each site draws independently; infinity if the weights are the same."""
    if same is None:
        same = weights.same_weights(a, pairs[0], paired.sites)
    if same is not False:
        return np.full(len(paired.sites), np.inf)
    mine = weights.drawn_units(a, whole.a.stats, paired.sites)
    return np.minimum(mine, weights.drawn_units(b, whole.b.stats, paired.sites.values()))
