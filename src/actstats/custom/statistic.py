"""The protocol of users' own statistics, and which there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "KNOWN",
    "FloatArray",
    "NotKept",
    "Statistic",
    "Unknown",
    "known",
    "known_figures",
    "why_absent",
]

FloatArray = NDArray[np.float64]

KNOWN: dict[str, type[Statistic]] = {}  # by name: what a file's statistics are read with


class NotKept(Exception):
    """Raised by :meth:`Statistic.state`, with the reason why it is not kept of such a site."""


class Statistic(ABC):
    """What to keep of each tensor beside the built-in statistics: subclass, and fill in three.

    A subclass is a frozen dataclass; its fields are its options. The state is named arrays of
    float64 that begin as zeros, so that zeros are what nothing was seen of: ``merge`` of any
    state with zeros has to be that state. States live where the observed tensors do, are copied
    when a window closes, and from then on are NumPy arrays, merged over time, ranks and files.

    Attributes
    ----------
    name : str
        A Python identifier, also how files know the statistic: reading one needs the module that
        defines the class to be imported.
    figure_names : tuple of str
        The numbers that :meth:`figures` gives. Default: the name alone.
    """

    name: ClassVar[str] = ""
    figure_names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.__dict__.get("name"):
            return  # a base for others, or another class of the same name
        if not cls.name.isidentifier():
            raise TypeError(f"`{cls.__name__}.name` must be an identifier; got {cls.name!r}.")
        cls.figure_names = cls.__dict__.get("figure_names", (cls.name,))
        KNOWN[cls.name] = cls

    @cached_property
    def _told(self) -> set[str]:
        """Methods of which an error was logged, at any site."""
        return set()

    @abstractmethod
    def state(self, units: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the state's arrays, by name.

        Parameters
        ----------
        units : int
            Of the site; 0 where they are not told apart.

        Raises
        ------
        NotKept
            With the reason, where there is nothing to keep of a site like this.
        """

    @abstractmethod
    def update(self, state: Mapping[str, Tensor], x: Tensor) -> None:
        """Add a tensor to the state, in place.

        Runs in the user's forward or backward, without gradients and autocast: it draws no random
        number and waits for no device (``item()``).

        Parameters
        ----------
        state : mapping of str to Tensor of float64
            On the device of ``x``.
        x : Tensor, shape (samples, units), or (values,) where units are not told apart
            A copy, to work on; of the dtype that was observed. May hold NaN and Inf, and have no
            samples.
        """

    def merge(
        self, state: Mapping[str, FloatArray], other: Mapping[str, FloatArray]
    ) -> Mapping[str, FloatArray]:
        """Return the state of both data sets together; neither changes. Default: their sums.

        The recorder may hold its locks meanwhile: wait for no other thread, and run no model.
        """
        return {name: array + other[name] for name, array in state.items()}

    @abstractmethod
    def figures(self, state: Mapping[str, FloatArray]) -> Mapping[str, float]:
        """Return the numbers to show, by `figure_names`; nan where one does not apply."""


@dataclass(frozen=True)
class Unknown(Statistic):
    """A statistic of a file whose class is not imported here: it is kept as it is, unread."""

    called: str = ""
    options: str = ""
    words: int = 0

    def state(self, units: int) -> Mapping[str, tuple[int, ...]]:
        """Return one array of the size that the file tells."""
        return {"words": (self.words,)}

    def update(self, state: Mapping[str, Tensor], x: Tensor) -> None:
        """Never called: a recorder takes no unknown statistic."""
        raise NotImplementedError

    def merge(
        self, state: Mapping[str, FloatArray], other: Mapping[str, FloatArray]
    ) -> Mapping[str, FloatArray]:
        """Return nan throughout: how to merge is not known."""
        return {"words": np.full(self.words, np.nan)}

    def figures(self, state: Mapping[str, FloatArray]) -> Mapping[str, float]:
        """Return nothing."""
        return {}


def known() -> tuple[str, ...]:
    """Return the names of all statistics whose classes are imported."""
    return tuple(KNOWN)


def known_figures() -> tuple[str, ...]:
    """Return the names of all their figures."""
    return tuple(dict.fromkeys(name for cls in KNOWN.values() for name in cls.figure_names))


def why_absent(figure: str, notes: Mapping[str, str]) -> str | None:
    """Return the note of a statistic that gives this figure, or is called as it is; else None."""
    owners = (name for name, cls in KNOWN.items() if figure in cls.figure_names)
    return next((notes[name] for name in (*owners, figure) if name in notes), None)
