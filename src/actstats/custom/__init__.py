"""Statistics of users' own, kept and merged beside the built-in ones."""

from __future__ import annotations

from actstats.custom.files import options_of, spec_from_json, spec_to_json
from actstats.custom.spec import CustomSpec, custom_specs
from actstats.custom.statistic import NotKept, Statistic, known, known_figures, why_absent
from actstats.custom.values import Custom, merged_custom, read_custom

__all__ = [
    "Custom",
    "CustomSpec",
    "NotKept",
    "Statistic",
    "custom_specs",
    "known",
    "known_figures",
    "merged_custom",
    "options_of",
    "read_custom",
    "spec_from_json",
    "spec_to_json",
    "why_absent",
]
