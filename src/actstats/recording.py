"""Windows and sites: what was recorded, without the model."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial, reduce
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from actstats.figures import figures
from actstats.series import Series
from actstats.sites import Site, close_matches, matches, reading_key, site_order, split_key
from actstats.stats import COUNTS, FIGURES, TensorStats
from actstats.table import SiteTable, union
from actstats.tables import coarsened, summed

if TYPE_CHECKING:
    import pandas
    import xarray

    from actstats.recorder import ActivationRecorder

__all__ = ["Recording", "Scalar", "Source", "Window", "as_recording"]

Source: TypeAlias = "Recording | Window | ActivationRecorder | str | os.PathLike[str]"
Steps = int | tuple[int, int] | range | slice


@dataclass(frozen=True)
class Scalar:
    """A number given to ``step()``, over the steps of a window.

    Parameters
    ----------
    count : int
        Steps that gave it.
    total : float
        Their sum.
    min, max, last : float
        Least, largest and latest value.
    """

    count: int
    total: float
    min: float
    max: float
    last: float

    @classmethod
    def of(cls, value: float) -> Scalar:
        """Return the summary of one value."""
        return cls(1, value, value, value, value)

    @property
    def mean(self) -> float:
        """Mean over the steps."""
        return self.total / self.count

    def merge(self, other: Scalar) -> Scalar:
        """Return the summary of both, ``other`` being the later."""
        return Scalar(
            self.count + other.count,
            self.total + other.total,
            min(self.min, other.min),
            max(self.max, other.max),
            other.last,
        )


@dataclass(frozen=True, eq=False)
class Window(Mapping[str, TensorStats]):
    """Consecutive steps of one phase, summarised together: a mapping from site to statistics.

    Parameters
    ----------
    first_step, last_step : int
        Inclusive.
    phase : str
        ``"train"``, ``"eval"`` or a name of the user's.
    stats : mapping of str to TensorStats
        By site.
    scalars : mapping of str to Scalar
        What was given to ``step()``.
    """

    first_step: int
    last_step: int
    phase: str
    stats: Mapping[str, TensorStats]
    scalars: Mapping[str, Scalar] = field(default_factory=dict)

    def __getitem__(self, key: str | tuple[str, str]) -> TensorStats:
        site = reading_key(key, self.stats)
        if site not in self.stats:
            raise KeyError(
                f"no site {site!r} in this window{close_matches(site, list(self.stats))}"
            )
        return self.stats[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self.stats)

    def __len__(self) -> int:
        return len(self.stats)

    @cached_property
    def nbytes(self) -> int:
        """Memory held by the statistics, in bytes."""
        if isinstance(self.stats, SiteTable):
            return self.stats.nbytes
        return sum(stats.nbytes for stats in self.stats.values())

    def merge(self, other: Window) -> Window:
        """Return both windows as one; neither changes.

        Raises
        ------
        ValueError
            If the phases differ.
        """
        if self.phase != other.phase:
            raise ValueError(
                f"windows of different phases do not merge: {self.phase!r} and {other.phase!r}."
            )
        merge = (
            self.stats.merge if isinstance(self.stats, SiteTable) else partial(union, self.stats)
        )
        return Window(
            min(self.first_step, other.first_step),
            max(self.last_step, other.last_step),
            self.phase,
            merge(other.stats),
            union(self.scalars, other.scalars),
        )

    @staticmethod
    def sum(windows: Sequence[Window]) -> Window:
        """Return windows of one phase, in order of time, as one: merged one after the other."""
        first = windows[0]
        tables = [window.stats for window in windows if isinstance(window.stats, SiteTable)]
        if len(windows) < 2 or len(tables) < len(windows):
            return reduce(Window.merge, windows)
        return Window(
            min(window.first_step for window in windows),
            max(window.last_step for window in windows),
            first.phase,
            summed(tables),
            reduce(union, (window.scalars for window in windows)),
        )

    def fits(self, other: Window) -> bool:
        """Tell whether all sites of both merge at once."""
        return isinstance(self.stats, SiteTable) and self.stats.fits(other.stats)

    @cached_property
    def scales(self) -> Mapping[str, float]:
        """The rms of each site; kept, since it is asked for site by site."""
        return self.figure("rms")

    @property
    def first_non_finite(self) -> dict[str, int]:
        """The first step with NaN or Inf of each site that saw one."""
        if isinstance(self.stats, SiteTable):
            if self.stats.packed and not self._has_non_finite:
                return {}
            return self.stats.first_non_finite()
        return {
            site: max(stats.first_non_finite_step or 0, self.first_step)
            for site, stats in self.stats.items()
            if stats.nan_count or stats.inf_count
        }

    @property
    def _has_non_finite(self) -> bool:
        _, found = self.figures  # kept, where the table would be decoded again
        return bool(found["nan_count"].any() or found["inf_count"].any())

    def figure(self, name: str) -> Mapping[str, float]:
        """Return one figure of every site, by its name; nan where it does not apply.

        Raises
        ------
        ValueError
            If there is no such figure.
        """
        sites, found = self.figures
        require_figure(name, tuple(found))
        return dict(zip(sites, found[name].tolist(), strict=True))

    @cached_property
    def figures(self) -> tuple[tuple[str, ...], dict[str, NDArray[np.float64]]]:
        """The sites that saw something, and by its name every figure of all of them, shape (S,).

        Figures of the user's own statistics are the last.
        """
        table = SiteTable.from_stats(self.stats)
        return tuple(table), figures(table)

    @property
    def figure_names(self) -> tuple[str, ...]:
        """Names of all figures: ``actstats.stats.FIGURES``, then those of the user's own."""
        if isinstance(self.stats, SiteTable):
            specs = self.stats.columns.custom_specs
        else:
            own = (stats.custom.values() for stats in self.stats.values())
            specs = tuple(one.spec for one in chain.from_iterable(own))
        names = (name for spec in specs for name in spec.statistic.figure_names)
        return tuple(dict.fromkeys((*FIGURES, *names)))

    def map(self, change: Any) -> Window:
        """Return the window with ``change(stats)`` for each site's statistics."""
        changed = {site: change(stats) for site, stats in self.stats.items()}
        return replace(self, stats=SiteTable.from_stats(changed))

    def coarsen(self, resolution: int) -> Window:
        """Return the window with histograms of at most a resolution."""
        return replace(self, stats=coarsened(SiteTable.from_stats(self.stats), resolution))

    def _repr_html_(self) -> str:
        return Recording((self,))._repr_html_()

    def __repr__(self) -> str:
        return (
            f"Window(steps {self.first_step}-{self.last_step}, {self.phase}, "
            f"{len(self)} site{'s' * (len(self) != 1)})"
        )


