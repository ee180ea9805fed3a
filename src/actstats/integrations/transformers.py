"""The Trainer of Hugging Face transformers."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from actstats.integrations._arguments import checked_name
from actstats.integrations._extras import needs
from actstats.integrations._feed import Feed
from actstats.integrations._training import Training
from actstats.recorder import ActivationRecorder
from actstats.shared import logger, nowhere

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise needs("transformers") from error

__all__ = ["ActivationCallback"]


class ActivationCallback(TrainerCallback):  # type: ignore[misc]  # untyped where it is skipped
    """Record while a ``transformers.Trainer`` trains.

    A step is one of the optimizer's, with all forwards that its gradient is accumulated over, and
    has the Trainer's number: ``global_step``. What the Trainer logs of it are scalars of its
    window, so it is closed when they have come: before an evaluation, a checkpoint, the next step
    or the end. Evaluations are the phase ``"eval"`` of the window that is open then, which is the
    following step's; that has their numbers too, and at the end those of the whole run. A callback
    that asks for evaluations of its own has to come before this one. Each checkpoint holds the
    recorder's state (``actstats.pt``), and a run that resumes goes on from it.

    An error in training leaves the hooks in place, since the Trainer tells nobody: the next
    ``train()`` removes them, and so does :meth:`detach` or leaving ``with callback:``. What was
    recorded stays.

    Parameters
    ----------
    recorder : ActivationRecorder, optional
        A recorder of the model. None: ``train()`` makes one each time, :attr:`recorder`.
    feeds : Feed or sequence of Feed
        Loggers to send closed windows to, in the main process.
    watch : bool or int, default False
        Whether to record how far the optimizer's steps move the weights, as
        :meth:`~actstats.ActivationRecorder.watch` does; a number is its ``every``.
    name : str, default ""
        Tells apart the states in a checkpoint where a Trainer has several of these callbacks, which
        it refuses otherwise: at most 50 letters, digits, ``_``, ``-`` and ``.``.
    resume_from : str or path, optional
        The checkpoint's folder, where ``train(resume_from_checkpoint=...)`` is given one outside
        ``output_dir``, which callbacks are not told.
    **options
        Of the recorder that is made: ``capture``, ``include``, ``every``, ``log`` ...

    Raises
    ------
    ImportError
        On import, if transformers is not installed.
    TypeError
        If a recorder has no such option.
    ValueError
        If an argument is not as described, or options are given beside a recorder.

    Examples
    --------
    >>> from actstats.integrations.transformers import ActivationCallback
    >>> callback = ActivationCallback(capture=("output", "grad"))
    >>> trainer = Trainer(model, callbacks=[callback], ...)  # doctest: +SKIP
    >>> trainer.train()  # doctest: +SKIP
    >>> print(callback.recorder.summary())  # doctest: +SKIP
    """

    def __init__(
        self,
        recorder: ActivationRecorder | None = None,
        *,
        feeds: Feed | Sequence[Feed] = (),
        watch: bool | int = False,
        name: str = "",
        resume_from: str | Path | None = None,
        **options: Any,
    ) -> None:
        self._training = Training(recorder, feeds, watch, options)
        self._name = checked_name(name)
        self._resume_from = None if resume_from is None else Path(resume_from)
        self._ended: int | None = None  # the step that has ended and is not closed yet
        self._logged: dict[str, float] = {}  # of it
        self._unsaved: Path | None = None  # where its checkpoint is
        self._trainer: Callable[[], Any] = nowhere  # its state, which its callbacks share
        _ALIVE.add(self)

    @property
    def recorder(self) -> ActivationRecorder | None:
        """The recorder of the last run; None before the first."""
        return self._training.recorder

    def detach(self) -> None:
        """Remove the hooks, as the end of a run does; for runs that an error ended."""
        self._close()
        self._training.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    # ---- what the Trainer calls ------------------------------------------------------------------

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Attach a recorder, and go on from the checkpoint of a run that resumes."""
        self.detach()  # a run that an error ended
        self._refuse_another(state)
        if state.global_step:
            self._resume(args, state.global_step)
        optimizer = kwargs.get("optimizer")
        self._training.begin(
            model,
            state.global_step,
            sends=bool(state.is_world_process_zero),
            optimizers=() if optimizer is None else (optimizer,),
            scaler=getattr(optimizer, "scaler", None),  # of mixed precision in fp16
        )

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the step before."""
        self._close()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End a step; it is closed when its numbers have come."""
        self._close()
        self._ended = state.global_step
        self._close_before_evaluation(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the last step if an evaluation follows."""
        self._close_before_evaluation(control)

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the numbers that the Trainer logs; they are on the host already."""
        given = {n: value for n, value in (logs or {}).items() if isinstance(value, int | float)}
        if self._ended is None:
            self._training.add_scalars(given)
        else:
            self._logged |= given
            self._close_before_evaluation(control)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the recorder's state into the checkpoint that was saved."""
        if not args.save_only_model:
            self._unsaved = _checkpoint(args.output_dir, state.global_step) / self._file(args)
        if not control.should_training_stop:  # else what is logged of the whole run is to come
            self._close()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the last step; remove the hooks; send what is left."""
        self.detach()

    def _close_before_evaluation(self, control: Any) -> None:
        """Close a step if an evaluation comes next: the Trainer logs once a step, and before it."""
        if control.should_evaluate and (self._logged or not control.should_log):
            self._close()

    def _close(self) -> None:
        """Close the step that has ended, and write the checkpoint's state that waits for it."""
        if self._ended is not None:
            self._training.step(self._ended, self._logged)
        if self._unsaved is not None and self._unsaved.parent.is_dir():
            self._training.save(self._unsaved)
        self._ended, self._logged, self._unsaved = None, {}, None

    def _refuse_another(self, state: Any) -> None:
        """Refuse two callbacks of one Trainer that would write the same file."""
        self._trainer = weakref.ref(state)
        for other in _ALIVE:
            if other is not self and other._trainer() is state and other._name == self._name:
                other.detach()
                raise ValueError(
                    "callbacks of one Trainer must have different names, since each keeps its "
                    f"state in a file of its name; two have {self._name!r}: give one a `name`."
                )

    def _resume(self, args: Any, step: int) -> None:
        given = args.resume_from_checkpoint  # a path, where a script takes one by that name
        asked = [self._resume_from] if self._resume_from is not None else []
        asked += [Path(given)] if isinstance(given, str) else []
        folders = (*asked, _checkpoint(args.output_dir, step))
        if not any(self._training.load(folder / self._file(args)) for folder in folders):
            logger.warning(
                "no %s in %s: the recording begins anew after step %d; `resume_from` tells a "
                "checkpoint that lies elsewhere",
                *(self._file(args), " or ".join(map(str, folders)), step),
            )

    def _file(self, args: Any) -> str:
        """Return the file of this process."""
        process = str(args.process_index) if args.world_size > 1 else ""
        return f"{'_'.join(filter(None, ('actstats', self._name, process)))}.pt"


_ALIVE: weakref.WeakSet[ActivationCallback] = weakref.WeakSet()


def _checkpoint(folder: str, step: int) -> Path:
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

    return Path(folder) / f"{PREFIX_CHECKPOINT_DIR}-{step}"
