"""Measures with plain torch whether a fault is there: no use of actstats.

Each function returns a proof, ``proof(setup, steps) -> bool``, which trains the network that many
steps first.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchmarks.clinic.case import Setup

Proof = Callable[[Setup, int], bool]
HALF = (2.0**-14, 65504.0)
"""Least normal and largest number of fp16."""


@dataclass
class Probe:
    """What one forward and backward gave, by module: samples by units.

    A module that is called several times has all its calls' samples.
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    grads: dict[str, Tensor] = field(default_factory=dict)
    loss: float = math.nan


def probe(setup: Setup, steps: int = 0) -> Probe:
    """Train, then run the first batch forward and backward, and keep what modules gave."""
    setup.train(steps)
    seen = Probe()
    handles = [
        module.register_forward_hook(_keep(seen, name, module), with_kwargs=False)
        for name, module in setup.model.named_modules()
        if not isinstance(module, nn.ModuleList)
    ]
    setup.optimizer.zero_grad()
    loss = setup.loss_fn(setup.model, setup.batches[0])
    loss.backward()
    seen.loss = loss.item()
    for handle in handles:
        handle.remove()
    return seen


def _keep(seen: Probe, name: str, module: nn.Module) -> Callable[..., None]:
    def hook(_: nn.Module, args: tuple, output: object) -> None:
        out = output[0] if isinstance(output, tuple) else output
        if args and isinstance(args[0], Tensor):
            _add(seen.inputs, name, args[0])
        if isinstance(out, Tensor):
            _add(seen.outputs, name, out)
            if out.requires_grad:
                out.register_hook(lambda g: _add(seen.grads, name, g))

    return hook


def _add(kept: dict[str, Tensor], name: str, tensor: Tensor) -> None:
    rows = _rows(tensor.detach())
    kept[name] = torch.cat([kept[name], rows]) if name in kept else rows


def _rows(tensor: Tensor) -> Tensor:
    """Return samples by units, in double; axis 1 has the units of an image."""
    moved = tensor.movedim(1, -1) if tensor.dim() == 4 else tensor
    return moved.reshape(-1, moved.shape[-1]).double() if tensor.dim() else tensor.view(1, 1)


def rms(tensor: Tensor) -> float:
    return tensor.square().mean().sqrt().item()


# ---- units ---------------------------------------------------------------------------------------


