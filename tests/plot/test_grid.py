"""The grid of histograms, read back from its artists."""

import pickle

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import StepPatch
from torch import nn

from actstats import ActivationRecorder, TensorStats, Window, make_mlp, plot
from actstats.plot import histogram, histogram_grid

EDGES = {"fc?": (10, -4, 4), "act?": (10, -1, 1), "*:input": (10, -7, 10), "bn0": (10, -7, 10)}


def recorded(
    activation="tanh", bn=False, layers=3, steps=3, edges=None, capture=("output", "input")
):
    net = make_mlp(1, [10] * layers, 1, activation=activation, bn=bn).eval()
    recorder = ActivationRecorder(net, capture=capture, edges=edges, strict=True)
    x = torch.linspace(-7, 10, 200)[:, None]
    with recorder, torch.no_grad():
        for i in range(steps):
            net(x * (i + 1) / steps)
            recorder.step(loss=float(steps - i))
    return recorder


def panel(figure, row, column):
    """The Axes at a row and column."""
    columns = sorted({round(ax.get_position().x0, 4) for ax in figure.axes})
    rows = sorted({round(ax.get_position().y0, 4) for ax in figure.axes}, reverse=True)
    (found,) = (
        ax
        for ax in figure.axes
        if round(ax.get_position().x0, 4) == columns[column]
        and round(ax.get_position().y0, 4) == rows[row]
    )
    return found


def bars(ax, gid="bars"):
    return next((p for p in ax.patches if isinstance(p, StepPatch) and p.get_gid() == gid), None)


def words(ax):
    return [text.get_text() for text in ax.texts if text.get_gid() not in ("site", "row")]


def zones(ax):
    return [p for p in ax.patches if p.get_gid() == "zone"]


def from_stats(**sites):
    """A window of literal statistics."""
    return Window(0, 0, "train", sites)


# ---- rows, columns, names ------------------------------------------------------------------------


def test_grid_rows_and_columns_of_one_variant():
    figure = histogram_grid(recorded())
    assert len(figure.axes) == 2 * 4
    assert [panel(figure, 0, c).get_title() for c in range(4)] == ["L0", "L1", "L2", "L3"]


def test_grid_rows_of_two_variants_are_in_the_tutorials_order():
    figure = histogram_grid({"plain": recorded(), "batch norm": recorded(bn=True)})
    labels = [
        [t.get_text() for t in panel(figure, row, 0).texts if t.get_gid() == "row"]
        for row in range(4)
    ]
    assert labels == [
        ["plain", "linear output"],
        ["batch norm", "linear output"],
        ["plain", "activation"],
        ["batch norm", "activation"],
    ]


def test_grid_colors_tell_variants_apart():
    figure = histogram_grid({"a": recorded(), "b": recorded(bn=True)})
    seen = [to_rgb(bars(panel(figure, row, 1)).get_facecolor()) for row in range(4)]
    assert seen[0] == seen[2] != seen[1] == seen[3]


def test_grid_colors_can_be_chosen():
    figure = histogram_grid({"a": recorded()}, colors={"a": "#123456"})
    assert to_rgb(bars(panel(figure, 0, 1)).get_facecolor()) == to_rgb("#123456")


def test_grid_without_inputs_leaves_out_l0():
    figure = histogram_grid(recorded(capture="output"))
    assert [panel(figure, 0, c).get_title() for c in range(3)] == ["L1", "L2", "L3"]


def test_grid_sites_keep_their_numbers():
    figure = histogram_grid(recorded(), sites=["act2", "act3"])
    assert [panel(figure, 0, c).get_title() for c in range(2)] == ["L2", "L3"]
    assert [panel(figure, 0, c).get_title() for c in range(2)] == ["L2", "L3"]


def test_grid_aligns_variants_of_unequal_depth_by_position():
    figure = histogram_grid({"deep": recorded(layers=3), "flat": recorded(layers=1)})
    assert len(figure.axes) == 4 * 4
    assert bars(panel(figure, 1, 1)) is not None
    assert bars(panel(figure, 1, 3)) is None


def test_grid_of_many_layers_is_thinned_and_says_so():
    recorder = recorded(layers=40, steps=1)
    figure = histogram_grid(recorder)
    assert len(figure.axes) == 2 * 17
    titles = [panel(figure, 0, c).get_title() for c in (0, 1, 16)]
    assert titles == ["L0", "L1", "L40"]
    assert any("17 of 41 layers" in text.get_text() for text in figure.texts)
    assert figure.get_size_inches()[0] < 24
    assert len(histogram_grid(recorder, figsize=(40, 4)).axes) == 2 * 41


