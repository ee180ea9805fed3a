"""What is known of the run: where it came from, what it holds, what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actstats.report.run import Run
from actstats.report.text import count, number, steps

__all__ = ["Fact", "Facts", "facts"]

DEEPEST = 4  # metadata is data: it may nest
LONGEST = 20_000  # characters
UNCALLED = {
    "none": "has no parameters",
    "used": "its parameters have gradients: something else calls on them",
    "unused": "its parameters have no gradient",
    "unknown": "nothing is known of its parameters",
}


@dataclass(frozen=True)
class Fact:
    """A name and its value: a text, several lines, or more names and values."""

    name: str
    text: str = ""
    parts: tuple[Fact, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """The head of the page and its last section."""

    model: str
    short: tuple[str, ...]
    recorded: tuple[Fact, ...]
    metadata: tuple[Fact, ...]
    notes: tuple[str, ...] = ()
    never_called: tuple[Fact, ...] = field(default=())


def facts(run: Run) -> Facts:
    """Return what is known of the run."""
    part, whole = run.part, run.whole
    sites, windows, span = (
        count(len(part), "site"),
        count(len(part.windows), "window"),
        steps(*run.span),
    )
    return Facts(
        model=_model(whole.metadata),
        short=(sites, windows, span, f"phase {run.phase}"),
        recorded=tuple(_recorded(run)),
        metadata=tuple(_fact(key, value) for key, value in whole.metadata.items()),
        notes=whole.notes,
        never_called=tuple(Fact(k, UNCALLED.get(v, v)) for k, v in whole.never_called.items()),
    )


def _recorded(run: Run) -> list[Fact]:
    part, whole = run.part, run.whole
    kinds = dict.fromkeys(site.kind for site in part.sites.values())
    longest = max(window.last_step - window.first_step + 1 for window in part.windows)
    others = [phase for phase in whole.phases if phase != run.phase]
    found = [
        Fact("Sites", f"{len(part):,} ({', '.join(kinds)})"),
        Fact("Windows", f"{len(part.windows):,} of up to {count(longest, 'step')}"),
        Fact("Steps", steps(*run.span).partition(" ")[2]),
        Fact("Phase", run.phase),
    ]
    return found + ([Fact("Other phases, not shown", ", ".join(others))] if others else [])


def _model(metadata: Mapping[str, Any]) -> str:
    """Return the model's name, from whatever the metadata say of it."""
    model = metadata.get("model", "")
    if isinstance(model, Mapping):
        model = next((model[k] for k in ("name", "class", "type") if k in model), "")
    first = str(model).strip().partition("\n")[0]
    return first.partition("(")[0][:80] if first else ""


def _fact(name: str, value: Any, depth: int = 1) -> Fact:
    title = str(name).replace("_", " ")
    if isinstance(value, Mapping) and value and depth < DEEPEST:
        return Fact(title, parts=tuple(_fact(k, v, depth + 1) for k, v in value.items()))
    if isinstance(value, str) and "\n" in value.strip():
        return Fact(title, lines=tuple(value[:LONGEST].splitlines()))
    return Fact(title, _said(value))


def _said(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple) and all(isinstance(v, str | int | float) for v in value):
        value = ", ".join(map(str, value))
    text = str(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
