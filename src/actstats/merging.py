"""Several recordings as one: ranks merged afterwards, parts of a run put together."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from actstats.recording import Recording, Source, Window, as_recording
from actstats.sites import base_name
from actstats.table import Kept, SiteTable

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
    refuse_unequal({name: _kept(recording) for name, recording in named.items()})
    recordings = list(named.values())
    groups = grouped([window for recording in recordings for window in recording.windows])
    windows = [Window.sum(group.windows) for group in groups]
    return together(recordings, windows, overlaps(groups))


def together(
    recordings: Sequence[Recording], windows: Iterable[Window], notes: Iterable[str] = ()
) -> Recording:
    """Return windows merged of these recordings with all that is known beside them."""
    known = {id(one.sites): one.sites for one in recordings}  # ranks may share one
    sites = {key: site for some in reversed(known.values()) for key, site in some.items()}
    never_called = _never_called(recordings, {base_name(one.module) for one in sites.values()})
    return Recording(
        windows,
        sites,
        (*_notes(recordings, never_called), *notes),
        never_called,
        {key: value for one in reversed(recordings) for key, value in one.metadata.items()},
    )


def refuse_unequal(sources: Mapping[str, Iterable[Kept]]) -> None:
    """Raise ValueError for the first site whose statistics do not merge, and say where."""
    seen: dict[str, tuple[str, Kept]] = {}
    for name, sites in sources.items():
        for kept in sites:
            where, known = seen.setdefault(kept.site, (name, kept))
            if known is kept:
                continue
            for what, mine, theirs in zip(_CRITERIA, _key(known), _key(kept), strict=True):
                if mine != theirs:
                    raise ValueError(
                        f"site {kept.site!r} has unequal {what} and does not merge: {_said(mine)} "
                        f"in {where}, {_said(theirs)} in {name}. Leave it out by "
                        "`select(site=...)`, or record both alike."
                    )


# ---- spans of steps ----------------------------------------------------------------------------


class Spanned(Protocol):
    """A window, or what stands for one."""

    @property
    def first_step(self) -> int:
        """Inclusive."""

    @property
    def last_step(self) -> int:
        """Inclusive."""

    @property
    def phase(self) -> str:
        """As of a window."""


W = TypeVar("W", bound=Spanned)


@dataclass(frozen=True)
class Group(Generic[W]):
    """Windows of one phase that become one."""

    span: Span
    windows: Sequence[W]

    @property
    def is_crossed(self) -> bool:
        """Whether the windows are not all of the same steps."""
        return len({_span(window) for window in self.windows}) > 1


def grouped(windows: Sequence[W]) -> list[Group[W]]:
    """Return what becomes one window each, in order of time; inside, in the order given."""
    groups: list[Group[W]] = []
    for phase in dict.fromkeys(window.phase for window in windows):
        held = [window for window in windows if window.phase == phase]
        inside = by_span(held, common_spans(held))
        groups += [Group(span, within) for span, within in inside.items()]
    return sorted(groups, key=lambda group: group.span)


def overlaps(groups: Sequence[Group[W]]) -> list[str]:
    """Say of each phase which windows overlapped and are wider now."""
    widths: dict[str, list[int]] = {}
    for group in groups:
        if group.is_crossed:
            first, last = group.span
            widths.setdefault(group.windows[0].phase, []).append(last - first + 1)
    return [
        f"{phase} windows that overlapped were merged to {len(found)} of up to {max(found)} steps"
        for phase, found in widths.items()
    ]


def common_spans(windows: Iterable[Spanned]) -> list[Span]:
    """Return the narrowest spans of steps that no window crosses, in order of time."""
    spans: list[Span] = []
    for first, last in sorted({(window.first_step, window.last_step) for window in windows}):
        if spans and first <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], last))
        else:
            spans.append((first, last))
    return spans


def by_span(windows: Sequence[W], spans: Sequence[Span]) -> dict[Span, list[W]]:
    """Return the windows inside each span, spans without any left out."""
    starts = [first for first, _ in spans]
    inside: dict[Span, list[W]] = {}
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


_CRITERIA = ("activations", "saturation slopes", "edges")


def _key(kept: Kept) -> tuple[Hashable, ...]:
    activation = None if kept.activation is None else kept.activation.key
    return activation, kept.saturation_slope, kept.spec.edges


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{len(value) - 1} bins from {value[0]:g} to {value[-1]:g}"
    return "none" if value is None else str(value)


def _kept(recording: Recording) -> Iterator[Kept]:
    """Yield what is known of each site in the first window that has it."""
    seen: set[str] = set()
    for stats in (window.stats for window in recording.windows):
        if isinstance(stats, SiteTable):
            known: Iterable[Kept] = stats.columns.sites if not seen.issuperset(stats) else ()
        else:
            known = (Kept.of(site, one) for site, one in stats.items() if site not in seen)
        yield from (kept for kept in known if kept.site not in seen)
        seen.update(stats)


def _span(window: Spanned) -> Span:
    return window.first_step, window.last_step


# ---- what is known beside the windows ------------------------------------------------------------

_SKIPPED = re.compile(r"skipped (\d+) x (.*)", re.DOTALL)
_UNCALLED = "never called: "


def _never_called(recordings: Sequence[Recording], called: Set[str]) -> dict[str, str]:
    """Return modules that no source called; one that has not the module says nothing of it."""
    uses: dict[str, list[str]] = {}
    for name, use in (item for one in recordings for item in one.never_called.items()):
        uses.setdefault(name, []).append(use)
    return {name: use[0] for name, use in uses.items() if name not in called}


def _notes(recordings: Sequence[Recording], never_called: Mapping[str, str]) -> list[str]:
    """Return the notes of all, each once: what was skipped is added up, who was called too."""
    notes: dict[str, int] = {}
    for note in (note for one in recordings for note in one.notes):
        skipped = _SKIPPED.fullmatch(note)
        if skipped is not None:
            notes[skipped[2]] = notes.get(skipped[2], 0) + int(skipped[1])
        elif not note.startswith(_UNCALLED):
            notes[note] = 0
    told = [f"skipped {count} x {what}" if count else what for what, count in notes.items()]
    return [*told, *([_UNCALLED + ", ".join(never_called)] if never_called else [])]
