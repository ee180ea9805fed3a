"""Figures and values by depth, read back from their artists."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from recordings import normal, recording

from actstats import Recording, Window
from actstats.plot import _style, layers


def growing(windows=4, depth=3, scale=1.0):
    """Layer i has a std of i times the window's number."""
    return recording(
        *(
            {f"act{i}": normal(std=scale**i * (w + 1)) for i in range(1, depth + 1)}
            for w in range(windows)
        ),
        activations={f"act{i}": "relu" for i in range(1, depth + 1)},
    )


def drawn(ax, gid):
    return [line for line in (*ax.lines, *ax.patches) if line.get_gid() == gid]


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_line_for_each_of_a_few_windows():
    made = growing(7)
    ax = layers(made, "std", windows=3)
    found = drawn(ax, "line")
    for line, place in zip(found, (0, 3, 6), strict=True):
        window = made.windows[place]
        np.testing.assert_allclose(line.get_ydata(), [window[f"act{i}"].std for i in range(1, 4)])
    assert names(ax) == ["step 0", "step 3", "step 6"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["act1", "act2", "act3"]


def test_later_windows_are_darker():
    ax = layers(growing(5), "std")
    bright = [sum(mpl.colors.to_rgb(line.get_color())) for line in drawn(ax, "line")]
    assert (np.diff(bright) < 0).all()


def test_the_band_holds_90_percent_of_the_windows():
    made = growing(21)
    ax = layers(made, "std", windows=2)
    (band,) = (one for one in ax.collections if one.get_gid() == "band")
    heights = band.get_paths()[0].vertices[:, 1]
    stds = np.array([[w[f"act{i}"].std for i in range(1, 4)] for w in made.windows])
    low, high = np.quantile(stds, [0.05, 0.95], axis=0)
    assert heights.min() == pytest.approx(low.min())
    assert heights.max() == pytest.approx(high.max())
    assert not [c for c in layers(growing(3), "std").collections if c.get_gid() == "band"]


def test_windows_can_be_named():
    ax = layers(growing(5), "std", windows=[-1, 1])
    assert names(ax) == ["step 1", "step 4"]


def test_a_long_legend_is_thinned():
    ax = layers(growing(20), "std", windows=20)
    assert len(drawn(ax, "line")) == 20
    assert len(names(ax)) == 9  # and the band


def test_values_are_blocks_of_quantiles():
    made = growing(3)
    ax = layers(made)
    last = made.windows[-1]
    outer, inner = drawn(ax, "band")
    for i in range(3):
        wanted = last[f"act{i + 1}"].quantile([0.05, 0.25, 0.5, 0.75, 0.95])
        assert outer.get_data().baseline[2 * i] == pytest.approx(wanted[0])
        assert outer.get_data().values[2 * i] == pytest.approx(wanted[4])
        assert inner.get_data().baseline[2 * i] == pytest.approx(wanted[1])
        assert inner.get_data().values[2 * i] == pytest.approx(wanted[3])
        assert drawn(ax, "median")[0].get_data().values[2 * i] == pytest.approx(wanted[2])
    assert np.isnan(outer.get_data().values[1::2]).all()


def test_the_first_window_is_told_by_lines():
    made = growing(3)
    low, middle, high = drawn(layers(made), "earlier")
    wanted = made.windows[0]["act2"].quantile([0.05, 0.5, 0.95])
    assert [line.get_data().values[2] for line in (low, middle, high)] == pytest.approx(wanted)
    assert names(layers(made)) == [
        "step 2: 5 to 95 %",
        "step 2: 25 to 75 %",
        "median",
        "step 0: 5, 50, 95 %",
    ]


def test_one_window_has_no_earlier_one():
    ax = layers(growing(1))
    assert not drawn(ax, "earlier")
    assert len(drawn(ax, "band")) == 2


def test_blocks_of_many_sites_touch():
    outer, _ = drawn(layers(growing(1, depth=60)), "band")
    np.testing.assert_array_equal(outer.get_data().edges, np.arange(61) - 0.5)


def test_values_whose_sizes_differ_have_a_symlog_axis():
    assert layers(growing(1)).get_yscale() == "linear"
    assert layers(growing(1, scale=0.1)).get_yscale() == "symlog"
    assert layers(growing(1, scale=0.1), log=False).get_yscale() == "linear"
    assert layers(growing(1), log=True).get_yscale() == "symlog"


def test_values_that_are_all_zero_are_drawn():
    ax = layers(recording({"act1": torch.zeros(9, 3)}), sites="act1")
    assert drawn(ax, "band")[0].get_data().values.tolist() == [0]


def test_sites_not_seen_in_a_window_are_gaps():
    made = growing(2)
    whole, short = made.windows
    part = Window(1, 1, "train", {s: short[s] for s in ("act1", "act3")})
    ax = layers(Recording([whole, part], made.sites))
    values = drawn(ax, "band")[0].get_data().values[::2]
    assert np.isnan(values).tolist() == [False, True, False]


def test_axes_given_are_drawn_on_and_returned():
    ax = mpl.figure.Figure().subplots()
    assert layers(growing(), ax=ax, title="x") is ax
    assert ax.get_title(loc="left") == "x"


def test_errors():
    with pytest.raises(ValueError, match=r"`figure` must be one of \('values', "):
        layers(growing(), "sdt")
    with pytest.raises(KeyError, match="no window 9"):
        layers(growing(), windows=[9])
    with pytest.raises(KeyError, match="no site 'atc'"):
        layers(growing(), sites="atc")


def lost(windows=3, broken=1, depth=3):
    """In the last windows only the first site has finite values."""
    rows = [{f"act{i}": normal() for i in range(1, depth + 1)} for _ in range(windows)]
    for row in rows[windows - broken :]:
        row.update({f"act{i}": torch.full((9, 4), np.nan) for i in range(2, depth + 1)})
    return rows


def of_relus(*rows):
    return recording(*rows, activations=dict.fromkeys(rows[0], "relu"))


def red_notes(ax):
    notes = [text for text in ax.texts if text.get_gid() == "note"]
    return [text.get_text() for text in notes if text.get_color() == _style.ALARM]


def test_values_that_are_not_finite_are_told_and_not_in_the_legend():
    rows = lost()
    ax = layers(of_relus(*rows))
    assert red_notes(ax) == ["step 2: no finite value at 2 of 3 sites"]
    assert len(names(ax)) == 4  # act1 is drawn
    rows[-1]["act1"] = torch.full((9, 4), np.nan)
    ax = layers(of_relus(*rows))
    assert red_notes(ax) == ["step 2: no finite value at 3 of 3 sites"]
    assert names(ax) == ["step 0: 5, 50, 95 %"]
    ax = layers(of_relus(*rows[::-1]))
    assert names(ax) == ["step 2: 5 to 95 %", "step 2: 25 to 75 %", "median"]


def test_lines_of_figures_that_are_not_finite_are_not_in_the_legend():
    rows = lost(4, 2)
    for row in rows[2:]:
        row["act1"] = torch.full((9, 4), np.nan)
    ax = layers(of_relus(*rows), "std")
    assert names(ax) == ["step 0", "step 1"]
    assert red_notes(ax) == [
        "step 3: no finite value at 3 of 3 sites (some in 1 other window)",
    ]


def test_sites_that_were_not_seen_are_no_alarm():
    made = growing(2)
    whole, short = made.windows
    part = Window(1, 1, "train", {"act1": short["act1"]})
    assert not red_notes(layers(Recording([whole, part], made.sites)))
