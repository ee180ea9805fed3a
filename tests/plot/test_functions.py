"""Pictures of activation functions."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from torch import nn

from actstats.plot import activation_functions


def line(ax, gid):
    return next((one for one in ax.lines if one.get_gid() == gid), None)


def test_functions_default_has_four_panels():
    figure = activation_functions()
    assert [ax.get_title() for ax in figure.axes] == ["tanh", "relu", "sigmoid", "gelu"]


def test_functions_curve_slope_and_zones_of_tanh():
    (ax,) = activation_functions("tanh", span=(-4, 4)).axes
    z, a = line(ax, "curve").get_data()
    np.testing.assert_allclose(a, np.tanh(z))
    np.testing.assert_allclose(line(ax, "slope").get_ydata(), 1 - np.tanh(z) ** 2, atol=1e-12)
    left, right = (p for p in ax.patches if p.get_gid() == "zone")
    assert (left.get_x(), right.get_x() + right.get_width()) == (-4, 4)
    assert right.get_x() == pytest.approx(2.178, abs=1e-3)


def test_functions_without_a_known_slope_have_only_a_curve():
    (ax,) = activation_functions([nn.PReLU()]).axes
    assert line(ax, "curve") is not None
    assert line(ax, "slope") is None


def test_functions_of_one_name_are_told_apart_by_their_parameters():
    figure = activation_functions([nn.LeakyReLU(0.1), nn.LeakyReLU(0.2)])
    first, second = (ax.get_title() for ax in figure.axes)
    assert "0.1" in first
    assert "0.2" in second


def test_functions_draw_on_given_axes():
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert activation_functions(["tanh", "relu"], axes=list(axes)) is figure
    assert len(figure.axes) == 2
    assert figure.legends == []


def test_functions_refuse():
    with pytest.raises(ValueError, match="at least one"):
        activation_functions([])
    with pytest.raises(ValueError, match="low < high"):
        activation_functions("tanh", span=(1, 1))
    with pytest.raises(ValueError, match="one Axes per function: 2; got 1"):
        activation_functions(["tanh", "relu"], axes=[Figure().subplots()])
