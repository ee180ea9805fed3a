"""The Trainer of Lightning, by either of its import names."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

from actstats.integrations._arguments import checked_name
from actstats.integrations._extras import needs
from actstats.integrations._feed import Feed
from actstats.integrations._training import Training
from actstats.recorder import ActivationRecorder

__all__ = ["ActivationCallback"]

NAMES = ("lightning.pytorch", "pytorch_lightning")  # one project, and classes of its own in each


def _bases() -> tuple[type, ...]:
    """Return the callback class of each package in use, or of the first that is installed."""
    in_use = [package for name in NAMES if (package := sys.modules.get(name)) is not None]
    return tuple(package.Callback for package in in_use or [_installed()])


def _installed() -> ModuleType:
    missing: ImportError | None = None
    for name in NAMES:
        try:
            return import_module(name)
        except ImportError as error:
            missing = error
    raise needs("lightning") from missing


class ActivationCallback(*_bases()):  # type: ignore[misc]  # which ones, is known when it runs
    """Record while a Lightning ``Trainer`` fits.

    A step is one of the optimizer's, with all batches that its gradient is accumulated over, and
    has the Trainer's number: ``global_step``. Validation is the phase ``"eval"`` of the window that
    is open then, which is the following step's; the sanity check before training is not recorded,
    nor are ``validate``, ``test`` and ``predict``. Metrics that were logged are kept as scalars,
    each ``log_every_n_steps``. Each checkpoint holds the recorder's state, and a fit that resumes
    goes on from it. At the end, also by an error, the hooks are removed.

    Parameters
    ----------
    recorder : ActivationRecorder, optional
        A recorder of the module. None: ``fit()`` makes one each time, :attr:`recorder`.
    feeds : Feed or sequence of Feed
        Loggers to send closed windows to, in the main process.
    watch : bool or int, default False
        Whether to record how far the optimizers' steps move the weights, as
        :meth:`~actstats.ActivationRecorder.watch` does; a number is its ``every``.
    name : str, default ""
        Tells apart the states in a checkpoint where a Trainer has several of these callbacks: at
        most 50 letters, digits, ``_``, ``-`` and ``.``.
    **options
        Of the recorder that is made: ``capture``, ``include``, ``every``, ``log`` ...

    Raises
    ------
    ImportError
        On import, if neither lightning nor pytorch-lightning is installed.
    TypeError
        If a recorder has no such option.
    ValueError
        If an argument is not as described, or options are given beside a recorder.

    Examples
    --------
    >>> from actstats.integrations.lightning import ActivationCallback
    >>> callback = ActivationCallback(capture=("output", "grad"))
    >>> trainer = Trainer(callbacks=[callback])  # doctest: +SKIP
    >>> trainer.fit(module, loader)  # doctest: +SKIP
    >>> print(callback.recorder.summary())  # doctest: +SKIP
    """

    def __init__(
        self,
        recorder: ActivationRecorder | None = None,
        *,
        feeds: Feed | Sequence[Feed] = (),
        watch: bool | int = False,
        name: str = "",
        **options: Any,
    ) -> None:
        super().__init__()
        self._training = Training(recorder, feeds, watch, options)
        self._name = checked_name(name)

    @property
    def recorder(self) -> ActivationRecorder | None:
        """The recorder of the last fit; None before the first."""
        return self._training.recorder

    def detach(self) -> None:
        """Remove the hooks, as the end of a fit does."""
        self._training.end()

    # ---- what the Trainer calls ------------------------------------------------------------------

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach a recorder; the sanity check is over, and a checkpoint's step is known."""
        if not trainer.is_global_zero:
            self._training.drop_state()
        self._training.begin(
            pl_module,
            trainer.global_step,
            sends=bool(trainer.is_global_zero),
            optimizers=trainer.optimizers,
            scaler=getattr(trainer.precision_plugin, "scaler", None),
        )

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Close a step, unless its gradient is still accumulated."""
        done = trainer.global_step
        every = trainer.log_every_n_steps  # then it waits for the numbers as well
        logs = every > 0 and done % every == 0
        self._training.step(done, _numbers(trainer.logged_metrics) if logs else {})

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Remove the hooks; send what is left."""
        self._training.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Remove the hooks; what was recorded stays."""
        self._training.end()

    @property
    def state_key(self) -> str:
        """Under which a checkpoint keeps the state."""
        return " ".join(filter(None, (type(self).__qualname__, self._name)))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return self._training.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take a checkpoint's state, from which the next fit goes on."""
        self._training.load_state_dict(state_dict)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in metrics.items()
        if not isinstance(value, torch.Tensor) or value.numel() == 1
    }
