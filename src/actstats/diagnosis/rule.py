"""What a rule is, and what it may answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from actstats.diagnosis.finding import Finding
from actstats.diagnosis.reading import Reading
from actstats.diagnosis.thresholds import Thresholds

__all__ = ["STAGES", "Answer", "Cause", "DoesNotApply", "Rule"]

Where = Literal["same", "before", "after", "anywhere"]
Stage = Literal["use", "forward", "backward"]

STAGES: tuple[Stage, ...] = ("use", "forward", "backward")
"""In causal order: how the net is used, what flows forward, what flows back."""


class DoesNotApply(Exception):
    """Raised by a rule that cannot judge a recording; its text is the reason."""


@dataclass(frozen=True)
class Cause:
    """A fault from which another one follows.

    Parameters
    ----------
    rule : str
        Whose finding explains.
    where : {"same", "before", "after", "anywhere"}
        Where the explaining finding lies, seen from the one it explains: at the same layer,
        there or nearer to the input, there or nearer to the loss, anywhere.
    critical : bool, default False
        Only a critical finding explains.
    over_time : bool, default False
        It explains only what comes after a first step.
    """

    rule: str
    where: Where = "anywhere"
    critical: bool = False
    over_time: bool = False


@dataclass(frozen=True)
class Rule:
    """One way in which a network can be sick.

    Parameters
    ----------
    name : str
        As in ``finding.rule``.
    title : str
        What it says in a few words.
    requires : tuple of {"output", "input", "grad"}
        What has to be recorded; without it the rule does not apply.
    check : callable
        ``check(reading, thresholds)`` yields findings, none where all is well, or raises
        `DoesNotApply` with the reason.
    remedy : str
        What helps in general; each finding says it with numbers.
    source : str
        Where the rule comes from.
    causes : tuple of Cause
        What explains its findings, the likeliest first.
    stage : {"use", "forward", "backward"}, default "forward"
        Which way its fault spreads: over the whole net, from the input on, from the loss back.
    """

    name: str
    title: str
    requires: tuple[str, ...]
    check: Callable[[Reading, Thresholds], Iterable[Finding]]
    remedy: str
    source: str
    causes: tuple[Cause, ...] = ()
    stage: Stage = "forward"

    def answer(self, reading: Reading, thresholds: Thresholds) -> Answer:
        """Judge a recording."""
        absent = [kind for kind in self.requires if kind not in reading.kinds]
        if absent:
            return Answer(self, reason=_not_recorded(absent))
        try:
            return Answer(self, tuple(self.check(reading, thresholds)))
        except DoesNotApply as why:
            return Answer(self, reason=str(why))


def _not_recorded(absent: list[str]) -> str:
    kinds = " and ".join(f'"{kind}"' for kind in absent)
    return f"{kinds} is not recorded: add it to the recorder's `capture`"


@dataclass(frozen=True)
class Answer:
    """What a rule says of a recording: findings, healthy, or does not apply.

    Parameters
    ----------
    rule : Rule
        Who answers.
    findings : tuple of Finding
        What was found.
    reason : str, optional
        Why the rule does not apply; None where it does.
    """

    rule: Rule
    findings: tuple[Finding, ...] = ()
    reason: str | None = None

    @property
    def verdict(self) -> str:
        """``"found"``, ``"healthy"`` or ``"does not apply"``."""
        if self.reason is not None:
            return "does not apply"
        return "found" if self.findings else "healthy"
