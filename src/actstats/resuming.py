"""The state of a recorder that a resumed run goes on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from actstats.packing import unpack_window
from actstats.run import Run
from actstats.shared import Shared
from actstats.targets import Targets

__all__ = ["resume", "state_of"]


def state_of(shared: Shared, run: Run, targets: Targets) -> dict[str, Any]:
    """Return what a resumed run needs, as numbers, strings and tensors."""
    return {
        "version": 1,
        "modules": targets.names,
        "edges": {k: list(v) for k, v in shared.options.edges.items()},
        "saturation_slope": shared.options.saturation_slope,
        "calls": {slot.name: slot.calls for slot in shared.slots},
        "skipped": [[*key, count] for key, count in dict(shared.skipped).items()],
        **run.state(),
    }


def resume(
    state: Mapping[str, Any], shared: Shared, run: Run, targets: Targets, reset: Callable[[], None]
) -> None:
    """Go on from a state; ``reset`` forgets what was recorded here before.

    Raises
    ------
    ValueError
        If the state is not one, or is of a recorder of other modules, edges or threshold; then
        nothing changes.
    """
    _check(state, state_of(shared, run, targets))
    closed = [unpack_window(packed) for packed in state["closed"]]
    carried = [unpack_window(packed) for packed in state["open"]]
    with shared.ending, shared.lock:
        reset()
        run.resume(state, closed, carried)
        for slot in shared.slots:
            slot.calls = state["calls"].get(slot.name, 0)
        shared.seek()
        shared.skipped.update({(site, why): n for site, why, n in state["skipped"]})


def _check(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse what is not a state of a recorder like this one."""
    if not isinstance(state, Mapping) or state.get("version") != 1:
        got = state.get("version") if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(f"`state` must be what `state_dict` gave, version 1; got {got!r}.")
    absent = own.keys() - state.keys()
    if absent:
        raise ValueError(f"`state` is incomplete: {sorted(absent)} are missing.")
    for name in ("modules", "edges", "saturation_slope"):
        if state[name] != own[name]:
            raise ValueError(
                f"`state` is of a recorder with other {name}: {state[name]!r}; "
                f"this one has {own[name]!r}."
            )
