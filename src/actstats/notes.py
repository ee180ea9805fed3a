"""What is to be said of a recording beside its numbers: skipped, dropped, turned off, not seen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from actstats.liveness import Liveness
from actstats.run import Run
from actstats.shared import Shared
from actstats.sites import matches, split_key

__all__ = ["notes"]


def notes(shared: Shared, run: Run, liveness: Liveness) -> Iterator[str]:
    """Yield one sentence for each thing that a reader of the numbers has to know."""
    yield from (f"turned off: {name} ({reason})" for name, reason in dict(shared.off).items())
    yield from liveness.notes()
    if shared.forked:
        yield "nothing is recorded in a process forked from the one that records"
    silent = liveness.never_called()
    if silent:
        yield f"never called: {', '.join(silent)}"
    for (site, reason), count in dict(shared.skipped).items():
        yield f"skipped {count} x {site}: {reason}"
    if shared.steps:
        yield from (f"no step of the watched {one} was seen" for one in run.updates.unseen())
    yield from (f"no site matches the pattern {p!r}" for p in _idle_patterns(shared, run))
    yield from _of_memory_and_file(run)


def _of_memory_and_file(run: Run) -> Iterator[str]:
    dropped = run.windows.dropped
    if dropped:
        yield f"dropped to fit {run.budget} bytes: {', '.join(dropped)}"
    log = run.log
    if log is not None and log.trouble:
        yield f"{len(log.pending)} windows are not in {log.path.name}: {log.trouble}"


def _idle_patterns(shared: Shared, run: Run) -> Iterator[str]:
    """Yield patterns of the user's that match no site seen so far."""
    options, sites = shared.options, list(run.sites())
    given = (options.edges, options.resolution, options.per_call, options.statistics)
    for pattern in dict.fromkeys(chain.from_iterable(given)):
        wild = split_key(pattern)[0] == "*"
        if sites and not wild and not any(matches(pattern, site) for site in sites):
            yield pattern
