r"""
Pick an initialisation before the first step
============================================

Which initial weights suit a deep network can be told before it trains: one forward and one
backward on a copy show whether a signal reaches the last layer and a gradient the first. Here
:func:`actstats.check` judges four ways to begin, on the handwritten digits of scikit-learn and ten
hidden layers of 64 tanh units.

::

    python examples/pick_initialisation.py [--out DIR]
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

from actstats import Checkup, check, make_mlp

WAYS = {"std 0.01": 0.01, "std 0.05": 0.05, "Xavier": 1 / 8, "std 0.5": 0.5}  # of 64 inputs


def loss_fn(net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    return nn.functional.cross_entropy(net(x), y)


def judge(std: float) -> Checkup:
    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.data / 8 - 1, dtype=torch.float32)
    net = make_mlp(64, [64] * 10, 10, activation="tanh", weight_std=std, bias_init=0.0)
    return check(net, (x[:256], torch.tensor(digits.target[:256])), loss_fn, remedies=False)


# %%
# Signal forward, gradient back
# -----------------------------
# The spread of what each layer gives, and the size of the gradient of the loss by it: in a network
# that can learn, both are much the same over depth.


def draw(found: dict[str, Checkup]) -> Figure:
    figure = Figure(figsize=(8.8, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    layers = range(1, 11)
    for name, checkup in found.items():
        recording, style = checkup.recording, "o-" if checkup.ok else "x--"
        panels[0].plot(layers, [recording[f"act{i}"].std for i in layers], style, label=name)
        panels[1].plot(layers, [recording[f"act{i}:grad"].rms for i in layers], style)
    panels[0].set(title="what each layer gives", ylabel="standard deviation")
    panels[1].set(title="gradient by it", ylabel="root mean square")
    for axes in panels:
        axes.set(xlabel="hidden layer", yscale="log", xticks=layers)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    return figure


# %%
# The verdict
# -----------
# Dashed lines with crosses are what `check` warns of.


def main(argv: list[str] | None = None) -> dict[str, Checkup]:
    parser = argparse.ArgumentParser(description="Pick an initialisation by check.")
    parser.add_argument("--out", type=Path, default=Path("pick_initialisation_output"))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    found = {name: judge(std) for name, std in WAYS.items()}
    for name, checkup in found.items():
        root = next(iter(checkup.roots), None)
        told = "fit to train" if checkup.ok or root is None else f"{root.rule} at {root.site}"
        print(f"{name:10}{told}")
    draw(found).savefig(args.out / "initialisations.png", dpi=120)
    return found


if __name__ == "__main__":
    main()
