"""Watch a run: diagnose windows as they close, and keep the last ones before the first NaN."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from actstats.arguments import positive
from actstats.diagnosis.diagnosis import Diagnosis, diagnose
from actstats.diagnosis.finding import SEVERITIES, Finding, at_least
from actstats.diagnosis.healthy import UnhealthyError
from actstats.diagnosis.numbers import offenders
from actstats.diagnosis.rule import Rule
from actstats.diagnosis.thresholds import Thresholds
from actstats.names import plain
from actstats.recorder import ActivationRecorder
from actstats.recording import Window
from actstats.shared import logger
from actstats.sites import split_key

__all__ = ["FlightRecorder"]


class FlightRecorder:
    """Diagnose a run as it goes, and keep what led to the first NaN or Inf.

    Used as a context manager around the training loop, beside the recorder. Each time windows
    close in ``recorder.step()`` they are looked at for NaN and Inf, which costs microseconds. Where
    findings are asked for, the last ones are diagnosed every ``every``-th time. At its end it looks
    at the window that is still open.

    Parameters
    ----------
    recorder : ActivationRecorder
        What to watch. ``window=1`` names the very step; by default windows grow with the run.
    keep : int, default 8
        Windows to keep, the last ones as they closed.
    path : str or Path, optional
        File, in a folder that exists, to write at the first non-finite value; it replaces an older
        one. A recording of the windows kept, which `actstats.load` reads, with the finding in its
        ``metadata["offender"]``; or, where the name ends in ``.json``, the finding and every figure
        as JSON. If it cannot be written, a warning is logged and the run goes on.
    every : int, default 8
        Windows between diagnoses, each of about 1 ms a site.
    on_finding : callable, optional
        ``on_finding(finding)``, once for each rule and site, and again when it becomes graver.
    raise_on : {"info", "warning", "critical"}, optional
        Raise `UnhealthyError` out of ``recorder.step()`` at a finding as grave.
    rules, thresholds
        As in `diagnose`.

    Attributes
    ----------
    windows : tuple of Window
        The last ones; frozen at the first non-finite value, whose window is the last. Gradients
        that overflow do not count where the recorder knows a loss scaler.
    offender : Finding or None
        The ``non-finite`` finding: first site and steps, forward or backward, and the trend.

    Raises
    ------
    ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import torch, actstats
    >>> net = actstats.make_mlp(1, [8], 1, activation="relu")
    >>> recorder = actstats.ActivationRecorder(net, window=1)
    >>> with recorder, actstats.FlightRecorder(recorder) as flight:
    ...     for x in (torch.ones(4, 1), torch.full((4, 1), torch.inf)):
    ...         _ = net(x)
    ...         recorder.step()
    >>> flight.offender.site, flight.offender.since
    ('fc1', 1)
    """

    def __init__(
        self,
        recorder: ActivationRecorder,
        *,
        keep: int = 8,
        path: str | os.PathLike[str] | None = None,
        every: int = 8,
        on_finding: Callable[[Finding], object] | None = None,
        raise_on: Literal["info", "warning", "critical"] | None = None,
        rules: Iterable[str | Rule] | None = None,
        thresholds: Thresholds | Mapping[str, float] | None = None,
    ) -> None:
        if raise_on is not None and raise_on not in SEVERITIES:
            raise ValueError(f"`raise_on` must be one of {SEVERITIES} or None; got {raise_on!r}.")
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise ValueError(f"`path` must lie in a folder that exists; got {os.fspath(path)!r}.")
        self._recorder = recorder
        self._recent: deque[Window] = deque(maxlen=positive("keep", keep))
        self._path = None if path is None else Path(path)
        self._every = positive("every", every)
        self._on_finding = on_finding
        self._raise_on = raise_on
        self._asked: dict[str, Any] = {"rules": rules, "thresholds": thresholds}
        self._known: dict[tuple[str, str | None], str] = {}
        self._closed = 0
        self._frozen: tuple[Window, ...] | None = None
        self._stop: Callable[[], None] | None = None
        self.offender: Finding | None = None

    @property
    def windows(self) -> tuple[Window, ...]:
        """The last windows as they closed, or those up to the first non-finite value."""
        return tuple(self._recent) if self._frozen is None else self._frozen

    def __enter__(self) -> FlightRecorder:
        if self._stop is None:
            self._stop = self._recorder.on_window(self._look_at)
        return self

    def __exit__(self, *_: object) -> None:
        """Look at the window that is still open, and stop watching."""
        if self._stop is None:
            return
        self._stop()
        self._stop = None
        last = self._recent[-1].last_step if self._recent else -1
        for window in self._recorder.recording.windows:
            if window.last_step > last and len(window):
                self._keep(window)

    def diagnose(self) -> Diagnosis:
        """Diagnose the last windows."""
        return diagnose(self._recorder.recording_of(self._recent), **self._asked)

    def _look_at(self, window: Window) -> None:
        """Take in a window that has closed."""
        broken = self._keep(window)
        self._closed += 1
        if self._wants_diagnoses and (broken or self._closed % self._every == 0):
            self._report(self.diagnose())

    def _keep(self, window: Window) -> bool:
        """Keep a window; tell whether it is the first that is broken."""
        self._recent.append(window)
        broken = self._frozen is None and bool(self._offenders(window))
        if broken:
            self._freeze()
        return broken

    def _offenders(self, window: Window) -> Iterable[str]:
        """Return what is broken; where a loss scaler is known, gradients that overflow are not."""
        found = offenders(window)
        if self._recorder.grad_scale is None:
            return found
        return [key for key in found if split_key(key)[1] != "grad"]

    @property
    def _wants_diagnoses(self) -> bool:
        return self._on_finding is not None or self._raise_on is not None

    def _freeze(self) -> None:
        """Keep the windows as they are, name the offender, and write both down."""
        self._frozen = tuple(self._recent)
        last = self._frozen[-1]
        whole = [w for w in self._frozen if w is last or not offenders(w)]
        found = diagnose(self._recorder.recording_of(whole), rules=("non-finite",))
        self.offender = next(iter(found), None)
        if self._path is not None:
            try:
                self._write(self._path)
            except (OSError, ValueError, sqlite3.Error) as error:
                logger.warning("%s cannot be written: %s", self._path, error)

    def _write(self, path: Path) -> None:
        if path.suffix != ".json":
            recording = self._recorder.recording_of(self.windows)
            recording.metadata["offender"] = self.to_dict()["offender"]
            recording.save(path)
            return
        beside = path.with_name(f"{path.name}.part")
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        try:
            beside.write_text(text, encoding="utf-8")
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)

    def _report(self, diagnosis: Diagnosis) -> None:
        """Hand on what is new or graver; raise where that was asked for."""
        for finding in diagnosis:
            key = (finding.rule, finding.site)
            known = self._known.get(key)
            if known is not None and at_least(known, finding.severity):
                continue
            self._known[key] = finding.severity
            if self._on_finding is not None:
                self._on_finding(finding)
        if self._raise_on is None:
            return
        if any(at_least(finding.severity, self._raise_on) for finding in diagnosis):
            raise UnhealthyError(diagnosis)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them: the offender and the figures of each window."""
        return {
            "offender": None if self.offender is None else self.offender.to_dict(),
            "windows": [_figures(window) for window in self.windows],
        }

    def __repr__(self) -> str:
        state = "nothing broken" if self.offender is None else f"broken at {self.offender.site}"
        return f"<FlightRecorder: {len(self.windows)} windows, {state}>"


def _figures(window: Window) -> dict[str, Any]:
    return {
        "first_step": window.first_step,
        "last_step": window.last_step,
        "phase": window.phase,
        "scalars": {name: plain(scalar.mean) for name, scalar in window.scalars.items()},
        "sites": {
            site: {name: plain(figure) for name, figure in stats.to_dict().items()}
            for site, stats in window.items()
        },
    }
