"""Run the cases, and count what was found.

The unit is the network configuration over its seeds: it counts as hit, or as alarmed, where most
of its seeds are. What every seed or any seed gives is told beside it.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from actstats import ActivationRecorder, Recording
from actstats.diagnosis.fitted import Rate
from benchmarks import timing
from benchmarks.clinic import published
from benchmarks.clinic.case import RULES, Case, Layers, Setup, distance

ALARMING = ("warning", "critical")


class Judge(Protocol):
    """What is scored: the package itself, or a stand-in."""

    def diagnose(self, recorder: Any) -> Iterable[Any]: ...

    def check(self, model: Any, batch: Any, loss_fn: Any, **options: Any) -> Iterable[Any]: ...


@dataclass(frozen=True)
class Found:
    """A finding, as it is kept."""

    rule: str
    site: str | None
    severity: str
    message: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    root: bool = True

    @classmethod
    def of(cls, finding: Any) -> Found:
        """Copy one of the diagnosis."""
        evidence = {k: _plain(v) for k, v in dict(finding.evidence or {}).items()}
        site = None if finding.site is None else str(finding.site)
        root = finding.caused_by is None
        return cls(finding.rule, site, finding.severity, finding.message, evidence, root)

    @property
    def alarms(self) -> bool:
        return self.severity in ALARMING

    def __str__(self) -> str:
        mark = "" if self.root else " (follows)"
        return f"{self.rule} at {self.site or 'the whole net'}, {self.severity}{mark}"


def _plain(value: Any) -> Any:
    """Return what JSON can hold."""
    if isinstance(value, int | str | bool) or value is None:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return number if math.isfinite(number) else str(number)


@dataclass(frozen=True)
class Outcome:
    """What was found in one network: a case with one seed.

    Parameters
    ----------
    case : Case
        Which.
    seed : int
        Of weights and data.
    found : tuple of Found
        In the order of the diagnosis.
    published : mapping of str to list of str
        Where each published rule fires.
    layers : tuple of tuples of str
        The network's layers.
    seconds : float
        That it took.
    error : str, optional
        Raised by the diagnosis: a miss, and an alarm.
    """

    case: Case
    seed: int
    found: tuple[Found, ...] = ()
    published: Mapping[str, list[str]] = field(default_factory=dict)
    layers: Layers = ()
    seconds: float = 0.0
    error: str | None = None

    @property
    def alarms(self) -> tuple[Found, ...]:
        return tuple(f for f in self.found if f.alarms)

    @property
    def alarmed(self) -> bool:
        return bool(self.alarms) or self.error is not None

    @property
    def right(self) -> tuple[Found, ...]:
        """Alarms that name the fault, its cause or what follows from it; roots first."""
        hits = [f for f in self.alarms if f.rule in self.case.accepted]
        return tuple(sorted(hits, key=lambda f: not f.root))

    @property
    def hit(self) -> bool:
        return bool(self.right)

    @property
    def exact_rule(self) -> bool:
        return any(f.rule == self.case.fault for f in self.alarms)

    @property
    def named_first(self) -> bool:
        """Whether the first root alarm is a right one."""
        roots = [f for f in self.alarms if f.root] or list(self.alarms)
        return bool(roots) and roots[0].rule in self.case.accepted

    @property
    def off(self) -> int | None:
        """Layers between the first right alarm's site and the fault; None: no site, or no hit."""
        if not self.right or not self.case.sites:
            return None
        return distance(self.right[0].site, self.case.sites, self.layers)

    @property
    def wrong_roots(self) -> tuple[Found, ...]:
        return tuple(f for f in self.alarms if f.root and f.rule not in self.case.accepted)


# ---- running -------------------------------------------------------------------------------------


def recorded(setup: Setup, steps: int) -> ActivationRecorder:
    """Record that many steps of training, or one forward and backward on a copy."""
    if not steps:
        setup = copy.copy(setup)
        setup.model = copy.deepcopy(setup.model)
    capture = ("output", "input", "grad")
    recorder = ActivationRecorder(setup.model, capture=capture, functional=True)
    with recorder:
        for number in range(steps):
            recorder.step(loss=setup.step(number))
        if not steps:
            loss = setup.loss_fn(setup.model, setup.batches[0])
            loss.backward()
            recorder.step(loss=loss.item())
    return recorder


def judged(case: Case, setup: Setup, recorder: ActivationRecorder, judge: Judge) -> list[Found]:
    """Return what the diagnosis finds."""
    if case.steps:
        return [Found.of(f) for f in judge.diagnose(recorder)]
    options = {"optimizer": setup.optimizer, "remedies": False, "functional": True}
    found = judge.check(setup.model, setup.batches[0], setup.loss_fn, **options)
    return [Found.of(f) for f in found]


def observe(case: Case, seed: int, judge: Judge) -> Outcome:
    """Build a network, record it, and let all rules judge it."""
    began = time.perf_counter()
    setup = case.build(seed)
    found: list[Found] = []
    error = None
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        recorder = recorded(setup, case.steps)
        try:
            found = judged(case, setup, recorder, judge)
        except Exception as e:  # a diagnosis that fails is counted, and the run goes on
            error = f"{type(e).__name__}: {e}"
    fired = others(recorder.recording)
    return Outcome(
        case, seed, tuple(found), fired, setup.layers, time.perf_counter() - began, error
    )


