"""What is timed beside the recorder: peers on the same leaves, an empty hook, and the floor.

Where a peer's package is installed (requirements-peers.txt), its own code runs; elsewhere the
formulas that it computes for one tensor, stated here anew, and the tables say which. Every peer
hooks each leaf once a step, with everything but its arithmetic taken away: no loggers, no files, no
callbacks. That favours the peers.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from actstats import ActivationRecorder
from benchmarks.machine import version

Hook = Callable[[nn.Module, Any, Tensor], None]


class Variant:
    """Something that watches a model while it trains."""

    def attach(self) -> None:
        """Put hooks in place."""

    def detach(self) -> None:
        """Remove them."""

    def step(self) -> None:
        """Do what is done after each training step."""

    def clear(self) -> None:
        """Forget what was collected; outside of what is timed."""


class Hooked(Variant):
    """One forward hook on each leaf, made by ``make(keep)``; ``keep`` takes what it computes."""

    def __init__(self, leaves: Sequence[nn.Module], make: Callable[[Callable], Hook]) -> None:
        self.kept: list[Any] = []
        self.hooks = [(leaf, make(self.kept.append)) for leaf in leaves]
        self.handles: list[Any] = []

    def attach(self) -> None:
        self.handles = [leaf.register_forward_hook(hook) for leaf, hook in self.hooks]

    def detach(self) -> None:
        for handle in self.handles:
            handle.remove()

    def clear(self) -> None:
        self.kept.clear()


class Recorded(Variant):
    """The recorder, every statistic on, windows by its default rules."""

    def __init__(self, model: nn.Module, **options: Any) -> None:
        self.recorder = ActivationRecorder(model, **options)

    def attach(self) -> None:
        self.recorder.attach()

    def detach(self) -> None:
        self.recorder.detach()

    def step(self) -> None:
        self.recorder.step()


def leaves(model: nn.Module) -> list[nn.Module]:
    """Return the modules whose outputs the recorder observes by default."""
    return [
        module
        for module in model.modules()
        if not list(module.children()) or list(module.parameters(recurse=False))
    ]


# ---- hooks ---------------------------------------------------------------------------------------


def empty(keep: Callable) -> Hook:
    return lambda module, args, output: None


def total(keep: Callable) -> Hook:
    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        keep(torch.sum(output.detach()))

    return hook


def ten_statistics(keep: Callable) -> Hook:
    """Ten statistics in plain torch: what one writes by hand; nothing waits for ``.item()``."""

    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        x = output.detach()
        size = x.abs()
        std, mean = torch.std_mean(x)
        keep((mean, std, x.min(), x.max(), size.mean(), x.square().mean().sqrt()))
        keep(((x == 0).sum(), (size > 0.975).sum(), x.isnan().sum(), x.isinf().sum()))

    return hook


def fastai_formulas(keep: Callable) -> Hook:
    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        x = output.detach().cpu().float()
        near_zero = (x <= 0.05).long().sum().item() / x.numel()
        keep((x.mean().item(), x.std().item(), near_zero, torch.histc(x, 40, 0, 10)))

    return hook


def miniai_formulas(keep: Callable) -> Hook:
    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        x = output.detach().cpu()
        keep((x.mean(), x.std(), torch.histc(x.abs(), 40, 0, 10)))

    return hook


def composer_values(x: Tensor) -> tuple[float, ...]:
    norm = torch.linalg.vector_norm(x, dim=-1).mean().item()
    mean = x.mean().item()
    centred = x - x.mean(-1, keepdim=True)
    fourth, second = (centred.pow(power).mean(-1) for power in (4, 2))
    kurtosis = (fourth / second**2).mean().item()
    return norm, mean, kurtosis, x.max(-1).values.mean().item()


def composer_formulas(keep: Callable) -> Hook:
    """Of inputs and outputs, each taken whole; Composer itself goes through them row by row."""

    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        for x in (*args, output):
            if isinstance(x, Tensor) and x.is_floating_point():
                keep(composer_values(x))

    return hook


def composer_outputs(keep: Callable) -> Hook:
    return lambda module, args, output: keep(composer_values(output))


def wandb_formulas(keep: Callable) -> Hook:
    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        x = output.detach().cpu().clone().reshape(-1)
        if (~torch.isfinite(x)).all().item():
            return
        if not torch.isfinite(x).all():
            x = x[torch.isfinite(x)]
        low, high = x.min().item(), x.max().item()
        if low == high:
            keep(([x.numel()], [low, high]))
            return
        counts = torch.histc(x, 64, low, high).clone()
        keep((counts.tolist(), torch.linspace(low, high, 65).tolist()))

    return hook


def histogram_observer(keep: Callable) -> Hook:
    """Torch's own observer for quantization: histograms of 2,048 bins, widened as they grow."""
    from torch.ao.quantization.observer import HistogramObserver

    observer = HistogramObserver()

    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        observer(output)

    return hook