def slopes(activation: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Return the activation's derivative by autograd, over its largest."""
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    return _derivative(activation, z).abs() / _derivative(activation, grid).abs().max()


def _derivative(activation: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    z = z.detach().clone().requires_grad_()
    return torch.autograd.grad(activation(z).sum(), z)[0]


def shut(name: str, share: float = 0.99, bound: float = 0.05, unit: bool = True) -> Proof:
    """Prove that this share of units (or of values) of an activation have slopes below a bound.

    Parameters
    ----------
    name : str
        The activation's module.
    share : float
        Least share.
    bound : float
        Of the slope over its largest; 0 asks for exact zeros.
    unit : bool, default True
        Units all of whose samples are; else single values.
    """

    def proof(setup: Setup, steps: int) -> bool:
        found = slopes(setup.model.get_submodule(name), probe(setup, steps).inputs[name])
        below = found <= bound
        return (below.all(0) if unit else below).double().mean().item() >= share

    return proof


def shut_after(layer: str, call: Callable[[Tensor], Tensor], share: float) -> Proof:
    """Prove that this share of what a layer gives meets a flat slope of a function."""
    return lambda setup, steps: (
        (slopes(call, probe(setup, steps).outputs[layer]) <= 0.05).double().mean().item() >= share
    )


def dead(name: str, share: float = 0.99) -> Proof:
    """Prove that units have a slope of exactly zero for every sample."""
    return shut(name, share, bound=0.0)


def dead_before(layer: str, share: float = 0.99) -> Proof:
    """Prove that a layer gives nothing positive, and its weights no gradient (`F.relu` nets)."""

    def proof(setup: Setup, steps: int) -> bool:
        z = probe(setup, steps).outputs[layer]
        rows = (z <= 0).all(0)
        grad = setup.model.get_submodule(layer).weight.grad[rows]
        return rows.double().mean().item() >= share and not grad.any().item()

    return proof


def dormant(name: str, share: float = 0.4) -> Proof:
    """Prove that units are smaller than 2.5 % of the layer's mean."""

    def proof(setup: Setup, steps: int) -> bool:
        size = probe(setup, steps).outputs[name].abs().mean(0)
        return (size <= 0.025 * size.mean()).double().mean().item() >= share

    return proof


def identical(name: str, share: float = 0.99) -> Proof:
    """Prove that units equal the layer's first, sample by sample, do respond, and stay equal.

    That they stay is seen after five more steps of training.
    """

    def proof(setup: Setup, steps: int) -> bool:
        return all(_equal(probe(setup, n).outputs[name], share) for n in (steps, 5))

    return proof


def _equal(a: Tensor, share: float) -> bool:
    same = (a - a[:, :1]).abs().amax(0) <= 1e-3 * a.abs().max()
    return same.double().mean().item() >= share and bool(a[:, 0].std() > 0)


def constant(name: str, bound: float = 0.01) -> Proof:
    """Prove that a layer's units vary less over samples than this share of their square."""

    def proof(setup: Setup, steps: int) -> bool:
        a = probe(setup, steps).outputs[name]
        return bool(a.var(0).mean() <= bound * a.square().mean()) and bool(a.any())

    return proof


# ---- scales --------------------------------------------------------------------------------------


def fades(first: str, last: str, ratio: float) -> Proof:
    """Prove that the gradient at `first` is at most this share of that at `last`."""

    def proof(setup: Setup, steps: int) -> bool:
        grads = probe(setup, steps).grads
        return rms(grads[last]) > 0 and rms(grads[first]) <= ratio * rms(grads[last])

    return proof


def grows_backwards(first: str, last: str, ratio: float) -> Proof:
    """Prove that the gradient at `first` is at least this many times that at `last`."""

    def proof(setup: Setup, steps: int) -> bool:
        grads = probe(setup, steps).grads
        return rms(grads[first]) >= ratio * rms(grads[last])

    return proof


def grows(first: str, last: str, ratio: float) -> Proof:
    """Prove that the output of `last` is this many times that of `first`."""

    def proof(setup: Setup, steps: int) -> bool:
        outputs = probe(setup, steps).outputs
        return rms(outputs[last]) >= ratio * rms(outputs[first])

    return proof


def larger(name: str, bound: float) -> Proof:
    """Prove that a layer's output has at least this rms."""
    return lambda setup, steps: rms(probe(setup, steps).outputs[name]) >= bound


def drifts(name: str, ratio: float) -> Proof:
    """Prove that a layer's output changes by this factor over the run, in either direction."""

    def proof(setup: Setup, steps: int) -> bool:
        sizes = []
        handle = setup.model.get_submodule(name).register_forward_hook(
            lambda m, a, out: sizes.append(rms(out[0] if isinstance(out, tuple) else out))
        )
        setup.train(steps)
        handle.remove()
        change = sizes[-1] / sizes[0]
        return max(change, 1 / change) >= ratio

    return proof


def input_drifts(ratio: float) -> Proof:
    """Prove that inputs grow by this factor over the run."""
    return lambda setup, steps: bool(
        setup.batches[steps - 1][0].std() >= ratio * setup.batches[0][0].std()
    )


# ---- numbers -------------------------------------------------------------------------------------


def breaks_forward(name: str) -> Proof:
    """Prove that this module gives non-finite values, from inputs without NaN.

    The inputs may be masked by minus infinities.
    """

    def proof(setup: Setup, steps: int) -> bool:
        seen = probe(setup, steps)
        return not seen.inputs[name].isnan().any() and not _finite(seen.outputs[name])

    return proof


def breaks_at_input(setup: Setup, steps: int) -> bool:
    """Prove that a batch itself is not finite."""
    return any(not _finite(x) for x, _ in setup.batches)


def breaks_backward(name: str) -> Proof:
    """Prove that all outputs are finite, and so is the gradient that reaches this module,
    but not what it passes on to its weights or input.
    """

    def proof(setup: Setup, steps: int) -> bool:
        seen = probe(setup, steps)
        before = list(seen.outputs)[list(seen.outputs).index(name) - 1]
        return (
            all(map(_finite, seen.outputs.values()))
            and _finite(seen.grads[name])
            and not _finite(seen.grads[before])
        )

    return proof


def breaks_first(name: str) -> Proof:
    """Prove that in a run this module's output is the first that is not finite, from inputs that
    are.
    """

    def proof(setup: Setup, steps: int) -> bool:
        found: list[str] = []

        def hook(at: str) -> Callable[..., None]:
            def look(_: nn.Module, args: tuple, output: object) -> None:
                out = output[0] if isinstance(output, tuple) else output
                if isinstance(out, Tensor) and not _finite(out):
                    found.append(at if _finite(args[0]) else "")

            return look

        for at, module in setup.model.named_modules():
            if not any(module.children()):
                module.register_forward_hook(hook(at))
        setup.train(steps)
        return found[:1] == [name]

    return proof


def breaks(setup: Setup, steps: int) -> bool:
    """Prove that parameters, or their gradients, are not finite after the run."""
    probe(setup, steps)
    return not all(_finite(p) and _finite(p.grad) for p in setup.model.parameters())


def _finite(tensor: Tensor | None) -> bool:
    return tensor is None or not tensor.is_floating_point() or bool(tensor.isfinite().all())


def underflows(name: str, share: float, kind: str = "grads", low: float = HALF[0]) -> Proof:
    """Prove that values that this layer has, or had in double, are below a format's normals."""

    def proof(setup: Setup, steps: int) -> bool:
        values = getattr(probe(setup, steps), kind)[name]
        return (values.abs() < low).double().mean().item() >= share

    return proof


def overflows(name: str, high: float = HALF[1]) -> Proof:
    """Prove that values lie beyond a format's largest number."""
    return lambda setup, steps: bool((probe(setup, steps).outputs[name].abs() > high).any())


def input_scale(mean: float = 0.0, std: float = 0.0, ratio: float = 0.0) -> Proof:
    """Prove that inputs have at least this mean, std, or ratio between their columns' stds."""

    def proof(setup: Setup, steps: int) -> bool:
        x = torch.cat([x.flatten(1) for x, _ in setup.batches]).double()
        stds = x.std(0)
        spread = (stds.max() / stds.clamp(min=1e-12).median()).item()
        return x.mean().abs() >= mean and x.std() >= std and (not ratio or spread >= ratio)

    return proof


def input_below(std: float) -> Proof:
    """Prove that inputs are this small."""
    return lambda setup, steps: bool(torch.cat([x for x, _ in setup.batches]).std() <= std)


# ---- training ------------------------------------------------------------------------------------


def ungraded(*names: str) -> Proof:
    """Prove that parameters that ask for gradients get none, and that others get some."""

    def proof(setup: Setup, steps: int) -> bool:
        probe(setup, steps)
        told = dict(_graded(setup, names))
        others = [p.grad for p in setup.model.parameters() if p.grad is not None]
        return bool(told) and not any(told.values()) and any(g.any() for g in others)

    return proof


def _graded(setup: Setup, names: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    for name, parameter in setup.model.named_parameters():
        if parameter.requires_grad and name.startswith(tuple(f"{n}." for n in names)):
            yield name, parameter.grad is not None and bool(parameter.grad.any())


def uncalled(name: str) -> Proof:
    """Prove that a module that has parameters is never called, and they get no gradient."""

    def proof(setup: Setup, steps: int) -> bool:
        called = name in probe(setup, steps).outputs
        return not called and ungraded(name)(setup, 0)

    return proof


def updates(low: float = 0.0, high: float = math.inf, layer: str = "") -> Proof:
    """Prove that std(dw) / std(w) of each weight (of a layer) lies beyond these bounds."""

    def proof(setup: Setup, steps: int) -> bool:
        setup.train(steps)
        before = copy.deepcopy(dict(setup.model.named_parameters()))
        setup.step(0)
        ratios = [
            ((p - before[n]).std() / before[n].std()).item()
            for n, p in setup.model.named_parameters()
            if n.startswith(layer) and p.dim() > 1
        ]
        return all(r < low or r > high for r in ratios)

    return proof


def fails_to_learn(setup: Setup, steps: int = 150, share: float = 0.9) -> bool:
    """Tell whether the loss stays above this share of what a constant answer gives."""
    setup.train(steps)
    loss = setup.mean_loss()
    return not loss <= share * constant_loss(setup)


def constant_loss(setup: Setup) -> float:
    """Return the loss of the best answer that does not look at the input."""
    y = torch.cat([y.flatten() for _, y in setup.batches])
    if y.is_floating_point():
        return y.var(correction=0).item()
    p = y.bincount().double() / len(y)
    return -(p[p > 0] * p[p > 0].log()).sum().item()


def after(claim: Proof) -> Proof:
    """Prove what holds of the data once the run is over."""
    return lambda setup, steps: claim(setup.train(steps), steps)


def one_of(*proofs: Proof) -> Proof:
    """Prove one of several things."""
    return lambda setup, steps: any(
        proof(setup, steps if i == 0 else 0) for i, proof in enumerate(proofs)
    )


def both(*proofs: Proof) -> Proof:
    """Prove several things; each sees the network as the one before left it."""
    return lambda setup, steps: all(
        proof(setup, steps if i == 0 else 0) for i, proof in enumerate(proofs)
    )
