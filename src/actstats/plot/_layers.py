"""Compute: which site belongs into which panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from actstats.activations import Zone
from actstats.recording import Recording, Window, as_recording, default_phase
from actstats.sites import Site, close_matches, matches, split_key
from actstats.stats import TensorStats

__all__ = ["Column", "Frame", "Place", "as_variants", "find_columns", "frame", "phase_windows"]

Pre: TypeAlias = Literal["linear", "z"]
Frame: TypeAlias = Mapping[str, TensorStats]

_NORMS = ("Norm",)
_PASSING = ("Drop", "StochasticDepth", "Identity", "Flatten")


@dataclass(frozen=True)
class Place:
    """What one panel shows.

    Parameters
    ----------
    site : str, optional
        The site; None where there is none.
    zones : tuple of Zone
        Saturated values on the panel's axis.
    why : str
        What to say where nothing can be shown.
    """

    site: str | None
    zones: tuple[Zone, ...] = ()
    why: str = "not recorded"


@dataclass(frozen=True)
class Column:
    """One layer of one variant: its number, its name, its two panels."""

    number: int
    name: str
    pre: Place
    act: Place
    saturation_slope: float = 0.05

    @property
    def is_input(self) -> bool:
        """Whether this is L0, the net's input."""
        return self.number == 0

    @property
    def places(self) -> dict[str, Place]:
        """The panels by kind of row."""
        return {"pre": self.pre, "act": self.act}


# ---- what was given ----------------------------------------------------------------------------


def as_variants(recordings: object) -> dict[str, Recording]:
    """Return recordings by variant name; one alone has the name ``""``.

    Raises
    ------
    TypeError
        If something is no recorder, Recording or Window.
    ValueError
        If there is none, or nothing was recorded.
    """
    if isinstance(recordings, Mapping) and not _is_recorded(recordings):
        if not recordings:
            raise ValueError("`recordings` must hold at least one recording; got an empty mapping.")
        return {str(name): _as_recording(one, str(name)) for name, one in recordings.items()}
    return {"": _as_recording(recordings, "")}


def _is_recorded(given: object) -> bool:
    return isinstance(given, Recording | Window) or hasattr(given, "recording")


def _as_recording(given: Any, name: str) -> Recording:
    where = f"`recordings[{name!r}]`" if name else "`recordings`"
    found = as_recording(given, where.strip("`"))
    if not found.windows:
        raise ValueError(f"{where} is empty: nothing was recorded. Run a forward while attached.")
    return found


def phase_windows(recording: Recording, phase: str | None) -> tuple[Window, ...]:
    """Return the windows of a phase, by default train's, else the first seen.

    Raises
    ------
    KeyError
        If the phase was not seen.
    """
    if phase is not None and phase not in recording.phases:
        raise KeyError(
            f"no phase {phase!r} in this recording{close_matches(phase, recording.phases)}"
        )
    wanted = phase or default_phase(recording.phases)
    return tuple(window for window in recording.windows if window.phase == wanted)


def frame(
    recording: Recording,
    keys: Sequence[str],
    step: int | None = None,
    window: int | None = None,
    phase: str | None = None,
) -> tuple[Frame, tuple[Window, ...]]:
    """Return the statistics to show, by site, and the windows that they come from.

    Raises
    ------
    KeyError
        If no window holds the step, or there is none of that index or phase.
    ValueError
        If both ``step`` and ``window`` are given.
    """
    windows = phase_windows(recording, phase)
    if step is not None and window is not None:
        raise ValueError(f"give `step` or `window`, not both; got step={step}, window={window}.")
    if step is None and window is None:
        chosen = recording if phase is None else recording.select(phase=phase)
        return {key: chosen[key] for key in keys if key in chosen.sites}, windows
    one = _window_of_step(windows, step) if step is not None else _window_at(windows, window or 0)
    return one.stats, (one,)


def _window_of_step(windows: Sequence[Window], step: int) -> Window:
    held = [one for one in windows if one.first_step <= step <= one.last_step]
    if not held:
        raise KeyError(
            f"no window of phase {windows[0].phase!r} holds step {step}; "
            f"they go from step {windows[0].first_step} to {windows[-1].last_step}."
        )
    return held[-1]


def _window_at(windows: Sequence[Window], index: int) -> Window:
    if not -len(windows) <= index < len(windows):
        raise KeyError(
            f"no window {index}; phase {windows[0].phase!r} has {len(windows)}, "
            f"0 to {len(windows) - 1} (or -1 to {-len(windows)})."
        )
    return windows[index]


# ---- from sites to columns ---------------------------------------------------------------------


