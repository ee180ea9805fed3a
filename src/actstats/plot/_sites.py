"""Compute: which windows and which sites a picture over time shows."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from actstats.layers import Layers
from actstats.plot import _style
from actstats.plot._layers import phase_windows
from actstats.recording import Recording, Source, Window, as_recording
from actstats.series import Series
from actstats.sites import close_matches, matches, reading_key
from actstats.stats import TensorStats

MOST_COLUMNS = 400  # windows of a heat map; more are narrower than what a screen shows

__all__ = ["MOST_COLUMNS", "History", "chosen_series", "history", "opened", "picked"]


@dataclass(frozen=True, eq=False)
class History:
    """One site's statistics over the windows that saw it, in order of time."""

    site: str
    windows: tuple[Window, ...]
    stats: tuple[TensorStats, ...]

    @property
    def name(self) -> str:
        """The site, as titles tell it."""
        return _style.shorten(self.site, 48)

    def merged(self, most: int) -> History:
        """Return at most so many rows: neighbouring windows are merged, exactly."""
        if len(self.windows) <= most:
            return self
        ends = np.linspace(0, len(self.windows), most + 1).round().astype(int)
        pieces = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
        windows = [_span(self.windows[start:stop]) for start, stop in pieces]
        stats = [sum(self.stats[start:stop], start=TensorStats.empty()) for start, stop in pieces]
        return History(self.site, tuple(windows), tuple(stats))


def opened(source: Source, phase: str | None) -> tuple[Recording, tuple[Window, ...]]:
    """Return the recording, and the windows of one phase in order of time.

    Raises
    ------
    ValueError
        If nothing was recorded.
    KeyError
        If the phase was not seen.
    """
    recording = as_recording(source)
    if not recording.windows:
        raise ValueError(
            "`recording` is empty: nothing was recorded. Run a forward while the recorder is"
            " attached."
        )
    windows = sorted(phase_windows(recording, phase), key=lambda w: (w.first_step, w.last_step))
    return recording, tuple(windows)


def history(source: Source, site: str | tuple[str, str], phase: str | None) -> History:
    """Return what one site saw over the windows of a phase.

    Raises
    ------
    KeyError
        If there is no such site in the phase.
    """
    recording, windows = opened(source, phase)
    key = reading_key(site, recording)
    seen = [window for window in windows if key in window.stats]
    if not seen:
        known = list(dict.fromkeys(one for window in windows for one in window))
        where = f"phase {windows[0].phase!r} of this recording"
        raise KeyError(f"no site {key!r} in {where}{close_matches(key, known)}")
    return History(key, tuple(seen), tuple(window.stats[key] for window in seen))


def picked(windows: Sequence[Window], wanted: int | Sequence[int]) -> list[int]:
    """Return indices of windows: so many, evenly spread with both ends, or those named.

    Raises
    ------
    ValueError
        If a number of windows is not positive, or none is named.
    KeyError
        If there is no window of an index.
    """
    n = len(windows)
    if isinstance(wanted, int):
        if wanted < 1:
            raise ValueError(f"`windows` must be at least 1, or indices; got {wanted!r}.")
        ends = np.linspace(0 if wanted > 1 else n - 1, n - 1, min(wanted, n))
        return [int(place) for place in ends.round()]
    chosen = [operator.index(one) for one in wanted]
    if not chosen:
        raise ValueError("`windows` must name at least one window; got none.")
    for one in chosen:
        if not -n <= one < n:
            raise KeyError(
                f"no window {one}; phase {windows[0].phase!r} has {n}, 0 to {n - 1} (or -1 to -{n})"
            )
    return sorted({one % n for one in chosen})


def chosen_series(
    recording: Recording, figure: str, sites: str | Sequence[str] | None, phase: str
) -> tuple[Series, int]:
    """Return a figure over time of the sites to show, and how many chosen ones lack it throughout.

    ``sites`` are patterns; None: the layers, or else every output, which have the figure.

    Raises
    ------
    KeyError
        If no site matches.
    ValueError
        If the figure is unknown, or applies to none of them; with the reason.
    """
    series = _in_order(recording.series(figure, phase=phase), list(recording))
    has = np.asarray(np.isfinite(series.values).any(axis=0))
    if sites is None:
        kept = next((k for k in _defaults(recording, series.sites) if has[k].any()), slice(0, 0))
        tried = next(_defaults(recording, series.sites))
        left_out = 0
    else:
        kept = tried = _matching(series.sites, sites)
        left_out = int((~has[kept]).sum())
    shown = [place for place in np.arange(len(has))[kept] if has[place]]
    if not shown:
        raise ValueError(_why_none(recording, figure, [series.sites[i] for i in tried], phase))
    names = tuple(series.sites[place] for place in shown)
    return replace(series, sites=names, values=series.values[:, shown]), left_out


def _in_order(series: Series, sites: Sequence[str]) -> Series:
    """Return windows in order of time, sites in the recording's."""
    order = np.lexsort((series.last_steps, series.first_steps))
    places = {site: i for i, site in enumerate(series.sites)}
    kept = [site for site in sites if site in places]
    return replace(
        series,
        first_steps=series.first_steps[order],
        last_steps=series.last_steps[order],
        sites=tuple(kept),
        values=series.values[order][:, [places[site] for site in kept]],
    )


def _defaults(recording: Recording, sites: Sequence[str]) -> Iterator[NDArray[np.intp]]:
    """Yield the places of the layers in the order of the forward, then of all outputs."""
    places = {site: i for i, site in enumerate(sites)}
    found = Layers(site for key, site in recording.sites.items() if key in places)
    layers = [places[layer.a.key] for layer in found.layers]
    outputs = [places[site.key] for site in found.outputs]
    if not any(site.module_type for site in found.outputs):
        outputs.sort()  # of a bare Window's sites only their order is known
    yield np.array(layers or outputs or list(places.values()), np.intp)
    yield np.array(outputs, np.intp)


def _matching(sites: Sequence[str], wanted: str | Sequence[str]) -> NDArray[np.intp]:
    patterns = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    kept = [i for i, site in enumerate(sites) if any(matches(p, site) for p in patterns)]
    if not kept:
        raise KeyError(f"no site {wanted!r} in this recording{close_matches(str(wanted), sites)}")
    return np.array(kept, np.intp)


def _why_none(recording: Recording, figure: str, sites: Sequence[str], phase: str) -> str:
    """Say why a figure applies to none of the sites, by the reason of one that comes close."""
    close = sorted(sites, key=lambda site: recording.sites[site].activation is None)
    last = {site: w.stats[site] for w in recording.windows if w.phase == phase for site in w.stats}
    reasons = ((site, last[site].why(figure)) for site in close if site in last)
    site, reason = next(((s, r) for s, r in reasons if r), (close[0], "it is nan in every window"))
    some = f"none of these {len(sites)} sites has" if len(sites) > 1 else "there is no"
    return f"{some} figure {figure!r} here: {site}: {reason}."


def _span(windows: Sequence[Window]) -> Window:
    """Return what several windows span, without their statistics."""
    first, last = windows[0].first_step, max(window.last_step for window in windows)
    return Window(first, last, windows[0].phase, {})
