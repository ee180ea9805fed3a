"""Does the state at step 0 foretell failure? `python -m benchmarks.clinic.prognosis`.

Small networks are drawn from a grid and really trained; before that, one forward and backward are
recorded. A score is fitted on one half of the networks, with its cut-off at 5 % false alarms, and
reported on the other half, beside the published rules and a trial of 20 steps.

    python -m benchmarks.clinic.prognosis [--networks 2400] [--resume FILE] [--write]

`--resume` keeps every network's row in a file and goes on from it; `--write` puts the fitted score
into the library. 2,400 networks take about 15 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actstats.diagnosis import fitted
from actstats.diagnosis.fitted import Model, Rate
from benchmarks import machine, report
from benchmarks.clinic import prognosis_fit as fits
from benchmarks.clinic import prognosis_nets as nets
from benchmarks.clinic import prognosis_rules as rules
from benchmarks.clinic.prognosis_fit import Array, Mask, Networks

OURS = "actstats, step 0"
BESIDE = ("task", "activation", "norm", "init", "depth", "width", "residual")
LEFT_OUT = ("task", "activation", "norm", "init")
AGAIN_EVERY = 8  # networks, of which one is trained a second time on other batches


# ---- labelling -----------------------------------------------------------------------------------


def rows_of(networks: int, file: Path | None) -> list[dict[str, Any]]:
    """Label and measure networks; those in the file already are read."""
    done = file.read_text().splitlines() if file is not None and file.exists() else []
    rows = [json.loads(line) for line in done[:networks]]
    cases = nets.draw(networks)
    for case, row in zip(cases, rows, strict=False):
        if nets.case_of(row) != case:
            raise ValueError(f"`{file}` holds other networks: wanted {case}; got {row}.")
    for i in progress(range(len(rows), networks), len(rows), networks):
        row = nets.label(cases[i], again=i % AGAIN_EVERY == 0) | rules.measure(cases[i])
        rows.append(row)
        if file is not None:
            with file.open("a") as out:
                out.write(json.dumps(row) + "\n")
    return rows


def progress(numbers: range, done: int, total: int) -> Iterable[int]:
    """Show a bar where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return numbers
    return tqdm(numbers, "networks", initial=done, total=total)


# ---- what is found -------------------------------------------------------------------------------


def analyse(data: Networks) -> dict[str, Any]:
    """Fit on one half, report on the other."""
    half = np.array([case.half == "fit" for case in data.cases])
    models, odds = {}, np.zeros(len(half))
    for family in fits.FAMILIES:
        models[family], scores = fits.make_model(data, family, half)
        odds += scores
    scored = {OURS: odds, **fits.scores_of_trial(data, half, odds)}
    published = dict(zip(rules.CUTS, data.rules.T, strict=True))
    cut_of = {name: fits.cuts_by(data, half, s, fits.family_of) for name, s in scored.items()}
    fitted_rules = {n: fits.cuts_by(data, half, s, fits.family_of) for n, s in published.items()}
    alarms = odds > cut_of[OURS]
    return {
        "models": models,
        "odds": odds,
        "scores": {**scored, **published},
        "half": half,
        "by_optimizer": {
            optimizer: by_score(data, ~half & data.where(optimizer=optimizer), scored, cut_of)
            | {
                name: judged(data, ~half & data.where(optimizer=optimizer), s, rules.CUTS[name])
                | {"fitted": rates(data, ~half & data.where(optimizer=optimizer), s > cuts)}
                for (name, s), cuts in zip(published.items(), fitted_rules.values(), strict=True)
            }
            for optimizer in nets.OPTIMIZERS
        },
        "by_value": {
            f"{axis} {value}": rates(data, ~half & data.where(**{axis: value}), alarms)
            for axis in BESIDE
            for value in dict.fromkeys(getattr(case, axis) for case in sorted(data.cases, key=str))
        },
        "left_out": {
            f"{axis} {value}": [as_json(r) for r in fits.left_out(data, half, axis, value)]
            for axis in LEFT_OUT
            for value in sorted({getattr(case, axis) for case in data.cases})
        },
        "again": again(data),
        "borderline": borderline(data, ~half, alarms),
    }


def by_score(
    data: Networks, among: Mask, scored: dict[str, Array], cuts: dict[str, Array]
) -> dict[str, Any]:
    return {name: judged(data, among, s, cuts[name]) for name, s in scored.items()}


def judged(data: Networks, among: Mask, scores: Array, cut: Array | float) -> dict[str, Any]:
    """Return alarms at a cut, and the area under the ROC."""
    area = fits.area(scores[among], data.failed[among])
    found = rates(data, among, scores > cut)
    return {"rates": found, "area": None if area is None else round(area, 3)}


