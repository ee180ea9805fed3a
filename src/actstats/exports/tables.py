"""The tables of a recording, as data frames: sites, figures, scalars, histograms, edges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from actstats.recording import Recording
from actstats.stats import TensorStats

if TYPE_CHECKING:
    import pandas

__all__ = ["TABLES", "make_tables"]

Progress: TypeAlias = Callable[[int, int], object]
Bins: TypeAlias = tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]

_SITE_FIELDS = ("module", "kind", "leaf", "module_type", "activation", "source", "dtype")


def sites(recording: Recording) -> pandas.DataFrame:
    """Return a row per site: what is known of it beside its numbers."""
    found = recording.sites
    columns: dict[str, Any] = {"site": list(found)}
    for name in _SITE_FIELDS:
        columns[name] = [getattr(site, name) for site in found.values()]
    columns["order"] = np.array([site.order for site in found.values()], np.int64)
    return _frame(columns)


def scalars(recording: Recording) -> pandas.DataFrame:
    """Return a row per window and scalar: what was given to ``step()``."""
    rows = [
        (i, w.first_step, w.last_step, w.phase, name, s.count, s.mean, s.min, s.max, s.last)
        for i, w in enumerate(recording.windows)
        for name, s in w.scalars.items()
    ]
    names = ("window", "first_step", "last_step", "phase", "name")
    figures = ("count", "mean", "min", "max", "last")
    columns = dict(zip((*names, *figures), zip(*rows, strict=True), strict=False))
    whole = dict.fromkeys(("window", "first_step", "last_step", "count"), np.int64)
    texts = dict.fromkeys(("phase", "name"), object)
    types: dict[str, Any] = {**whole, **texts}
    return _frame(
        {n: np.array(columns.get(n, ()), types.get(n, np.float64)) for n in (*names, *figures)}
    )


def figures(recording: Recording) -> pandas.DataFrame:
    """Return a row per window and site: :meth:`Recording.to_pandas`."""
    return recording.to_pandas()


def histograms(recording: Recording, progress: Progress | None = None) -> pandas.DataFrame:
    """Return a row per window, site and occupied bin, ascending in value.

    Every finite value is in one bin: zeros (and values at -1 or 1 of a function that ends there)
    in a bin without width.
    """
    return _binned(recording, _occupied, progress)


def edges(recording: Recording, progress: Progress | None = None) -> pandas.DataFrame:
    """Return a row per window, site and bin between named edges; the outer ones are endless."""
    return _binned(recording, _between_edges, progress)


def _occupied(stats: TensorStats) -> Bins:
    return stats.distribution.bins()


def _between_edges(stats: TensorStats) -> Bins:
    if stats.edges is None or stats.linear is None:
        none = np.empty(0)
        return none, none, np.empty(0, np.int64)
    all_edges = np.array((-np.inf, *stats.edges, np.inf))
    return all_edges[:-1], all_edges[1:], stats.linear


def _binned(
    recording: Recording, bins: Callable[[TensorStats], Bins], progress: Progress | None
) -> pandas.DataFrame:
    import pandas as pd

    places = {site: place for place, site in enumerate(recording)}
    found: list[tuple[int, int, Bins]] = []
    for window, held in enumerate(_told(recording.windows, progress)):
        seen = held.stats  # tells what it holds without reading it
        found += [(window, places[site], bins(seen[site])) for site in recording if site in seen]
    sizes = [len(counts) for _, _, (_, _, counts) in found]
    codes = np.repeat(np.array([place for _, place, _ in found], np.int64), sizes)
    return _frame(
        {
            "window": np.repeat(np.array([window for window, _, _ in found], np.int64), sizes),
            "site": pd.Categorical.from_codes(
                codes, categories=pd.Index(list(recording), dtype=object), ordered=True
            ),
            "low": _joined([low for _, _, (low, _, _) in found], np.float64),
            "high": _joined([high for _, _, (_, high, _) in found], np.float64),
            "count": _joined([counts for _, _, (_, _, counts) in found], np.int64),
        }
    )


def _told(items: Sequence[Any], progress: Progress | None) -> Iterator[Any]:
    for done, item in enumerate(items):
        yield item
        if progress is not None:
            progress(done + 1, len(items))


def _joined(parts: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate((np.empty(0, dtype), *parts))


def _frame(columns: dict[str, Any]) -> pandas.DataFrame:
    """Return a frame whose names are Python's strings, lists being names."""
    import pandas as pd

    def column(values: Any) -> Any:
        is_names = isinstance(values, list) or getattr(values, "dtype", np.dtype(float)).kind == "O"
        return pd.Series(values, dtype=object) if is_names else values

    return pd.DataFrame({name: column(values) for name, values in columns.items()})


TABLES: dict[str, Callable[..., pandas.DataFrame]] = {
    "sites": sites,
    "figures": figures,
    "scalars": scalars,
    "histograms": histograms,
    "edges": edges,
}
"""The tables by name."""


def make_tables(
    recording: Recording, names: Iterable[str], progress: Progress | None = None
) -> dict[str, pandas.DataFrame]:
    """Return some tables by name, in the order of :data:`TABLES`."""
    asked = set(names)
    slow = ("histograms", "edges")
    return {
        name: make(recording, progress) if name in slow else make(recording)
        for name, make in TABLES.items()
        if name in asked
    }
