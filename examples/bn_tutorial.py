r"""
Why batch normalization? See every layer of a network that cannot learn
========================================================================

A deep network starts badly: small random weights, and every bias at -0.2. Its layers see less
and less of the input, training drives them into the flat parts of their activation function, and
no gradient comes back. The same network with a normalization in front of each activation learns
from the very same start. We train both on the same batches, with tanh and with ReLU, and look
inside with one :class:`actstats.ActivationRecorder` each.

::

    python examples/bn_tutorial.py [--activation tanh|relu|both] [--epochs 12] [--seed 1]
                                   [--out DIR] [--bias-init -0.2] [--no-animation] [--show]

The lesson is Morvan Zhou's (PyTorch-Tutorial, 504_batch_normalization.py); with the same seed
these are its networks, its data and its batches.
"""

import argparse
import io
import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from actstats import ActivationRecorder, TensorStats, make_mlp, plot

HIDDEN = (10,) * 8
BATCH_SIZE = 64
LEARNING_RATE = 0.03

NAMES = {"plain": "plain", "bn": "batch norm"}  # the two networks, in files and in pictures
COLORS = {"plain": "#DE8F05", "bn": "#0173B2"}  # told apart by colour-blind readers too
GREY = "#767676"

# %%
# The task
# --------
# Fit a noisy parabola from 2,000 points; 200 others are for testing. Nothing here is hard, and
# inputs up to 10 with targets up to 95 are what an unprepared regression problem looks like.