def rates(data: Networks, among: Mask, alarms: Mask) -> list[list[int]]:
    """Return caught and false, as hits and numbers."""
    return [as_json(fits.rate(alarms, among & part)) for part in (data.failed, ~data.failed)]


def borderline(data: Networks, among: Mask, alarms: Mask) -> dict[str, list[int]]:
    """Return how many of the missed, and of the falsely alarmed on, ended near the bound."""
    near = (data.final > 0.7) & (data.final < 0.99)
    return {
        "missed": as_json(fits.rate(near, among & data.failed & ~alarms)),
        "false": as_json(fits.rate(near, among & ~data.failed & alarms)),
    }


def as_json(rate: Rate) -> list[int]:
    return [rate.hits, rate.of]


def again(data: Networks) -> dict[str, list[int]]:
    """Return how often a network that failed, and one that learned, fails on other batches."""
    twice = np.array(data.again, bool).reshape(-1, 2)
    first, second = twice.T
    return {
        "failed": as_json(fits.rate(second, first)),
        "learned": as_json(fits.rate(second, ~first)),
    }


# ---- what is shown -------------------------------------------------------------------------------


def words(rate: Sequence[int]) -> str:
    return str(Rate(*rate)) if rate[1] else "-"


def tables(result: dict[str, Any]) -> str:
    """Return all tables, as Markdown."""
    found = result["found"]
    number = len(result["networks"]["failed"])
    reported = sum(r["rates"][k][1] for r in _ours(found) for k in (0, 1))
    return "\n\n".join(
        (
            HEAD.format(number=number, reported=reported),
            main_table(found),
            NOISE.format(
                *(words(found["again"][name]) for name in ("failed", "learned")),
                *(words(found["borderline"][name]) for name in ("missed", "false")),
            ),
            "Published rules, at their own cut-offs, and at cut-offs fixed as ours is:",
            rule_table(found),
            "Where ours is right and wrong:",
            value_table(found["by_value"]),
            "Fitted without any network of a kind, and reported on that kind:",
            value_table(found["left_out"]),
        )
    )


HEAD = (
    "{number:,} networks; figures are of the {reported:,} that no fit and no cut-off has seen. "
    "Caught: alarms among those that failed; false: among those that learned; 95 % Wilson "
    "intervals. The cut-off is fixed on the other half, at 5 % false alarms of each family of "
    "optimizers (SGD; Adam and AdamW)."
)
NOISE = (
    "The same network, started the same, on other batches: of those that failed {} fail again, of "
    "those that learned {} fail. No score at step 0 can know of that. Of the networks that it "
    "missed {} ended between 0.7 and 0.99 of the constant's loss, near the bound of 0.9; of those "
    "it alarmed on falsely {}."
)


