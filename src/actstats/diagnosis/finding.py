"""One diagnosed fault, and how grave it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from actstats.names import plain, printable

__all__ = ["SEVERITIES", "Finding", "Severity", "at_least", "plain"]

Severity = Literal["info", "warning", "critical"]

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""From the least to the gravest."""


def at_least(severity: str, least: str) -> bool:
    """Tell whether a severity is as grave as another.

    Examples
    --------
    >>> at_least("critical", "warning"), at_least("info", "warning")
    (True, False)
    """
    return SEVERITIES.index(severity) >= SEVERITIES.index(least)


@dataclass(frozen=True, eq=False)
class Finding:
    """One diagnosed fault.

    Parameters
    ----------
    rule : str
        Name of the rule that found it, such as ``"dead-units"``.
    site : str or None
        Where: the string that ``recorder[...]`` takes; None for the whole net.
    severity : {"info", "warning", "critical"}
        How grave it is. Info never makes a net unhealthy.
    message : str
        What is wrong, with the figures that say so.
    evidence : mapping of str to number
        The figures: what was measured, the bound that it breaks, on how many samples.
    remedy : str
        What to do about it.
    since : int, optional
        First step of the window from which on it holds without a break.
    caused_by : Finding, optional
        The finding that explains this one; None for a root.
    modules : tuple of str
        Modules whose weights the remedy would change, where it names some.
    """

    rule: str
    site: str | None
    severity: Severity
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""
    since: int | None = None
    caused_by: Finding | None = None
    modules: tuple[str, ...] = ()

    @property
    def root(self) -> Finding:
        """The finding at the beginning of the chain of causes; itself for a root."""
        return self if self.caused_by is None else self.caused_by.root

    def because_of(self, cause: Finding) -> Finding:
        """Return the same finding as what follows from another."""
        return replace(self, caused_by=cause)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them; the cause by its rule and site."""
        cause = self.caused_by
        return {
            "rule": self.rule,
            "site": self.site,
            "severity": self.severity,
            "message": self.message,
            "evidence": {name: plain(value) for name, value in self.evidence.items()},
            "remedy": self.remedy,
            "since": self.since,
            "caused_by": None if cause is None else {"rule": cause.rule, "site": cause.site},
            "modules": list(self.modules),
        }

    def __str__(self) -> str:
        where = self.site or "the whole net"
        return printable(f"{self.severity}: {self.rule} at {where}: {self.message}")

    def __repr__(self) -> str:
        return f"<Finding {self.severity} {self.rule} at {self.site}>"
