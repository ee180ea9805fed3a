"""The grid of histograms: layers side by side, recordings above each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actstats.plot import _style
from actstats.plot._draw import draw_panel, prepare_axes, set_top
from actstats.plot._layers import Pre, frame
from actstats.plot._page import Canvas
from actstats.plot._panels import Range, check_ranges, describe, pooled_range
from actstats.plot._plan import check_bins, describe_windows, has_atoms, make_plan
from actstats.plot._style import Color
from actstats.stats import TensorStats

if TYPE_CHECKING:
    from actstats.recorder import ActivationRecorder
    from actstats.recording import Recording, Window

    Recorded: TypeAlias = ActivationRecorder | Recording | Window

__all__ = ["histogram", "histogram_grid"]

# ---- one panel ---------------------------------------------------------------------------------


def histogram(
    stats: TensorStats,
    *,
    bins: int = 10,
    range: Range | None = None,
    ax: Axes | None = None,
    color: Color | None = None,
) -> Axes:
    """Draw the histogram of one site.

    Values that stand out by themselves (exactly 0, or -1 or 1 for a function that ends there) are
    a dark spike as high as their count, and the pale part of the bar around it is the same values.

    Parameters
    ----------
    stats : TensorStats
        What to show.
    bins : int, default 10
        Equal bins over ``range``; the site's named edges are used instead where it has some and
        ``range`` is None.
    range : (float, float), optional
        Ends of the bins. None: round numbers around the middle 99 % of the values, or the limits
        of the activation function.
    ax : Axes, optional
        Where to draw; None makes a figure (``ax.figure``).
    color : color, optional
        Of the bars.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import torch
    >>> from actstats import TensorStats
    >>> stats = TensorStats.from_tensor(torch.tensor([[0.0], [0.0], [1.5]]), activation="relu")
    >>> ax = histogram(stats, range=(0, 2))
    >>> [text.get_text() for text in ax.texts]
    ['67 % at 0', 'sat 67 %']
    """
    check_bins(bins)
    given = check_ranges(None if range is None else {"act": range}).get("act")
    view = given or pooled_range([stats], limited=True)
    with _style.style():
        axes = Figure(figsize=(3.4, 2.3), layout="constrained").subplots() if ax is None else ax
        panel = describe(stats, bins=bins, range=view, own_edges=given is None, judged=True)
        activation = stats.activation
        zones = () if activation is None else activation.zones(stats.saturation_slope, of="output")
        prepare_axes(axes, view, zones)
        set_top(axes, panel, panel.top, panel.lines)
        draw_panel(axes, panel, color or _style.palette(1)[0])
    return axes


# ---- the grid ----------------------------------------------------------------------------------


def histogram_grid(
    recordings: Recorded | Mapping[str, Recorded],
    *,
    sites: str | Sequence[str] | None = None,
    bins: int = 10,
    pre: Pre = "linear",
    step: int | None = None,
    window: int | None = None,
    phase: str | None = None,
    ranges: Mapping[str, Range] | None = None,
    colors: Any = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw what every layer gives, before and after its activation function.

    Columns are layers, L0 (the net's input, if ``"input"`` was captured) to LN. Rows are the
    pre-activations of each recording, then the activations of each. Grey marks values where the
    activation function is saturated; a dark spike values that are exactly 0, 1 or -1 (the pale
    part of the bar around it is the same values); ``2 % <`` and ``> 2 %`` what lies outside.

    Parameters
    ----------
    recordings : recorder, Recording or Window, or a mapping from name to one of these
        What to show; with several, one colour each, aligned by the position of their layers.
    sites : str or sequence of str, optional
        Patterns of the activation sites to show; ``"*:input"`` keeps L0. Outputs of other modules
        are shown where no activation site matches.
    bins : int, default 10
        Equal bins per panel. Sites with named edges are shown by those, exactly.
    pre : {"linear", "z"}, default "linear"
        What the upper rows show: the linear layer's output, before any norm and dropout, or z,
        what goes into the activation function.
    step : int, optional
        Show the window that holds this step.
    window : int, optional
        Show the window of this index; negative ones count from the end.
    phase : str, optional
        ``"train"``, ``"eval"`` or a name of the user's. Default: train's where it was seen.
    ranges : mapping of {"pre", "act", "input"} to (float, float), optional
        Ends of the bins per kind of panel. Default: named edges where there are some, else limits
        of the activation function or round numbers around the middle 99 % of all values.
    colors : list of colors, or mapping from name to color, optional
        One per recording. Default: colours that colour-blind readers tell apart.
    figsize : (float, float), optional
        Inches. Default: by the number of panels. A wider one shows more layers where they are
        too many for one page (which a note then says).
    title : str, optional
        Above it all.

    Returns
    -------
    Figure
        Not known to pyplot: ``figure.savefig("grid.png")`` writes it.

    Raises
    ------
    KeyError
        If ``sites``, ``step``, ``window`` or ``phase`` were not recorded.
    ValueError
        If another argument is not as described, or there is no activation site.

    Examples
    --------
    >>> import torch
    >>> from actstats import ActivationRecorder, make_mlp
    >>> net = make_mlp(2, [8, 8], 1, activation="relu")
    >>> with ActivationRecorder(net, capture=("output", "input")) as recorder:
    ...     _ = net(torch.ones(64, 2))
    >>> figure = histogram_grid(recorder)
    >>> len(figure.axes)  # two rows of L0, L1, L2
    6
    """
    plan = make_plan(recordings, sites, bins, pre, ranges, colors, figsize, phase)
    found = [frame(one, plan.keys, step, window, phase) for one in plan.recordings]
    frames = [stats for stats, _ in found]
    scales = plan.scales([frames])
    panels = plan.panels(frames, scales)
    with _style.style():
        canvas = Canvas(plan, scales, title, has_atoms=has_atoms(panels))
        canvas.draw(panels, describe_windows([windows for _, windows in found]))
    return canvas.figure
