"""Tables and a picture of the clinic's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import report

Share = Mapping[str, Any]


def counted(share: Share) -> str:
    """Write hits of n, and the interval in percent."""
    if not share["n"]:
        return "-"
    low, high = (f"{100 * x:.0f}" for x in share["interval"])
    return f"{share['hits']}/{share['n']} ({low} to {high} %)"


def fault_table(score: Mapping[str, Any]) -> str:
    """Return a row per fault: hits, sites."""
    keys = ("hit", "hit_all_seeds", "exact_rule", "named_first", "site_exact", "site_within_one")
    head = (
        "fault",
        "found",
        "in all seeds",
        "by its own rule",
        "named first",
        "right layer",
        "± 1",
    )
    rows = [(r, *(counted(t[k]) for k in keys)) for r, t in score["by_fault"].items()]
    overall = ("**all**", *(counted(score["overall"][k]) for k in keys))
    return report.markdown(head, [*rows, overall])


def alarm_table(score: Mapping[str, Any]) -> str:
    """Return false alarms on healthy networks."""
    healthy = score["healthy"]
    rows = [
        ("configurations, most seeds", counted(healthy["alarmed"])),
        ("configurations, any seed", counted(healthy["any_seed"])),
        ("networks (configuration and seed)", counted(healthy["networks"])),
        *((rule, counted(s)) for rule, s in healthy["by_rule"].items() if s["hits"]),
    ]
    return report.markdown(("healthy networks alarmed", ""), rows)


def published_table(score: Mapping[str, Any]) -> str:
    """Return published rules beside ours."""
    keys = ("caught_of_its_own", "ours_of_the_same", "caught_of_all", "false_alarms")
    head = ("rule", "source", "its own faults", "actstats on these", "all faults", "false alarms")
    rows = [(n, s["source"], *(counted(s[k]) for k in keys)) for n, s in score["published"].items()]
    ours = (counted(score["overall"]["hit"]), counted(score["healthy"]["alarmed"]))
    return report.markdown(head, [*rows, ("**actstats**", "", "", "", *ours)])


def failure_list(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a line per miss, wrong site and false alarm."""
    return "\n".join(map(_failure, rows)) or "None."


def _failure(row: Mapping[str, Any]) -> str:
    found = "; ".join(f["finding"] for f in row["found"]) or "nothing"
    wanted = f" ({row['fault']} at {' or '.join(row['site']) or 'the whole net'})"
    label = wanted if row["fault"] else ""
    error = f"; raised {row['error']}" if row["error"] else ""
    return f"- {row['what']}: {row['case']}, seed {row['seed']}{label}: found {found}{error}"


def tables(result: Mapping[str, Any]) -> str:
    """Return all of it as Markdown, a part for each half."""
    parts = []
    for half, score in result["halves"].items():
        n, healthy = score["overall"]["hit"]["n"], score["healthy"]["alarmed"]["n"]
        parts += [
            f"## The {half} part: {n} sick and {healthy} healthy configurations",
            fault_table(score),
            alarm_table(score),
            published_table(score),
        ]
    return "\n\n".join(parts)


# ---- the picture ---------------------------------------------------------------------------------


def draw(score: Mapping[str, Any], half: str) -> Any:
    """Draw hits and sites by fault, and what rules catch against their false alarms."""
    figure, (left, right) = report.axes(2, width=6.4, height=6.2)
    _draw_faults(left, score)
    _draw_rules(right, score)
    figure.suptitle(f"The clinic's {half} part (95 % intervals by Wilson)", fontsize=11)
    return figure


def _draw_faults(ax: Any, score: Mapping[str, Any]) -> None:
    rows = [*score["by_fault"].items(), ("all", score["overall"])][::-1]
    for shift, key, label, i in (
        (0.15, "hit", "found", 0),
        (-0.15, "site_within_one", "right layer, ± 1", 1),
    ):
        for y, (_, tally) in enumerate(rows):
            _bar(ax, tally[key], y + shift, i, label if y == 0 else None)
    ax.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    ax.set(xlim=(-3, 103), xlabel="% of sick configurations")
    _legend(ax)


def _legend(ax: Any) -> None:
    """Put the legend below; a part of the cases may have nothing to show."""
    if ax.get_legend_handles_labels()[0]:
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.1)}
        ax.legend(**place, ncols=2, fontsize=7, frameon=False)


def _bar(ax: Any, share: Share, y: float, i: int, label: str | None) -> None:
    if share["n"]:
        low, high = (100 * x for x in share["interval"])
        colour = report.COLOURS[i]
        ax.plot([low, high], [y, y], color=colour, lw=2, alpha=0.5)
        ax.plot(100 * share["share"], y, report.MARKERS[i], color=colour, ms=5, label=label, ls="")


def _draw_rules(ax: Any, score: Mapping[str, Any]) -> None:
    rules = list(score["published"].items())
    for i, (name, versus) in enumerate(rules):
        _point(ax, versus["false_alarms"], versus["caught_of_all"], i, name)
    _point(ax, score["healthy"]["alarmed"], score["overall"]["hit"], None, "actstats")
    ax.set(
        xlim=(-3, 103),
        ylim=(-3, 103),
        xlabel="% of healthy configurations alarmed",
        ylabel="% of sick configurations caught",
    )
    _legend(ax)


def _point(ax: Any, false: Share, caught: Share, i: int | None, label: str) -> None:
    """Draw one rule; ours is the black star."""
    if not (false["n"] and caught["n"]):
        return
    x, y = 100 * false["share"], 100 * caught["share"]
    if i is None:
        ax.plot(x, y, "*", color="black", ms=14, label=label, ls="")
        return
    colours, markers = report.COLOURS[:-1], report.MARKERS
    fill = "full" if i < len(markers) else "none"
    colour, marker = colours[i % len(colours)], markers[i % len(markers)]
    ax.plot(x, y, marker, color=colour, ms=8, fillstyle=fill, label=label, ls="")
