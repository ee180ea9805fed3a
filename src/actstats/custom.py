"""Statistics of users' own, kept and merged beside the built-in ones."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Custom",
    "Kind",
    "NotKept",
    "Statistic",
    "kind_from_json",
    "kind_to_json",
    "kinds",
    "known",
    "known_figures",
    "merged_custom",
    "options_of",
    "read_custom",
    "why_absent",
]

FloatArray = NDArray[np.float64]

logger = logging.getLogger("actstats")

MOST_WORDS = 1 << 26  # of one state in a file: 512 MiB

_KNOWN: dict[str, type[Statistic]] = {}  # by name: what a file's statistics are read with


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
        _KNOWN[cls.name] = cls

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
        number, waits for no device (``item()``) and leaves ``x`` as it is: one that changes it ends
        there, but the tensor was the model's.

        Parameters
        ----------
        state : mapping of str to Tensor of float64
            On the device of ``x``.
        x : Tensor, shape (samples, units), or (values,) where units are not told apart
            Of the dtype that was observed; may hold NaN and Inf, and have no samples.
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


@dataclass(frozen=True)
class Kind:
    """A statistic of sites with so many units: how its state lies in float64 words.

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
        """Add a tensor whose units are on this axis."""
        samples = x.movedim(axis, -1).flatten(0, -2) if self.units and axis is not None else x
        given, samples = dict(state), samples if self.units else samples.flatten()
        samples = samples.clone() if samples.is_inference() else samples  # no version tells there
        version = _version(samples)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            self.statistic.update(given, samples)
        if _version(samples) != version:
            raise TypeError(
                "`update` must leave `x` as it is: work on a copy, as `x.abs()` is one."
            )
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
        """Say that a method raised an error; it is logged the first time."""
        told = f"`{method}` of {self.name} raised {type(error).__name__}: {error}"
        if method not in self.faults:
            self.faults[method] = told
            logger.warning("%s%s", f"{site}: " if site else "", told, exc_info=error)
        return told


@dataclass(frozen=True, eq=False)
class Custom:
    """What one custom statistic knows of a site.

    Parameters
    ----------
    kind : Kind
        Which one, and of how many units.
    values : ndarray of float64, shape (words,)
        Its state, flat.
    """

    kind: Kind
    values: FloatArray

    @property
    def state(self) -> dict[str, FloatArray]:
        """The arrays of the state, by name; views."""
        return self.kind.views(self.values)

    @property
    def figures(self) -> dict[str, float]:
        """The numbers to show, by name."""
        return self._read[0]

    @cached_property
    def _read(self) -> tuple[dict[str, float], str]:
        """The numbers, and what went wrong in reading them."""
        names = self.kind.statistic.figure_names
        try:
            found = self.kind.statistic.figures(self.state)
            return {name: float(found[name]) for name in names}, ""
        except Exception as error:
            return dict.fromkeys(names, math.nan), self.kind.failed("figures", error)

    @property
    def fault(self) -> str:
        """Why the numbers are none, where the user's code raised an error; else empty."""
        is_lost = bool(self.values.size) and bool(np.isnan(self.values).all())
        return (self.kind.faults.get("merge", "") if is_lost else "") or self._read[1]

    def why(self, figure: str) -> str | None:
        """Return the reason why a figure is not a number, or None if it is one."""
        value = self.figures[figure]
        return None if math.isfinite(value) else self.fault or f"{self.kind.name} gives {value}"

    def merge(self, other: Custom) -> Custom:
        """Return what is known of both data sets together; neither side changes."""
        return Custom(self.kind, self.kind.merged(self.values, other.values))


def _version(x: Tensor) -> int:
    """Return how often a tensor was changed in place, where torch counts that."""
    return 0 if x.is_inference() else x._version


def known() -> tuple[str, ...]:
    """Return the names of all statistics whose classes are imported."""
    return tuple(_KNOWN)


