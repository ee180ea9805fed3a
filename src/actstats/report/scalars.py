"""The loss, and whatever else was given to ``step()``, over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from actstats.recording import Window
from actstats.report import svg
from actstats.report.axis import Axis, step_ticks
from actstats.report.charts import MOST_POINTS, SIZE, Chart, Curve, Timelines, across
from actstats.report.run import Run
from actstats.report.text import count, number
from actstats.update_ratios import UPDATE_RATIO

__all__ = ["scalars"]

Floats = NDArray[np.float64]

MOST_CHARTS = 12
WIDE = 50.0  # a largest value that is so many times the least wants a logarithmic axis


def scalars(run: Run) -> Timelines:
    """Return a chart of each scalar: its mean by window, and a band of its extremes.

    Of one window the last values are told in words.
    """
    every = dict.fromkeys(name for window in run.part.windows for name in window.scalars)
    names = sorted(every, key=lambda name: name.startswith(UPDATE_RATIO))  # those for weights last
    if len(run.part.windows) < 2:
        given = run.part.windows[0].scalars.items()
        return Timelines((), tuple(f"{name}: {number(one.last)}" for name, one in given))
    charts = tuple(_chart(run, name) for name in names[:MOST_CHARTS])
    left = len(names) - len(charts)
    return Timelines(charts, (f"{count(left, 'more scalar')} not drawn.",) if left else ())


def _chart(run: Run, name: str) -> Chart:
    held = [window for window in run.part.windows if name in window.scalars]
    mean, least, most = (
        np.array([getattr(window.scalars[name], part) for window in held], float)
        for part in ("mean", "min", "max")
    )
    steps = np.array([(window.first_step + window.last_step) / 2 for window in held])
    axis = _axis(np.concatenate((mean, least, most)))
    last = number(held[-1].scalars[name].last)
    line, band = _drawn(run, axis, steps, (mean, least, most))
    return Chart(
        title=name,
        what="",
        curves=(Curve("last", "", 0, last, line, band),),
        y=axis.ticks,
        x=step_ticks(*run.span),
        notes=tuple(_notes(held, mean, shaded=bool(band))),
        alt=f"{name} over steps: {number(mean[0])} at first, {last} at last.",
    )


def _axis(values: Floats) -> Axis:
    seen = values[np.isfinite(values)]
    wide = len(seen) > 0 and 0 < WIDE * seen.min() < seen.max()
    return Axis.of("log" if wide else "linear", values)


def _drawn(
    run: Run, axis: Axis, steps: Floats, values: tuple[Floats, Floats, Floats]
) -> tuple[str, str]:
    """Return the line of the means, and the band from least to largest where they differ."""
    buckets = svg.Buckets(len(steps), MOST_POINTS)
    x = across(buckets.mean(steps), run.span)
    mean, least, most = (SIZE * (1 - axis.place(part)) for part in values)
    line = svg.line(x, buckets.mean(mean))
    if not (values[2] > values[1]).any() and not buckets.merged:
        return line, ""
    return line, svg.band(x, buckets.ends(least)[1], buckets.ends(most)[0])


def _notes(held: Sequence[Window], mean: Floats, *, shaded: bool) -> Iterator[str]:
    if shaded:
        yield "Line: mean of neighbouring steps; shade: least to largest."
    broken = np.flatnonzero(~np.isfinite(mean)).tolist()
    if broken:
        first = held[broken[0]].first_step
        yield f"Not finite in {count(len(broken), 'window')}, from step {first:,} on."
