"""Ask every rule, put causes before symptoms, and say it to a human."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from actstats.diagnosis.causes import linked, ranked
from actstats.diagnosis.finding import SEVERITIES, Finding, at_least
from actstats.diagnosis.reading import Reading
from actstats.diagnosis.rule import Answer, Rule
from actstats.diagnosis.rules import RULES
from actstats.diagnosis.thresholds import Thresholds
from actstats.names import printable
from actstats.recording import Source, as_recording
from actstats.text import aligned, html_table, html_text

__all__ = ["Diagnosis", "diagnose"]

_HEAD = ("severity", "rule", "site", "since", "what")  # of tables


def diagnose(
    recording: Source,
    *,
    rules: Iterable[str | Rule] | None = None,
    thresholds: Thresholds | Mapping[str, float] | None = None,
) -> Diagnosis:
    """Name what is sick in a recording: where, since when, why, and what to do.

    Of several phases train's is judged; ``diagnose(recording.select(phase="eval"))`` judges
    another. What was not recorded is not judged: ``capture=("output", "grad", "input")`` lets
    every rule apply, and ``.answers`` says which did not, and why.

    Parameters
    ----------
    recording : Recording, ActivationRecorder, Window or path
        What was seen; a recorder's open window is included, a file is loaded.
    rules : iterable of str or Rule, optional
        Names of rules, or rules of your own, in causal order. None: all of `diagnosis.RULES`.
    thresholds : Thresholds or mapping of str to float, optional
        Bounds to use instead of the defaults.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError
        If a rule or a threshold is unknown.
    TypeError
        If `recording` holds no recording.

    Examples
    --------
    >>> import torch, actstats
    >>> _ = torch.manual_seed(0)
    >>> net = actstats.make_mlp(activation="tanh", weight_std=0.1, bias_init=-0.2)
    >>> x = torch.linspace(-7, 10, 200).unsqueeze(1)
    >>> with actstats.ActivationRecorder(net, capture=("output", "grad")) as recorder:
    ...     (net(x) - x**2).square().mean().backward()
    >>> diagnosis = actstats.diagnose(recorder)
    >>> diagnosis.ok
    False
    >>> sorted({finding.rule for finding in diagnosis if finding.severity == "critical"})
    ['input-independent', 'vanishing-gradient']
    """
    reading = Reading(as_recording(recording), _thresholds(thresholds))
    answers = tuple(rule.answer(reading, reading.thresholds) for rule in _chosen(rules))
    return Diagnosis(answers, linked(answers, reading), repr(reading.recording))


class Diagnosis(Sequence[Finding]):
    """Findings, ranked: root causes first, each followed by what it explains.

    Parameters
    ----------
    answers : sequence of Answer
        What each rule said.
    findings : sequence of Finding
        With their causes.
    subject : str
        What was judged.
    """

    def __init__(
        self, answers: Sequence[Answer], findings: Sequence[Finding], subject: str = ""
    ) -> None:
        self.answers: dict[str, Answer] = {answer.rule.name: answer for answer in answers}
        self.findings: tuple[Finding, ...] = ranked(findings)
        self.subject = subject

    def __getitem__(self, i: Any) -> Any:
        return self.findings[i]

    def __len__(self) -> int:
        return len(self.findings)

    def __bool__(self) -> bool:
        return True  # a healthy diagnosis is one too

    @property
    def ok(self) -> bool:
        """Whether nothing was found at warning or above."""
        return not any(at_least(f.severity, "warning") for f in self)

    @property
    def severity(self) -> str | None:
        """The gravest severity found; None where there is no finding."""
        return max((f.severity for f in self), key=SEVERITIES.index, default=None)

    @property
    def roots(self) -> tuple[Finding, ...]:
        """The findings that no other explains, the gravest first."""
        return tuple(finding for finding in self if finding.caused_by is None)

    def follows_from(self, root: Finding) -> tuple[Finding, ...]:
        """Return what a root explains, near or far."""
        return tuple(f for f in self if f.caused_by is not None and f.root is root)

    @property
    def not_judged(self) -> dict[str, str]:
        """Rules that do not apply, with the reason."""
        return {n: a.reason for n, a in self.answers.items() if a.reason is not None}

    # ---- in words ------------------------------------------------------------------------------

    @property
    def verdict(self) -> str:
        """One paragraph: what, where, since which step, why, and what to do first."""
        grave = [root for root in self.roots if self._is_grave(root)]
        if not grave:
            judged = len(self.answers) - len(self.not_judged)
            noted = f" {len(self)} lesser remark{'s' * (len(self) > 1)}." if len(self) else ""
            return f"Nothing alarming: {judged} rules of {len(self.answers)} applied.{noted}"
        first = grave[0]
        answer = self.answers.get(first.rule)
        title = first.rule if answer is None else answer.rule.title
        since = "" if first.since is None else f" since step {first.since:,}"
        text = f"{title} ({first.severity}) at {first.site or 'the whole net'}{since}:"
        text += f" {first.message}{self._consequences(first)} First: {first.remedy}"
        if len(grave) > 1:
            others = ", ".join(f"{f.rule} at {f.site or 'the whole net'}" for f in grave[1:4])
            more = f" and {len(grave) - 4} more" if len(grave) > 4 else ""
            text += f" Then look at {others}{more}."
        return text

    def _is_grave(self, root: Finding) -> bool:
        """Tell whether a root, or something that follows from it, is a warning or more."""
        return any(at_least(f.severity, "warning") for f in (root, *self.follows_from(root)))

    def _consequences(self, root: Finding) -> str:
        """Say what follows from a root: how many sites of each rule."""
        counts: dict[str, int] = {}
        for finding in self.follows_from(root):
            counts[finding.rule] = counts.get(finding.rule, 0) + 1
        if not counts:
            return ""
        listed = ", ".join(f"{rule} at {n} site{'s' * (n > 1)}" for rule, n in counts.items())
        return f" From it follows: {listed}."

    def __str__(self) -> str:
        lines = [self.verdict, ""]
        for root in self.roots:
            lines += _told(root)
            lines += _grouped(self.follows_from(root))
        if self.not_judged:
            lines.append(f"Not judged: {_reasons(self.not_judged)}.")
        return "\n".join(map(printable, lines)).rstrip()

    def __repr__(self) -> str:
        counts = {s: sum(f.severity == s for f in self) for s in reversed(SEVERITIES)}
        said = ", ".join(f"{n} {severity}" for severity, n in counts.items() if n)
        return f"<Diagnosis of {self.subject}: {said or 'nothing found'}>"

    def table(self) -> str:
        """Return all findings as an aligned table of plain text, what follows indented."""
        rows = [_row(finding) for finding in self]
        return "\n".join(aligned(_HEAD, rows, left=len(_HEAD), rule=False))

    def _repr_html_(self) -> str:
        text = f"<p>{html_text(self.verdict)}</p>"
        if not len(self):
            return text
        head, rows = (*_HEAD, "what to do"), [_html_row(finding) for finding in self]
        return f"{text}{html_table(head, rows, left=range(len(head)))}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them."""
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "findings": [finding.to_dict() for finding in self],
            "not_judged": self.not_judged,
        }


