"""A recorder in the hands of a trainer: what the callbacks of all frameworks share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from actstats import arguments
from actstats.integrations._arguments import checked_feeds, checked_options
from actstats.integrations._feed import Feed
from actstats.recorder import ActivationRecorder
from actstats.shared import logger
from actstats.updates import AlreadyWatched

__all__ = ["Training"]


class Training:
    """Begin, count and end the recording of a trainer's runs.

    Steps have the trainer's own numbers: what its logs and checkpoints call step 10 is step 10
    here. Where a recorder has been further already (a second run, a file that is gone on with),
    it counts on from there.

    Parameters
    ----------
    recorder : ActivationRecorder, optional
        The user's, for all runs. None: each run gets one of its own.
    feeds : Feed or sequence of Feed
        What sends closed windows on.
    watch : bool or int
        Whether to watch the trainer's optimizers; a number: the ``every`` of
        ``recorder.watch``.
    options : mapping
        Of the recorders that are made here.

    Raises
    ------
    TypeError
        If a recorder has no such option.
    ValueError
        If an argument is not as described, or options are given beside a recorder.
    """

    def __init__(
        self,
        recorder: ActivationRecorder | None,
        feeds: Feed | Sequence[Feed],
        watch: bool | int,
        options: Mapping[str, Any],
    ) -> None:
        if recorder is not None and options:
            raise ValueError(
                f"options are for a recorder that is made here; one was given beside {[*options]}."
            )
        if recorder is not None and not isinstance(recorder, ActivationRecorder):
            raise ValueError(
                f"`recorder` must be an ActivationRecorder or None; got {type(recorder).__name__}."
            )
        checked_options(options)
        self.recorder = recorder
        self.feeds = checked_feeds(feeds)
        self._watch = watch if isinstance(watch, bool) else arguments.positive("watch", watch)
        self._makes = recorder is None
        self._options = dict(options)
        self._state: Mapping[str, Any] | None = None
        self._stepped = False  # the recorder, by us
        self._offset = 0
        self._done = 0  # steps of the trainer's
        self._running = False
        self._attached = False  # by us
        self._scaled = False  # its gradients, by us

    def begin(
        self,
        model: nn.Module,
        done: int,
        *,
        sends: bool = True,
        optimizers: Iterable[Any] = (),
        scaler: Any = None,
    ) -> ActivationRecorder:
        """Begin a run after so many steps; ``sends`` tells whether this process feeds loggers."""
        self.end()  # a run that an error ended
        if self._makes:
            self.recorder, self._stepped = ActivationRecorder(model, **self._options), False
        recorder = self.recorder
        assert recorder is not None
        self._restore(recorder)
        self._count_from(done, recorder)
        if scaler is not None and recorder.grad_scale is None:
            recorder.grad_scale, self._scaled = scaler, True
        if self._watch:
            self._watch_all(recorder, optimizers)
        for feed in self.feeds if sends else ():
            feed.attach(recorder)
        self._running, self._attached = True, not recorder.attached
        return recorder.attach()

    def _restore(self, recorder: ActivationRecorder) -> None:
        """Go on from a checkpoint's state, if there is one that fits."""
        state, self._state = self._state, None
        if state is None:
            return
        try:
            recorder.load_state_dict(state)
            self._stepped = True
        except Exception as error:  # another version's, say; the run itself must go on
            logger.warning("the recording begins anew, since the checkpoint's differs: %s", error)

    def _count_from(self, done: int, recorder: ActivationRecorder) -> None:
        """Fit the trainer's numbers to the recorder's."""
        self._done = done
        goes_back = done > 0 and not self._stepped and recorder.latest is None
        self._offset = 0 if goes_back else max(0, recorder.open_step - (done + 1))

    def _watch_all(self, recorder: ActivationRecorder, optimizers: Iterable[Any]) -> None:
        """Watch the optimizers that this recorder does not watch yet."""
        every = {} if self._watch is True else {"every": int(self._watch)}
        for optimizer in optimizers:
            try:
                recorder.watch(optimizer, **every)
            except AlreadyWatched:  # by us in the run before, or by the user
                pass
            except (TypeError, ValueError) as error:  # of a framework's own making
                logger.warning("no optimizer is watched here: %s", error)

    def step(self, done: int, scalars: Mapping[str, float]) -> None:
        """Close a step, if the trainer has done more of them than before."""
        if not self._running or self.recorder is None or done <= self._done:
            return
        self._done = done
        given = {name: value for name, value in scalars.items() if name not in ("self", "step")}
        self._stepped = True
        self.recorder.step(done + self._offset, **given)

    def add_scalars(self, scalars: Mapping[str, float]) -> None:
        """Keep numbers of the time since the last step."""
        if self._running and self.recorder is not None:
            self.recorder.add_scalars(**{n: v for n, v in scalars.items() if n != "self"})

    def end(self) -> None:
        """End the run: remove the hooks, send what is left. May be called twice."""
        if not self._running or self.recorder is None:
            return
        self._running = False
        if self._attached:
            self.recorder.detach()
        if self._scaled:
            self.recorder.grad_scale, self._scaled = None, False  # the next run has another
        for feed in self.feeds:
            feed.detach()

    # ---- checkpoints -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps; empty before the first run."""
        return {} if self.recorder is None else self.recorder.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a checkpoint's state, from which the next run goes on."""
        self._state = state or None

    def drop_state(self) -> None:
        """Do without a checkpoint's state, since it is another process's."""
        if self._state is not None:
            self._state = None
            logger.warning(
                "the recording begins anew here: the checkpoint holds the main process's"
            )

    def save(self, path: Path) -> None:
        """Write the state into a checkpoint's folder; what fails is logged, never raised."""
        beside = path.with_name(f"{path.name}.part")
        try:
            torch.save(self.state_dict(), beside)
            os.replace(beside, path)
        except Exception as error:  # torch tells a full disk by a RuntimeError
            logger.warning("%s cannot be written, so no run resumes from it: %s", path, error)
            with suppress(OSError):
                beside.unlink(missing_ok=True)

    def load(self, path: Path) -> bool:
        """Take the state that was written there; tell whether there is one."""
        if not path.is_file():
            return False
        try:
            self.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
        except Exception as error:  # cut short, say; the run itself must go on
            logger.warning("%s cannot be read: %s", path, error)
            return False
        return True
