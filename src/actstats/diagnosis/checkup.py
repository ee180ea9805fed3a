"""Judge a model before its first step, on a copy that is thrown away."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from actstats.diagnosis.diagnosis import Diagnosis, diagnose
from actstats.diagnosis.features import Features
from actstats.diagnosis.finding import Finding
from actstats.diagnosis.losses import LossFunction, as_loss
from actstats.diagnosis.remedies import Remedy, Tried, remedies_for
from actstats.diagnosis.risk import Risk, risk
from actstats.diagnosis.signs import vital_signs
from actstats.names import plain, printable
from actstats.recorder import ActivationRecorder
from actstats.recording import Recording
from actstats.update_ratios import UPDATE_RATIO

__all__ = ["Checkup", "check"]


class Checkup(Diagnosis):
    """What `check` found: a diagnosis at step 0, and what was tried on copies.

    Parameters
    ----------
    diagnosis : Diagnosis
        Of one forward and backward.
    recording : Recording
        What it rests on.
    loss : float
        The loss on the batch.
    tried : sequence of Tried
        Remedies, the best first.
    trial : sequence of float
        Losses of the trial steps, the first before any; empty without a trial.
    passes : int
        Forward and backward passes that it took in all.
    risk : Risk, optional
        How likely a net like this one is to fail, with the error rates of that judgement; None
        where no layer's weight, input and gradient were all seen.
    """

    def __init__(
        self,
        diagnosis: Diagnosis,
        recording: Recording,
        loss: float,
        tried: Sequence[Tried] = (),
        trial: Sequence[float] = (),
        passes: int = 1,
        risk: Risk | None = None,
    ) -> None:
        findings = (*_of_trial(trial), *diagnosis.findings)
        super().__init__(tuple(diagnosis.answers.values()), findings, diagnosis.subject)
        self.recording = recording
        self.loss = loss
        self.tried = tuple(sorted(tried, key=_left))
        self.trial = tuple(trial)
        self.passes = passes
        self.risk = risk

    @property
    def verdict(self) -> str:
        """One paragraph for a human, with the remedy that helped most on a copy."""
        text = super().verdict
        if not self.ok:
            text = f"At the first step, as a risk and no certainty: {text}"
        if self.tried and self.tried[0].helps:
            text += f" Tried on a copy: {self.tried[0]}."
        if self.risk is not None and (self.ok or self.risk.alarmed):
            text += f" Prognosis: {self.risk}"
        if self.trial:
            first, last = self.trial[0], self.trial[-1]
            steps = len(self.trial) - 1
            text += f" In a trial of {steps} steps the loss went from {first:.4g} to {last:.4g}."
        return text

    def __str__(self) -> str:
        lines = [super().__str__()]
        if self.tried:
            lines += ["Tried on a copy:", *(printable(f"  {tried}") for tried in self.tried)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them."""
        return super().to_dict() | {
            "loss": plain(self.loss),
            "tried": [{"remedy": t.remedy, "ok": t.after.ok, **t.figures} for t in self.tried],
            "trial": [plain(loss) for loss in self.trial],
            "passes": self.passes,
            "risk": None if self.risk is None else plain(self.risk.probability),
        }


