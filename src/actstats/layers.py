"""The layers of a net as a recording knows it: which site is a layer's, and what feeds it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from actstats.sites import Site, base_name, join_key, site_order, split_key

__all__ = ["Layer", "Layers", "gradient_key", "is_state"]

SWITCHES = frozenset({"sigmoid", "hardsigmoid"})
_FEATURES = ("Embedding", "RNN", "LSTM", "GRU")
_NO_LAYERS = ("Norm", "Embedding", "Dropout", "Pool")  # parts of names of module classes


@dataclass(frozen=True)
class Layer:
    """One step of the way through the net: an activation and what goes into it, or weights.

    Parameters
    ----------
    a : Site
        What the layer gives: an activation's output, or a weight layer's where none is seen.
    z : Site, optional
        What goes into the activation, where a site gives it.
    weights : str, optional
        The module whose weights made it.
    """

    a: Site
    z: Site | None = None
    weights: str | None = None

    @property
    def name(self) -> str:
        """The module to name when the layer's weights are to be changed."""
        return self.weights or self.a.module


class Layers:
    """The sites of a recording in the order of the forward, and the layers among them.

    Parameters
    ----------
    sites : iterable of Site
        All that were seen.

    Attributes
    ----------
    sites : dict of str to Site
        By key, in the order in which they were first seen.
    outputs : tuple of Site
        Those of outputs.
    """

    def __init__(self, sites: Iterable[Site]) -> None:
        self.sites = {site.key: site for site in sorted(sites, key=_forward_order)}
        self.outputs = tuple(site for site in self.sites.values() if site.kind == "output")
        self._place = {_position(site): i for i, site in enumerate(self.outputs)}

    def place(self, key: str | None) -> int:
        """Return a site's place in the forward, gradients at their output's; -1 for the net."""
        if key is None:
            return -1
        site = self.sites.get(key)
        name = split_key(key)[0]
        own = self._place.get(name if site is None else _position(site))
        if own is not None:
            return own
        first = (i for i, s in enumerate(self.outputs) if s.module == base_name(name))
        return next(first, len(self.outputs))

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Activations in the order of the forward; weight layers where the net has few of them."""
        gates = _without_switches([s for s in self.outputs if s.activation is not None])
        weighty = [site for site in self.outputs if _has_weights(site) and not is_state(site)]
        enough = len(gates) > 2 or 3 * len(gates) >= len(weighty)
        return tuple(self.layer_of(site) for site in (gates if enough else _one_role(weighty)))

    @cached_property
    def features(self) -> tuple[Site, ...]:
        """Sites whose units are features with one scale: activations, recurrent, embeddings."""
        found = [site for site in self.outputs if _is_feature(site) and not is_state(site)]
        return tuple(_without_switches(found))

    def layer_of(self, site: Site) -> Layer:
        """Return what an activation or a weight layer gives, with what it comes from."""
        if site.activation is None:
            return Layer(site, weights=site.module)
        z = self.sites.get(site.source or "")
        return Layer(site, z, self._weights_of(z))

    def _weights_of(self, site: Site | None, far: int = 4) -> str | None:
        """Return the weight layer that a tensor comes from, through norms and the like."""
        while site is not None and far:
            if _has_weights(site):
                return site.module
            site, far = self.sites.get(site.source or ""), far - 1
        return None


def gradient_key(site: Site) -> str:
    """Return the key of the gradient of the loss with respect to an output."""
    return join_key((_position(site), "grad"))


def is_state(site: Site) -> bool:
    """Tell whether a site is a final state of a recurrent layer, beside its outputs."""
    return any(part in site.module_type for part in _FEATURES) and site.leaf not in ("", "[0]")


def _one_role(sites: Sequence[Site]) -> list[Site]:
    """Return sites that can be compared over depth: of repeated blocks, one place in each.

    Queries and outputs of attention have scales of their own; so have, in a chain of blocks, the
    layers of one block.
    """
    roles: dict[str, list[Site]] = {}
    for site in sites:
        blocks, _, last = site.module.rpartition(".")
        roles.setdefault(re.sub(r"\d+", "#", blocks) + "." * bool(blocks) + last, []).append(site)
    nested = [role for role in roles.values() if len(role) > 1 and "." in role[0].module]
    return max(nested, key=len) if len(nested) > 1 else list(sites)


def _position(site: Site) -> str:
    return f"{site.module}{site.leaf}"


def _forward_order(site: Site) -> tuple[object, ...]:
    return site.place, site_order(site)


def _without_switches(sites: Sequence[Site]) -> list[Site]:
    """Leave sigmoids out where other activations are: there they weigh what others give.

    So do the gates of squeeze-and-excitation; that they hardly differ from sample to sample is no
    fault.
    """
    kinds = {site: (site.activation or "").partition("(")[0] for site in sites}
    if {kind for kind in kinds.values() if kind} <= SWITCHES:
        return list(sites)
    return [site for site in sites if kinds[site] not in SWITCHES]


def _is_feature(site: Site) -> bool:
    features = any(part in site.module_type for part in _FEATURES)
    return site.activation is not None or features


def _has_weights(site: Site) -> bool:
    """Tell whether a site is given by weights: neither by a norm nor by looking things up."""
    return site.trainable is not None and not any(part in site.module_type for part in _NO_LAYERS)
