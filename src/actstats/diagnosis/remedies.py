"""Remedies that can be tried on a copy of a model, and what each of them did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from actstats.diagnosis.diagnosis import Diagnosis
from actstats.diagnosis.finding import at_least
from actstats.diagnosis.norms import has_sequences
from actstats.diagnosis.reading import span

__all__ = ["Remedy", "Tried", "remedies_for"]

_CURABLE = frozenset(
    {
        *("dead-units", "silent-units", "dormant-units", "identical-units"),
        *("saturated", "input-independent", "unnormalised-input"),
        *("vanishing-gradient", "exploding-gradient", "exploding-activation"),
    }
)
NEARLY = 1.1  # times
_BIASED = frozenset({"dead-units", "silent-units", "saturated", "input-independent"})
Norms = Mapping[type[nn.Module], Callable[..., nn.Module]]
_NORMS: Norms = {
    nn.Linear: nn.BatchNorm1d,
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}
_CHANNEL_NORMS: Norms = {kind: norm for kind, norm in _NORMS.items() if kind is not nn.Linear}
_NORM_TYPES = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.LayerNorm, nn.RMSNorm, nn.GroupNorm),
)
Weighty = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True)
class Remedy:
    """One change that may cure a model.

    Parameters
    ----------
    name : str
        What it does, in words.
    apply : callable
        Changes a copy in place; returns whether there was anything to change.
    """

    name: str
    apply: Callable[[nn.Module], bool]


@dataclass(frozen=True)
class Tried:
    """A remedy that was tried on a copy, and what it did.

    Parameters
    ----------
    remedy : str
        What was done.
    before, after : Diagnosis
        Of the model as it is, and of the copy with the remedy.
    signs : mapping of str to (float, float)
        Vital signs before and after: least signal fraction of a layer, decades that the gradient
        gains on its way back, largest share of dead and of saturated units. Those that were seen.
    """

    remedy: str
    before: Diagnosis
    after: Diagnosis
    signs: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, tuple[int, int]]:
        """How many findings there are at each severity from warning on, before and after."""
        return {
            severity: (_count(self.before, severity), _count(self.after, severity))
            for severity in ("critical", "warning")
        }

    @property
    def helps(self) -> bool:
        """Whether fewer faults are left, counted from the gravest on."""
        figures = list(self.figures.values())
        return [after for _, after in figures] < [before for before, _ in figures]

    def __str__(self) -> str:
        left = "nothing alarming is left"
        if not self.after.ok:
            changes = (f"{b} -> {a} {severity}" for severity, (b, a) in self.figures.items())
            left = ", ".join(changes)
        signs = (f"{name} {b:.2g} -> {a:.2g}" for name, (b, a) in self.signs.items() if a != b)
        told = ", ".join(signs)
        return f"{self.remedy}: {left}{f' ({told})' if told else ''}"


def remedies_for(diagnosis: Diagnosis) -> Iterator[Remedy]:
    """Yield what is worth trying for what was found; nothing where no remedy changes a model."""
    grave = [finding for finding in diagnosis if at_least(finding.severity, "warning")]
    rules = {finding.rule for finding in grave}
    if not rules & _CURABLE:
        return
    if rules & _BIASED:
        yield Remedy("every bias 0", zero_biases)
    scaled = next((f for f in grave if f.modules and _changes(f.evidence.get("factor", 1.0))), None)
    if scaled is not None:
        names, factor = scaled.modules, scaled.evidence["factor"]
        title = f"weights of {span(names)} times {factor:.2g}"
        yield Remedy(title, lambda model: scale_weights(model, names, factor))
    yield Remedy("Xavier initialisation, biases 0", lambda m: initialise(m, nn.init.xavier_normal_))
    yield Remedy("He initialisation, biases 0", lambda m: initialise(m, _he))
    yield Remedy(
        "BatchNorm after each Linear and Conv layer but the last",
        lambda model: not _has_sequences(model) and insert_norms(model),
    )
    yield Remedy(
        "BatchNorm after each Conv layer but the last",
        lambda model: _has_sequences(model) and insert_norms(model),
    )
    yield Remedy("LayerNorm after each Linear layer but the last", insert_layer_norms)


def _changes(factor: float) -> bool:
    """Tell whether weights times that factor are other weights; a tenth more cures nothing."""
    return not 1 / NEARLY <= factor <= NEARLY


def zero_biases(model: nn.Module) -> bool:
    """Set the bias of each Linear and Conv layer to 0."""
    biases = [m.bias for m in _weighty(model) if m.bias is not None]
    changed = any(bool(bias.detach().any()) for bias in biases)
    for bias in biases:
        nn.init.zeros_(bias)
    return changed


def scale_weights(model: nn.Module, names: Sequence[str], factor: float) -> bool:
    """Multiply the weights of some modules."""
    known = dict(model.named_modules())
    weights = [getattr(known.get(name), "weight", None) for name in names]
    found = [weight for weight in weights if isinstance(weight, Tensor)]
    with torch.no_grad():
        for weight in found:
            weight.mul_(factor)
    return bool(found)


def initialise(model: nn.Module, fill: Callable[[Tensor], object]) -> bool:
    """Draw all weights of Linear and Conv layers anew; biases 0."""
    modules = list(_weighty(model))
    for module in modules:
        fill(module.weight)
    zero_biases(model)
    return bool(modules)


def _he(weight: Tensor) -> object:
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


def insert_norms(model: nn.Module) -> bool:
    """Put a BatchNorm after the Linear and Conv layers of each Sequential, not after the last.

    Not after Linear layers in nets that work on sequences: their features do not stand on axis 1,
    where those of convolutions do.
    """
    return _insert(model, _CHANNEL_NORMS if _has_sequences(model) else _NORMS)


def insert_layer_norms(model: nn.Module) -> bool:
    """Put a LayerNorm after the Linear layers of each Sequential where BatchNorm does not fit."""
    return _has_sequences(model) and _insert(model, {nn.Linear: nn.LayerNorm})


def _has_sequences(model: nn.Module) -> bool:
    return has_sequences((name, type(module).__name__) for name, module in model.named_modules())


def _insert(model: nn.Module, norms: Norms) -> bool:
    last = [m for m in _weighty(model) if type(m) in _NORMS][-1:]
    sequences = [m for m in model.modules() if type(m) is nn.Sequential]
    changed = [_insert_into(sequence, norms, last) for sequence in sequences]
    return any(changed)


def _insert_into(sequence: nn.Sequential, norms: Norms, last: Sequence[nn.Module]) -> bool:
    children = list(sequence.named_children())
    following = [child for _, child in children[1:]] + [None]
    bare = [
        type(child) in norms and child not in last and not isinstance(after, _NORM_TYPES)
        for (_, child), after in zip(children, following, strict=True)
    ]
    for name, _ in children:
        delattr(sequence, name)
    for (name, child), wanted in zip(children, bare, strict=True):
        sequence.add_module(name, child)
        if wanted:
            sequence.add_module(f"{name}_norm", _norm_after(child, norms))
    return any(bare)


def _norm_after(module: nn.Module, norms: Norms) -> nn.Module:
    linear = isinstance(module, nn.Linear)
    width = module.out_features if linear else module.out_channels
    assert isinstance(width, int) and isinstance(module.weight, Tensor)
    like = module.weight
    norm = norms[type(module)](width, device=like.device, dtype=like.dtype)
    return norm.train(module.training)


def _weighty(model: nn.Module) -> Iterator[Weighty]:
    return (m for m in model.modules() if isinstance(m, Weighty) and m.weight.dim() > 1)


def _count(diagnosis: Diagnosis, severity: str) -> int:
    return sum(finding.severity == severity for finding in diagnosis)