def check(
    model: nn.Module,
    batch: Any,
    loss_fn: LossFunction,
    *,
    optimizer: Optimizer | None = None,
    trial_steps: int = 0,
    remedies: bool = True,
    functional: bool = True,
) -> Checkup:
    """Judge a model before training: one forward and backward on a copy, nothing of yours changes.

    The copy has the model's mode, parameters and buffers; random numbers are drawn as your next
    step would draw them, and their state is restored. Gradients of other tensors, and the batch,
    stay as they are. What the loss function changes elsewhere (buffers of another model that it
    calls, counters) is out of its reach, and hooks of your own on the model run on the copy.

    What is found at step 0 is a risk, not a certainty: nets have recovered from worse.

    Parameters
    ----------
    model : Module
        Only copied; it must allow `copy.deepcopy`. Of compiled and data-parallel models what they
        wrap is judged.
    batch : any
        Handed to ``loss_fn``; of the size that you train on, for units are judged by its samples.
    loss_fn : callable
        ``loss_fn(model, batch)`` returns the loss, one number with a graph. It has to call the
        model that it is given, not the one it may close over. Or a criterion of torch, such as
        ``nn.CrossEntropyLoss()``: it is given ``model(inputs)`` and ``targets`` of a batch
        ``(inputs, targets)``.
    optimizer : Optimizer, optional
        Copied with its groups and state; one step of the copy tells the update ratios.
    trial_steps : int, default 0
        Steps to train the copy on this batch; needs the optimizer.
    remedies : bool, default True
        Try remedies on further copies where something is found, and say what they did.
    functional : bool, default True
        Judge ``F.relu`` and the like too.

    Returns
    -------
    Checkup
        A `Diagnosis` with ``.risk``, ``.tried``, ``.trial``, ``.loss``, ``.recording`` and
        ``.passes``.

    Raises
    ------
    ValueError
        If ``loss_fn`` gives no scalar with a graph or calls another model, if the optimizer holds
        none of the model's parameters, or if an argument is out of range.
    TypeError
        If the model is none, or ``loss_fn`` cannot be called.

    Examples
    --------
    >>> import torch, actstats
    >>> _ = torch.manual_seed(0)
    >>> net = actstats.make_mlp(activation="tanh", weight_std=0.1, bias_init=-0.2)
    >>> x = torch.linspace(-7, 10, 64).unsqueeze(1)
    >>> found = actstats.check(net, x, lambda model, x: (model(x) - x**2).square().mean())
    >>> found.ok, found.roots[0].rule
    (False, 'input-independent')
    >>> found.tried[0].after.ok
    True
    """
    _require(model, optimizer, trial_steps)
    loss_fn = as_loss(loss_fn)
    net = _unwrapped(model)
    _require_parameters(net, optimizer)
    with _undisturbed():
        copied, copied_optimizer = _copies(net, optimizer)
        recorder, loss = _observe(copied, batch, loss_fn, functional, copied_optimizer)
        recording = recorder.recording
        prognosis = _prognosis(recording, copied, copied_optimizer)
    diagnosis = diagnose(recording)
    tried: list[Tried] = []
    if remedies and not diagnosis.ok:
        tried = list(_tried(net, batch, loss_fn, functional, diagnosis, recording))
    trial: list[float] = []
    if trial_steps and optimizer is not None:
        trial = _trial(net, optimizer, batch, loss_fn, trial_steps)
    passes = 1 + len(tried) + trial_steps
    return Checkup(diagnosis, recording, loss, tried, trial, passes, prognosis)


# ---- on a copy -----------------------------------------------------------------------------------


def _require(model: object, optimizer: object, trial_steps: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"`model` must be a torch.nn.Module; got {type(model).__name__}.")
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"`optimizer` must be a torch.optim.Optimizer or None; got {type(optimizer).__name__}."
        )
    whole = isinstance(trial_steps, int) and not isinstance(trial_steps, bool)
    if not whole or trial_steps < 0:  # type: ignore[operator]
        raise ValueError(f"`trial_steps` must be an integer of at least 0; got {trial_steps!r}.")
    if trial_steps and optimizer is None:
        raise ValueError("`trial_steps` needs the `optimizer` to train the copy with.")
    if trial_steps and isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("`trial_steps` must be 0 with LBFGS, which evaluates the loss itself.")


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return what torch.compile and data parallelism wrap."""
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        return _unwrapped(model.module)
    inner = getattr(model, "_orig_mod", None)
    return _unwrapped(inner) if isinstance(inner, nn.Module) else model


def _require_parameters(model: nn.Module, optimizer: Optimizer | None) -> None:
    if optimizer is None:
        return
    if _held(optimizer).isdisjoint(id(parameter) for parameter in model.parameters()):
        raise ValueError(
            "`optimizer` holds no parameter of `model`: it was made for another one, or before the"
            " model's parameters were replaced, and would train nothing here."
        )


def _held(optimizer: Optimizer) -> set[int]:
    """Return the identities of the parameters that an optimizer moves."""
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Restore every random state, and want gradients inside."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one
    try:
        with torch.random.fork_rng(), torch.enable_grad(), torch.inference_mode(False):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _copies(model: nn.Module, optimizer: Optimizer | None) -> tuple[nn.Module, Optimizer | None]:
    """Copy both together, so that the copied optimizer holds the copied parameters."""
    try:
        copied, copied_optimizer = copy.deepcopy((model, optimizer))
    except Exception as error:
        raise ValueError(
            f"`model` cannot be copied: {error}. Modules that keep a tensor of their last forward"
            " (the old `torch.nn.utils.weight_norm`) allow it before a forward, or after one under"
            " no_grad."
        ) from error
    for parameter in copied.parameters():
        parameter.grad = None
    return copied, copied_optimizer


def _copy_of(batch: Any) -> Any:
    """Copy a batch, so that a loss that changes it does not; some hold what cannot be copied."""
    try:
        return copy.deepcopy(batch)
    except Exception:
        return batch


def _backward(loss: Tensor, model: nn.Module) -> None:
    """Go back, and leave the gradients of all that is not the model's as they were."""
    own = {id(parameter) for parameter in model.parameters()}
    foreign = [leaf for leaf in _leaves(loss) if id(leaf) not in own]
    before = [leaf.grad for leaf in foreign]
    for leaf in foreign:
        leaf.grad = None  # so that backward makes a new one, and adds nothing to the old
    try:
        loss.backward()
    finally:
        for leaf, grad in zip(foreign, before, strict=True):
            leaf.grad = grad


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """Yield the leaves of a graph that gradients are added to."""
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            yield variable
        waiting += [after for after, _ in node.next_functions]


