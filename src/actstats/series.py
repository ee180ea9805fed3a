"""One figure of many sites over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from actstats.sites import close_matches

__all__ = ["Series"]

Row: TypeAlias = tuple[int, int, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Series:
    """A figure of many sites over the windows of one phase; ``series[site]`` is one's values.

    Parameters
    ----------
    figure : str
        Which one, of ``recording.figure_names``.
    phase : str
        Of all windows.
    first_steps, last_steps : ndarray of int64, shape (W,)
        Of each window, inclusive.
    sites : tuple of str
        The S sites, in the recording's order.
    values : ndarray of float64, shape (W, S)
        nan where the site was not seen or the figure does not apply.

    Examples
    --------
    >>> import torch
    >>> from actstats import ActivationRecorder, make_mlp
    >>> net = make_mlp(2, [8, 8], 1, activation="relu")
    >>> with ActivationRecorder(net) as recorder:
    ...     for _ in range(3):
    ...         _ = net(torch.ones(64, 2))
    ...         recorder.step()
    >>> recorder.recording.series("count", site="act*")
    Series('count', 2 sites x 3 windows, steps 0-2, train)
    """

    figure: str
    phase: str
    first_steps: NDArray[np.int64]
    last_steps: NDArray[np.int64]
    sites: tuple[str, ...]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, figure: str, phase: str, sites: Sequence[str], rows: Sequence[Row]) -> Series:
        """Return the series of what each window holds, as ``(first_step, last_step, figures)``."""
        values = np.full((len(rows), len(sites)), np.nan)
        for row, (_, _, found) in zip(values, rows, strict=True):
            row[:] = [found.get(site, np.nan) for site in sites]
        steps = np.array([(first, last) for first, last, _ in rows], np.int64).reshape(-1, 2)
        return cls(figure, phase, steps[:, 0], steps[:, 1], tuple(sites), values)

    def __getitem__(self, site: str) -> NDArray[np.float64]:
        if site not in self.sites:
            raise KeyError(f"no site {site!r} in this series{close_matches(site, self.sites)}")
        return self.values[:, self.sites.index(site)]

    @property
    def steps(self) -> NDArray[np.float64]:
        """The middle of each window, shape (W,)."""
        return (self.first_steps + self.last_steps) / 2

    def __repr__(self) -> str:
        sites, n = len(self.sites), len(self.first_steps)
        shape = f"{sites} site{'s' * (sites != 1)} x {n} window{'s' * (n != 1)}"
        if not n:
            return f"Series({self.figure!r}, {shape})"
        span = f"steps {self.first_steps.min()}-{self.last_steps.max()}"
        return f"Series({self.figure!r}, {shape}, {span}, {self.phase})"