@dataclass(frozen=True)
class Data:
    """Points of shape (n, 1)."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor

    @property
    def loss_of_mean(self) -> float:
        """Test loss of the answer that ignores x: always the mean of the targets."""
        mean = self.test_y.mean().expand_as(self.test_y)
        return nn.functional.mse_loss(mean, self.test_y).item()


def make_data(seed: int) -> Data:
    np.random.seed(seed)
    return Data(*noisy_parabola(2000), *noisy_parabola(200))


def noisy_parabola(n: int) -> tuple[Tensor, Tensor]:
    x = np.linspace(-7, 10, n)[:, np.newaxis]
    y = np.square(x) - 5 + np.random.normal(0, 2, x.shape)
    return torch.from_numpy(x).float(), torch.from_numpy(y).float()


# %%
# Two networks
# ------------
# Eight hidden layers of ten units, weights from N(0, 0.1), every bias at -0.2: that is the bad
# start. The second network has the same shape with a :class:`torch.nn.BatchNorm1d` in front of
# the first layer and between each ``fc`` and its activation. The plain one is made first, so that
# a seed gives the published tutorial's networks.


def make_nets(activation: str, bias_init: float) -> dict[str, nn.Sequential]:
    return {
        variant: make_mlp(
            hidden=HIDDEN,
            activation=activation,
            bn=variant == "bn",
            bn_momentum=0.5,
            weight_std=0.1,
            bias_init=bias_init,
        )
        for variant in NAMES
    }


# %%
# One recorder each
# -----------------
# A recorder takes any model as it is. Three things are said here that are not its defaults:
#
# - ``capture``: what goes *into* a layer too, for the picture's first column, the input;
# - ``edges``: the ten bins of the picture, which are then counted exactly, not read off the
#   recorder's own finer histogram;
# - ``saturation_slope``: a tanh counts as saturated beyond 0.97 on either side, where its slope
#   ``1 - tanh(z)**2`` is below 0.0591 (the default, 0.05, means 0.975).
#
# ``window=1`` keeps every look for itself.

INPUT = (10, -7, 10)
EDGES = {
    "bn0": INPUT,  # the input after, and before, its batch norm
    "bn0:input": INPUT,
    "fc1:input": INPUT,
    "fc*": (10, -4, 4),  # before the activation
    "act*": (10, -1, 1),  # after it
}


def make_recorder(net: nn.Module) -> ActivationRecorder:
    return ActivationRecorder(
        net,
        capture=("output", "input"),
        edges=EDGES,
        saturation_slope=1 - 0.97**2,
        window=1,
    )


# %%
# Training
# --------
# Both networks learn from the same batches. Before each epoch, and once more after the last, each
# answers the 200 test points. Only then are the hooks in place, so each step of the recorder is
# one look at the test points in eval mode: step 0 is before training. The loss is handed to the
# recorder as well, which keeps it beside the statistics.


@dataclass(frozen=True)
class Result:
    """Two trained networks and what was seen inside them."""

    activation: str
    epochs: int
    nets: dict[str, nn.Sequential]
    recorders: dict[str, ActivationRecorder]
    loss_of_mean: float

    def test_losses(self, variant: str) -> list[float]:
        """The test loss before each epoch and, last, after them all."""
        windows = self.recorders[variant].recording.windows
        return [window.scalars["test_loss"].last for window in windows]

    def after(self, variant: str, site: str) -> TensorStats:
        """What the recorder knows of a site after the last epoch."""
        return self.recorders[variant].recording.windows[-1][site]


def train(
    activation: str,
    data: Data,
    *,
    epochs: int = 12,
    seed: int = 1,
    bias_init: float = -0.2,
    each_look: Callable[[Result, int], object] | None = None,
) -> Result:
    torch.manual_seed(seed)
    nets = make_nets(activation, bias_init)
    recorders = {variant: make_recorder(net) for variant, net in nets.items()}
    result = Result(activation, epochs, nets, recorders, data.loss_of_mean)
    optimizers = {v: torch.optim.Adam(net.parameters(), LEARNING_RATE) for v, net in nets.items()}
    loader = DataLoader(TensorDataset(data.train_x, data.train_y), BATCH_SIZE, shuffle=True)

    def look(epoch: int) -> None:
        for variant, net in nets.items():
            test(net, recorders[variant], data, epoch)
        if each_look is not None:
            each_look(result, epoch)

    for epoch in progress(range(epochs), f"train with {activation}"):
        look(epoch)
        for x, y in loader:
            for variant, net in nets.items():
                learn(net, optimizers[variant], x, y)
    look(epochs)
    return result


def test(net: nn.Module, recorder: ActivationRecorder, data: Data, epoch: int) -> None:
    net.eval()
    with recorder, torch.no_grad():
        loss = nn.functional.mse_loss(net(data.test_x), data.test_y)
    net.train()
    recorder.step(epoch, test_loss=loss.item())


def learn(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    nn.functional.mse_loss(net(x), y).backward()
    optimizer.step()


def progress(epochs: range, what: str) -> Iterable[int]:
    try:
        from tqdm import tqdm
    except ImportError:
        print(f"{what} (no progress bar without tqdm: pip install tqdm)", file=sys.stderr)
        return epochs
    bar: Iterable[int] = tqdm(epochs, what, unit="epoch", mininterval=0.5, leave=False)
    return bar


# %%
# Figures of each layer
# ---------------------
# All of them are the recorder's. *Saturated* is the share of values where the activation is flat.
# A unit is *dead* if it gives nothing on any of the 200 points and so gets no gradient; this is a
# question for ReLU. A tanh is never exactly flat: its figure does not apply, which is written as
# null, and never as 0.


@dataclass(frozen=True)
class Layer:
    layer: str
    saturated_fraction: float | None
    dead_fraction: float | None
    pre_activation_std: float | None
    activation_std: float | None


def layers(result: Result, variant: str) -> list[Layer]:
    found = []
    for i in range(1, len(HIDDEN) + 1):
        before, after = result.after(variant, f"fc{i}"), result.after(variant, f"act{i}")
        figures = after.saturated_fraction, after.dead_fraction, before.std, after.std
        found.append(Layer(f"L{i}", *(number_or_none(figure) for figure in figures)))
    return found


def number_or_none(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None


def as_json(result: Result) -> dict[str, Any]:
    """Return one activation's part of results.json."""
    return {
        variant: {
            "test_loss_by_epoch": result.test_losses(variant)[:-1],
            "final_test_loss": result.test_losses(variant)[-1],
            "layers": [asdict(layer) for layer in layers(result, variant)],
        }
        for variant in NAMES
    }


# %%
# The table, and what it says
# ---------------------------
# The words are made from the figures, so they also fit a run with other biases or more epochs.

MUCH_SATURATED = 0.6


def table(result: Result) -> str:
    """Return both networks side by side."""
    losses = [f"{result.test_losses(variant)[-1]:12.1f}" for variant in NAMES]
    names = "".join(f"{name:>12}" for name in NAMES.values())
    lines = [
        f"{result.activation}, after {count(result.epochs, 'epoch')}",
        f"{'':10}{names}",
        f"{'test loss':10}{''.join(losses)}",
        "",
        f"{'':10}{'saturated':>24}  {'dead':>24}",
        f"{'layer':10}{names}  {names}",
    ]
    for plain, bn in zip(layers(result, "plain"), layers(result, "bn"), strict=True):
        saturated = percent(plain.saturated_fraction) + percent(bn.saturated_fraction)
        dead = percent(plain.dead_fraction) + percent(bn.dead_fraction)
        lines.append(f"{plain.layer:10}{saturated}  {dead}")
    why = result.after("plain", "act1").why("dead_fraction")
    return "\n".join([*lines, f"-: does not apply ({why})"] if why else lines)


