"""Rounds of interleaved timings, and intervals of what is computed from them."""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = Mapping[str, NDArray[np.float64]]
Block = Callable[[], None]
RESAMPLES = 4000


@dataclass(frozen=True)
class Estimate:
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def as_json(self) -> list[float | None]:
        """Return the three numbers; infinite ones, which JSON has not, as None."""
        return [x if np.isfinite(x) else None for x in (self.value, self.low, self.high)]


def progress(items: Iterable, title: str) -> Iterable:
    """Show a bar where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(items, title, disable=not sys.stderr.isatty(), leave=False)


def clock(block: Block, repeats: int) -> tuple[float, float]:
    """Return process CPU time and wall time of one repetition, in seconds."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        block()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / repeats, wall / repeats


def repeats_for(block: Block, seconds: float, multiple: int = 1) -> int:
    """Return how often to repeat a block so that it takes about that long."""
    clock(block, 1)
    repeats = 1
    while (wall := clock(block, repeats)[1] * repeats) < min(seconds / 4, 0.05):
        repeats *= 2
    return max(1, round(seconds / (wall / repeats) / multiple)) * multiple


def interleave(
    measure: Mapping[str, Callable[[], tuple[float, float]]],
    rounds: int,
    title: str,
    warm: int = 1,
) -> tuple[Times, Times]:
    """Measure everything once a round, in an order that a fixed seed shuffles anew each round.

    Returns
    -------
    cpu, wall : dict of str to ndarray, shape (rounds,)
        Rounds that warm up are left out.
    """
    shuffle = random.Random(0).shuffle
    cpu: dict[str, list[float]] = {name: [] for name in measure}
    wall: dict[str, list[float]] = {name: [] for name in measure}
    for i in progress(range(warm + rounds), title):
        names = list(measure)
        shuffle(names)
        for name in names:
            spent, passed = measure[name]()
            if i >= warm:
                cpu[name].append(spent)
                wall[name].append(passed)
    return tuple({n: np.array(v) for n, v in kind.items()} for kind in (cpu, wall))


def interval(figure: Callable[[NDArray[np.intp]], NDArray], rounds: int) -> Estimate:
    """Return a figure of the rounds with its 95 % bootstrap interval: rounds drawn anew, whole.

    Parameters
    ----------
    figure : callable
        Maps indices of rounds, shape (..., rounds), to the figure, shape (...).
    rounds : int
        Number of rounds.
    """
    value = float(figure(np.arange(rounds)))
    drawn = np.random.default_rng(0).integers(rounds, size=(RESAMPLES, rounds))
    figures = np.sort(figure(drawn))
    tail = int(0.025 * RESAMPLES)
    return Estimate(value, float(figures[tail]), float(figures[-1 - tail]))


def median(times: NDArray[np.float64]) -> Estimate:
    """Return the median over rounds."""
    return interval(lambda i: np.median(times[i], -1), len(times))


def ratio(over: NDArray[np.float64], under: NDArray[np.float64]) -> Estimate:
    """Return the median over rounds of the ratio of two times of the same round."""
    return median(over / under)


def ratio_of_added(
    other: NDArray[np.float64], ours: NDArray[np.float64], without: NDArray[np.float64]
) -> Estimate:
    """Return how many times more time ``other`` adds than ``ours`` does; inf where ours adds none.

    Each added time is the median over rounds of ``time / without - 1``.
    """

    def figure(i: NDArray[np.intp]) -> NDArray:
        others, own = (np.median(t[i] / without[i], -1) - 1 for t in (other, ours))
        return np.where(own > 0, others / np.where(own > 0, own, 1), np.inf)

    return interval(figure, len(without))
