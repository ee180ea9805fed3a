"""Values that lie once in memory and count often: axes that were expanded, zeros not stored."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from torch import Tensor

from actstats.kernels.state import State
from actstats.kernels.walks import unit_dimension

__all__ = ["judge", "observe"]


def observe(
    kernel: ModuleType,
    x: Tensor,
    state: State,
    *,
    unit_axis: int | None = -1,
    step: int = 0,
    scale: float | Tensor | None = None,
    zeros: int = 0,
) -> None:
    """Add one tensor to the state, reading what is expanded once.

    Time and memory go by what lies in memory, not by the number of values.

    Parameters
    ----------
    kernel : module
        Whose ``observe`` reads it.
    x, state, unit_axis, step, scale
        As in :func:`actstats.kernels.reference.observe`.
    zeros : int, default 0
        Values that are zero and lie nowhere; only where units are pooled.
    """

    def read(values: Tensor, into: State) -> None:
        kernel.observe(values, into, unit_axis=unit_axis, step=step, scale=scale)

    _read(read, x, state, unit_axis, zeros)


def judge(
    kernel: ModuleType,
    z: Tensor,
    state: State,
    *,
    unit_axis: int | None = -1,
    step: int = 0,
    zeros: int = 0,
) -> None:
    """Judge the inputs of an activation, reading what is expanded once; as :func:`observe`."""

    def read(values: Tensor, into: State) -> None:
        kernel.judge(values, into, unit_axis=unit_axis, step=step)

    _read(read, z, state, unit_axis, zeros)


def _read(
    read: Callable[[Tensor, State], None], x: Tensor, state: State, axis: int | None, zeros: int
) -> None:
    once, times = _once(x, unit_dimension(x, axis, state.spec.width))
    if times == 1 and not zeros:
        read(x, state)
        return
    apart = _repeated(read, once, times, state)
    if zeros:
        nothing = _repeated(read, x.new_zeros(1), zeros, state)
        nothing.calls.zero_()  # no call of its own
        apart.merge(nothing)
    with state.at_once() as draft:
        draft.merge(apart)


def _once(x: Tensor, unit: int | None) -> tuple[Tensor, int]:
    """Return a view with one of all that lies in the same place, and how often it counts."""
    times = 1
    if x.numel() and 0 in x.stride():
        for axis, (size, stride) in enumerate(zip(x.shape, x.stride(), strict=True)):
            if stride == 0 and size > 1 and axis != unit:
                x, times = x.narrow(axis, 0, 1), times * size
    return x, times


def _repeated(read: Callable[[Tensor, State], None], x: Tensor, times: int, like: State) -> State:
    apart = State(like.spec, like.device)
    read(x, apart)
    apart.repeat(times)
    return apart
