"""What comparing two recordings says: a verdict, a row per site, distances over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from actstats.comparison.judging import Marks, Separation
from actstats.comparison.measure import Measured
from actstats.comparison.pairs import Paired, WindowPair
from actstats.comparison.rows import DISTANCES, HEAD, SiteComparison, cells
from actstats.comparison.telling import largest_distance
from actstats.names import printable
from actstats.series import Series
from actstats.sites import close_matches, matches
from actstats.stats import FIGURES
from actstats.text import aligned, html_list, html_table, html_text

if TYPE_CHECKING:
    import pandas

__all__ = ["Comparison"]


class Comparison(Sequence[SiteComparison]):
    """How two recordings differ: :func:`compare` makes it.

    A sequence of :class:`~actstats.comparison.SiteComparison` in the order of the sites;
    ``comparison["act3"]`` is one's. ``str()`` is the verdict and an aligned table; a notebook
    shows it as HTML.

    Parameters
    ----------
    names : (str, str)
        What the two recordings are called.
    pairs : sequence of WindowPair
        The compared windows.
    paired : Paired
        Which sites belong together.
    measured : Measured
        Their distances.
    rows : sequence of SiteComparison
        One per pair of sites.
    first : Separation, optional
        Where they separate first; None where they do not.
    marks : Marks
        What counts as apart.
    notes : sequence of str
        What a reader must know besides.

    Attributes
    ----------
    only_in_a, only_in_b : tuple of str
        Sites without a partner.
    """

    def __init__(
        self,
        names: tuple[str, str],
        pairs: Sequence[WindowPair],
        paired: Paired,
        measured: Measured,
        rows: Sequence[SiteComparison],
        first: Separation | None,
        marks: Marks,
        notes: Sequence[str] = (),
    ) -> None:
        self.names, self.pairs, self.paired, self.measured = names, tuple(pairs), paired, measured
        self.rows, self.first, self.marks, self.notes = tuple(rows), first, marks, tuple(notes)
        self.only_in_a, self.only_in_b = paired.only_in_a, paired.only_in_b

    # ---- reading -----------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return self.rows[key]
        if key not in self.sites:
            raise KeyError(f"no site {key!r} was compared{close_matches(key, self.sites)}")
        return self.rows[self.sites.index(key)]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[SiteComparison]:
        return iter(self.rows)

    def __bool__(self) -> bool:
        return True  # one that finds nothing is one too

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """The compared sites, by their names in `a`."""
        return tuple(row.site for row in self.rows)

    @property
    def separated(self) -> tuple[SiteComparison, ...]:
        """The sites that are apart, those first that have been longest."""
        found = [row for row in self.rows if row.is_apart]
        return tuple(sorted(found, key=lambda row: (row.since, -row.most)))

    @property
    def identical(self) -> bool:
        """Whether no distance was found, anywhere and at any time."""
        found = self.measured.w1[~np.isnan(self.measured.w1)]
        return bool(found.size) and not found.any()

    def series(
        self, site: str | Sequence[str] | None = None, distance: str = "w1_normalised"
    ) -> Series:
        """Return a distance over the compared windows.

        Parameters
        ----------
        site : str or sequence of str, optional
            Patterns of sites; None: all.
        distance : {"w1_normalised", "w1", "psi"}
            Which.

        Returns
        -------
        Series
            ``values`` of shape (W, S); nan where a side did not see the site.

        Raises
        ------
        KeyError
            If nothing matches `site`.
        ValueError
            If there is no such distance.
        """
        if distance not in DISTANCES:
            raise ValueError(f"`distance` must be one of {DISTANCES}; got {distance!r}.")
        patterns = (site,) if isinstance(site, str) else site
        chosen = [
            i
            for i, name in enumerate(self.sites)
            if patterns is None or any(matches(pattern, name) for pattern in patterns)
        ]
        if not chosen:
            raise KeyError(f"no site {site!r} was compared{close_matches(str(site), self.sites)}")
        found = self.measured.normalised if distance == "w1_normalised" else None
        values = getattr(self.measured, distance) if found is None else found
        steps = np.array([(pair.first_step, pair.last_step) for pair in self.pairs], np.int64)
        phases = dict.fromkeys((self.pairs[0].a.phase, self.pairs[0].b.phase))
        names = tuple(self.sites[i] for i in chosen)
        return Series(
            distance, " against ".join(phases), steps[:, 0], steps[:, 1], names, values[:, chosen]
        )

    # ---- in words ------------------------------------------------------------------------------

    @property
    def verdict(self) -> str:
        """Whether, where and when the two separate, in a sentence or two."""
        if self.identical:
            return f"The two are identical: every distance is exactly 0 at {self._extent}."
        if self.first is not None:
            number = len(self.separated)
            return (
                f"{self.first.message} Of {len(self)} site{'s' * (len(self) != 1)} {number} "
                f"{self._verb}{'s' * (number == 1)}."
            )
        if not any(row.most > 0 for row in self.rows):
            return f"Nothing could be compared at {self._extent}: a side has no finite value."
        largest = largest_distance(self.pairs, self.rows, self.measured, self.marks)
        return f"The two do not {self._verb}: {largest}. Compared: {self._extent}."

    @property
    def _verb(self) -> str:
        return "separate" if len(self.pairs) > 1 else "differ"

    @property
    def _extent(self) -> str:
        sites, windows = len(self), len(self.pairs)
        return (
            f"{sites} site{'s' * (sites != 1)} in {windows} window{'s' * (windows != 1)}, steps "
            f"{self.pairs[0].first_step:,}-{self.pairs[-1].last_step:,}"
        )

    @property
    def footer(self) -> list[str]:
        """Lines below the table: what has no partner, and the notes."""
        alone = zip(self.names, (self.only_in_a, self.only_in_b), strict=True)
        lines = [f"only in {name}: {_listed(sites)}" for name, sites in alone if sites]
        return [*lines, *self.notes]

    def __str__(self) -> str:
        rows = [cells(row) for row in self.rows]
        lines = (self.verdict, "", *aligned(HEAD, rows, left=1), *self.footer)
        return "\n".join(map(printable, lines))

    def __repr__(self) -> str:
        number, sites = len(self.separated), len(self)
        return (
            f"<Comparison of {self.names[0]} and {self.names[1]}: {number or 'none'} of {sites} "
            f"site{'s' * (sites != 1)} apart>"
        )

    def _repr_html_(self) -> str:
        table = html_table(HEAD, [cells(row) for row in self.rows], left=(0,))
        return f"<p>{html_text(self.verdict)}</p>{table}{html_list(self.footer)}"

    # ---- exporting -----------------------------------------------------------------------------

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with a row per site.

        Returns
        -------
        DataFrame
            Columns ``site``, ``site_b``, the distances, ``most``, ``most_step``, ``since`` (both
            missing where there is none), and for each figure its difference, b less a, as
            ``diff_<figure>``.
        """
        import pandas as pd

        columns = ("site", "site_b", *DISTANCES, "most", "most_step", "since")
        frame = pd.DataFrame(
            [[getattr(row, name) for name in columns] for row in self.rows], columns=list(columns)
        )
        frame = frame.astype({"most_step": "Int64", "since": "Int64"})
        differences = pd.DataFrame([row.difference for row in self.rows], columns=list(FIGURES))
        return frame.join(differences.add_prefix("diff_"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them."""
        return {
            "verdict": self.verdict,
            "separated": self.first is not None,
            "identical": self.identical,
            "first": None if self.first is None else self.first.to_dict(),
            "first_step": self.pairs[0].first_step,
            "last_step": self.pairs[-1].last_step,
            "windows": len(self.pairs),
            "sites": [row.to_dict() for row in self.rows],
            "only_in_a": list(self.only_in_a),
            "only_in_b": list(self.only_in_b),
            "notes": list(self.notes),
        }


def _listed(sites: Sequence[str]) -> str:
    more = f" and {len(sites) - 8} more" if len(sites) > 8 else ""
    return ", ".join(sites[:8]) + more
