"""Name the sick layer, its cause and its cure."""

from __future__ import annotations

from actstats.diagnosis.checkup import Checkup, check
from actstats.diagnosis.diagnosis import Diagnosis, diagnose
from actstats.diagnosis.finding import Finding
from actstats.diagnosis.flight import FlightRecorder
from actstats.diagnosis.healthy import UnhealthyError, assert_healthy
from actstats.diagnosis.reading import Reading
from actstats.diagnosis.remedies import Tried
from actstats.diagnosis.risk import Risk
from actstats.diagnosis.rule import Answer, Cause, DoesNotApply, Rule
from actstats.diagnosis.rules import RULES
from actstats.diagnosis.thresholds import Thresholds
from actstats.layers import Layer

__all__ = [
    "RULES",
    "Answer",
    "Cause",
    "Checkup",
    "Diagnosis",
    "DoesNotApply",
    "Finding",
    "FlightRecorder",
    "Layer",
    "Reading",
    "Risk",
    "Rule",
    "Thresholds",
    "Tried",
    "UnhealthyError",
    "assert_healthy",
    "check",
    "diagnose",
]