def others(recording: Recording) -> dict[str, list[str]]:
    """Return where published rules fire."""
    return {rule.name: sites for rule in published.RULES if (sites := rule.sites(recording))}


def run(cases: Sequence[Case], seeds: int, judge: Judge) -> list[Outcome]:
    """Observe every case with every seed, behind a progress bar."""
    wanted = [(case, seed) for case in cases for seed in range(seeds)]
    return [observe(case, seed, judge) for case, seed in timing.progress(wanted, "clinic")]


# ---- counting ------------------------------------------------------------------------------------


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % interval of a share.

    Examples
    --------
    >>> [round(x, 4) for x in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    return Rate(hits, n).interval


def share(flags: Iterable[bool]) -> dict[str, Any]:
    """Return how many of how many, with Wilson's interval."""
    flags = list(flags)
    hits, n = sum(flags), len(flags)
    return {"hits": hits, "n": n, "share": hits / n if n else None, "interval": wilson(hits, n)}


def by_case(outcomes: Iterable[Outcome]) -> list[list[Outcome]]:
    """Return outcomes by configuration."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.case.name, []).append(outcome)
    return list(groups.values())


def most(group: Sequence[Outcome], is_so: Callable[[Outcome], bool]) -> bool:
    """Tell whether it is so for more than half of the seeds."""
    return 2 * sum(map(is_so, group)) > len(group)


def within(layers: int) -> Callable[[Outcome], bool]:
    """Return what tells that the right site was named, that many layers off at most."""
    return lambda o: o.off is not None and o.off <= layers


def tally(groups: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
    """Count hits and right sites over sick configurations."""
    placed = [g for g in groups if g[0].case.sites]
    return {
        "hit": share(most(g, lambda o: o.hit) for g in groups),
        "hit_all_seeds": share(all(o.hit for o in g) for g in groups),
        "exact_rule": share(most(g, lambda o: o.exact_rule) for g in groups),
        "named_first": share(most(g, lambda o: o.named_first) for g in groups),
        "site_exact": share(most(g, within(0)) for g in placed),
        "site_within_one": share(most(g, within(1)) for g in placed),
        "with_other_roots": share(most(g, lambda o: bool(o.wrong_roots)) for g in groups),
    }


def alarms(groups: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
    """Count alarms over healthy configurations, and by rule."""
    return {
        "alarmed": share(most(g, lambda o: o.alarmed) for g in groups),
        "any_seed": share(any(o.alarmed for o in g) for g in groups),
        "networks": share(o.alarmed for g in groups for o in g),
        "by_rule": {
            rule: share(
                most(g, lambda o, r=rule: any(f.rule == r for f in o.alarms)) for g in groups
            )
            for rule in RULES
        },
    }


def versus(rule: published.Published, sick: list, healthy: list) -> dict[str, Any]:
    """Count what a published rule catches, of its own faults and of all, and its false alarms."""

    def fires(outcome: Outcome) -> bool:
        return rule.name in outcome.published

    own = [g for g in sick if g[0].case.fault in rule.targets]
    return {
        "source": rule.source,
        "targets": rule.targets,
        "caught_of_its_own": share(most(g, fires) for g in own),
        "ours_of_the_same": share(most(g, lambda o: o.hit) for g in own),
        "caught_of_all": share(most(g, fires) for g in sick),
        "false_alarms": share(most(g, fires) for g in healthy),
    }


def score(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Count everything."""
    groups = by_case(outcomes)
    sick = [g for g in groups if not g[0].case.healthy]
    healthy = [g for g in groups if g[0].case.healthy]
    faults = [rule for rule in RULES if any(g[0].case.fault == rule for g in sick)]
    return {
        "overall": tally(sick),
        "by_fault": {r: tally([g for g in sick if g[0].case.fault == r]) for r in faults},
        "healthy": alarms(healthy),
        "published": {r.name: versus(r, sick, healthy) for r in published.RULES},
        "seconds": sum(o.seconds for o in outcomes),
        "errors": sum(o.error is not None for o in outcomes),
    }


# ---- what went wrong -----------------------------------------------------------------------------


def failures(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return every miss, wrong site and false alarm, with what was found instead."""
    rows = []
    for outcome in outcomes:
        what = trouble(outcome)
        if what:
            rows.append(
                {
                    "what": what,
                    "case": outcome.case.name,
                    "seed": outcome.seed,
                    "fault": outcome.case.fault,
                    "site": outcome.case.sites,
                    "found": [describe(f) for f in outcome.alarms[:6]],
                    "error": outcome.error,
                }
            )
    return rows


def describe(found: Found) -> dict[str, Any]:
    """Return a finding for JSON."""
    return {"finding": str(found), "message": found.message, "evidence": dict(found.evidence)}


def trouble(outcome: Outcome) -> str | None:
    """Name what is wrong with an outcome, or return None."""
    if outcome.case.healthy:
        return "false alarm" if outcome.alarmed else None
    if not outcome.hit:
        return "miss"
    if outcome.case.sites and not within(1)(outcome):
        return "wrong site"
    return None