# ---- packages ------------------------------------------------------------------------------------


def imported(name: str) -> Any:
    """Import a package that may warn of others' versions: not our business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def fastai_package(modules: Sequence[nn.Module]) -> Variant:
    """Return fastai's own hooks with its callback's statistics, as a Learner registers them."""
    callback = imported("fastai.callback.hook")
    stats = callback.ActivationStats(with_hist=True)

    class Package(Variant):
        def attach(self) -> None:
            self.hooks = callback.Hooks(modules, stats.hook, detach=True, cpu=True)
            self.kept: list[Any] = []

        def detach(self) -> None:
            self.hooks.remove()

        def step(self) -> None:
            self.kept.append(self.hooks.stored)

        def clear(self) -> None:
            self.kept = []

    return Package()


def wandb_package(modules: Sequence[nn.Module]) -> Variant:
    """Return wandb's own histogram of a tensor, logged to a run that is switched off."""
    os.environ["WANDB_MODE"] = "disabled"
    wandb = imported("wandb")
    history = imported("wandb.integration.torch.wandb_torch").TorchHistory()
    if wandb.run is None:
        wandb.init(mode="disabled")

    def make(keep: Callable) -> Hook:
        return lambda module, args, output: history.log_tensor_stats(output.data.cpu(), "leaf")

    return Hooked(modules, make)


# ---- the list ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """A peer: its formulas, where they come from, and its package if that can run here.

    Parameters
    ----------
    label : str
        What tables call it.
    source : str
        Where the formulas are from.
    formulas : callable
        Makes a hook.
    package : callable, optional
        Makes a variant of the package's own code from the leaves.
    distribution : str, optional
        What has to be installed for that.
    why_not : str
        Why there is no way to run the package's own code.
    judged : bool
        Whether a bound speaks of it.
    """

    label: str
    source: str
    formulas: Callable[[Callable], Hook]
    package: Callable[[Sequence[nn.Module]], Variant] | None = None
    distribution: str | None = None
    why_not: str = ""
    judged: bool = True

    @property
    def installed(self) -> str | None:
        """The version that is installed, if the package's own code runs."""
        if self.package is None or self.distribution is None:
            return None
        return version(self.distribution)

    def title(self) -> str:
        """Return the label with what of it runs."""
        if self.installed:
            return f"{self.label} {self.installed}"
        return f"{self.label} (formulas)" if self.distribution or self.why_not else self.label

    def variant(self, model: nn.Module) -> Variant:
        if self.package is not None and self.installed:
            return self.package(leaves(model))
        return Hooked(leaves(model), self.formulas)

    def absence(self) -> str | None:
        """Return why formulas stand in for the package, or None."""
        if self.installed or not (self.distribution or self.why_not):
            return None
        return self.why_not or f"{self.distribution} is not installed"


PEERS = {
    "fastai": Peer(
        "fastai ActivationStats",
        "fastai 2.8.12, fastai/callback/hook.py, with_hist=True",
        fastai_formulas,
        fastai_package,
        "fastai",
    ),
    "miniai": Peer(
        "miniai ActivationStats",
        "fastai/course22p2, miniai/activations.py, append_stats",
        miniai_formulas,
        why_not="miniai is the code of a course, on no package index",
    ),
    "composer": Peer(
        "Composer ActivationMonitor",
        "mosaicml 0.32.1, composer/callbacks/activation_monitor.py, add_metrics",
        composer_formulas,
        why_not="mosaicml 0.32.1 wants torch below 2.7.1",
    ),
    "composer-outputs": Peer(
        "Composer's formulas, outputs only",
        "the same, without the inputs, which Composer always takes",
        composer_outputs,
        judged=False,
    ),
    "wandb": Peer(
        "wandb histogram",
        "wandb 0.30.0, wandb/integration/torch/wandb_torch.py, log_tensor_stats",
        wandb_formulas,
        wandb_package,
        "wandb",
    ),
    "observer": Peer(
        "torch HistogramObserver", "torch.ao.quantization.observer", histogram_observer
    ),
    "plain": Peer("ten plain-torch statistics", "peers.py, ten_statistics", ten_statistics),
}


def absent(names: Iterable[str]) -> dict[str, str]:
    """Return the peers whose own code does not run here, with the reason."""
    reasons = {PEERS[name].label: PEERS[name].absence() for name in names}
    return {label: reason for label, reason in reasons.items() if reason}
