"""Names in pictures."""

import io

import pytest
import torch

from actstats import Recording, TensorStats, Window, plot
from actstats.plot._style import shorten


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("act3", "act3"),
        ("encoder.layers.3", "…layers.3"),
        ("a\nb", r"a\nb"),
        ("\x1b[0m", r"\x1b[0m"),
        ("half\udc80", r"…lf\udc80"),
        ("$x$", r"\$x\$"),
    ],
)
def test_shorten(name, shown):
    assert shorten(name, 9) == shown


@pytest.mark.parametrize("name", ["half\udc80", r"$\frac$", "a\nb", "\x1b[31m", "$", "\u202e"])
def test_a_picture_takes_any_name(name):
    stats = TensorStats.from_tensor(torch.rand(40, 3), activation="relu")
    made = Recording([Window(i, i, "train", {name: stats}) for i in range(3)])
    for figure in (plot.histogram_grid(made), plot.timeline(made, "std"), plot.layers(made).figure):
        figure.savefig(io.BytesIO(), format="png", dpi=40)


def legends(figure):
    found = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text().strip() for one in found if one for text in one.get_texts()]


def test_a_name_that_begins_with_an_underscore_is_in_the_legend():
    stats = TensorStats.from_tensor(torch.rand(40, 3), activation="relu")
    made = Recording([Window(i, i, "train", {"_orig": stats, "b": stats}) for i in range(3)])
    assert legends(plot.timeline(made, "std")) == ["_orig", "b"]
    assert legends(plot.histogram_grid({"_x": made, "y": made}))[:2] == ["_x", "y"]
    assert "_x" in legends(plot.compare(made, made, names=("_x", "y")))


def test_what_users_call_a_recording_is_no_formula():
    stats = TensorStats.from_tensor(torch.rand(40, 3), activation="relu")
    made = Recording([Window(0, 0, "train", {"act": stats})])
    name = r"$\frac$ half" + "\udc80"
    for figure in (
        plot.histogram_grid({name: made, "y": made}),
        plot.compare(made, made, names=(name, "y")),
    ):
        figure.savefig(io.BytesIO(), format="png", dpi=40)
        assert r"\$\frac\$ half\udc80" in legends(figure)


def test_a_verdict_with_such_a_name_is_drawn():
    name = r"$\frac$" + "\udc80"
    sides = [
        Recording([Window(0, 0, "train", {name: TensorStats.from_tensor(k + torch.rand(40, 3))})])
        for k in (0, 5)
    ]
    figure = plot.compare(*sides)
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    assert r"\$\frac\$\udc80" in figure.get_suptitle()
