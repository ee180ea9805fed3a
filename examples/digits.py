r"""
The same sickness on real data: handwritten digits
==================================================

Does it take a contrived problem to kill a network? Here is a usual one: 1,797 handwritten digits
of 8 x 8 pixels from scikit-learn, scaled to [0, 1], five hidden layers of 64 ReLUs, and torch's
own initial weights. Only the biases were chosen badly: each starts at -0.2. A network like this
is not slow to learn, it is dead on arrival, and its loss alone does not say so.

::

    python examples/digits.py [--epochs 5] [--seed 1] [--out DIR]
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.datasets import load_digits
from torch import Tensor, nn

from actstats import ActivationRecorder, make_mlp, plot

LAYERS = 5
COLORS = {"plain": "#DE8F05", "batch norm": "#0173B2"}  # told apart by colour-blind readers too

# %%
# One network, with and without batch normalization
# -------------------------------------------------
# The recorder is attached for the test only: 360 digits that were not trained on, in eval mode,
# before each epoch and after the last. The accuracy is kept beside the statistics. (Before training
# both look equally dead: until it has seen a batch, a batch norm in eval mode changes nothing.)

Digits = tuple[Tensor, Tensor]


def load(seed: int) -> tuple[Digits, Digits]:
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    train, test = order[:-360], order[-360:]
    return (x[train], y[train]), (x[test], y[test])


def train(
    data: Digits, held_out: Digits, *, bn: bool, epochs: int, seed: int
) -> ActivationRecorder:
    torch.manual_seed(seed)
    net = make_mlp(64, [64] * LAYERS, 10, activation="relu", bn=bn, bias_init=-0.2)
    recorder = ActivationRecorder(net, window=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x, y = data
    for _ in range(epochs):
        look(net, recorder, held_out)
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
    look(net, recorder, held_out)
    return recorder


def look(net: nn.Module, recorder: ActivationRecorder, held_out: Digits) -> None:
    x, y = held_out
    net.eval()
    with recorder, torch.no_grad():
        right = net(x).argmax(1) == y
    net.train()
    recorder.step(accuracy=right.float().mean().item())


# %%
# Accuracy beside what is inside
# ------------------------------
# Chance is 10 %. A dead unit gives nothing for any of the 360 digits; once every unit of a layer
# is dead, what comes after it is the same for each digit, and no gradient passes back.


def accuracies(recorder: ActivationRecorder) -> list[float]:
    return [window.scalars["accuracy"].last for window in recorder.recording.windows]


def dead(recorder: ActivationRecorder, look: int) -> list[float]:
    """Share of dead units in each layer; look 0 is before training, look -1 after it."""
    window = recorder.recording.windows[look]
    return [window[f"act{i}"].dead_fraction for i in range(1, LAYERS + 1)]


def table(recorders: dict[str, ActivationRecorder]) -> str:
    layers = "".join(f"{f'L{i}':>8}" for i in range(1, LAYERS + 1))
    lines = [f"{'':26}{'accuracy':>10}   dead units in", f"{'':39}{layers}"]
    for name, recorder in recorders.items():
        for when, look in (("before training", 0), ("after", -1)):
            shares = "".join(f"{100 * share:6.0f} %" for share in dead(recorder, look))
            accuracy = 100 * accuracies(recorder)[look]
            lines.append(f"{name:12}{when:15}{accuracy:7.1f} %   {shares}")
    return "\n".join(lines)


def draw_accuracy(recorders: dict[str, ActivationRecorder]) -> Figure:
    """Draw accuracy over the epochs beside the dead units of each layer after them."""
    figure = Figure(figsize=(8.8, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, recorder), marker, side in zip(recorders.items(), "os", (-0.2, 0.2), strict=True):
        percent = [100 * accuracy for accuracy in accuracies(recorder)]
        left.plot(percent, marker=marker, color=COLORS[name], label=name)
        shares = [100 * share for share in dead(recorder, -1)]
        places = [i + side for i in range(1, LAYERS + 1)]
        bars = right.bar(places, shares, width=0.4, color=COLORS[name], label=name)
        right.bar_label(bars, fmt="%.0f", color=COLORS[name], fontsize=9)
    left.axhline(10, color="#767676", ls="--", label="chance")
    left.set(xlabel="epochs trained", ylabel="test accuracy (%)", ylim=(0, 102))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.legend(frameon=False, loc="center right")
    right.set(xlabel="hidden layer", ylabel="dead units (%)", ylim=(0, 108))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


# %%
# All of it
# ---------


def main(argv: list[str] | None = None) -> dict[str, ActivationRecorder]:
    parser = argparse.ArgumentParser(
        description="Handwritten digits with and without batch normalization.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--epochs", type=int, default=5, help="at least 1")
    parser.add_argument("--seed", type=int, default=1, help="of the split, networks and batches")
    parser.add_argument("--out", type=Path, default=Path("digits_output"), help="for the pictures")
    args = parser.parse_args(argv)
    if args.epochs < 1 or not 0 <= args.seed < 2**32:
        parser.error("--epochs must be at least 1, and --seed from 0 to 2**32 - 1")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(str(error))

    data, held_out = load(args.seed)
    recorders = {
        name: train(data, held_out, bn=name == "batch norm", epochs=args.epochs, seed=args.seed)
        for name in COLORS
    }
    print(table(recorders))
    draw_accuracy(recorders).savefig(args.out / "accuracy.png", dpi=120)
    grid = plot.histogram_grid(recorders, step=args.epochs, title="digits, after training")
    grid.savefig(args.out / "grid.png", dpi=120)
    print(f"\nPictures are in {args.out}/")
    return recorders


if __name__ == "__main__":
    main()
