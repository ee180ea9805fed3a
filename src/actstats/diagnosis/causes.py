"""Give each finding its cause, and rank: roots first, each before what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from actstats.diagnosis.finding import SEVERITIES, Finding, at_least
from actstats.diagnosis.reading import Reading
from actstats.diagnosis.rule import STAGES, Answer, Cause, Rule

__all__ = ["linked", "ranked"]


def linked(answers: Sequence[Answer], reading: Reading) -> list[Finding]:
    """Return all findings with their causes.

    A cause is linked before what it explains: first what is wrong with the use of the net, then
    the faults of the forward from the input on, then those of the backward from the loss back.
    """
    found = [
        (_order(finding, answer.rule, rank, reading), finding, answer.rule.causes)
        for rank, answer in enumerate(answers)
        for finding in answer.findings
    ]
    found.sort(key=lambda one: one[0])
    done: list[Finding] = []
    for _, finding, causes in found:
        cause = _cause_of(finding, causes, done, reading)
        done.append(finding if cause is None else finding.because_of(cause))
    return done


def _order(finding: Finding, rule: Rule, rank: int, reading: Reading) -> tuple[int, int, int, int]:
    """Sort by stage; within the forward by place, and there what holds of all units first."""
    stage, place = STAGES.index(rule.stage), reading.place(finding.site)
    if rule.stage == "forward":
        of_some_units = "share" in finding.evidence and finding.severity != "critical"
        return stage, place, of_some_units, rank
    return stage, rank, -place if rule.stage == "backward" else place, 0


def _cause_of(
    finding: Finding, causes: Sequence[Cause], done: Sequence[Finding], reading: Reading
) -> Finding | None:
    for cause in causes:
        fitting = [f for f in done if _explains(f, cause, finding, reading)]
        if fitting:
            return min(fitting, key=lambda f: _distance(f, finding, reading))
    return None


def _explains(found: Finding, cause: Cause, finding: Finding, reading: Reading) -> bool:
    if found.rule != cause.rule or (cause.critical and found.severity != "critical"):
        return False
    if not at_least(found.severity, "warning") or (cause.over_time and reading.steps < 2):
        return False
    here, there = reading.place(finding.site), reading.place(found.site)
    return {
        "anywhere": True,
        "same": here == there,
        "before": there <= here,
        "after": there >= here,
    }[cause.where]


def _distance(found: Finding, finding: Finding, reading: Reading) -> int:
    return abs(reading.place(finding.site) - reading.place(found.site))


def ranked(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return families of a root and what follows from it, the gravest and largest first."""
    families = [
        [root, *(f for f in findings if f is not root and f.root is root)]
        for root in findings
        if root.caused_by is None
    ]
    families.sort(key=_gravity, reverse=True)
    return tuple(finding for family in families for finding in family)


def _gravity(family: Sequence[Finding]) -> tuple[int, int, int]:
    grave = [SEVERITIES.index(finding.severity) for finding in family]
    return max(grave), grave[0], len(grave)