# ---- asking --------------------------------------------------------------------------------------


def _thresholds(given: Thresholds | Mapping[str, float] | None) -> Thresholds:
    if isinstance(given, Thresholds):
        return given
    return Thresholds().with_changes(given or {})


def _chosen(rules: Iterable[str | Rule] | None) -> tuple[Rule, ...]:
    """Return the rules asked for; names keep the causal order of all rules."""
    if rules is None:
        return RULES
    if isinstance(rules, str):
        rules = (rules,)
    asked = list(rules)
    known = {rule.name: rule for rule in RULES}
    for name in asked:
        if not isinstance(name, Rule) and name not in known:
            close = difflib.get_close_matches(str(name), list(known))
            hint = f"did you mean {close[0]!r}?" if close else f"use some of {list(known)}."
            raise ValueError(f"`rules` has no rule {name!r}; {hint}")
    own = [rule for rule in asked if isinstance(rule, Rule)]
    return (*(rule for rule in RULES if rule.name in asked), *own)


# ---- telling -------------------------------------------------------------------------------------


def _told(root: Finding) -> list[str]:
    since = "" if root.since is None else f" (since step {root.since:,})"
    where = root.site or "the whole net"
    return [
        f"{root.severity.upper()} {root.rule} at {where}{since}",
        f"  {root.message}",
        f"  -> {root.remedy}",
    ]


def _grouped(followers: Sequence[Finding]) -> list[str]:
    """Return a line for each rule that follows, its sites together."""
    by_rule: dict[str, list[Finding]] = {}
    for finding in followers:
        by_rule.setdefault(finding.rule, []).append(finding)
    return [f"  | {rule} at {_sites(found)}" for rule, found in by_rule.items()]


def _sites(found: Sequence[Finding]) -> str:
    names = [finding.site or "the whole net" for finding in found]
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"{', '.join(names[:6])}{more} ({max(found, key=_gravity).severity})"


def _gravity(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)


def _reasons(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{rule} ({reason})" for rule, reason in reasons.items())


def _row(finding: Finding) -> tuple[str, ...]:
    indent = "" if finding.caused_by is None else "  "
    since = "" if finding.since is None else str(finding.since)
    return (
        finding.severity,
        indent + finding.rule,
        finding.site or "(net)",
        since,
        finding.message,
    )


def _html_row(finding: Finding) -> tuple[str, ...]:
    severity, rule, *rest = _row(finding)
    rule = rule if finding.caused_by is None else f"↳ {rule.lstrip()}"  # HTML drops an indent
    return (severity, rule, *rest, finding.remedy)