# ---- numbers -------------------------------------------------------------------------------------


def test_grid_bars_equal_numpy_for_named_edges():
    torch.manual_seed(0)
    net = make_mlp(1, [10] * 3, 1, bn=True, input_bn=True).eval()
    x = torch.linspace(-7, 10, 200)[:, None]
    recorder = ActivationRecorder(net, capture=("output", "input"), edges=EDGES)
    with recorder, torch.no_grad():
        net(x)
    with torch.no_grad():
        values = {"fc2": net[:5](x), "act2": net[:7](x)}
    figure = histogram_grid(recorder)
    for row, site, low, high in ((0, "fc2", -4, 4), (1, "act2", -1, 1)):
        wanted, edges = np.histogram(values[site].double().numpy(), 10, (low, high))
        drawn = bars(panel(figure, row, 2)).get_data()
        np.testing.assert_array_equal(drawn.values, wanted)
        np.testing.assert_allclose(drawn.edges, edges)
    wanted, _ = np.histogram(x.double().numpy(), 10, (-7, 10))
    np.testing.assert_array_equal(bars(panel(figure, 0, 0)).get_data().values, wanted)


def test_grid_l0_shows_the_input_and_what_the_norm_makes_of_it():
    recorder = recorded(bn=True)
    figure = histogram_grid(recorder)
    for row, site in ((0, "bn0:input"), (1, "bn0")):
        drawn = bars(panel(figure, row, 0)).get_data()
        counts, _ = recorder[site].histogram(10, (drawn.edges[0], drawn.edges[-1]))
        np.testing.assert_allclose(drawn.values, counts)


def test_grid_linear_output_and_z_differ_where_a_norm_lies_between():
    recorder = recorded(bn=True)
    for pre, site in (("linear", "fc2"), ("z", "bn2")):
        drawn = bars(panel(histogram_grid(recorder, pre=pre), 0, 2)).get_data()
        counts, _ = recorder[site].histogram(10, (drawn.edges[0], drawn.edges[-1]))
        np.testing.assert_allclose(drawn.values, counts)


def test_grid_ranges_override_named_edges_and_are_shared():
    figure = histogram_grid(recorded(edges=EDGES), ranges={"pre": (-2, 2)}, bins=8)
    for column in (1, 2, 3):
        np.testing.assert_allclose(
            bars(panel(figure, 0, column)).get_data().edges, np.linspace(-2, 2, 9)
        )
    assert len(bars(panel(figure, 1, 1)).get_data().values) == 10


def test_grid_default_range_is_the_activations_limits_where_bounded():
    edges = bars(panel(histogram_grid(recorded()), 1, 1)).get_data().edges
    assert (edges[0], edges[-1]) == (-1, 1)


def test_grid_step_and_window_choose_one_window():
    recorder = recorded(steps=4)
    wanted, _ = recorder.recording.windows[2]["act1"].histogram(10, (-1, 1))
    for choice in ({"step": 2}, {"window": 2}, {"window": -2}):
        figure = histogram_grid(recorder, **choice)
        np.testing.assert_allclose(bars(panel(figure, 1, 1)).get_data().values, wanted)
        assert any("step 2, eval" in text.get_text() for text in figure.texts)


def test_grid_default_is_the_whole_selection():
    recorder = recorded(steps=4)
    drawn = bars(panel(histogram_grid(recorder), 1, 1)).get_data().values
    assert drawn.sum() == pytest.approx(recorder["act1"].count)


def test_grid_takes_a_window_and_a_recording():
    recording = recorded(bn=True).recording
    whole = histogram_grid(recording, window=1)
    alone = histogram_grid(recording.windows[1])
    for row in (0, 1):
        np.testing.assert_allclose(
            bars(panel(alone, row, 2)).get_data().values,
            bars(panel(whole, row, 2)).get_data().values,
        )


# ---- what panels say -----------------------------------------------------------------------------


