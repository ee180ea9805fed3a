"""What users' own statistics know of a site: values, read and merged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from actstats.custom.spec import CustomSpec
from actstats.custom.statistic import FloatArray

__all__ = ["Custom", "merged_custom", "read_custom"]


@dataclass(frozen=True, eq=False)
class Custom:
    """What one custom statistic knows of a site.

    Parameters
    ----------
    spec : CustomSpec
        Which one, and of how many units.
    values : ndarray of float64, shape (words,)
        Its state, flat.
    """

    spec: CustomSpec
    values: FloatArray

    @property
    def state(self) -> dict[str, FloatArray]:
        """The arrays of the state, by name; views."""
        return self.spec.views(self.values)

    @property
    def figures(self) -> dict[str, float]:
        """The numbers to show, by name."""
        return self._read[0]

    @cached_property
    def _read(self) -> tuple[dict[str, float], str]:
        """The numbers, and what went wrong in reading them."""
        names = self.spec.statistic.figure_names
        try:
            found = self.spec.statistic.figures(self.state)
            return {name: float(found[name]) for name in names}, ""
        except Exception as error:
            return dict.fromkeys(names, math.nan), self.spec.failed("figures", error)

    @property
    def fault(self) -> str:
        """Why the numbers are none, where the user's code raised an error; else empty."""
        is_lost = bool(self.values.size) and bool(np.isnan(self.values).all())
        return (self.spec.faults.get("merge", "") if is_lost else "") or self._read[1]

    def why(self, figure: str) -> str | None:
        """Return the reason why a figure is not a number, or None if it is one."""
        value = self.figures[figure]
        return None if math.isfinite(value) else self.fault or f"{self.spec.name} gives {value}"

    def merge(self, other: Custom) -> Custom:
        """Return what is known of both data sets together; neither side changes."""
        return Custom(self.spec, self.spec.merged(self.values, other.values))


def read_custom(specs: Iterable[CustomSpec], flat: FloatArray) -> dict[str, Custom]:
    """Return what lies in flat words, one after the other; copies."""
    found, at = {}, 0
    for spec in specs:
        found[spec.name] = Custom(spec, flat[at : at + spec.words].copy())
        at += spec.words
    return found


def merged_custom(
    a: Mapping[str, Custom], b: Mapping[str, Custom]
) -> tuple[dict[str, Custom], dict[str, str]]:
    """Return what both keep alike, merged, and why the rest is lost, by name."""
    alike = [name for name in a if name in b and a[name].spec == b[name].spec]
    lost = [name for name in (*a, *b) if name not in alike]
    return (
        {name: a[name].merge(b[name]) for name in alike},
        dict.fromkeys(lost, "not kept alike in all that was merged"),
    )
