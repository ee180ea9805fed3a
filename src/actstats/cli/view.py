"""What ``actstats watch`` shows: a run as it stands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actstats.names import printable

if TYPE_CHECKING:
    from actstats.diagnosis import Diagnosis, Finding
    from actstats.recording import Recording

__all__ = ["COLUMNS", "TREND", "Line", "View", "figure_text", "gravest", "view_of"]

TREND = 16
"""Windows that a trend shows."""

COLUMNS = ("saturated_fraction", "dead_fraction")


@dataclass(frozen=True)
class Line:
    """One site.

    Parameters
    ----------
    site, module_type : str
        Its name, and its module's class.
    value : float
        The figure that is watched, in the last window that saw the site.
    trend : sequence of float
        The same over the last windows.
    saturated_fraction, dead_fraction : float
        In the last window; nan where they do not apply.
    rule, severity : str
        The gravest finding here; empty where there is none.
    """

    site: str
    module_type: str
    value: float
    trend: Sequence[float]
    saturated_fraction: float
    dead_fraction: float
    rule: str = ""
    severity: str = ""


@dataclass(frozen=True)
class View:
    """A run as it stands.

    Parameters
    ----------
    figure : str
        The one that is watched.
    phase : str
        Whose windows.
    step, windows : int
        The last step, and how many windows there are; step is -1 where there is none.
    scalars : mapping of str to (float, sequence of float)
        Numbers given to ``step()``: the last, and means over the last windows.
    lines : sequence of Line
        By site, in the model's order.
    verdict, severity : str
        What the diagnosis says; severity is empty where nothing was found.
    closed : bool
        Whether the run has ended and closed its file.
    """

    figure: str
    phase: str
    step: int
    windows: int
    scalars: Mapping[str, tuple[float, Sequence[float]]]
    lines: Sequence[Line]
    verdict: str
    severity: str
    closed: bool

    def gravest_first(self) -> list[Line]:
        """Return the lines with a finding before the others; else in the model's order."""
        order = ("critical", "warning", "info", "")
        return sorted(self.lines, key=lambda line: order.index(line.severity))

    def most_telling(self, room: int) -> list[Line]:
        """Return as many lines as there is room for, the gravest, in the model's order."""
        if len(self.lines) <= room:
            return list(self.lines)
        kept = {id(line) for line in self.gravest_first()[: room - 1]}
        return [line for line in self.lines if id(line) in kept]

    def facts(self, state: str) -> tuple[str, ...]:
        """Return the step, the windows, the phase, and ``state`` unless the run has ended."""
        step = f"step {self.step:,}" if self.step >= 0 else "no step yet"
        windows = f"{self.windows:,} window{'s' * (self.windows != 1)}"
        phase = (printable(self.phase),) if self.phase else ()
        return (step, windows, *phase, "the run has ended" if self.closed else state)

    @property
    def header(self) -> tuple[str, ...]:
        """Titles of the columns that a table shows."""
        figure = self.figure.replace("_fraction", " %").replace("_", " ")
        return ("site", figure, "trend", "sat %", "dead %", "finding")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON holds them."""
        return {
            "step": self.step,
            "windows": self.windows,
            "phase": self.phase,
            "closed": self.closed,
            "severity": self.severity or None,
            "verdict": self.verdict,
            "scalars": {name: last for name, (last, _) in self.scalars.items()},
            "sites": [
                {
                    "site": line.site,
                    self.figure: line.value,
                    **{name: getattr(line, name) for name in COLUMNS},
                    "finding": line.rule or None,
                }
                for line in self.lines
            ],
        }


def view_of(
    recording: Recording,
    figure: str = "rms",
    site: Sequence[str] | None = None,
    phase: str | None = None,
    *,
    closed: bool = False,
) -> View:
    """Return what there is to see of a recording.

    Raises
    ------
    KeyError
        If nothing matches ``site`` or ``phase``.
    """
    from actstats.diagnosis import diagnose
    from actstats.recording import default_phase

    if not recording.windows:
        return View(figure, phase or "", -1, 0, {}, (), "No window has closed yet.", "", closed)
    shown = phase or default_phase(recording.phases)
    part = recording.select(phase=shown)
    diagnosis = diagnose(part)
    return View(
        figure,
        shown or "",
        max(window.last_step for window in part.windows),
        len(part.windows),
        _scalars(part),
        _lines(part.select(site) if site else part, figure, diagnosis),
        _told(diagnosis),
        diagnosis.severity or "",
        closed,
    )


def figure_text(name: str, value: float) -> str:
    """Return a figure as a table shows it: shares in percent, ``-`` where it does not apply."""
    if math.isnan(value):
        return "-"
    return f"{100 * value:.1f}" if name.endswith("_fraction") else f"{value:.3g}"


def _lines(part: Recording, figure: str, diagnosis: Diagnosis) -> list[Line]:
    """Return a line for each site, of the last windows alone: a long run is shown as fast."""
    last = type(part)(part.windows[-TREND:], part.sites)
    series = {name: last.series(name) for name in dict.fromkeys((figure, *COLUMNS))}
    found = gravest(diagnosis)
    lines = []
    for site in last:
        trend, *shares = (series[name][site].tolist() for name in (figure, *COLUMNS))
        saturated, dead = (_latest(values) for values in shares)
        finding = found.get(site)
        grave = (finding.rule, finding.severity) if finding else ("", "")
        module = last.sites[site].module_type
        lines.append(Line(site, module, _latest(trend), trend, saturated, dead, *grave))
    return lines


def gravest(diagnosis: Iterable[Finding]) -> dict[str, Finding]:
    """Return each site's gravest finding, roots before what follows from them."""
    from actstats.diagnosis.finding import SEVERITIES

    found: dict[str, Finding] = {}
    for finding in sorted(diagnosis, key=lambda f: -SEVERITIES.index(f.severity)):
        if finding.site is not None:
            found.setdefault(finding.site, finding)
    return found


def _scalars(part: Recording) -> dict[str, tuple[float, list[float]]]:
    from actstats.update_ratios import UPDATE_RATIO  # here: it needs torch

    windows = part.windows[-TREND:]
    every = dict.fromkeys(name for window in windows for name in window.scalars)
    names = [name for name in every if not name.startswith(UPDATE_RATIO)]  # one for each weight
    found = {name: [w.scalars[name] for w in windows if name in w.scalars] for name in names}
    return {name: (them[-1].last, [s.mean for s in them]) for name, them in found.items()}


def _told(diagnosis: Diagnosis) -> str:
    """Return the gravest root in a line; the rest is for ``actstats diagnose``."""
    roots = [root for root in diagnosis.roots if _is_grave(diagnosis, root)]
    if not roots:
        return diagnosis.verdict
    first = roots[0]
    since = "" if first.since is None else f" since step {first.since:,}"
    more = f" ({len(roots) - 1} more)" if len(roots) > 1 else ""
    where = first.site or "the whole net"
    return f"{first.rule} at {where}{since}{more}: {first.message}"


def _is_grave(diagnosis: Diagnosis, root: Finding) -> bool:
    """Tell whether a root, or something that follows from it, is a warning or more."""
    return any(f.severity != "info" for f in (root, *diagnosis.follows_from(root)))


def _latest(values: Sequence[float]) -> float:
    """Return the last value that is there: a site need not be in every window."""
    return next((float(v) for v in reversed(values) if not math.isnan(v)), math.nan)