def percent(share: float | None) -> str:
    return f"{'-':>12}" if share is None else f"{100 * share:10.0f} %"


def count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def story(result: Result) -> str:
    """Say in words what the figures show."""
    sentences = [f"{about_loss(result, v)} {about_layers(result, v)}" for v in NAMES]
    plain, bn = (result.test_losses(variant)[-1] for variant in NAMES)
    less, more = ("batch norm", "plain") if bn < plain else ("plain", "batch norm")
    ratio = max(plain, bn) / min(plain, bn)
    together = (
        f"Both networks end about equal ({ratio:.2f} times)."
        if ratio < 1.1
        else f"From the same start, on the same batches, the {less} network ends with a loss "
        f"{ratio:.1f} times smaller than the {more} one."
    )
    return "\n".join([*sentences, together])


def about_loss(result: Result, variant: str) -> str:
    first, *_, last = result.test_losses(variant)
    share = last / result.loss_of_mean
    if share > 1.02:
        verdict = "worse than"
    elif share > 0.98:
        verdict = "no better than"
    else:
        verdict = f"{100 * share:.0f} % of"
    return (
        f"{NAMES[variant]}: the test loss goes from {first:.0f} to {last:.0f}, {verdict} what "
        f"always answering the mean would cost ({result.loss_of_mean:.0f})."
    )


def about_layers(result: Result, variant: str) -> str:
    found = layers(result, variant)
    if result.after(variant, "act1").why("dead_fraction") is None:
        dead = {layer.layer: layer.dead_fraction or 0.0 for layer in found}
        gone = [name for name, share in dead.items() if share == 1]
        if gone:
            return f"Every unit of {spans(gone)} is dead: no input passes, and no gradient returns."
        worst = max(dead, key=lambda name: dead[name])
        if dead[worst] == 0:
            return "No unit is dead."
        lost = f"{100 * dead[worst]:.0f} % of its units"
        return f"No whole layer is dead; the worst, {worst}, has lost {lost}."
    flat = {layer.layer: layer.saturated_fraction or 0.0 for layer in found}
    stuck = [name for name, share in flat.items() if share >= MUCH_SATURATED]
    if stuck:
        verb, least = "are" if len(stuck) > 1 else "is", min(flat[name] for name in stuck)
        return f"{spans(stuck)} {verb} at least {math.floor(100 * least)} % saturated."
    worst = max(flat, key=lambda name: flat[name])
    return f"No layer is stuck; the most saturated, {worst}, is so at {100 * flat[worst]:.0f} %."


def spans(names: list[str]) -> str:
    """Join layers: L1, L4-L8."""
    numbers = [int(name[1:]) for name in names]
    breaks = [i for i, (a, b) in enumerate(pairwise(numbers), 1) if b != a + 1]
    runs = [numbers[i:j] for i, j in pairwise([0, *breaks, len(numbers)])]
    return ", ".join(f"L{r[0]}" if len(r) == 1 else f"L{r[0]}-L{r[-1]}" for r in runs)


# %%
# The pictures
# ------------
# The grid of histograms is the one to look at: columns are layers, from the input on. Grey is where
# the activation function is flat. Without batch norm the values first shrink to a point; with tanh
# they then pile up in the grey at both ends, with ReLU they stay below zero and nothing passes.
# With batch norm every layer keeps using its whole range. The animation shows how they got there.
# (In its first frame both networks look alike: until it has seen a batch, a batch norm in eval
# mode changes nothing.)


def draw_grid(result: Result, epoch: int) -> Figure:
    return plot.histogram_grid(
        named(result.recorders), step=epoch, title=f"{result.activation}, epoch {epoch}"
    )


def named(recorders: dict[str, ActivationRecorder]) -> dict[str, ActivationRecorder]:
    return {NAMES[variant]: recorder for variant, recorder in recorders.items()}


def draw_data(data: Data) -> Figure:
    figure, axes = one_panel("The task: a noisy parabola", "x", "y")
    axes.plot(data.train_x, data.train_y, ".", ms=3, color="#56B4E9", label="2,000 to train on")
    axes.plot(data.test_x, data.test_y, "x", ms=5, color="black", label="200 to test on")
    axes.legend(frameon=False)
    return figure


