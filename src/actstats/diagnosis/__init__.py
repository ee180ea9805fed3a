"""Name the sick layer, its cause and its cure."""

from __future__ import annotations

from actstats.diagnosis.diagnosis import Diagnosis, diagnose
from actstats.diagnosis.finding import Finding
from actstats.diagnosis.rule import Answer, Cause, DoesNotApply, Rule
from actstats.diagnosis.rules import RULES
from actstats.diagnosis.thresholds import Thresholds

__all__ = [
    "RULES",
    "Answer",
    "Cause",
    "Diagnosis",
    "DoesNotApply",
    "Finding",
    "Rule",
    "Thresholds",
    "diagnose",
]
