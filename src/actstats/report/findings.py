"""The verdict and the findings in words, root causes first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from actstats.diagnosis import Answer, Diagnosis, Finding
from actstats.diagnosis.finding import SEVERITIES, at_least
from actstats.report.run import Run
from actstats.report.text import count, number

__all__ = ["Check", "Family", "Group", "Told", "Verdict", "checks", "families", "verdict"]

WORDS = {"critical": "Critical", "warning": "Warning", "info": "Remark", "ok": "Healthy"}
NET = "the whole net"
MOST_NAMED = 6


@dataclass(frozen=True)
class Told:
    """One finding.

    Parameters
    ----------
    anchor : str
        Its place on the page.
    tone, word : str
        Its severity, for the eye and in a word.
    rule, title : str
        The rule's name, and what it says in a few words.
    site, link : str
        Where it is, and that site's place on the page, ``""`` if it has none.
    since : str
        Since which step.
    message, remedy : str
        What is wrong and what to do.
    evidence : tuple of (str, str)
        Figures by name.
    modules : tuple of str
        Whose weights the remedy changes.
    """

    anchor: str
    tone: str
    word: str
    rule: str
    title: str
    site: str
    link: str
    since: str
    message: str
    remedy: str
    evidence: tuple[tuple[str, str], ...]
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Findings of one rule that follow from the same root."""

    title: str
    rule: str
    tone: str
    word: str
    where: str
    findings: tuple[Told, ...]


@dataclass(frozen=True)
class Family:
    """A root and all that follows from it."""

    root: Told
    grave: bool
    summary: str
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Verdict:
    """What is said at the top."""

    tone: str
    word: str
    headline: str
    text: str
    whole: str
    counts: tuple[tuple[str, str], ...]
    follows: str = ""
    remedy: str = ""
    others: tuple[Told, ...] = ()
    anchor: str = ""


@dataclass(frozen=True)
class Check:
    """What one rule answered."""

    rule: str
    title: str
    tone: str
    answer: str
    reason: str
    link: str
    source: str


def verdict(run: Run) -> Verdict:
    """Say in a few lines what is wrong, where, since when, and what to do first."""
    diagnosis = run.diagnosis
    grave = [family for family in families(run) if family.grave]
    if not grave:
        return _healthy(diagnosis)
    first, *rest = grave
    root, tone = first.root, diagnosis.severity or "warning"
    return Verdict(
        tone=tone,
        word=WORDS[tone],
        headline=f"{root.title} at {root.site}{f' {root.since}' if root.since else ''}",
        text=root.message,
        follows=first.summary,
        remedy=root.remedy,
        whole=diagnosis.verdict,
        counts=_counts(diagnosis),
        others=tuple(family.root for family in rest),
        anchor=root.anchor,
    )


def _healthy(diagnosis: Diagnosis) -> Verdict:
    rules, silent = len(diagnosis.answers), len(diagnosis.not_judged)
    text = f"{rules - silent} of {rules} rules could judge this recording; none found a fault."
    if silent:
        text += f" {silent} could not: see the checks."
    return Verdict(
        tone="ok",
        word=WORDS["ok"],
        headline="Nothing alarming",
        text=text,
        whole=diagnosis.verdict,
        counts=_counts(diagnosis),
    )


def _counts(findings: Iterable[Finding]) -> tuple[tuple[str, str], ...]:
    """Return how many findings there are of each severity, the gravest first."""
    numbers = {s: sum(f.severity == s for f in findings) for s in reversed(SEVERITIES)}
    words = {"critical": "{} critical", "warning": "{} warning", "info": "{} remark"}
    return tuple(
        (tone, words[tone].format(f"{n:,}") + "s" * (n != 1 and tone != "critical"))
        for tone, n in numbers.items()
        if n
    )


def families(run: Run) -> list[Family]:
    """Return the roots in the diagnosis' order, each with what follows from it."""
    return [_family(run, root) for root in run.diagnosis.roots]


def _family(run: Run, root: Finding) -> Family:
    followers = run.diagnosis.follows_from(root)
    groups = tuple(_groups(run, followers))
    return Family(
        root=_told(run, root),
        grave=any(at_least(f.severity, "warning") for f in (root, *followers)),
        summary=", ".join(f"{g.rule} at {count(len(g.findings), 'site')}" for g in groups),
        groups=groups,
    )


def _groups(run: Run, followers: Sequence[Finding]) -> Iterable[Group]:
    by_rule: dict[str, list[Finding]] = {}
    for finding in followers:
        by_rule.setdefault(finding.rule, []).append(finding)
    for rule, found in by_rule.items():
        worst = max((f.severity for f in found), key=SEVERITIES.index)
        told = tuple(_told(run, finding) for finding in found)
        yield Group(told[0].title, rule, worst, WORDS[worst], _named(told), told)


def _named(told: Sequence[Told]) -> str:
    more = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
    return ", ".join(one.site for one in told[:MOST_NAMED]) + more


def _told(run: Run, finding: Finding) -> Told:
    answer = run.diagnosis.answers.get(finding.rule)
    return Told(
        anchor=run.finding_anchors[id(finding)],
        tone=finding.severity,
        word=WORDS[finding.severity],
        rule=finding.rule,
        title=finding.rule if answer is None else answer.rule.title,
        site=finding.site or NET,
        link=run.anchors.get(finding.site or "", ""),
        since="" if finding.since is None else f"since step {finding.since:,}",
        message=_sentence(finding.message),
        remedy=finding.remedy,
        evidence=tuple((name.replace("_", " "), _said(v)) for name, v in finding.evidence.items()),
        modules=finding.modules,
    )


def _sentence(text: str) -> str:
    """Begin with a capital, unless the first word is a name."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


def _said(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else str(value)


# ---- what was checked ----------------------------------------------------------------------------


def checks(run: Run) -> list[Check]:
    """Return what each rule answered: found, healthy, or does not apply and why."""
    return [
        Check(a.rule.name, a.rule.title, *_answered(run, a), a.rule.source)
        for a in run.diagnosis.answers.values()
    ]


def _answered(run: Run, answer: Answer) -> tuple[str, str, str, str]:
    """Return the tone, the answer, a reason and where to read on."""
    if answer.reason is not None:
        return "none", "Does not apply", answer.reason, ""
    found = [finding for finding in run.diagnosis if finding.rule == answer.rule.name]
    if not found:
        return "ok", "Nothing found", "", ""
    worst = max((f.severity for f in found), key=SEVERITIES.index)
    first = run.finding_anchors[id(found[0])]
    return worst, f"Found at {count(len(found), 'place')}", "", first
