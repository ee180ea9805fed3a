"""What a rule's page says without anybody typing it: from the rule, its thresholds, the clinic."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from actstats.diagnosis import RULES, Cause, Rule, Thresholds

ROOT = Path(__file__).parents[2]
CLINIC = ROOT / "benchmarks" / "results" / "clinic.json"
PARTS = {"tune": "tune", "report": "report", "fresh": "fresh"}
WHERE = {"same": "at the same layer", "before": "before it", "after": "after it", "anywhere": ""}

sys.path.insert(0, str(ROOT))
from benchmarks.clinic.show import counted  # noqa: E402
from benchmarks.report import markdown  # noqa: E402


def rule_of(name: str) -> Rule:
    """Return the rule of that name."""
    return next(rule for rule in RULES if rule.name == name)


def facts(name: str, bounds: Sequence[str]) -> str:
    """Return a rule's facts as Markdown: what it needs, its bounds, its source, its rates."""
    rule = rule_of(name)
    needs = ", ".join(f'`"{kind}"`' for kind in rule.requires) or "nothing beyond any recording"
    lines = [
        f"*Needs* {needs}. *In general* {_lower(rule.remedy)} *Source* {rule.source}",
        f"*Explained by* {'; '.join(map(_cause, rule.causes)) or 'nothing'}.",
        "**Thresholds**",
        threshold_table(bounds) if bounds else "None: it counts.",
        "**How often it is right**",
        rate_table(name),
    ]
    return "\n\n".join(lines)


def _lower(text: str) -> str:
    return text[0].lower() + text[1:] if text[1:2].islower() else text


def _cause(cause: Cause) -> str:
    parts = ["critical" * cause.critical, f"[`{cause.rule}`]({cause.rule}.md)", WHERE[cause.where]]
    if cause.over_time:
        parts.append("(not in the first step)")
    return " ".join(part for part in parts if part)


def threshold_table(bounds: Sequence[str]) -> str:
    """Return the default of each of these fields of `Thresholds`."""
    known = {field.name: field.default for field in fields(Thresholds)}
    rows = [(f"`{name}`", f"{known[name]:g}") for name in bounds]
    return markdown(("field of `Thresholds`", "default"), rows)


def rate_table(name: str, clinic: Mapping[str, Any] | None = None) -> str:
    """Return what the clinic counted: a row for each of its parts."""
    clinic = json.loads(CLINIC.read_text()) if clinic is None else clinic
    head = (
        "part of the [clinic](../clinic.md)",
        "its faults found",
        "by this rule",
        "right layer ± 1",
        "false alarms of this rule",
    )
    return markdown(head, [_rates(part, clinic["halves"][part], name) for part in PARTS])


def _rates(part: str, score: Mapping[str, Any], name: str) -> tuple[str, ...]:
    fault = score["by_fault"][name]
    shares = [fault[key] for key in ("hit", "exact_rule", "site_within_one")]
    shares.append(score["healthy"]["by_rule"][name])
    return (PARTS[part], *(_unbroken(counted(share)) for share in shares))


def _unbroken(text: str) -> str:
    """Keep "(0 to 6 %)" on one line; the share before it may stand on another."""
    share, bracket, interval = text.partition("(")
    return share + bracket + interval.replace(" ", "\N{NO-BREAK SPACE}")
