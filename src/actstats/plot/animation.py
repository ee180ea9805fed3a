"""The grid of histograms over time: one frame per window."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from actstats.plot import _style
from actstats.plot._layers import Pre, phase_windows
from actstats.plot._page import Canvas
from actstats.plot._panels import Panel, Range
from actstats.plot._plan import Panels, Plan, describe_windows, has_atoms, make_plan
from actstats.recording import Window

if TYPE_CHECKING:
    import os

    from actstats.plot.grid import Recorded

__all__ = ["animate_grid"]

HOLD = 4  # the last frame stays this many times as long
MOST_SCALARS = 3  # in a frame's caption


def animate_grid(
    recordings: Recorded | Mapping[str, Recorded],
    path: str | os.PathLike[str],
    *,
    fps: float = 2,
    progress: bool = True,
    dpi: float = 80,
    sites: str | Sequence[str] | None = None,
    bins: int = 10,
    pre: Pre = "linear",
    phase: str | None = None,
    ranges: Mapping[str, Range] | None = None,
    colors: Any = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
) -> Path:
    """Write :func:`histogram_grid` over time as a GIF, one frame per window.

    The axes stand still: ranges and heights are those that suit all frames together. Each
    frame's caption tells its steps and the scalars given to ``step()``. The last frame is held
    longer. Takes about 0.2 s for a frame of 4 x 9 panels.

    Parameters
    ----------
    recordings : recorder, Recording or Window, or a mapping from name to one of these
        Windows of several recordings are matched by their index; frames end with the shortest.
    path : path
        Of the GIF; replaced if it exists.
    fps : float, default 2
        Frames per second.
    progress : bool, default True
        Show a bar if tqdm is installed.
    dpi : float, default 80
        Pixels per inch.
    sites, bins, pre, phase, ranges, colors, figsize, title
        As in :func:`histogram_grid`.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    KeyError
        If ``sites`` or ``phase`` were not recorded.
    ValueError
        If another argument is not as described.
    """
    where = Path(path)
    _check(where, fps, dpi)
    plan = make_plan(recordings, sites, bins, pre, ranges, colors, figsize, phase)
    moments = list(zip(*(phase_windows(one, phase) for one in plan.recordings), strict=False))
    scales = plan.scales([[one.stats for one in windows] for windows in moments])
    frames = [plan.panels([one.stats for one in windows], scales) for windows in moments]
    captions = [_caption(plan, windows) for windows in moments]
    with _style.style():
        canvas = Canvas(plan, scales, title, has_atoms=any(map(has_atoms, frames)))
        canvas.figure.set_dpi(dpi)
        images = [*_render(canvas, frames, captions, progress)]
    _write(images, where, fps)
    return where


def _check(path: Path, fps: float, dpi: float) -> None:
    if path.suffix.lower() != ".gif":
        raise ValueError(f"`path` must end in .gif; got {path.name!r}.")
    for name, value in (("fps", fps), ("dpi", dpi)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ValueError(f"`{name}` must be a positive number; got {value!r}.")


# ---- captions ----------------------------------------------------------------------------------


def _caption(plan: Plan, windows: Sequence[Window]) -> str:
    """Say which steps a frame shows, and the scalars of each variant."""
    names = list(dict.fromkeys(name for window in windows for name in window.scalars))
    told = [_scalar(name, plan.names, windows) for name in names[:MOST_SCALARS]]
    return "   ".join([describe_windows([[window] for window in windows]), *told])


def _scalar(name: str, variants: Sequence[str], windows: Sequence[Window]) -> str:
    values = [
        f"{variant} {window.scalars[name].mean:.4g}".strip()
        for variant, window in zip(variants, windows, strict=True)
        if name in window.scalars
    ]
    return f"{name} {', '.join(values)}"


# ---- frames ------------------------------------------------------------------------------------


def _render(
    canvas: Canvas, frames: Sequence[Panels], captions: Sequence[str], progress: bool
) -> Iterator[Image.Image]:
    """Draw each frame with the same axes."""
    tops = {place: _top([panels[place] for panels in frames]) for place in canvas.axes}
    agg = FigureCanvasAgg(canvas.figure)
    pairs = list(zip(frames, captions, strict=True))
    for panels, caption in _watched(pairs, progress):
        canvas.draw(panels, caption, tops)
        agg.draw()  # type: ignore[no-untyped-call]
        yield Image.fromarray(np.asarray(agg.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]


def _top(panels: Sequence[Panel]) -> tuple[float, int]:
    """Return the highest share and the most lines of text of one place over all frames."""
    return max(panel.top for panel in panels), max(panel.lines for panel in panels)


def _watched(items: list[Any], progress: bool) -> Iterable[Any]:
    if not progress:
        return items
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return items
    watched: Iterable[Any] = tqdm(items, desc="frames", unit="frame")
    return watched


def _write(images: Sequence[Image.Image], path: Path, fps: float) -> None:
    """Write the GIF with one palette for all frames, and only when it is complete."""
    durations = [round(1000 / fps)] * len(images)
    durations[-1] *= HOLD
    colors = _common_palette(images)
    indexed = [image.quantize(palette=colors, dither=Image.Dither.NONE) for image in images]
    buffer = io.BytesIO()
    indexed[0].save(
        buffer, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0
    )
    path.write_bytes(buffer.getvalue())


def _common_palette(images: Sequence[Image.Image]) -> Image.Image:
    """Return an image whose palette suits all frames; white stays white."""
    width, height = images[0].size
    shown = [images[0], images[len(images) // 2], images[-1]]
    strip = Image.new("RGB", (width, height * len(shown)))
    for i, image in enumerate(shown):
        strip.paste(image, (0, i * height))
    indexed = strip.quantize(128)
    entries = np.array(indexed.getpalette()).reshape(-1, 3)
    entries[(entries > 248).all(1)] = 255  # averaged with what is nearly white
    indexed.putpalette(entries.astype(np.uint8).tobytes())
    return indexed