def find_columns(recording: Recording, sites: str | Sequence[str] | None, pre: Pre) -> list[Column]:
    """Return the columns of one variant, L0 first where the net's input was captured.

    Raises
    ------
    KeyError
        If no site matches ``sites``.
    ValueError
        If there is no activation site and ``sites`` is None.
    """
    layers = _Layers(recording)
    first = layers.input_column()
    every = layers.activation_sites()
    patterns = (sites,) if isinstance(sites, str) else sites
    if patterns is None:
        if not every:
            raise ValueError(
                "no activation module was recorded; record with `functional=True` if the model "
                f"calls functions, or choose outputs by `sites=`: {', '.join(list(recording)[:8])}."
            )
        chosen = every
    else:
        chosen = layers.chosen(patterns, every)
        if first is not None and not any(matches(p, first.name) for p in patterns):
            first = None
        if not chosen and first is None:
            raise KeyError(
                f"no site {sites!r}{close_matches(str(sites), every or list(recording))}"
            )
    numbers = {key: i for i, key in enumerate(every, start=1)}
    columns = [] if first is None else [first]
    for i, key in enumerate(chosen, start=1):
        columns.append(layers.column(numbers.get(key, i), key, pre))
    return columns


class _Layers:
    """The structure of one recording: sources, linear layers, activations."""

    def __init__(self, recording: Recording) -> None:
        self.sites = {key: _known(key, site) for key, site in recording.sites.items()}
        self._outputs = [key for key, site in self.sites.items() if site.kind == "output"]
        self._known: dict[str, TensorStats] = {}
        for window in recording.windows:
            for key, stats in window.stats.items():
                self._known.setdefault(key, stats)

    def activation_sites(self) -> list[str]:
        """Return the outputs of activation functions in order."""
        return [key for key in self._outputs if self._known[key].activation is not None]

    def chosen(self, patterns: Sequence[str], every: Sequence[str]) -> list[str]:
        """Return the activation sites that match; where none does, any outputs that do."""

        def pick(keys: Sequence[str]) -> list[str]:
            return [key for key in keys if any(matches(p, key) for p in patterns)]

        return pick(every) or pick(self._outputs)

    def input_column(self) -> Column | None:
        """Return L0: the first module's input, and what the first layer gets of it."""
        first = next((site for site in self.sites.values() if site.kind == "input"), None)
        if first is None:
            return None
        after = replace(first, kind="output").key
        normed = _is(first, _NORMS, ("bn", "norm", "ln")) and after in self.sites
        return Column(0, first.key, Place(first.key), Place(after if normed else first.key))

    def column(self, number: int, key: str, pre: Pre) -> Column:
        """Return one layer's column."""
        site, stats = self.sites[key], self._known[key]
        activation, slope = stats.activation, stats.saturation_slope

        def zones(of: Literal["input", "output"]) -> tuple[Zone, ...]:
            return () if activation is None else activation.zones(slope, of=of)

        before, is_z = self.before(site, pre)
        if before.site is not None and is_z:
            before = replace(before, zones=zones("input"))
        return Column(number, key, before, Place(key, zones("output")), slope)

    def before(self, site: Site, pre: Pre) -> tuple[Place, bool]:
        """Return what goes into the activation, and whether it is z itself."""
        is_z = True
        while True:
            source = self.source(site)
            if source is None or source not in self.sites:
                here = replace(site, kind="input").key
                if here in self.sites:
                    return Place(here), is_z
                why = "not recorded" if source is None else f"{source}\nnot recorded"
                return Place(None, why=why), is_z
            site = self.sites[source]
            is_norm = _is(site, _NORMS, ("bn", "norm", "ln"))
            if pre == "z" or not (is_norm or _is(site, _PASSING, ("drop",))):
                return Place(source), is_z
            is_z = is_z and not is_norm and not _is(site, ("Drop", "StochasticDepth"), ("drop",))

    def source(self, site: Site) -> str | None:
        """Return the site whose tensor went in; a bare Window only knows the order of its sites."""
        if site.module_type or site.source is not None:
            return site.source
        here = replace(site, kind="output").key
        place = self._outputs.index(here) if here in self._outputs else 0
        return self._outputs[place - 1] if place else None


def _known(key: str, site: Site) -> Site:
    """Return the site; of a bare Window's sites only their names are known."""
    if site.module_type:
        return site
    module, kind = split_key(key)
    return replace(site, module=module, kind=kind, leaf="")


def _is(site: Site, parts: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Tell a kind of module by its class, or by its name where the class is unknown."""
    if site.module_type:
        return any(part in site.module_type for part in parts)
    return site.module.rpartition(".")[2].lower().startswith(names)
