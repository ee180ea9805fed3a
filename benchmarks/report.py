"""Tables, JSON and pictures of a run."""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.bounds import ADDED

RESULTS = Path(__file__).parent / "results"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which tell apart for colour-blind eyes too."""
MARKERS = "osD^vPX"


def parser(description: str | None, seconds: float) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks take."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("--rounds", type=int, default=15)
    made.add_argument("--seconds", type=float, default=seconds, help="time of a block in a round")
    made.add_argument("--out", type=Path, default=RESULTS, help="folder of JSON, table and picture")
    return made


def can_make(net: str) -> bool:
    """Tell whether what a net needs is installed."""
    return net in ("tutorial", "mlp") or importlib.util.find_spec("transformers") is not None


def envelope(benchmark: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what every result begins with."""
    plain = {k: v for k, v in vars(options).items() if k != "out"}
    return {"benchmark": benchmark, "machine": machine.describe(), "options": plain}


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def number(value: float | None) -> str:
    """Write a number with three digits."""
    if value is None:
        return "∞"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def with_interval(estimate: Sequence[float | None] | None) -> str:
    """Write a figure with the ends of its interval."""
    if estimate is None:
        return "-"
    value, low, high = ("∞" if x is None else f"{x:.3f}" for x in estimate)
    return f"{value} ({low} to {high})"


def bound_table(rows: Sequence[dict[str, object]]) -> str:
    """Return bounds beside measurements."""
    keys = ("what", "bound", "measured", "interval", "verdict")
    return markdown(
        ("", *keys[1:3], "95 % interval", "verdict"), ([r[k] for k in keys] for r in rows)
    )


def absences(result: dict[str, Any]) -> str:
    """Say what does not run here, and what stands in for it."""
    absent: dict[str, str] = result["absent"]
    if not absent:
        return "Nothing is absent."
    named = "; ".join(f"{label} ({reason})" for label, reason in absent.items())
    return f"Absent: {named}."


def publish(
    result: dict[str, Any], tables: str, figure: Any, out: Path, taken: str | None = None
) -> None:
    """Print the tables, and what was taken for them; write JSON, Markdown and picture."""
    name = result["benchmark"]
    taken = taken or f"{result['options']['rounds']} rounds."
    text = f"{tables}\n\n{taken} Measured {machine.in_words(result['machine'])}\n"
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    (out / f"{name}.md").write_text(text)
    figure.savefig(out / f"{name}.png", dpi=120)
    print(f"{out / name}.json, .md and .png are written")


# ---- pictures ------------------------------------------------------------------------------------


def axes(count: int, width: float = 4.2, height: float = 3.8) -> tuple[Any, list[Any]]:
    """Return a figure, made without pyplot, and its axes in one row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), layout="constrained")
    every = list(figure.subplots(1, count, squeeze=False)[0])
    for ax in every:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
    return figure, every


def draw_ratios(rows: Sequence[dict[str, Any]]) -> Any:
    """Draw added time by variant, a panel per net, with intervals."""
    figure, panels = axes(max(1, len(rows)), width=3.0, height=4.6)
    for ax, row in zip(panels, rows, strict=False):
        labels = list(row["ratios"])[::-1]
        for y, label in enumerate(labels):
            value, low, high = (100 * (x - 1) for x in row["ratios"][label]["cpu"])
            ours = label.startswith("actstats")
            colour = COLOURS[1] if ours else COLOURS[0]
            ax.plot([low, high], [y, y], color=colour, lw=2, alpha=0.6)
            ax.plot(value, y, MARKERS[1] if ours else MARKERS[0], color=colour, ms=5)
        ax.axvline(100 * ADDED[row["net"]].limit, color="black", lw=0.8, ls="--")
        ax.set_yticks(range(len(labels)), labels if ax is panels[0] else [""] * len(labels))
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xlim(-1, 3000)
        ax.set_xticks((0, 1, 10, 100, 1000), ("0", "1", "10", "100", "1000"), fontsize=7)
        ax.set_title(row["label"].replace(", ", "\n", 1), fontsize=9)
    caption = "CPU time added to a training step, % (95 % intervals; dashed: actstats' bound)"
    figure.supxlabel(caption, fontsize=9)
    return figure


def line(
    ax: Any, x: Sequence[float], y: Sequence[float], i: int, label: str | None, style: str = "-"
) -> None:
    """Draw the i-th line, in its colour and with its marker."""
    colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
    ax.plot(x, y, style, color=colour, marker=marker, ms=4, label=label)


def logarithmic(ax: Any, x: str, y: str) -> None:
    """Make both axes logarithmic, and name them; the legend goes below."""
    from matplotlib.ticker import NullFormatter

    ax.set(xlabel=x, ylabel=y)
    if not any(len(drawn.get_xdata()) for drawn in ax.lines):
        return  # nothing was timed
    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16))
