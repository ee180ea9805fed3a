"""Hold a network to being healthy: in a test, in CI, in the middle of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from actstats.diagnosis.diagnosis import Diagnosis, diagnose
from actstats.diagnosis.finding import SEVERITIES, at_least
from actstats.diagnosis.rule import Rule
from actstats.diagnosis.thresholds import Thresholds
from actstats.recording import Recording

if TYPE_CHECKING:
    from actstats.recorder import ActivationRecorder

__all__ = ["UnhealthyError", "assert_healthy"]


class UnhealthyError(AssertionError):
    """A network is sick; the text is the diagnosis in full.

    Parameters
    ----------
    diagnosis : Diagnosis
        What was found.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(str(diagnosis))
        self.diagnosis = diagnosis


def assert_healthy(
    recorder: Recording | ActivationRecorder | Diagnosis,
    *,
    severity: Literal["info", "warning", "critical"] = "warning",
    ignore: Iterable[str] = (),
    rules: Iterable[str | Rule] | None = None,
    thresholds: Thresholds | Mapping[str, float] | None = None,
) -> Diagnosis:
    """Raise unless nothing was found that is as grave as ``severity``.

    Parameters
    ----------
    recorder : Recording, ActivationRecorder or Diagnosis
        What to judge; a diagnosis (of `check`, say) is taken as it is.
    severity : {"info", "warning", "critical"}, default "warning"
        From which severity on a finding is a failure.
    ignore : iterable of str
        Names of rules whose findings do not count.
    rules, thresholds
        As in `diagnose`.

    Returns
    -------
    Diagnosis
        Where all is well.

    Raises
    ------
    UnhealthyError
        An `AssertionError` with the diagnosis as its text.
    ValueError
        If `severity` or a rule is unknown, or nothing was recorded.

    Examples
    --------
    >>> import torch, actstats
    >>> net = actstats.make_mlp(1, [16], 1, activation="relu", bn=True)
    >>> with actstats.ActivationRecorder(net) as recorder:
    ...     _ = net(torch.linspace(-1, 1, 64).unsqueeze(1))
    >>> actstats.assert_healthy(recorder).ok
    True
    """
    if severity not in SEVERITIES:
        raise ValueError(f"`severity` must be one of {SEVERITIES}; got {severity!r}.")
    ignored = {ignore} if isinstance(ignore, str) else set(ignore)
    if isinstance(recorder, Diagnosis):
        diagnosis = recorder
    else:
        diagnosis = diagnose(recorder, rules=rules, thresholds=thresholds)
        if not len(recorder if isinstance(recorder, Recording) else recorder.recording):
            raise ValueError("nothing was recorded: run the model while the recorder is attached.")
    unknown = ignored - diagnosis.answers.keys()
    if unknown:
        raise ValueError(
            f"`ignore` has no rule {min(unknown)!r}; rules are {list(diagnosis.answers)}."
        )
    if any(at_least(f.severity, severity) and f.rule not in ignored for f in diagnosis):
        raise UnhealthyError(diagnosis)
    return diagnosis