def draw_loss(result: Result) -> Figure:
    title = f"Test loss with {result.activation}"
    figure, axes = one_panel(title, "epochs trained", "mean squared error")
    for variant, marker in zip(NAMES, "os", strict=True):
        losses = result.test_losses(variant)
        axes.plot(losses, marker=marker, color=COLORS[variant], label=NAMES[variant])
    axes.axhline(result.loss_of_mean, color=GREY, ls="--", label="always answering the mean")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def draw_fit(result: Result, data: Data) -> Figure:
    figure, axes = one_panel(f"What was learned with {result.activation}", "x", "y")
    axes.plot(data.test_x, data.test_y, ".", ms=5, color="#B0B0B0", label="test points")
    for (variant, net), style in zip(result.nets.items(), ("--", "-"), strict=True):
        net.eval()
        with torch.no_grad():
            answer = net(data.test_x)
        axes.plot(data.test_x, answer, style, lw=2.5, color=COLORS[variant], label=NAMES[variant])
    axes.legend(frameon=False)
    return figure


def one_panel(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_pictures(result: Result, data: Data, out: Path, *, animation: bool = True) -> None:
    name = result.activation
    draw_loss(result).savefig(out / f"loss_{name}.png", dpi=120)
    draw_fit(result, data).savefig(out / f"fit_{name}.png", dpi=120)
    draw_grid(result, result.epochs).savefig(out / f"grid_{name}.png", dpi=120)
    if animation:
        plot.animate_grid(named(result.recorders), out / f"grid_{name}.gif", title=name)


# %%
# With ``--show`` the grid is drawn in a window before each epoch, while the networks train.


class Window:
    """A window that shows one picture after the other."""

    def __init__(self) -> None:
        import matplotlib.pyplot as plt

        self._plt = plt
        self._figure = plt.figure("Layer by layer", layout="none")
        if self._figure.canvas.required_interactive_framework is None:
            raise RuntimeError(f"matplotlib's backend here, {plt.get_backend()!r}, opens no window")
        plt.ion()

    def show(self, picture: Figure) -> None:
        drawn = io.BytesIO()
        picture.savefig(drawn, format="png", dpi=80)
        drawn.seek(0)
        pixels = self._plt.imread(drawn)
        height, width, _ = pixels.shape
        self._figure.clear()
        self._figure.set_size_inches(width / self._figure.dpi, height / self._figure.dpi)
        self._figure.figimage(pixels)
        self._plt.pause(0.01)

    def wait(self) -> None:
        """Leave the last picture until the window is closed."""
        self._plt.ioff()
        self._plt.show()


# %%
# All of it
# ---------


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the lesson and return what results.json holds."""
    args = read_arguments(argv)
    data = make_data(args.seed)
    draw_data(data).savefig(args.out / "data.png", dpi=120)
    functions = plot.activation_functions(args.activations, saturation_slope=1 - 0.97**2)
    functions.savefig(args.out / "activation_functions.png", dpi=120)

    results = {}
    for activation in args.activations:
        result = train(
            activation,
            data,
            epochs=args.epochs,
            seed=args.seed,
            bias_init=args.bias_init,
            each_look=lambda now, epoch: args.window and args.window.show(draw_grid(now, epoch)),
        )
        print(f"{table(result)}\n\n{story(result)}\n")
        save_pictures(result, data, args.out, animation=args.animation)
        results[activation] = as_json(result)
    (args.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"Pictures and results.json are in {args.out}/")
    if args.window:
        args.window.wait()
    return results


def read_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Watch a badly initialised network with and without batch normalization.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--activation", choices=("tanh", "relu", "both"), default="both", help="which to run")
    add("--epochs", type=whole_number(1), default=12, help="at least 1")
    add("--seed", type=whole_number(0, 2**32 - 1), default=1, help="of data, networks and batches")
    add("--out", type=Path, default=Path("bn_tutorial_output"), help="folder for what is written")
    add("--bias-init", type=number, default=-0.2, help="what every bias starts from")
    add("--no-animation", action="store_false", dest="animation", help="leave the GIFs out")
    add("--show", action="store_true", help="draw the grid in a window while training")
    args = parser.parse_args(argv)
    args.activations = ["tanh", "relu"] if args.activation == "both" else [args.activation]
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out cannot be made: {error}")
    try:
        args.window = Window() if args.show else None
    except (ImportError, RuntimeError) as error:  # ImportError: a backend that finds no display
        parser.error(f"--show needs a display: {error}; leave it out to get the pictures as files")
    return args


def whole_number(low: int, high: float = math.inf) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            wanted = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"must be an integer {wanted}; got {text}")
        return value

    return integer


def number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be finite; got {text}")
    return value


if __name__ == "__main__":
    main()
