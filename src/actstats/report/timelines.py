"""Figures of layers over time: a few lines, and a map of all where there are many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actstats.report import svg
from actstats.report.axis import Axis, Scale, step_ticks
from actstats.report.charts import MOST_POINTS, SIZE, Chart, Curve, Timelines, across
from actstats.report.heat import heat_map
from actstats.report.run import Run
from actstats.report.text import count, number, percent

__all__ = ["timelines"]

Floats = NDArray[np.float64]

MOST_LINES = 8  # more than these the eye does not tell apart
ROOTS = 3  # of findings, which are drawn whatever else is


class Topic(NamedTuple):
    """A figure worth a chart; ``none`` is said instead where it is 0 throughout."""

    figure: str
    title: str
    scale: Scale
    what: str
    none: str = ""


OF_ACTIVATIONS = (
    Topic(
        "std",
        "Spread of activations",
        "log",
        "Standard deviation of each layer's output. Healthy: much the same over depth, and steady. "
        "Smaller with depth, the signal is lost; larger, it explodes.",
    ),
    Topic(
        "signal_fraction",
        "Signal",
        "share",
        "Share of a layer's mean square that varies over samples. Near 0 %, the layer gives the "
        "same for every input.",
    ),
    Topic(
        "saturated_fraction",
        "Saturated values",
        "share",
        "Share of values in the flat part of the activation function, which lets next to no "
        "gradient through. Half is normal for ReLU, a few percent for tanh.",
        "No saturated values in any window.",
    ),
    Topic(
        "dead_fraction",
        "Dead units",
        "share",
        "Share of units that no sample of a window activates: their weights get no gradient.",
        "No dead units in any window.",
    ),
)
OF_GRADIENTS = (
    Topic(
        "rms",
        "Gradients",
        "log",
        "Root mean square of the gradient of the loss by each layer's output. Healthy: much the "
        "same over depth.",
    ),
)


def timelines(run: Run) -> Timelines:
    """Return a chart of each figure that applies and is not 0 throughout."""
    if len(run.part.windows) < 2:
        return Timelines((), ("One window was recorded; figures over time need at least two.",))
    asked = [(topic, run.activations) for topic in OF_ACTIVATIONS]
    asked += [(topic, run.gradients) for topic in OF_GRADIENTS]
    charts, remarks = [], []
    for topic, sites in asked:
        values = _values(run, topic.figure, sites)
        if topic.none and np.nanmax(values, initial=-np.inf) == 0:
            remarks.append(topic.none)
        elif np.isfinite(values).any():
            charts.append(_chart(run, topic, sites, values))
    return Timelines(tuple(charts), tuple(remarks))


def _values(run: Run, figure: str, sites: Sequence[str]) -> Floats:
    """Return a figure of some sites in every window, shape (W, S)."""
    series = run.over_time(figure)
    places = {site: i for i, site in enumerate(series.sites)}
    return series.values[:, [places[site] for site in sites]]


def _chart(run: Run, topic: Topic, sites: Sequence[str], values: Floats) -> Chart:
    applies = np.flatnonzero(np.isfinite(values).any(axis=0)).tolist()
    sites, values = [sites[i] for i in applies], values[:, applies]
    chosen, axis = _chosen(run, sites), Axis.of(topic.scale, values)
    curves = _curves(run, [sites[i] for i in chosen], values[:, chosen], axis)
    return Chart(
        title=topic.title,
        what=topic.what,
        curves=curves,
        y=axis.ticks,
        x=step_ticks(*run.span),
        notes=tuple(_notes(values, len(chosen))),
        alt=f"{topic.title} of {count(len(chosen), 'layer')} over steps.",
        heat=heat_map(sites, values, run.span, axis) if len(sites) > MOST_LINES else None,
    )


def _curves(run: Run, sites: Sequence[str], values: Floats, axis: Axis) -> tuple[Curve, ...]:
    buckets = svg.Buckets(len(values), MOST_POINTS)
    x = across(buckets.mean(run.over_time("std").steps), run.span)
    low, high = (SIZE * (1 - axis.place(end)) for end in buckets.ends(values))
    write = percent if axis.scale == "share" else number
    curves = []
    for i, site in enumerate(sites):
        last = write(float(values[-1, i]))
        band = svg.band(x, low[:, i], high[:, i]) if buckets.merged else ""
        line = "" if buckets.merged else svg.line(x, low[:, i])
        curves.append(Curve(site, run.anchors[site], i, last, line, band))
    return tuple(curves)


def _chosen(run: Run, sites: Sequence[str]) -> list[int]:
    """Return which sites are drawn: both ends, some roots of findings, others evenly spread."""
    if len(sites) <= MOST_LINES:
        return list(range(len(sites)))
    sick = [sites.index(root.site) for root in run.diagnosis.roots if root.site in sites]
    evenly = np.linspace(0, len(sites) - 1, MOST_LINES).round().astype(int).tolist()
    chosen = dict.fromkeys([0, len(sites) - 1, *sick[:ROOTS], *evenly])
    return sorted(list(chosen)[:MOST_LINES])


def _notes(values: Floats, shown: int) -> Iterator[str]:
    windows, sites = values.shape
    if shown < sites:
        yield f"Lines: {shown} of {sites} layers, roots of findings among them. The map has all."
    if windows > MOST_POINTS:
        yield (
            f"{windows:,} windows are drawn as {MOST_POINTS} pieces, each from the least to the "
            "largest value of neighbouring windows"
            + ("; the map has their mean." if sites > MOST_LINES else ".")
        )