def _ours(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [row[OURS] for row in found["by_optimizer"].values()]


def main_table(found: dict[str, Any]) -> str:
    lines = [
        (optimizer, name, *map(words, row[name]["rates"]), row[name]["area"])
        for optimizer, row in found["by_optimizer"].items()
        for name in row
        if name not in rules.CUTS
    ]
    return report.markdown(("optimizer", "score", "caught", "false", "area under ROC"), lines)


def rule_table(found: dict[str, Any]) -> str:
    lines = [
        (optimizer, name, *map(words, row[name]["rates"]), *map(words, row[name]["fitted"]))
        for optimizer, row in found["by_optimizer"].items()
        for name in rules.CUTS
    ]
    head = ("optimizer", "rule", "caught", "false", "caught at fitted cut", "false at fitted cut")
    return report.markdown(head, lines)


def value_table(found: dict[str, list[list[int]]]) -> str:
    lines = [(name, *map(words, rate)) for name, rate in found.items()]
    return report.markdown(("networks", "caught", "false"), lines)


def draw(data: Networks, found: dict[str, Any]) -> Any:
    """Draw the ROC of each optimizer: ours, the trial, and the published rules."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    panels = list(figure.subplots(2, 3).flat)
    names = [OURS, "step 0 and 20 steps", "loss after 20 steps", *list(rules.CUTS)[:4]]
    colours = [report.COLOURS[i] for i in (1, 4, 6, 0, 2, 3, 5)]
    for ax, optimizer in zip(panels, nets.OPTIMIZERS, strict=False):
        among = ~found["half"] & data.where(optimizer=optimizer)
        failed = data.failed[among]
        for i, name in enumerate(names):
            false, caught = fits.roc(found["scores"][name][among], failed)
            wide = 3 if name == OURS else 1.3
            dashed = "-" if name == OURS else "--" if "20" in name else "-"
            ax.plot(
                100 * false,
                100 * caught,
                dashed,
                color=colours[i],
                lw=wide,
                label=name,
                zorder=9 - i,
            )
            bad, good = (Rate(*r).share for r in found["by_optimizer"][optimizer][name]["rates"])
            ax.plot(
                100 * good,
                100 * bad,
                report.MARKERS[i],
                color=colours[i],
                mec="white",
                ms=8,
                zorder=19 - i,
            )
        ax.axvline(5, color="black", lw=0.8, ls=":")
        ax.axhline(90, color="black", lw=0.8, ls=":")
        ax.set_title(f"{optimizer}: {failed.sum()} fail, {(~failed).sum()} learn", fontsize=10)
        ax.set(xlim=(-1, 60), ylim=(0, 101), xlabel="false alarms, %", ylabel="caught, %")
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    panels[-1].axis("off")
    handles, labels = panels[0].get_legend_handles_labels()
    panels[-1].legend(handles, labels, loc="center", fontsize=10, frameon=False)
    caption = "symbols: the cut-offs (ours fixed on other networks); dotted: the aim"
    panels[-1].text(0.5, 0.12, caption, ha="center", fontsize=9, transform=panels[-1].transAxes)
    return figure


# ---- what is written -----------------------------------------------------------------------------


def compact(data: Networks, odds: Array) -> dict[str, Any]:
    """Return label and score of each network, in the order of the draw."""
    failed = "".join("01"[int(f)] for f in data.failed)
    return {
        "seed": nets.SEED,
        "failed": failed,
        "log_odds_tenths": np.round(10 * odds.clip(-99, 99)).astype(int).tolist(),
    }


def publish(result: dict[str, Any], figure: Any, out: Path) -> None:
    text = f"{tables(result)}\n\nMeasured {machine.in_words(result['machine'])}\n"
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / "prognosis.json").write_text(json.dumps(result, allow_nan=False) + "\n")
    (out / "prognosis.md").write_text(text)
    figure.savefig(out / "prognosis.png", dpi=110)


def literal(models: dict[str, Model], networks: int, date: str) -> str:
    """Return the models as the library holds them."""
    made = f"# {date}, python -m benchmarks.clinic.prognosis --networks {networks}"
    lines = [made, "# fmt: off", "MODELS: Mapping[Family, Model] = {"]
    for family, model in models.items():
        lines += [
            f'    "{family}": Model(',
            f"        intercept={model.intercept}, cut={model.cut},",
            "        curves={",
            *(line for name, curve in model.curves.items() for line in _curve(name, curve)),
            "        },",
            "        healthy={",
            *(f'            "{name}": {value},' for name, value in model.healthy.items()),
            "        },",
            f"        caught=Rate({model.caught.hits}, {model.caught.of}),",
            f"        false=Rate({model.false.hits}, {model.false.of}),",
            "        bins=(",
            *(f"            ({end}, Rate({r.hits}, {r.of}))," for end, r in model.bins),
            "        ),",
            "    ),",
        ]
    return "\n".join([*lines, "}", "# fmt: on", ""])


def _curve(name: str, curve: tuple[tuple[float, ...], tuple[float, ...]]) -> list[str]:
    knots, points = curve
    both = (f"                {values}," for values in (knots, points))
    return [f'            "{name}": (', *both, "            ),"]


def write(models: dict[str, Model], networks: int, date: str) -> None:
    """Put the models into the library's source."""
    path = Path(fitted.__file__)
    head, mark, _ = re.split(r"(?m)^(# ---- measured: .*\n\n)", path.read_text(), maxsplit=1)
    path.write_text(head + mark + literal(models, networks, date))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.clinic.prognosis",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--networks", type=int, default=2400)
    parser.add_argument("--resume", type=Path, help="a JSONL file of networks that are done")
    parser.add_argument("--write", action="store_true", help="put the score into the library")
    parser.add_argument("--out", type=Path, default=report.RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = Networks.of(rows_of(options.networks, options.resume))
    found = analyse(data)
    described = machine.describe()
    if options.write:
        write(found["models"], options.networks, str(described["date"]))
    kept = ("by_optimizer", "by_value", "left_out", "again", "borderline")
    result = {
        "benchmark": "prognosis",
        "machine": described,
        "options": {"networks": options.networks},
        "found": {name: found[name] for name in kept},
        "networks": compact(data, found["odds"]),
    }
    publish(result, draw(data, found), options.out)


if __name__ == "__main__":
    main()
