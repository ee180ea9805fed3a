"""What a case is: a network, its data, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Batch = Any
Loss = Callable[[nn.Module, Batch], Tensor]
Layers = tuple[tuple[str, ...], ...]
RULES = (
    *("dead-units", "silent-units", "dormant-units", "saturated", "input-independent"),
    *("vanishing-gradient", "exploding-gradient", "exploding-activation", "non-finite"),
    *("low-precision-range", "scale-drift", "identical-units", "unnormalised-input"),
    *("no-gradient", "update-ratio", "never-called"),
)
OWN_LAYER = (
    *(nn.Linear, nn.Bilinear, nn.Embedding, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention),
    *(nn.modules.conv._ConvNd,),
)
"""What a layer begins with; norms and activations belong to the layer before them."""


@dataclass
class Setup:
    """A network ready to train.

    Parameters
    ----------
    model : Module
        In training mode.
    batches : sequence
        Used in turn, again from the first after the last.
    loss_fn : callable
        ``loss_fn(model, batch)`` gives a scalar.
    optimizer : Optimizer
        Over the model's parameters.
    layers : tuple of tuples of str, optional
        The network's layers in order, each with the names of all that belongs to it, sites of
        functional calls too. Default: by :func:`layers_of`.
    events : dict of int to callable, optional
        What happens to this just before a step of training; each once.
    """

    model: nn.Module
    batches: Sequence[Batch]
    loss_fn: Loss
    optimizer: torch.optim.Optimizer
    layers: Layers = ()
    events: dict[int, Callable[[Setup], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layers = self.layers or layers_of(self.model)

    def step(self, number: int) -> float:
        """Train one step and return its loss."""
        if number in self.events:
            self.events.pop(number)(self)
        self.optimizer.zero_grad()
        loss = self.loss_fn(self.model, self.batches[number % len(self.batches)])
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def train(self, steps: int) -> Setup:
        """Train some steps and return this."""
        for number in range(steps):
            self.step(number)
        return self

    def mean_loss(self) -> float:
        """Return the loss over all batches, in training mode, without changing buffers."""
        buffers = [b.clone() for b in self.model.buffers()]
        with torch.no_grad():
            losses = [float(self.loss_fn(self.model, batch)) for batch in self.batches]
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        return sum(losses) / len(losses)


@dataclass(frozen=True)
class Case:
    """A network configuration with its label.

    Parameters
    ----------
    name : str
        Unique.
    family : str
        ``"mlp"``, ``"cnn"``, ``"lstm"``, ``"transformer"`` and so on.
    make : callable
        ``make(seed)`` gives a :class:`Setup`, the same one for the same seed.
    steps : int, default 0
        Training steps that are recorded and then diagnosed; 0: one forward and backward by
        ``check``, before any training.
    fault : str, optional
        The rule whose fault was injected; None for a healthy network.
    also : tuple of str, default ()
        Rules that state the same fault's cause, or what must follow from it, truthfully.
    site : str or tuple of str, optional
        Where the fault is, or equally right names. None: the whole network, or none.
    proof : callable, optional
        ``proof(setup)`` measures with plain torch whether the fault is there.
    learns : bool, optional
        Whether it must be seen to learn (healthy networks) or not to (False). None: no claim.
    learn_steps : int, default 150
        Steps within which learning is judged.
    fresh : bool, default False
        Whether it belongs to the part beside the halves.
    """

    name: str
    family: str
    make: Callable[[int], Setup]
    steps: int = 0
    fault: str | None = None
    also: tuple[str, ...] = ()
    site: str | tuple[str, ...] | None = None
    proof: Callable[[Setup], bool] | None = None
    learns: bool | None = None
    learn_steps: int = 150
    fresh: bool = False

    def __post_init__(self) -> None:
        unknown = {self.fault, *self.also} - {None, *RULES}
        if unknown:
            raise ValueError(f"`fault` and `also` must be names of rules; got {sorted(unknown)}.")

    @property
    def healthy(self) -> bool:
        return self.fault is None

    @property
    def accepted(self) -> frozenset[str]:
        """Rules that count as the right answer."""
        return frozenset({self.fault, *self.also} - {None})

    @property
    def sites(self) -> tuple[str, ...]:
        return (self.site,) if isinstance(self.site, str) else self.site or ()

    @property
    def stratum(self) -> str:
        """What halves are balanced by."""
        return self.fault or f"healthy {self.family}"

    def build(self, seed: int) -> Setup:
        """Make the network from a seed, leaving the global random state as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 + seed)
            return self.make(seed)


# ---- layers and sites ----------------------------------------------------------------------------


def layers_of(model: nn.Module) -> Layers:
    """Return the layers of a model in order of registration, by the names of their modules.

    Norms and activations belong to the layer before them; a norm that opens a block belongs to
    the layer after it.
    """
    groups: list[list[str]] = []
    parent, owned = "", True
    for name, module in model.named_modules():
        begins = isinstance(module, OWN_LAYER) or type(module).__name__ == "Conv1D"  # GPT-2's
        if name == "" or not (begins or _is_leaf(module)):
            continue
        opens = "Norm" in type(module).__name__ and name.rpartition(".")[0] != parent
        if not groups or (begins and owned) or (opens and not begins):
            groups.append([])
            owned = begins
        owned = owned or begins
        groups[-1].append(name)
        parent = name.rpartition(".")[0]
    return tuple(map(tuple, groups))


def _is_leaf(module: nn.Module) -> bool:
    return not any(True for _ in module.children())


def module_of(site: str) -> str:
    """Return the name of a site without its kind, leaf and call number.

    Examples
    --------
    >>> module_of("rnn[0]:grad"), module_of("(root).relu()#2"), module_of("act1#3:input")
    ('rnn', '(root).relu()#2', 'act1')
    """
    name = re.sub(r":(output|input|grad)$", "", site)
    return name if "()" in name else re.split(r"[\[#]", name, maxsplit=1)[0]


def places(site: str | None, layers: Layers) -> list[int]:
    """Return which layers a site belongs to: one, or all that a container has."""
    if site is None:
        return []
    name = module_of(site)
    for candidate in _and_parents(name):
        found = [i for i, group in enumerate(layers) if candidate in group]
        if found:
            return found
    prefix = f"{name}."
    return [i for i, group in enumerate(layers) if any(n.startswith(prefix) for n in group)]


def _and_parents(name: str) -> Iterator[str]:
    """Yield a name and the names of what it is in: a parameter's module, a call's caller."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def distance(found: str | None, right: Sequence[str], layers: Layers) -> int | None:
    """Return how many layers a site is from the nearest right one; None if it names none."""
    at = places(found, layers)
    wanted = [i for site in right for i in places(site, layers)]
    if not at or not wanted:
        return None
    return min(abs(a - b) for a in at for b in wanted)
