"""Several recordings as one: ranks merged afterwards, parts of a run put together."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

from actstats.recording import Recording, Source, Window, as_recording
from actstats.stats import TensorStats

__all__ = ["by_span", "common_spans", "merge"]

Span = tuple[int, int]  # first and last step, inclusive


def merge(sources: Iterable[Source]) -> Recording:
    """Return recordings of several ranks, or of several parts of a run, as one.

    What one recorder would have kept that had seen everything: counts and bins are identical, in
    whatever order the sources come; moments agree within rounding. Windows of the same phase and
    steps are merged. Windows that share some steps but not all, as recorders make that ran for
    different lengths, are merged to the narrowest ones that none of them crosses, so that nothing
    is counted twice and no step is in two windows; a note says so. Windows without common steps
    follow each other. No source changes.

    Steps that two sources have in common are taken for different data of the same steps, as ranks
    see them. Where a run was resumed from before its end, leave out what was done again:
    ``first.select(steps=(0, 999))``.

    Parameters
    ----------
    sources : iterable of Recording, ActivationRecorder, Window or path
        At least one. A site that some did not see is taken from the others; of histograms of
        different resolution the coarsest is kept.

    Returns
    -------
    Recording
        `never_called` holds what no source called, `metadata` what the first source to say it
        says.

    Raises
    ------
    TypeError
        If `sources` is one recording instead of several, or holds something else.
    ValueError
        If there is none, or a site has unequal activations, saturation thresholds or edges.

    Examples
    --------
    >>> import torch, actstats
    >>> net = actstats.make_mlp(2, [8], 1)
    >>> ranks = [actstats.ActivationRecorder(net, window=1) for _ in range(2)]
    >>> for rank, recorder in enumerate(ranks):
    ...     with recorder:
    ...         _ = net(torch.randn(64, 2))
    ...         recorder.step()
    >>> merged = actstats.merge(ranks)
    >>> merged, merged["fc1"].count
    (Recording(3 sites x 1 windows, steps 0-0, train), 1024)
    """
    named = _named(sources)
    _refuse_unequal(named)
    recordings = list(named.values())
    windows = [window for recording in recordings for window in recording.windows]
    merged, notes = _merged(windows)
    joined = reduce(Recording.__add__, (_without_windows(one) for one in recordings))
    sites = {key: site for one in reversed(recordings) for key, site in one.sites.items()}
    return Recording(
        merged,
        sites,
        tuple(dict.fromkeys((*joined.notes, *notes))),
        joined.never_called,
        joined.metadata,
    )


def common_spans(windows: Iterable[Window]) -> list[Span]:
    """Return the narrowest spans of steps that no window crosses, in order of time."""
    spans: list[Span] = []
    for first, last in sorted({(window.first_step, window.last_step) for window in windows}):
        if spans and first <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], last))
        else:
            spans.append((first, last))
    return spans


def by_span(windows: Sequence[Window], spans: Sequence[Span]) -> dict[Span, list[Window]]:
    """Return the windows inside each span, spans without any left out."""
    starts = [first for first, _ in spans]
    inside: dict[Span, list[Window]] = {}
    for window in windows:
        span = spans[bisect_right(starts, window.first_step) - 1]
        inside.setdefault(span, []).append(window)
    return inside


# ---- what was given ----------------------------------------------------------------------------


def _named(sources: Iterable[Source]) -> dict[str, Recording]:
    """Return the recordings, each by what a message calls it."""
    one_alone = isinstance(sources, str | os.PathLike | Mapping) or hasattr(sources, "recording")
    if one_alone or not isinstance(sources, Iterable):
        raise TypeError(
            "`sources` must be a list of recordings, recorders or paths; "
            f"got one {type(sources).__name__}."
        )
    named = {}
    for i, source in enumerate(sources):
        place = f"sources[{i}]"
        path = f" ({os.fspath(source)})" if isinstance(source, str | os.PathLike) else ""
        named[place + path] = as_recording(source, place)
    if not named:
        raise ValueError("`sources` must hold at least one recording; got none.")
    return named


def _refuse_unequal(named: Mapping[str, Recording]) -> None:
    """Raise ValueError for the first site whose statistics do not merge, and say where."""
    seen: dict[str, tuple[str, TensorStats]] = {}
    for name, recording in named.items():
        for site, stats in _first_of_each(recording).items():
            where, known = seen.setdefault(site, (name, stats))
            for what, mine, theirs in zip(_CRITERIA, _key(known), _key(stats), strict=True):
                if mine != theirs:
                    raise ValueError(
                        f"site {site!r} has unequal {what} and does not merge: {_said(mine)} in "
                        f"{where}, {_said(theirs)} in {name}. Leave it out by `select(site=...)`, "
                        "or record both alike."
                    )


_CRITERIA = ("activations", "saturation slopes", "edges")


def _key(stats: TensorStats) -> tuple[Hashable, ...]:
    activation = None if stats.activation is None else stats.activation.key
    return activation, stats.saturation_slope, stats.edges


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{len(value) - 1} bins from {value[0]:g} to {value[-1]:g}"
    return "none" if value is None else str(value)


def _first_of_each(recording: Recording) -> dict[str, TensorStats]:
    """Return each site's statistics in the first window that has it."""
    first: dict[str, TensorStats] = {}
    for window in recording.windows:
        for site in window.stats.keys() - first.keys():
            first[site] = window.stats[site]
    return first


# ---- windows -----------------------------------------------------------------------------------


def _merged(windows: Sequence[Window]) -> tuple[list[Window], list[str]]:
    """Return the windows of all phases in order of time, and what must be said of them."""
    merged, notes = [], []
    for phase in dict.fromkeys(window.phase for window in windows):
        held = [window for window in windows if window.phase == phase]
        spans = common_spans(held)
        inside = by_span(held, spans)
        merged += [Window.sum(inside[span]) for span in spans]
        crossed = [span for span in spans if len({_span(w) for w in inside[span]}) > 1]
        if crossed:
            widest = max(last - first + 1 for first, last in crossed)
            notes.append(
                f"{phase} windows that overlapped were merged to {len(crossed)} of up to "
                f"{widest} steps"
            )
    return sorted(merged, key=_span), notes


def _span(window: Window) -> Span:
    return window.first_step, window.last_step


def _without_windows(recording: Recording) -> Recording:
    return Recording((), None, recording.notes, recording.never_called, recording.metadata)
