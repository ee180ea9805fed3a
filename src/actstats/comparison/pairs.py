"""What of two recordings belongs together: sites by name, windows by step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from actstats.merging import by_span, common_spans
from actstats.recording import Recording, Window
from actstats.sites import close_matches, join_key, matches, split_key

__all__ = ["Paired", "WindowPair", "pair_sites", "pair_windows"]


@dataclass(frozen=True)
class WindowPair:
    """Windows of both sides over the same steps."""

    a: Window
    b: Window

    @property
    def first_step(self) -> int:
        """The first step of either."""
        return min(self.a.first_step, self.b.first_step)

    @property
    def last_step(self) -> int:
        """The last step of either."""
        return max(self.a.last_step, self.b.last_step)


@dataclass(frozen=True)
class Paired:
    """Sites of both sides: by the name in `a` the name in `b`, and what has no partner."""

    sites: Mapping[str, str]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]


# ---- sites -------------------------------------------------------------------------------------


def pair_sites(
    a: Recording,
    b: Recording,
    sites: str | Sequence[str] | None = None,
    match: Mapping[str, str] | None = None,
) -> Paired:
    """Return the sites of the same name, or of names that `match` says belong together.

    Raises
    ------
    KeyError
        If a pattern or a name fits nothing.
    ValueError
        If no site is on both sides, or two would have the same partner.
    """
    patterns = (sites,) if isinstance(sites, str) else sites
    mine, theirs = _chosen(a, patterns), _chosen(b, patterns)
    if patterns is not None and not (mine or theirs):
        raise KeyError(f"no site {sites!r} in `a` or `b`{close_matches(str(sites), list(a))}")
    renamed = _renamed(mine, a, b, match or {})
    found = {site: other for site, other in renamed.items() if other in b.sites}
    if not found:
        raise ValueError(
            f"`a` and `b` have no site in common: {_some(mine)} and {_some(theirs or list(b))}. "
            "Say which belong together: match={'name in a': 'name in b'}."
        )
    taken = set(found.values())
    return Paired(
        found,
        tuple(site for site in mine if site not in found),
        tuple(site for site in theirs if site not in taken),
    )


def _chosen(recording: Recording, patterns: Sequence[str] | None) -> list[str]:
    return [
        site
        for site in recording
        if patterns is None or any(matches(pattern, site) for pattern in patterns)
    ]


def _some(sites: Sequence[str]) -> str:
    return f"{', '.join(sites[:4])}{' ...' if len(sites) > 4 else ''}" or "none"


def _renamed(
    sites: Iterable[str], a: Recording, b: Recording, match: Mapping[str, str]
) -> dict[str, str]:
    """Return each site's name in `b`."""
    for key, value in match.items():
        for name, recording, side in ((key, a, "a"), (value, b, "b")):
            if not any(_translated(site, {name: name}) for site in recording):
                raise KeyError(
                    f"`match` names {name!r}, which is not in `{side}`"
                    f"{close_matches(name, list(recording))}"
                )
    renamed = {site: _translated(site, match) or site for site in sites}
    partners: dict[str, str] = {}
    for site, other in renamed.items():
        if partners.setdefault(other, site) != site and other in b.sites:
            raise ValueError(
                f"{partners[other]!r} and {site!r} of `a` would both belong to {other!r} of `b`; "
                "give each its own name in `match`."
            )
    return renamed


def _translated(site: str, match: Mapping[str, str]) -> str | None:
    """Return a site's name by the longest entry that it equals or lies in; None if there is none.

    An entry is a site (``"fc1:grad"``), a module (all its sites) or a container of modules.
    """
    if site in match:
        return match[site]
    name, kind = split_key(site)
    inside = [key for key in match if f"{name}.".startswith((f"{key}.", f"{key}[", f"{key}#"))]
    if not inside:
        return None
    key = max(inside, key=len)
    return join_key((match[key] + name[len(key) :], kind))


# ---- windows -----------------------------------------------------------------------------------


def pair_windows(a: Sequence[Window], b: Sequence[Window]) -> list[WindowPair]:
    """Return the windows of both over the same steps, in order of time.

    Where windows of both do not end at the same steps, those of the side that has fewer stay and
    the others are merged, each into the one that holds its middle; steps that one side has not
    are left out.
    """
    spans = common_spans((*a, *b))
    mine, theirs = by_span(a, spans), by_span(b, spans)
    pairs: list[WindowPair] = []
    for span in spans:
        if span in mine and span in theirs:
            pairs += _paired(mine[span], theirs[span])
    return pairs


def _paired(a: Sequence[Window], b: Sequence[Window]) -> list[WindowPair]:
    if len(a) > len(b):
        return [WindowPair(pair.b, pair.a) for pair in _paired(b, a)]
    starts = [window.first_step for window in a]
    parts: dict[int, list[Window]] = {}
    for window in b:
        middle = (window.first_step + window.last_step) / 2
        parts.setdefault(max(bisect_right(starts, middle) - 1, 0), []).append(window)
    return [WindowPair(window, Window.sum(parts[i])) for i, window in enumerate(a) if i in parts]