def test_grid_shades_saturated_zones_where_z_is_shown():
    plain, normed = histogram_grid(recorded()), histogram_grid(recorded(bn=True))
    assert len(zones(panel(plain, 0, 1))) == len(zones(panel(plain, 1, 1))) == 2
    assert len(zones(panel(normed, 0, 1))) == 0  # the linear output is not z
    assert len(zones(panel(histogram_grid(recorded(bn=True), pre="z"), 0, 1))) == 2
    assert len(zones(panel(plain, 0, 0))) == 0
    left, right = zones(panel(plain, 1, 1))
    assert left.get_x() + left.get_width() == pytest.approx(-0.9747, abs=1e-3)
    assert right.get_x() == pytest.approx(0.9747, abs=1e-3)


def test_grid_legend_names_the_zones_once():
    (legend,) = histogram_grid({"a": recorded(), "b": recorded(bn=True)}).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "a",
        "b",
        "saturated: slope below 5 % of its maximum",
    ]


def test_panel_tells_saturated_and_dead_units():
    dead = TensorStats.from_tensor(torch.zeros(50, 4), activation="relu")
    ax = panel(histogram_grid(from_stats(act=dead)), 1, 0)
    assert words(ax) == ["100 % at 0", "sat 100 %", "dead 100 %"]


def test_panel_without_saturation_has_no_badge():
    fine = TensorStats.from_tensor(torch.linspace(-0.5, 0.5, 100)[:, None], activation="tanh")
    assert words(panel(histogram_grid(from_stats(act=fine)), 1, 0)) == []


def test_panel_tells_what_is_clipped():
    z = TensorStats.from_tensor(torch.tensor([-9.0] * 2 + [0.5] * 93 + [9.0] * 5)[:, None])
    a = TensorStats.from_tensor(torch.rand(100, 1), activation="tanh")
    figure = histogram_grid(from_stats(fc=z, act=a), ranges={"pre": (-1, 1)})
    texts = {t.get_text(): t.get_position()[0] for t in panel(figure, 0, 0).texts}
    assert texts["2 % <"] == 0
    assert texts["> 5 %"] == 1


def test_panel_tells_nan_and_inf():
    bad = TensorStats.from_tensor(
        torch.tensor([[0.1], [0.2], [torch.nan], [torch.inf], [-torch.inf]]), activation="tanh"
    )
    assert words(panel(histogram_grid(from_stats(act=bad)), 1, 0)) == ["1 NaN", "2 Inf"]


def test_panel_of_nothing_finite_still_draws():
    bad = TensorStats.from_tensor(torch.full((4, 2), torch.nan), activation="relu")
    assert words(panel(histogram_grid(from_stats(act=bad)), 1, 0)) == ["8 NaN"]


def test_panel_draws_an_atom_without_counting_it_twice():
    half = torch.cat([torch.zeros(50), torch.linspace(0.1, 0.9, 50)])[:, None]
    ax = histogram(TensorStats.from_tensor(half, activation="relu"), range=(0, 1))
    total, spread = bars(ax).get_data().values, bars(ax, "spread").get_data().values
    (spike,) = (c for c in ax.collections if c.get_gid() == "atom")
    assert spike.get_segments()[0][1].tolist() == [0, 50]
    assert total.sum() == pytest.approx(100)
    assert total.sum() - spread.sum() == pytest.approx(50)
    assert bars(ax).get_alpha() < 1


def test_panel_of_equal_values_is_visible():
    ax = histogram(TensorStats.from_tensor(torch.full((40, 2), 0.37)))
    assert words(ax) == ["100 % at 0.37"]
    assert bars(ax).get_data().values.sum() == pytest.approx(80)
    low, high = ax.get_xlim()
    assert low < 0.37 < high


def test_panel_that_was_not_recorded_says_so():
    a = TensorStats.from_tensor(torch.rand(100, 1), activation="tanh")
    figure = histogram_grid(from_stats(act=a))
    assert words(panel(figure, 0, 0)) == ["not recorded"]


def test_panel_fonts_are_not_too_small():
    figure = histogram_grid({"a": recorded("relu"), "b": recorded("relu", bn=True)})
    texts = [t for t in figure.findobj(mpl.text.Text) if t.get_text()]
    assert min(t.get_fontsize() for t in texts) >= 7


def test_panel_ticks_are_the_ends_of_the_last_row_of_a_kind():
    figure = histogram_grid({"a": recorded(), "b": recorded(bn=True)})
    ticks = [[t.get_text() for t in panel(figure, row, 1).get_xticklabels()] for row in range(4)]
    assert ticks[0] == ticks[2] == ["", ""]
    assert ticks[3] == ["\N{MINUS SIGN}1", "1"]


