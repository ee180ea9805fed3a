"""Ridge lines and heat maps, read back from their artists."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from recordings import normal, recording

from actstats.plot import heatmap, ridgeline


def tanh(*stds, steps=1):
    made = ({"act1": normal(std=std, seed=i).tanh()} for i, std in enumerate(stds))
    return recording(*made, activations={"act1": "tanh"}, steps=steps)


def half_zero():
    x = torch.linspace(0.1, 4, 400).reshape(100, 4)
    x[:50] = 0
    return recording({"act1": x}, activations={"act1": "relu"})


def ridges(ax):
    return [line for line in ax.lines if line.get_gid() == "ridge"]


def spikes(ax):
    return [line for line in ax.lines if line.get_gid() == "atom"]


def mesh(ax):
    (found,) = (one for one in ax.collections if isinstance(one, QuadMesh))
    return found


# ---- ridge lines ---------------------------------------------------------------------------------


def test_a_ridge_for_each_window_the_first_on_top():
    ax = ridgeline(tanh(0.1, 0.5, 1.0), "act1", bins=40)
    bases = [fill.get_paths()[0].vertices[:, 1].min() for fill in ax.collections]
    np.testing.assert_allclose(bases, [2, 1, 0], atol=1e-9)
    ticks = dict(zip(ax.get_yticks(), [t.get_text() for t in ax.get_yticklabels()], strict=True))
    assert ticks == {2: "0", 1: "1", 0: "2"}


def test_a_ridge_is_the_sites_histogram():
    made = tanh(0.5)
    (line,) = ridges(ridgeline(made, "act1", bins=20))
    counts, edges = made["act1"].histogram(20, (-1, 1))
    np.testing.assert_allclose(line.get_xdata(), (edges[1:] + edges[:-1]) / 2)
    np.testing.assert_allclose(line.get_ydata(), 2.2 * counts / counts.max())


def test_what_is_exactly_0_is_a_spike_as_high_as_its_share():
    ax = ridgeline(half_zero(), "act1", bins=20, range=(0, 4))
    (spike,) = spikes(ax)
    assert list(spike.get_xdata()) == [0, 0]
    assert spike.get_ydata()[1] == pytest.approx(0.92 / 2)
    assert ridges(ax)[0].get_ydata().max() == pytest.approx(2.2 / 2)
    assert any("exactly" in text.get_text() for text in ax.texts)


def test_plus_and_minus_one_are_spikes_where_tanh_ends():
    x = torch.cat([torch.ones(30, 1), -torch.ones(50, 1), torch.zeros(20, 1) + 0.5])
    made = recording({"act1": x}, activations={"act1": "tanh"})
    found = {s.get_xdata()[0]: s.get_ydata()[1] for s in spikes(ridgeline(made, "act1"))}
    assert found == pytest.approx({-1: 0.92 * 0.5, 1: 0.92 * 0.3})


def test_more_windows_than_rows_are_merged():
    made = tanh(*np.linspace(0.1, 2, 25))
    ax = ridgeline(made, "act1", rows=10)
    assert len(ridges(ax)) == 10
    assert len(ridges(ridgeline(made, "act1"))) == 25


def test_windows_without_a_finite_value_say_so():
    bad = torch.full((9, 3), torch.nan)
    ax = ridgeline(recording({"act1": normal()}, {"act1": bad}), "act1")
    assert len(ridges(ax)) == 1
    assert [t.get_text() for t in ax.texts if t.get_gid() == "nothing"] == ["no finite value"]


def test_rows_that_follow_each_other_say_it_once():
    bad = {"act1": torch.full((9, 3), torch.nan)}
    ax = ridgeline(recording({"act1": normal()}, bad, bad, {"act1": normal()}, bad), "act1")
    heights = [t.get_position()[1] for t in ax.texts if t.get_gid() == "nothing"]
    assert heights == [3, 0]
    (marks,) = (line for line in ax.lines if line.get_gid() == "non-finite")
    assert list(marks.get_ydata()) == [3, 2, 0]


def test_values_outside_the_range_are_not_taken_for_nan():
    ax = ridgeline(tanh(0.1), "act1", range=(2, 3))
    assert [t.get_text() for t in ax.texts] == ["all values are outside"]


def test_default_range_is_the_activations_limits():
    low, high = ridgeline(tanh(0.1), "act1").get_xlim()
    assert (low, high) == pytest.approx((-1.05, 1.05))


@pytest.mark.parametrize("rows", [0, 61, True, 2.5])
def test_rows_are_checked(rows):
    with pytest.raises(ValueError, match="`rows` must be an integer from 1 to 60"):
        ridgeline(tanh(1.0), "act1", rows=rows)


@pytest.mark.parametrize("picture", [ridgeline, heatmap])
def test_axes_names_and_errors(picture):
    ax = mpl.figure.Figure().subplots()
    assert picture(tanh(1.0), "act1", ax=ax) is ax
    assert ax.get_title(loc="left") == "act1"
    assert picture(tanh(1.0), "act1", title="x").get_title(loc="left") == "x"
    assert picture(tanh(1.0), ("act1", "output")).get_title(loc="left") == "act1"
    with pytest.raises(KeyError, match="did you mean 'act1'"):
        picture(tanh(1.0), "act2")
    with pytest.raises(ValueError, match="low < high"):
        picture(tanh(1.0), "act1", range=(1, 1))
    with pytest.raises(ValueError, match="`bins`"):
        picture(tanh(1.0), "act1", bins=0)


# ---- heat map ------------------------------------------------------------------------------------


def test_a_column_for_each_window_as_wide_as_its_steps():
    drawn = mesh(heatmap(tanh(0.5, 1.0, 2.0, steps=5), "act1", bins=20))
    assert drawn.get_array().shape == (20, 3)
    np.testing.assert_array_equal(drawn.get_coordinates()[0, :, 0], [-0.5, 4.5, 9.5, 14.5])


def test_colours_are_shares_of_the_windows_values():
    made = tanh(0.5, 2.0)
    drawn = mesh(heatmap(made, "act1", bins=16, range=(-1, 1)))
    shares = np.where(drawn.get_array() < 1e-4, 0, drawn.get_array())
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=2e-3)
    edges = drawn.get_coordinates()[:, 0, 1]
    counts, _ = made.windows[1]["act1"].histogram(edges)
    np.testing.assert_allclose(shares[:, 1], counts / counts.sum(), atol=1e-4)


def test_values_of_one_size_have_a_linear_axis():
    assert heatmap(tanh(0.5), "act1").get_yscale() == "linear"


def test_values_of_many_sizes_have_a_symlog_axis_with_equally_high_bins():
    made = recording({"act1": normal(std=1e-5)}, {"act1": normal(std=1.0)})
    ax = heatmap(made, "act1", bins=30)
    assert ax.get_yscale() == "symlog"
    edges = mesh(ax).get_coordinates()[:, 0, 1]
    heights = np.diff(ax.transData.transform(np.stack((np.zeros(31), edges), 1))[:, 1])
    np.testing.assert_allclose(heights, heights.mean(), rtol=1e-6)
    assert np.abs(edges).min() == 0


def test_linthresh_is_taken_and_checked():
    ax = heatmap(tanh(0.5), "act1", linthresh=0.01)
    assert ax.yaxis.get_transform().linthresh == 0.01
    with pytest.raises(ValueError, match="`linthresh` must be a positive number"):
        heatmap(tanh(0.5), "act1", linthresh=0)


def test_the_median_is_a_line():
    made = tanh(0.5, 2.0)
    ax = heatmap(made, "act1")
    (line,) = (patch for patch in ax.patches if patch.get_gid() == "median")
    wanted = [w["act1"].quantile(0.5) for w in made.windows]
    np.testing.assert_allclose(line.get_data().values, wanted)


def test_windows_without_a_finite_value_are_missing():
    bad = torch.full((9, 3), torch.nan)
    ax = heatmap(recording({"act1": normal()}, {"act1": bad}, {"act1": normal()}), "act1")
    assert mesh(ax).get_array().mask[:, 1].all()
    assert any(line.get_gid() == "non-finite" for line in ax.lines)


@pytest.mark.parametrize("value", [0.0, 3.0, -2e-30])
def test_values_that_are_all_the_same_are_seen(value):
    ax = heatmap(recording({"act1": torch.full((9, 3), value)}), "act1")
    low, high = ax.get_ylim()
    assert low < value < high
    assert np.nanmax(mesh(ax).get_array()) == pytest.approx(1)


def test_the_colour_bar_is_labelled():
    ax = heatmap(tanh(0.5), "act1")
    assert ax.figure.axes[1].get_ylabel() == "share of the window's values per bin (%)"
