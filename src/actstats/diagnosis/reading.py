"""A recording as rules read it: sites in the order of the forward, layers, and what is recent."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

from actstats.activations import activation_from_key
from actstats.diagnosis.thresholds import Thresholds
from actstats.layers import Layer, Layers, gradient_key
from actstats.recording import Recording, Window, default_phase, merge_leading
from actstats.sites import Site
from actstats.stats import TensorStats

__all__ = ["Reading"]

REMEMBERED = 128  # sites whose history is kept, about 0.5 MiB each
LOOKED_AT = 64
"""Windows that a site's history is read in: as many as a recorder keeps in memory by itself."""


class Reading:
    """What rules read of a recording; one phase of it, never the model.

    Parameters
    ----------
    recording : Recording
        Windows of sites. Of several phases train's are read, else the first's.
    thresholds : Thresholds
        For what counts as recent.

    Attributes
    ----------
    phase : str or None
        The phase that is read.
    windows, every_window : tuple of Window
        Those of the phase, and those of all.
    kinds : set of str
        What was recorded, of "output", "input" and "grad".
    sites : tuple of Site
        Sites of outputs, in the order in which they were first seen.
    """

    def __init__(self, recording: Recording, thresholds: Thresholds) -> None:
        self.phase = default_phase(recording.phases)
        self.recording = recording if self.phase is None else recording.select(phase=self.phase)
        self.thresholds = thresholds
        self.windows: tuple[Window, ...] = self.recording.windows
        self.every_window: tuple[Window, ...] = recording.windows
        self._found = Layers(self.recording.sites.values())
        self._sites = self._found.sites
        self.kinds = {site.kind for site in self._sites.values()}
        self.sites = self._found.outputs
        self._histories: dict[str, list[tuple[Window, TensorStats]]] = {}
        self._now: dict[str, TensorStats] = {}

    # ---- steps ---------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Steps from the first window to the last."""
        if not self.windows:
            return 0
        return self.windows[-1].last_step - self.windows[0].first_step + 1

    @property
    def first_step(self) -> int:
        """Step that the recording begins with."""
        return self.windows[0].first_step if self.windows else 0

    @cached_property
    def beginning(self) -> Reading | None:
        """The first window by itself; None where the recording begins after step 0."""
        if self.first_step or not self.windows:
            return None
        if len(self.windows) == 1:
            return self
        return Reading(Recording(self.windows[:1], self.recording.sites), self.thresholds)

    @cached_property
    def _recent(self) -> list[Window]:
        """The last windows that hold the recent share of the steps, at least one."""
        wanted, held, steps = self.thresholds.recent * self.steps, [], 0
        for window in reversed(self.windows):
            held.append(window)
            steps += window.last_step - window.first_step + 1
            if steps >= wanted:
                break
        return merge_leading(reversed(held))

    # ---- statistics ----------------------------------------------------------------------------

    def __contains__(self, key: str) -> bool:
        return key in self._sites

    def site(self, key: str) -> Site:
        """Return what is known of a site."""
        return self._sites[key]

    def now(self, key: str) -> TensorStats:
        """Return a site's recent statistics; earlier windows are added until a unit has enough."""
        if key not in self._now:
            recent = _pooled(self._recent, key)
            enough = self.thresholds.enough_samples
            if recent.finite_count and recent.moments.n.max() >= enough:
                self._now[key] = recent
            else:
                self._now[key] = self._back_to_enough(key)
        return self._now[key]

    def _back_to_enough(self, key: str) -> TensorStats:
        stats = TensorStats.empty()
        for window in reversed(self.windows):
            if key in window.stats:
                stats = window.stats[key].merge(stats)
                if stats.finite_count and stats.moments.n.max() >= self.thresholds.enough_samples:
                    break
        return stats

    @cached_property
    def _leading(self) -> list[Window]:
        return merge_leading(self._looked_at)

    def whole(self, key: str) -> TensorStats:
        """Return a site's statistics over all windows."""
        return _pooled(self._leading, key)

    def history(self, key: str) -> Sequence[tuple[Window, TensorStats]]:
        """Return a site's windows in order of time, at most 64 of them: of more, neighbours merge.

        The latest sites' are kept: one rule after the other asks for them.
        """
        found = self._histories.pop(key, None)
        if found is None:
            found = [(w, w.stats[key]) for w in self._looked_at if key in w.stats]
        self._histories[key] = found  # the latest at the end
        if len(self._histories) > REMEMBERED:
            del self._histories[next(iter(self._histories))]
        return found

    @cached_property
    def _looked_at(self) -> Sequence[Window]:
        """The windows; of very many, neighbours merged: each site's are read one by one."""
        size = -(-len(self.windows) // LOOKED_AT)
        if size <= 1:
            return self.windows
        first = len(self.windows) % size  # the last group is whole
        starts = range(first - size if first else 0, len(self.windows), size)
        return [Window.sum(self.windows[max(start, 0) : start + size]) for start in starts]

    def scales(self, key: str) -> list[float]:
        """Return a site's rms in each window that saw a finite value there, in order of time."""
        scales = (window.scales.get(key, math.nan) for window in self.windows)
        return [scale for scale in scales if not math.isnan(scale)]

    def since(self, key: str, holds: Callable[[TensorStats], bool]) -> int:
        """Return the first step of the unbroken run of last windows in which something holds."""
        since = self.windows[-1].first_step
        for window, stats in reversed(self.history(key)):
            if not holds(stats):
                break
            since = window.first_step
        return since

    # ---- places --------------------------------------------------------------------------------

    def place(self, key: str | None) -> int:
        """Return a site's place in the forward, gradients at their output's; -1 for the net."""
        return self._found.place(key)

    def gradient(self, site: Site | None) -> TensorStats | None:
        """Return the recent gradient of the loss with respect to an output, where it was seen.

        None also where an output came lately and its gradient, once seen, did not.
        """
        if site is None:
            return None
        key = gradient_key(site)
        came, comes = (any(k in w.stats for w in self._recent) for k in (site.key, key))
        return None if key not in self or (came and not comes) else self.now(key)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Activations in the order of the forward; weight layers where the net has few of them."""
        return self._found.layers

    def is_last(self, site: Site) -> bool:
        """Tell whether no layer with weights comes after a site: its scale is the target's."""
        place = self.place(site.key)
        return not any(s.trainable is not None for s in self.sites[place + 1 :])

    @property
    def features(self) -> tuple[Site, ...]:
        """Sites whose units are features with one scale: activations, recurrent, embeddings."""
        return self._found.features

    def layer_of(self, site: Site) -> Layer:
        """Return what an activation or a weight layer gives, with what it comes from."""
        return self._found.layer_of(site)


def is_bounded(site: Site) -> bool:
    """Tell whether a site is an activation with two flat ends: of ReLU, half of all is flat."""
    if site.activation is None:
        return False
    return all(math.isfinite(limit) for limit in activation_from_key(site.activation).limits)


def spread(stats: TensorStats) -> float:
    """Return the root mean square over units of their standard deviation over samples.

    What depends on the input: a layer of constants has none. The tensor's std where units are
    pooled.
    """
    deviations = stats.unit_std
    if deviations is None:
        return stats.std
    squares = (deviations * deviations)[stats.moments.n > 0]
    return math.sqrt(float(squares.mean())) if squares.size else math.nan


def span(names: Sequence[str]) -> str:
    """Name consecutive layers.

    Examples
    --------
    >>> span(["fc3", "fc4", "fc5"]), span(["fc3"])
    ('fc3…fc5', 'fc3')
    """
    return names[0] if names[0] == names[-1] else f"{names[0]}…{names[-1]}"


def weights_range(layers: Sequence[Layer]) -> str:
    """Name the modules of consecutive layers' weights."""
    return span([layer.name for layer in layers])


def gates_range(layers: Sequence[Layer]) -> str:
    """Name the modules that give what consecutive layers give."""
    return span([layer.a.module for layer in layers])


def _pooled(windows: Sequence[Window], key: str) -> TensorStats:
    return sum((w.stats[key] for w in windows if key in w.stats), start=TensorStats.empty())
