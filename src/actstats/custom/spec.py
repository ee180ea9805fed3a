"""A statistic at a site: its state in flat words, and the user's code run where it may fail."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actstats.custom.statistic import FloatArray, NotKept, Statistic, Unknown

__all__ = ["CustomSpec", "custom_specs"]

logger = logging.getLogger("actstats")


@dataclass(frozen=True)
class CustomSpec:
    """What one site keeps of a statistic: how the state lies in float64 words.

    Parameters
    ----------
    statistic : Statistic
        Which one.
    units : int
        Told apart; 0: none.
    """

    statistic: Statistic
    units: int = 0

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays, by name."""
        shapes = {name: tuple(shape) for name, shape in self.statistic.state(self.units).items()}
        if any(type(size) is not int or size < 0 for shape in shapes.values() for size in shape):
            raise ValueError(f"`state` must give shapes of whole numbers; got {shapes}.")
        return shapes

    @cached_property
    def words(self) -> int:
        """Float64 numbers of the state."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def name(self) -> str:
        """The statistic's name."""
        known = self.statistic
        return known.called if isinstance(known, Unknown) else known.name

    @property
    def is_unknown(self) -> bool:
        """Whether the class is not imported here."""
        return isinstance(self.statistic, Unknown)

    def views(self, flat: Any) -> dict[str, Any]:
        """Return the arrays of the state as views of flat words, of NumPy or torch."""
        parts, at = {}, 0
        for name, shape in self.shapes.items():
            end = at + math.prod(shape)
            parts[name] = flat[at:end].reshape(shape)
            at = end
        return parts

    def update(self, state: Mapping[str, Tensor], x: Tensor, axis: int | None) -> None:
        """Add a tensor whose units are on this axis; the user's code gets a copy of it."""
        given = dict(state)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            samples = x.movedim(axis, -1) if self.units and axis is not None else x
            samples = samples.clone(memory_format=torch.contiguous_format)
            self.statistic.update(given, samples.flatten(0, -2 if self.units else -1))
        if given.keys() != state.keys() or any(given[n] is not state[n] for n in state):
            raise TypeError("`update` must change the arrays of the state in place.")

    def merged(self, a: FloatArray, b: FloatArray, site: str = "") -> FloatArray:
        """Return the flat words of two states together; nan throughout where it fails."""
        try:
            merged = self.statistic.merge(self.views(a), self.views(b))
            found = {name: np.shape(array) for name, array in merged.items()}
            if found != self.shapes:
                raise ValueError(f"`merge` must give arrays of {self.shapes}; got {found}.")
            flat = [np.asarray(merged[name], np.float64).reshape(-1) for name in self.shapes]
            return np.concatenate([np.empty(0), *flat])
        except Exception as error:  # it is the user's code, in the middle of a run
            self.failed("merge", error, site)
            return np.full(self.words, np.nan)

    @cached_property
    def faults(self) -> dict[str, str]:
        """What went wrong in the user's code, by the method's name."""
        return {}

    def failed(self, method: str, error: Exception, site: str = "") -> str:
        """Note that a method raised an error; log it, once for all sites of the statistic."""
        told = f"`{method}` of {self.name} raised {type(error).__name__}: {error}"
        self.faults.setdefault(method, told)
        if method not in self.statistic._told:
            self.statistic._told.add(method)
            text = "%s%s; said once for all sites, summary() names them"
            logger.warning(text, f"{site}: " if site else "", told, exc_info=error)
        return told


def custom_specs(
    statistics: Iterable[Statistic], units: int, notes: dict[str, str], site: str
) -> tuple[CustomSpec, ...]:
    """Return what is kept of a site with so many units; why others are not goes to the notes."""
    kept = []
    for statistic in statistics:
        spec = CustomSpec(statistic, units)
        try:
            _ = spec.words
        except NotKept as reason:
            notes[statistic.name] = str(reason)
        except Exception as error:  # it is the user's code, in the user's forward
            notes[statistic.name] = spec.failed("state", error, site)
        else:
            kept.append(spec)
    return tuple(kept)
