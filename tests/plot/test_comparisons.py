"""The picture of a comparison: what is drawn where."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import actstats
from actstats import Recording, TensorStats, Window, plot
from actstats.plot import _style
from actstats.plot.comparisons import MOST_LABELS


def recording(shift, *, sites=("fc1", "act1", "act1:grad"), windows=10, start=5, gap=0):
    """Windows of two steps; ``act1`` is shifted from one of them on."""
    made = []
    for i in range(windows):
        generator = torch.Generator().manual_seed(i)
        x = torch.randn(300, 4, generator=generator)
        moved = shift if i >= start else 0.0
        stats = {s: TensorStats.from_tensor(x + moved * (s == "act1")) for s in sites}
        first = 2 * i + gap * (i >= 3)
        made.append(Window(first, first + 1, "train", stats))
    return Recording(made)


@pytest.fixture(scope="module")
def comparison():
    return actstats.compare(recording(0), recording(2.0))


@pytest.fixture(scope="module")
def figure(comparison):
    return plot.compare(comparison, names=("before", "after"))


def by_gid(axes, gid):
    return [artist for artist in axes.get_children() if artist.get_gid() == gid]


def texts(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_the_map_has_a_row_per_site_and_a_column_per_window(figure, comparison):
    axes = figure.axes[0]
    (mesh,) = by_gid(axes, "map")
    assert texts(axes) == ["fc1", "act1", "act1:grad"]
    np.testing.assert_array_equal(mesh.get_array(), comparison.series().values.T)
    assert axes.get_xlim() == (-0.5, 19.5)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first site on top
    assert axes.get_xlabel() == "step"


def test_the_first_separation_is_boxed_and_others_ticked(figure):
    (box,) = by_gid(figure.axes[0], "first")
    assert box.get_xy() == (9.5, 0.5)  # act1, the second row, steps 10 and 11
    assert (box.get_width(), box.get_height()) == (2, 1)
    (ticks,) = by_gid(figure.axes[0], "since")
    assert [path.vertices[0].tolist() for path in ticks.get_paths()] == [[9.5, 0.5]]


def test_gradients_stand_apart(figure):
    (line,) = by_gid(figure.axes[0], "gradients")
    assert line.get_ydata()[0] == 1.5


def test_both_distributions_are_mirrored_in_colours_of_the_sides(figure):
    right = [axes for axes in figure.axes if axes.get_title()]
    assert right[0].get_title().startswith("act1: apart first")
    for axes in right:
        up, down = by_gid(axes, "bars")
        assert up.get_data().values.max() > 0
        assert down.get_data().values.min() < 0
        assert abs(up.get_data().values.sum() + down.get_data().values.sum()) < 0.02
        colors = [to_hex(bars.get_facecolor()) for bars in (up, down)]
        assert colors == [to_hex(color) for color in _style.palette(2)]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *("apart from here on", "before", "after")
    ]


def test_the_title_is_the_verdict(figure, comparison):
    title = figure.get_suptitle().replace("\n", " ")
    assert title == comparison.verdict.split(". ")[0]
    assert plot.compare(comparison, title="mine").get_suptitle() == "mine"


def test_atoms_are_spikes_as_high_as_their_share():
    x = torch.randn(4000).relu()
    a, b = (Window(0, 0, "train", {"a": TensorStats.from_tensor(v)}) for v in (x, 0 * x))
    figure = plot.compare(a, b)
    up, down = by_gid(figure.axes[1], "atom")
    assert up.get_paths()[0].vertices[1, 1] == pytest.approx(0.5, abs=0.03)
    assert down.get_paths()[0].vertices[1, 1] == -1.0
    assert figure.axes[1].get_ylim()[0] < -1.0


def test_one_window_is_a_bar_per_site(comparison):
    figure = plot.compare(recording(0).windows[-1], recording(2.0).windows[-1])
    axes = figure.axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    assert len(widths) == 3
    assert widths[1] == pytest.approx(2 / np.sqrt(2), rel=0.1)
    assert [to_hex(bar.get_facecolor()) for bar in axes.patches][1] == _style.ALARM
    (mark,) = by_gid(axes, "mark")
    assert mark.get_xdata()[0] == 0.1


def test_identical_recordings_are_drawn_pale_and_without_marks():
    figure = plot.compare(recording(0), recording(0))
    (mesh,) = by_gid(figure.axes[0], "map")
    assert not mesh.get_array().any()
    assert mesh.norm.vmax == pytest.approx(0.3)
    assert not by_gid(figure.axes[0], "first")
    assert figure.get_suptitle().startswith("The two are identical")


def test_many_sites_stay_readable_on_one_page():
    sites = tuple(f"model.layers.{i}.mlp.activation" for i in range(200))
    figure = plot.compare(*(recording(0, sites=sites, windows=2) for _ in range(2)))
    labels = texts(figure.axes[0])
    assert 20 <= len(labels) <= MOST_LABELS
    assert max(map(len, labels)) <= 18
    assert figure.get_size_inches()[1] <= 9


def test_gaps_between_windows_are_not_coloured():
    figure = plot.compare(recording(0, gap=10), recording(2.0, gap=10))
    (mesh,) = by_gid(figure.axes[0], "map")
    array = np.ma.filled(mesh.get_array(), np.nan)
    assert array.shape == (3, 11)
    assert np.isnan(array[:, 3]).all()
    assert not np.isnan(np.delete(array, 3, axis=1)).any()


@pytest.mark.parametrize(("distance", "label"), [("psi", "PSI"), ("w1", "W1")])
def test_other_distances_can_be_shown(comparison, distance, label):
    figure = plot.compare(comparison, distance=distance)
    (mesh,) = by_gid(figure.axes[0], "map")
    np.testing.assert_array_equal(mesh.get_array(), comparison.series(distance=distance).values.T)
    assert label in [axes.get_ylabel() for axes in figure.axes]


def test_options_go_to_compare_and_only_there(comparison):
    figure = plot.compare(recording(0), recording(2.0), sites="act1")
    assert texts(figure.axes[0]) == ["act1"]
    assert isinstance(figure, Figure)
    with pytest.raises(TypeError, match="a comparison is done"):
        plot.compare(comparison, sites="act1")
    with pytest.raises(TypeError, match="`b` must be given where `a` is no Comparison"):
        plot.compare(recording(0))
    with pytest.raises(ValueError, match="`distance` must be one of"):
        plot.compare(comparison, distance="ks")