class Recording(Mapping[str, TensorStats]):
    """Windows by sites: a mapping from site to the merge of its windows.

    Where a site was seen in several phases, ``recording[site]`` is train's; others by
    ``recording.select(phase="eval")[site]``.

    Parameters
    ----------
    windows : iterable of Window
        In order of time.
    sites : mapping of str to Site, optional
        What is known of each site.
    notes : sequence of str, optional
        What was dropped or never seen.
    never_called : mapping of str to str, optional
        Modules whose forward did not run, and what is known of their parameters: ``"none"``,
        ``"used"`` (they have a gradient, so something else calls on them), ``"unused"`` (others
        have one) or ``"unknown"``.
    metadata : mapping of str to Any, optional
        What is known of the run: versions, the model, a seed; numbers, strings, lists and
        mappings of these.
    """

    def __init__(
        self,
        windows: Iterable[Window] = (),
        sites: Mapping[str, Site] | None = None,
        notes: Sequence[str] = (),
        never_called: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.windows: tuple[Window, ...] = tuple(windows)
        seen = dict.fromkeys(site for window in self.windows for site in window)
        known = dict(sites or {})
        self.sites: dict[str, Site] = {
            site: known.get(site) or Site(*split_key(site))
            for site in sorted(seen, key=lambda key: _place(known.get(key)))
        }
        self.notes: tuple[str, ...] = tuple(notes)
        self.never_called: dict[str, str] = dict(never_called or {})
        self.metadata: dict[str, Any] = dict(metadata or {})
        self._merged: dict[str, TensorStats] = {}

    # ---- reading -----------------------------------------------------------------------------

    def __getitem__(self, key: str | tuple[str, str]) -> TensorStats:
        site = reading_key(key, self)
        if site not in self.sites:
            raise KeyError(f"no site {site!r} in this recording{close_matches(site, list(self))}")
        if site not in self._merged:
            held = [window for window in self._leading if site in window.stats]
            phase = default_phase(window.phase for window in held)
            parts = (window.stats[site] for window in held if window.phase == phase)
            self._merged[site] = sum(parts, start=TensorStats.empty())
        return self._merged[site]

    @cached_property
    def _leading(self) -> list[Window]:
        return merge_leading(self.windows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __bool__(self) -> bool:
        return True

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases seen, in order."""
        return tuple(dict.fromkeys(window.phase for window in self.windows))

    @property
    def figure_names(self) -> tuple[str, ...]:
        """Names of all figures: ``actstats.stats.FIGURES``, then those of the user's own."""
        names = (name for window in self.windows for name in window.figure_names)
        return tuple(dict.fromkeys((*FIGURES, *names)))

    @property
    def nbytes(self) -> int:
        """Memory held by the statistics, in bytes."""
        return sum(window.nbytes for window in self.windows)

    def select(
        self,
        site: str | Sequence[str] | None = None,
        phase: str | None = None,
        steps: Steps | None = None,
    ) -> Recording:
        """Return the part of the recording that fits all that is given.

        Parameters
        ----------
        site : str or sequence of str, optional
            Patterns of sites; ``*`` and ``?`` are wildcards, ``"fc*:grad"`` means gradients.
        phase : str, optional
            ``"train"``, ``"eval"`` or a name of the user's.
        steps : int, (first, last), range or slice, optional
            Windows that overlap these steps; ``(first, last)`` is inclusive.

        Raises
        ------
        KeyError
            If nothing matches ``site`` or ``phase``.
        """
        if phase is not None and phase not in self.phases:
            raise KeyError(
                f"no phase {phase!r} in this recording{close_matches(phase, self.phases)}"
            )
        patterns = (site,) if isinstance(site, str) else site
        kept = [s for s in self if patterns is None or any(matches(p, s) for p in patterns)]
        if patterns is not None and not kept:
            raise KeyError(
                f"no site {site!r} in this recording{close_matches(str(site), list(self))}"
            )
        wanted = set(kept)
        first, last = _bounds(steps)
        windows = (
            w if wanted.issuperset(w) else replace(w, stats={s: w[s] for s in w if s in wanted})
            for w in self.windows
            if (phase is None or w.phase == phase) and w.first_step <= last and w.last_step >= first
        )
        return Recording(windows, self.sites, self.notes, self.never_called, self.metadata)

    def series(
        self, figure: str, site: str | Sequence[str] | None = None, phase: str | None = None
    ) -> Series:
        """Return one figure of every site over the windows of a phase.

        Parameters
        ----------
        figure : str
            One of :attr:`figure_names`: ``"saturated_fraction"``, ``"std"`` ...
        site : str or sequence of str, optional
            Patterns of sites, as :meth:`select` takes them; None: all.
        phase : str, optional
            None: train's, or else the first seen.

        Raises
        ------
        ValueError
            If there is no such figure.
        KeyError
            If nothing matches ``site`` or ``phase``.
        """
        require_figure(figure, self.figure_names)
        chosen = self.select(site, phase or default_phase(self.phases))
        rows = [
            (w.first_step, w.last_step, w.figure(figure) if figure in w.figure_names else {})
            for w in chosen.windows
        ]
        return Series.of(figure, next(iter(chosen.phases), ""), tuple(chosen), rows)

    # ---- joining -----------------------------------------------------------------------------

    def __add__(self, other: Recording) -> Recording:
        """Return both recordings as one: windows of the same steps and phase are merged."""
        if not isinstance(other, Recording):
            return NotImplemented
        joined: dict[tuple[str, int, int], Window] = {}
        for window in (*self.windows, *other.windows):
            key = (window.phase, window.first_step, window.last_step)
            joined[key] = joined[key].merge(window) if key in joined else window
        windows = sorted(joined.values(), key=lambda w: (w.first_step, w.last_step))
        notes = dict.fromkeys((*self.notes, *other.notes))
        neither = {k: v for k, v in self.never_called.items() if k in other.never_called}
        metadata = {**other.metadata, **self.metadata}
        return Recording(windows, {**other.sites, **self.sites}, tuple(notes), neither, metadata)

    # ---- exporting ---------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the recording to a file, which :func:`actstats.load` reads.

        An older file of that name is replaced once the new one is whole.

        Parameters
        ----------
        path : str or path
            ``"run.actstats"``, say; its folder has to exist.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OSError, sqlite3.Error
            If it cannot be written; an older file stays as it was.
        ValueError
            If a run writes to a file of that name.
        """
        from actstats.log import save

        return save(self, path)

    def to_pandas(self, *, long: bool = False) -> pandas.DataFrame:
        """Return a data frame: one row per window and site, a column per figure.

        Parameters
        ----------
        long : bool, default False
            One row per window, site and figure instead (columns ``figure`` and ``value``).

        Returns
        -------
        DataFrame
            Columns ``window``, ``first_step``, ``last_step``, ``phase``, ``site`` (an ordered
            categorical), then the figures; nan where one does not apply.
        """
        import pandas as pd

        held = [window.figures for window in self.windows]
        sizes = [len(sites) for sites, _ in held]
        places = {site: place for place, site in enumerate(self)}

        def repeated(values: Sequence[Any], kind: Any) -> NDArray[Any]:
            return np.repeat(np.array(values, kind), sizes)

        columns: dict[str, Any] = {
            "window": repeated(range(len(held)), np.int64),
            "first_step": repeated([w.first_step for w in self.windows], np.int64),
            "last_step": repeated([w.last_step for w in self.windows], np.int64),
            # Objects: names may hold what pandas' own strings may not, such as half a character.
            "phase": pd.Series(repeated([w.phase for w in self.windows], object), dtype=object),
            "site": pd.Categorical.from_codes(
                [places[site] for sites, _ in held for site in sites],
                categories=pd.Index(list(self), dtype=object),
                ordered=True,
            ),
        }
        keys = list(columns)
        for name in self.figure_names:
            values = np.concatenate(
                [np.empty(0), *(found.get(name, np.full(len(s), np.nan)) for s, found in held)]
            )
            columns[name] = values.astype(np.int64) if name in COUNTS else values
        frame = pd.DataFrame(columns).sort_values(["window", "site"], ignore_index=True)
        if not long:
            return frame
        return frame.melt(id_vars=keys, var_name="figure", value_name="value")

    def to_xarray(self) -> xarray.Dataset:
        """Return labelled arrays: windows by sites, a variable per figure. Needs xarray.

        Returns
        -------
        Dataset
            Dimensions ``window`` and ``site``; a variable per figure, float64, nan where the site
            was not seen or the figure does not apply; ``scalar_<name>``, by window, for the mean
            of each number given to ``step()``. Coordinates by window: ``first_step``,
            ``last_step``, ``phase``; by site: ``module_type``, ``kind``, ``activation``,
            ``order``.

        Raises
        ------
        ImportError
            If xarray is not installed.

        Examples
        --------
        >>> import torch
        >>> from actstats import ActivationRecorder, make_mlp
        >>> net = make_mlp(2, [8, 8], 1, activation="relu")
        >>> with ActivationRecorder(net) as recorder:
        ...     _ = net(torch.ones(64, 2))
        >>> recorder.recording.to_xarray()["count"].sel(site="act2").item()
        512.0
        """
        from actstats.exports.dataset import to_xarray

        return to_xarray(self)

    def _repr_html_(self) -> str:
        from actstats.summary import Summary  # here: it is made of recordings

        return Summary(self, kernel="")._repr_html_()

    def __repr__(self) -> str:
        if not self.windows:
            return "Recording(empty)"
        first = min(window.first_step for window in self.windows)
        last = max(window.last_step for window in self.windows)
        return (
            f"Recording({len(self)} sites x {len(self.windows)} windows, "
            f"steps {first}-{last}, {'+'.join(self.phases)})"
        )


def as_recording(source: Source, name: str = "recording") -> Recording:
    """Return the recording in whatever holds one: a recorder, a window, the path of a file.

    Parameters
    ----------
    source : Recording, Window, ActivationRecorder, str or path
        A recorder's open window is included.
    name : str
        Of the argument, for messages.

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if isinstance(source, Recording):
        return source
    if isinstance(source, Window):
        return Recording((source,))
    if isinstance(source, str | os.PathLike):
        from actstats.log import load

        return load(source)
    found = getattr(source, "recording", None)
    if isinstance(found, Recording):
        return found
    raise TypeError(
        f"`{name}` must be a recorder, a Recording, a Window or the path of a recording's file; "
        f"got {type(source).__name__}."
    )


def require_figure(name: str, known: Sequence[str]) -> None:
    """Raise ValueError unless the figure is known."""
    if name not in known:
        raise ValueError(f"`figure` must be one of {tuple(known)}; got {name!r}.")


def default_phase(phases: Iterable[str]) -> str | None:
    """Return train's where it was seen, else the first phase, else None."""
    seen = list(phases)
    return "train" if "train" in seen else next(iter(seen), None)


def merge_leading(windows: Iterable[Window]) -> list[Window]:
    """Merge the first windows of each phase, as long as all their sites merge at once.

    What a site is in all windows together stays the same, bit for bit, and is read faster.
    """
    groups: list[list[Window]] = []
    leading: dict[str, list[Window] | None] = {}  # of each phase; None: another one follows it
    for window in windows:
        group = leading.get(window.phase, [])
        if group is not None and (not group or group[0].fits(window)):
            if not group:
                groups.append(group)
                leading[window.phase] = group
            group.append(window)
        else:
            leading[window.phase] = None
            groups.append([window])
    return [Window.sum(group) for group in groups]


def merged_pairs(windows: Sequence[Window]) -> list[Window]:
    """Merge each two neighbours of one phase; of an odd number the last stays as it is."""
    pairs = zip(windows[::2], [*windows[1::2], None], strict=False)
    return [a if b is None else a.merge(b) for a, b in pairs]


def _place(site: Site | None) -> tuple[object, ...]:
    """Sites that nothing is known of come last, in the order they were seen."""
    return (math.inf,) if site is None else site_order(site)


def _bounds(steps: Steps | None) -> tuple[float, float]:
    """Return inclusive ends of a choice of steps."""
    if steps is None:
        return -math.inf, math.inf
    if isinstance(steps, slice):
        if steps.step not in (None, 1):
            raise ValueError(f"`steps` as a slice must have no stride; got {steps!r}.")
        stop = math.inf if steps.stop is None else steps.stop - 1
        return -math.inf if steps.start is None else steps.start, stop
    if isinstance(steps, range):
        return (steps[0], steps[-1]) if len(steps) else (math.inf, -math.inf)
    if isinstance(steps, int):
        return steps, steps
    if not isinstance(steps, tuple | list) or len(steps) != 2:
        raise ValueError(
            f"`steps` must be a step, (first, last), a range or a slice; got {steps!r}."
        )
    first, last = steps
    return first, last
