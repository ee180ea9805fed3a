"""Figures over time, read back from their artists."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from recordings import normal, recording

from actstats import ActivationRecorder, Recording, Window, make_mlp
from actstats.plot import timeline


def growing(windows=5, layers=3, steps=4, scalars=True):
    """Layer i has a std of i times the window's number."""
    return recording(
        *(
            {f"act{i}": normal(std=i * (w + 1)) for i in range(1, layers + 1)}
            for w in range(windows)
        ),
        activations={f"act{i}": "relu" for i in range(1, layers + 1)},
        scalars=[{"loss": 1 / (w + 1), "lr": 0.1} for w in range(windows)] if scalars else (),
        steps=steps,
    )


def mesh(ax):
    (found,) = (one for one in ax.collections if isinstance(one, QuadMesh))
    return found


def lines(ax):
    return {line.get_gid(): line for line in ax.lines}


def test_each_site_is_a_line_at_the_middle_of_its_windows():
    made = growing()
    figure = timeline(made)
    drawn = lines(figure.axes[0])
    assert list(drawn) == ["act1", "act2", "act3"]
    for site, line in drawn.items():
        np.testing.assert_array_equal(line.get_xdata(), [1.5, 5.5, 9.5, 13.5, 17.5])
        np.testing.assert_allclose(line.get_ydata(), [w[site].std for w in made.windows])
    assert figure.axes[0].get_ylabel() == "standard deviation"
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == list(drawn)


def test_scalars_stand_beneath_with_their_range():
    figure = timeline(growing())
    assert [ax.get_ylabel() for ax in figure.axes] == ["standard deviation", "loss", "lr"]
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), 1 / np.arange(1, 6))
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "", "step"]
    assert len({ax.get_xlim() for ax in figure.axes}) == 1


def test_range_of_a_scalar_is_from_its_least_to_its_largest():
    net = make_mlp()
    with ActivationRecorder(net, window=3) as recorder:
        for loss in (5.0, 1.0, 3.0, 4.0, 4.0, 7.0):
            net(torch.ones(4, 1))
            recorder.step(loss=loss)
    panel = timeline(recorder).axes[1]
    (band,) = panel.collections
    height = band.get_paths()[0].vertices[:, 1]
    assert (height.min(), height.max()) == (1, 7)
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), [3, 5])


def test_scalars_can_be_chosen_or_left_out():
    assert len(timeline(growing(), scalars=()).axes) == 1
    assert timeline(growing(), scalars="lr").axes[1].get_ylabel() == "lr"
    with pytest.raises(KeyError, match=r"no scalar 'los'.*did you mean 'loss'"):
        timeline(growing(), scalars=["los"])


def test_a_scalar_that_is_never_finite_has_no_panel():
    made = recording({"act1": normal()}, scalars=[{"loss": np.nan}])
    assert len(timeline(made).axes) == 1


def test_axes_given_are_drawn_on_and_returned():
    ax = mpl.figure.Figure().subplots()
    assert timeline(growing(), ax=ax) is ax
    assert len(ax.lines) == 3
    assert len(ax.figure.axes) == 1
    assert ax.get_xlabel() == "step"


def test_many_sites_are_a_heat_map_with_the_first_on_top():
    made = growing(layers=30, steps=2)
    figure = timeline(made, "rms")
    ax = figure.axes[0]
    drawn = mesh(ax)
    np.testing.assert_allclose(
        drawn.get_array(), [[w[f"act{i}"].rms for w in made.windows] for i in range(1, 31)]
    )
    np.testing.assert_array_equal(drawn.get_coordinates()[0, :, 0], [-0.5, 1.5, 3.5, 5.5, 7.5, 9.5])
    low, high = ax.get_ylim()
    assert low > high
    assert ax.get_yticklabels()[0].get_text() == "act1"
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "root mean square"


def test_200_layers_stay_readable():
    figure = timeline(growing(windows=2, layers=200))
    ax = figure.axes[0]
    assert 10 <= len(ax.get_yticks()) <= 24
    assert min(figure.get_size_inches()) < 8


def test_a_shared_x_axis_fits_the_heat_map_and_the_scalars():
    figure = timeline(growing(layers=30))
    figure.draw_without_rendering()
    heat, loss = (figure.axes[i].get_position() for i in (0, 1))
    assert (heat.x0, heat.x1) == pytest.approx((loss.x0, loss.x1))


def test_missing_windows_are_gaps_not_zeros():
    made = growing(windows=3, layers=1)
    parts = [
        w if i != 1 else Window(w.first_step, w.last_step, "train", {"out": w["out"]})
        for i, w in enumerate(made.windows)
    ]
    figure = timeline(Recording(parts, made.sites))
    assert np.isnan(lines(figure.axes[0])["act1"].get_ydata()[1])


def test_zeros_are_kept_on_an_axis_of_logarithms():
    made = recording(*({"act1": normal(std=s)} for s in (0.0, 1.0, 100.0)))
    ax = timeline(made, "std", sites="act1").axes[0]
    assert ax.get_yscale() == "symlog"
    assert ax.lines[0].get_ydata()[0] == 0


def test_phase_is_chosen():
    net = make_mlp(1, [4, 4, 4], 1)
    with ActivationRecorder(net, window=1) as recorder:
        for i in range(3):
            net.train()
            net(torch.ones(40, 1))
            if i == 1:
                net.eval()
                net(torch.zeros(40, 1))
            recorder.step(loss=1.0)
    figure = timeline(recorder, phase="eval")
    assert len(figure.axes) == 1  # scalars are train's
    assert lines(figure.axes[0])["act1"].get_xdata().tolist() == [1]
    with pytest.raises(KeyError, match="no phase 'test'"):
        timeline(recorder, phase="test")


def test_one_window_works():
    ax = timeline(growing(windows=1, steps=1)).axes[0]
    assert ax.lines[0].get_markevery() == [0]
    assert [tick for tick in ax.get_xticks() if -0.5 < tick < 0.5] == [0]


def test_nan_is_told():
    bad = normal()
    bad[0] = torch.nan
    ax = timeline(recording({"act1": normal()}, {"act1": bad})).axes[0]
    assert any("NaN" in text.get_text() for text in ax.texts)


def test_sites_left_out_are_told():
    ax = timeline(growing(), "saturated_fraction", sites="*").axes[0]
    assert [t.get_text() for t in ax.texts] == ["1 chosen site without this figure"]


def test_colours_of_lines_are_all_different_and_dark_to_bright():
    ax = timeline(growing(layers=12)).axes[0]
    bright = [np.dot(mpl.colors.to_rgb(line.get_color()), (0.3, 0.6, 0.1)) for line in ax.lines]
    assert (np.diff(bright) > 0).all()


def test_title():
    assert timeline(growing(), title="a run").axes[0].get_title(loc="left") == "a run"
