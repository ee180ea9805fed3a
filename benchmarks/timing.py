"""Rounds of interleaved timings, and intervals of what is computed from them."""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import comb

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
        gc.collect()
        for name in names:
            spent, passed = measure[name]()
            if i >= warm:
                cpu[name].append(spent)
                wall[name].append(passed)
    return tuple({n: np.array(v) for n, v in kind.items()} for kind in (cpu, wall))


def median(times: NDArray[np.float64]) -> Estimate:
    """Return the median over rounds; the ends of its interval are two of the times.

    They are the closest to the median that hold it at least 95 times in 100, whatever the times'
    distribution: the 4th and the 12th of 15. Fewer than 6 rounds do not suffice for that, and give
    the least and the largest.
    """
    times = np.sort(times)
    n = len(times)
    chance = np.cumsum([comb(n, k) for k in range(n)]) / 2**n  # that at most k lie below
    first = max(0, int(np.sum(chance <= 0.025)) - 1)
    return Estimate(float(np.median(times)), float(times[first]), float(times[n - 1 - first]))


def ratio(over: NDArray[np.float64], under: NDArray[np.float64]) -> Estimate:
    """Return the median over rounds of the ratio of two times of the same round."""
    return median(over / under)


def ratio_of_added(
    other: NDArray[np.float64], ours: NDArray[np.float64], without: NDArray[np.float64]
) -> Estimate:
    """Return how many times more time ``other`` adds than ``ours`` does; inf where ours adds none.

    Each added time is the median over rounds of ``time / without - 1``. The interval is a 95 %
    bootstrap interval: whole rounds are drawn anew.
    """

    def figure(i: NDArray[np.intp]) -> NDArray:
        others, own = (np.median(t[i] / without[i], -1) - 1 for t in (other, ours))
        return np.where(own > 0, others / np.where(own > 0, own, 1), np.inf)

    rounds = len(without)
    drawn = np.random.default_rng(0).integers(rounds, size=(RESAMPLES, rounds))
    figures = np.sort(figure(drawn))
    tail = int(0.025 * RESAMPLES)
    value = float(figure(np.arange(rounds)))
    return Estimate(value, float(figures[tail]), float(figures[-1 - tail]))
