"""What a page is made from: one phase of a recording, its diagnosis, its figures."""

from __future__ import annotations

import math
from functools import cached_property

from actstats.diagnosis import Diagnosis, Finding, diagnose
from actstats.diagnosis.finding import SEVERITIES
from actstats.recording import Recording, Window, default_phase
from actstats.series import Series

__all__ = ["Run"]


class Run:
    """One phase of a recording, its diagnosis, its figures over time and at the end.

    Parameters
    ----------
    recording : Recording
        Everything.
    phase : str, optional
        What to show. None: train's, or else the first seen.

    Raises
    ------
    KeyError
        If the phase was not seen.
    ValueError
        If nothing was recorded.
    """

    def __init__(self, recording: Recording, phase: str | None = None) -> None:
        if not recording.windows:
            raise ValueError(
                "`source` is empty: nothing was recorded. Run a forward while a recorder is "
                "attached, then make the report."
            )
        self.whole = recording
        self.part = recording.select(phase=phase or default_phase(recording.phases))
        self._judged = recording if phase is None else self.part
        self._series: dict[str, Series] = {}
        self.anchors = {site: f"site-{i}" for i, site in enumerate(self.part, 1)}

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """What is wrong."""
        return diagnose(self._judged)

    @property
    def phase(self) -> str:
        """The phase that is shown."""
        return self.part.windows[0].phase

    @property
    def span(self) -> tuple[int, int]:
        """First and last step."""
        windows = self.part.windows
        return min(w.first_step for w in windows), max(w.last_step for w in windows)

    # ---- figures ---------------------------------------------------------------------------------

    def over_time(self, figure: str) -> Series:
        """Return a figure of all sites in every window."""
        if figure not in self._series:
            self._series[figure] = self.part.series(figure)
        return self._series[figure]

    def latest(self, figure: str) -> dict[str, float]:
        """Return a figure of each site, of the last window that saw the site."""
        found: dict[str, float] = {}
        for window, sites in self._last_windows:
            values = window.figure(figure)
            found |= {site: values.get(site, math.nan) for site in sites}
        return found

    @cached_property
    def last_seen(self) -> dict[str, Window]:
        """The last window that saw each site."""
        return {site: window for window, sites in self._last_windows for site in sites}

    @cached_property
    def _last_windows(self) -> list[tuple[Window, list[str]]]:
        """Return windows from the end, each with the sites that no later one saw."""
        missing, found = set(self.part), []
        for window in reversed(self.part.windows):
            here = [site for site in window if site in missing]
            if here:
                found.append((window, here))
                missing.difference_update(here)
            if not missing:
                break
        return found

    # ---- sites -----------------------------------------------------------------------------------

    @cached_property
    def activations(self) -> list[str]:
        """Outputs of activation functions in order; all outputs where there is none."""
        sites = self.part.sites
        outputs = [key for key, site in sites.items() if site.kind == "output"]
        return [key for key in outputs if sites[key].activation is not None] or outputs

    @cached_property
    def gradients(self) -> list[str]:
        """Gradients of these outputs; all gradients where these were not recorded."""
        grads = [key for key, site in self.part.sites.items() if site.kind == "grad"]
        wanted = {f"{key}:grad" for key in self.activations}
        return [key for key in grads if key in wanted] or grads

    # ---- findings --------------------------------------------------------------------------------

    @cached_property
    def by_site(self) -> dict[str, list[Finding]]:
        """Findings of each site, the gravest first."""
        found: dict[str, list[Finding]] = {}
        for finding in self.diagnosis:
            if finding.site is not None:
                found.setdefault(finding.site, []).append(finding)
        for findings in found.values():
            findings.sort(key=lambda f: -SEVERITIES.index(f.severity))
        return found

    @cached_property
    def finding_anchors(self) -> dict[int, str]:
        """Where on the page each finding stands, by its ``id()``."""
        return {id(finding): f"finding-{i}" for i, finding in enumerate(self.diagnosis, 1)}