def _observe(
    model: nn.Module,
    batch: Any,
    loss_fn: LossFunction,
    functional: bool,
    optimizer: Optimizer | None = None,
) -> tuple[ActivationRecorder, float]:
    """Run one forward and backward with everything recorded, and one step of the optimizer."""
    recorder = ActivationRecorder(
        model, capture=("output", "input", "grad"), functional=functional, window=1
    )
    with recorder:
        loss = _loss(model, batch, loss_fn)
        if not len(recorder):
            raise ValueError("`loss_fn` did not call the model that it was given.")
        _backward(loss, model)
        ratios = {} if optimizer is None else _update_ratios(model, optimizer)
        recorder.step(None, loss=loss.item(), **ratios)
    return recorder, loss.item()


def _loss(model: nn.Module, batch: Any, loss_fn: LossFunction) -> Tensor:
    loss = loss_fn(model, _copy_of(batch))
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"`loss_fn` must return a tensor of one number; got {got}.")
    if not loss.requires_grad:
        raise ValueError(
            "`loss_fn` returned a loss without a graph: no parameter requires a gradient, or it was"
            " computed under no_grad or detached."
        )
    return loss.reshape(())


def _update_ratios(model: nn.Module, optimizer: Optimizer) -> dict[str, float]:
    """Take a step and undo it; return its size over the weight's, of matrices and kernels."""
    held = _held(optimizer)
    moved = {n: p.detach() for n, p in model.named_parameters() if id(p) in held}
    before = {name: p.clone() for name, p in moved.items()}
    try:
        optimizer.step()
    except TypeError:
        return {}  # one that evaluates the loss itself, as LBFGS does
    ratios = {
        f"{UPDATE_RATIO}{name}": float((p - before[name]).norm() / before[name].norm())
        for name, p in moved.items()
        if p.dim() > 1 and float(before[name].norm()) > 0
    }
    for name, p in moved.items():
        p.copy_(before[name])
    return ratios


def _prognosis(recording: Recording, model: nn.Module, optimizer: Optimizer | None) -> Risk | None:
    """Return the risk that the net fails; None where it cannot be read."""
    try:
        features = Features.of(recording, optimizer=optimizer, parameters=model.named_parameters())
    except ValueError:
        return None
    return risk(features)


def _tried(
    model: nn.Module,
    batch: Any,
    loss_fn: LossFunction,
    functional: bool,
    before: Diagnosis,
    recording: Recording,
) -> Iterator[Tried]:
    """Try each remedy that may help on a copy of its own."""
    signs = vital_signs(recording)
    for remedy in remedies_for(before):
        after = _try(model, batch, loss_fn, functional, remedy)
        if after is not None:
            now = vital_signs(after)
            both = {name: (signs[name], now[name]) for name in signs if name in now}
            yield Tried(remedy.name, before, diagnose(after), both)


def _try(
    model: nn.Module, batch: Any, loss_fn: LossFunction, functional: bool, remedy: Remedy
) -> Recording | None:
    """Record a copy with a remedy; None if it changes nothing or the copy then fails."""
    with _undisturbed():
        copied, _ = _copies(model, None)
        if not remedy.apply(copied):
            return None
        try:
            recorder, _ = _observe(copied, batch, loss_fn, functional)
        except (RuntimeError, ValueError):
            return None  # say, a norm over a batch of one
        return recorder.recording


def _trial(
    model: nn.Module, optimizer: Optimizer, batch: Any, loss_fn: LossFunction, steps: int
) -> list[float]:
    """Train a copy on one batch; return the loss before each step and after the last."""
    with _undisturbed():
        copied, trained = _copies(model, optimizer)
        assert trained is not None
        losses = []
        for _ in range(steps):
            trained.zero_grad()
            loss = _loss(copied, batch, loss_fn)
            _backward(loss, copied)
            trained.step()
            losses.append(loss.item())
        return [*losses, _loss(copied, batch, loss_fn).item()]


def _of_trial(trial: Sequence[float]) -> Iterator[Finding]:
    """Report a trial that broke."""
    broken = next((i for i, loss in enumerate(trial) if not math.isfinite(loss)), None)
    if broken is not None:
        yield Finding(
            "non-finite",
            None,
            "critical",
            f"the loss is no finite number after {broken} steps of the trial.",
            {"step": broken, "first_loss": trial[0]},
            "Lower the learning rate, warm it up, or clip gradients.",
        )


def _left(tried: Tried) -> tuple[int, ...]:
    return tuple(after for _, after in tried.figures.values())