def known_figures() -> tuple[str, ...]:
    """Return the names of all their figures."""
    return tuple(dict.fromkeys(name for cls in _KNOWN.values() for name in cls.figure_names))


def why_absent(figure: str, notes: Mapping[str, str]) -> str | None:
    """Return the note of a statistic that gives this figure, or is called as it is; else None."""
    owners = (name for name, cls in _KNOWN.items() if figure in cls.figure_names)
    return next((notes[name] for name in (*owners, figure) if name in notes), None)


def read_custom(kinds: Iterable[Kind], flat: FloatArray) -> dict[str, Custom]:
    """Return what lies in flat words, one kind after the other; copies."""
    found, at = {}, 0
    for kind in kinds:
        found[kind.name] = Custom(kind, flat[at : at + kind.words].copy())
        at += kind.words
    return found


def merged_custom(
    a: Mapping[str, Custom], b: Mapping[str, Custom]
) -> tuple[dict[str, Custom], dict[str, str]]:
    """Return what both have of the same kind, merged, and why the rest is lost, by name."""
    alike = [name for name in a if name in b and a[name].kind == b[name].kind]
    lost = [name for name in (*a, *b) if name not in alike]
    return (
        {name: a[name].merge(b[name]) for name in alike},
        dict.fromkeys(lost, "not kept alike in all that was merged"),
    )


def kinds(statistics: Iterable[Statistic], units: int, notes: dict[str, str]) -> tuple[Kind, ...]:
    """Return what is kept of a site with so many units; why others are not goes to the notes."""
    kept = []
    for statistic in statistics:
        kind = Kind(statistic, units)
        try:
            _ = kind.words
        except NotKept as reason:
            notes[statistic.name] = str(reason)
        except Exception as error:  # it is the user's code, in the user's forward
            notes[statistic.name] = f"{type(error).__name__}: {error}"
            logger.warning("%s is not recorded: %s", statistic.name, error, exc_info=error)
        else:
            kept.append(kind)
    return tuple(kept)


# ---- files ---------------------------------------------------------------------------------------


def kind_to_json(kind: Kind) -> list[Any]:
    """Return what a file says of a kind: name, options as JSON, units, words."""
    known = kind.statistic
    if isinstance(known, Unknown):
        return [known.called, known.options, kind.units, kind.words]
    return [known.name, options_of(known), kind.units, kind.words]


def options_of(statistic: Statistic) -> str:
    """Return the options of a statistic as JSON.

    Raises
    ------
    TypeError
        If it is no dataclass, or JSON has no word for an option.
    """
    if not dataclasses.is_dataclass(statistic):
        raise TypeError(f"{type(statistic).__name__} must be a frozen dataclass.")
    try:
        hash(statistic)
        return json.dumps(dataclasses.asdict(statistic), sort_keys=True)
    except TypeError as error:
        raise TypeError(
            f"options of {statistic.name} must be numbers, strings, booleans, None or tuples of "
            f"these: {error}"
        ) from error


def kind_from_json(told: Sequence[Any]) -> Kind:
    """Rebuild what :func:`kind_to_json` was given; an unknown kind where its class is not here.

    Raises
    ------
    ValueError
        If it is none.
    """
    name, options, units, words = told
    texts = isinstance(name, str) and isinstance(options, str)
    if not (texts and all(type(n) is int and 0 <= n < MOST_WORDS for n in (units, words))):
        raise ValueError(f"a statistic of {units!r} units and {words!r} words")
    unknown = Kind(Unknown(name, options, words), units)
    if name not in _KNOWN:
        return unknown
    try:
        kind = Kind(_KNOWN[name](**_frozen(json.loads(options))), units)
        return kind if kind.words == words else unknown  # the class has changed since
    except Exception:  # it is a user's code, given what a file says
        return unknown


def _frozen(value: Any) -> Any:
    """Return what JSON says with tuples in place of lists, as options are."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return {k: _frozen(v) for k, v in value.items()} if isinstance(value, dict) else value