# ---- one panel alone -----------------------------------------------------------------------------


def test_histogram_draws_on_given_axes():
    figure = mpl.figure.Figure()
    ax = figure.subplots()
    stats = TensorStats.from_tensor(torch.rand(100, 1), activation="sigmoid")
    assert histogram(stats, ax=ax, color="red", bins=5) is ax
    assert len(bars(ax).get_data().values) == 5


def test_histogram_uses_named_edges_exactly():
    x = torch.linspace(-1, 1, 77)[:, None]
    ax = histogram(TensorStats.from_tensor(x, edges=(4, -1, 1)))
    wanted, _ = np.histogram(x.double().numpy(), 4, (-1, 1))
    np.testing.assert_array_equal(bars(ax).get_data().values, wanted)


# ---- other models --------------------------------------------------------------------------------


def test_grid_of_a_cnn_finds_the_convolutions():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 4, 3),
        nn.Tanh(),
    )
    recorder = ActivationRecorder(net, capture=("output", "input"))
    with recorder:
        net(torch.randn(8, 3, 16, 16))
    figure = histogram_grid(recorder)
    for column, site in ((1, "0"), (2, "4")):
        drawn = bars(panel(figure, 0, column)).get_data()
        counts, _ = recorder[site].histogram(10, (drawn.edges[0], drawn.edges[-1]))
        np.testing.assert_allclose(drawn.values, counts)


def test_grid_of_a_transformer():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=2,
        n_embd=32,
        n_head=2,
        vocab_size=50,
        n_positions=16,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = transformers.GPT2Model(config)
    recorder = ActivationRecorder(model, capture=("output", "input"))
    with recorder:
        model(torch.randint(0, 50, (4, 16)))
    figure = histogram_grid(recorder)
    assert [panel(figure, 0, c).get_title() for c in range(3)] == ["L0", "L1", "L2"]
    assert all(bars(ax) is not None for ax in figure.axes)


def test_grid_of_a_pickled_recording():
    recording = pickle.loads(pickle.dumps(recorded().recording))
    assert len(histogram_grid(recording).axes) == 8


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"step": 99}, KeyError, "holds step 99; they go from step 0 to 2"),
        ({"window": 7}, KeyError, "no window 7; .* has 3"),
        ({"phase": "train"}, KeyError, "no phase 'train'"),
        ({"sites": "atc*"}, KeyError, "no site 'atc\\*'"),
        ({"step": 1, "window": 1}, ValueError, "not both"),
        ({"pre": "x"}, ValueError, '"linear" or "z"; got \'x\''),
        ({"bins": 0}, ValueError, "at least 1; got 0"),
        ({"ranges": {"z": (0, 1)}}, ValueError, "keys among"),
        ({"ranges": {"pre": (1, 0)}}, ValueError, "low < high"),
        ({"colors": []}, ValueError, "must hold 1 colours; got 0"),
    ],
)
def test_grid_refuses(options, error, match):
    with pytest.raises(error, match=match):
        histogram_grid(recorded(layers=1), **options)


def test_grid_refuses_what_is_no_recording():
    with pytest.raises(TypeError, match=r"must be a recorder, a Recording, a Window .* got int"):
        histogram_grid(3)
    with pytest.raises(TypeError, match=r"`recordings\['a'\]` must be .* got Sequential"):
        histogram_grid({"a": make_mlp()})
    with pytest.raises(ValueError, match="empty mapping"):
        histogram_grid({})


def test_grid_refuses_empty_recordings():
    with pytest.raises(ValueError, match="nothing was recorded"):
        histogram_grid(ActivationRecorder(make_mlp()))


def test_grid_without_activations_tells_what_to_do():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    with ActivationRecorder(net) as recorder:
        net(torch.randn(5, 2))
    with pytest.raises(ValueError, match="functional=True"):
        histogram_grid(recorder)
    assert len(histogram_grid(recorder, sites="*").axes) == 4


def test_public_names():
    assert plot.__all__ == [
        "activation_functions",
        "animate_grid",
        "compare",
        "gradient_flow",
        "heatmap",
        "histogram",
        "histogram_grid",
        "layers",
        "ridgeline",
        "timeline",
        "units",
    ]
