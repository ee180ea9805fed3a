"""Units over time: what became of them, and how the raster shows it."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from recordings import normal, recording

from actstats import Recording, TensorStats, Window
from actstats.plot import units
from actstats.plot.lives import FATES, Lives

NAN = np.nan


def fate(*active):
    return FATES[Lives(np.array([active], float).T).fates[0]]


def made_of(*windows, n=100):
    """A ReLU layer whose units have these shares of active samples in each window."""
    tensors = []
    for shares in windows:
        x = torch.zeros(n, len(shares))
        for unit, share in enumerate(shares):
            x[: round(n * share), unit] = 1.0
        tensors.append({"act1": x})
    return recording(*tensors, activations={"act1": "relu"})


def mesh(ax):
    (found,) = (one for one in ax.collections if isinstance(one, QuadMesh))
    return found


def told(ax):
    return [text.get_text() for text in ax.texts if text.get_gid() == "fate"]


@pytest.mark.parametrize(
    ("active", "wanted"),
    [
        ((0.5, 0.1, 0.2), "always active"),
        ((0, 0, 0.2), "woke up"),
        ((0.3, 0, 0.2), "came back"),
        ((0, 0.3, 0, 0.2), "came back"),
        ((0.3, 0.2, 0), "fell silent"),
        ((0, 0.2, 0), "fell silent"),
        ((0, 0, 0), "never active"),
        ((NAN, 0.2, NAN), "always active"),
        ((NAN, 0, 0.2), "woke up"),
        ((0.2, 0, NAN), "fell silent"),
        ((NAN, NAN), "not seen"),
        ((0.0,), "never active"),
    ],
)
def test_fates(active, wanted):
    assert fate(*active) == wanted


def test_the_raster_is_the_active_fraction_of_each_unit():
    made = made_of((0.5, 0, 1), (0.2, 0.4, 1))
    ax = units(made, "act1", sort="index")
    np.testing.assert_allclose(mesh(ax).get_array(), [[0.5, 0.2], [0, 0.4], [1, 1]])
    low, high = ax.get_ylim()
    assert low > high  # unit 0 on top
    assert ax.get_ylabel() == "3 units"


def test_silent_cells_have_a_colour_of_their_own():
    drawn = mesh(units(made_of((0.01, 0, 1)), "act1", sort="index"))
    faint, silent, full = drawn.cmap(drawn.norm(drawn.get_array()[:, 0]))
    assert mpl.colors.to_hex(silent) == "#d55e00"
    assert not np.allclose(faint, silent, atol=0.1)
    assert not np.allclose(full, silent, atol=0.1)


def test_rows_are_sorted_by_fate_and_told():
    made = made_of((0, 0.5, 0.9, 0.5, 0.5), (0, 0, 0.9, 0.5, 0), (0, 0.4, 0.8, 0, 0))
    ax = units(made, "act1")
    rows = mesh(ax).get_array()
    np.testing.assert_allclose(
        rows, [[0.9, 0.9, 0.8], [0.5, 0, 0.4], [0.5, 0.5, 0], [0.5, 0, 0], [0, 0, 0]]
    )
    assert told(ax) == ["1 always active", "1 came back", "2 fell silent", "1 never active"]
    heights = [text.get_position()[1] for text in ax.texts if text.get_gid() == "fate"]
    assert heights == sorted(heights)


def test_silent_units_are_sorted_by_when_they_fell_silent():
    ax = units(made_of((0.9, 0.1), (0, 0.1), (0, 0)), "act1")
    np.testing.assert_allclose(mesh(ax).get_array()[:, 0], [0.1, 0.9])


def test_rows_are_sorted_by_activity():
    ax = units(made_of((0.1, 0.9, 0.5)), "act1", sort="activity")
    np.testing.assert_allclose(mesh(ax).get_array()[:, 0], [0.9, 0.5, 0.1])
    assert not told(ax)
    assert any("3 always active" in text.get_text() for text in ax.texts)


def test_windows_without_units_are_missing_not_silent():
    made = made_of((0.5, 1), (0.5, 1), (0.5, 1))
    first, *others = made.windows
    pooled = Window(0, 0, "train", {"act1": first["act1"].pool_units("dropped")})
    ax = units(Recording([pooled, *others], made.sites), "act1")
    assert mesh(ax).get_array().mask[:, 0].all()
    assert any("not seen" in text.get_text() for text in ax.texts)


def test_very_many_windows_are_merged():
    (window,) = made_of((0.5, 0)).windows
    made = Recording(Window(i, i, "train", window.stats) for i in range(900))
    drawn = mesh(units(made, "act1"))
    assert drawn.get_array().shape == (2, 400)
    assert drawn.get_coordinates()[0, [0, -1], 0].tolist() == [-0.5, 899.5]


def test_few_samples_are_told():
    assert any("only 9 samples" in t.get_text() for t in units(made_of((1, 0), n=9), "act1").texts)
    assert not any("samples" in t.get_text() for t in units(made_of((1, 0)), "act1").texts)


@pytest.mark.parametrize(
    ("stats", "why"),
    [
        (TensorStats.from_tensor(normal()), "not the output of an activation function"),
        (TensorStats.from_tensor(normal(), activation="gelu"), "judged from z"),
        (TensorStats.from_tensor(normal(), activation="relu").pool_units("too wide"), "too wide"),
    ],
)
def test_sites_without_activity_say_why(stats, why):
    with pytest.raises(ValueError, match=f"fc1 has no active fraction per unit: .*{why}"):
        units(Window(0, 0, "train", {"fc1": stats}), "fc1")


def test_unknown_sites_and_orders_are_refused():
    with pytest.raises(KeyError, match="did you mean 'act1'"):
        units(made_of((1, 1)), "act2")
    with pytest.raises(ValueError, match="`sort` must be one of"):
        units(made_of((1, 1)), "act1", sort="name")


def test_axes_given_are_drawn_on_and_returned():
    ax = mpl.figure.Figure().subplots()
    assert units(made_of((1, 1)), "act1", ax=ax) is ax
    assert ax.get_title(loc="left") == "act1"


def test_units_that_are_not_finite_at_the_end_are_told():
    good = torch.zeros(100, 4)
    good[:, :2] = 1.0
    good[:, 3] = NAN
    half, bad = good.clone(), torch.full((100, 4), NAN)
    half[:, 1] = NAN
    made = recording({"act1": good}, {"act1": half}, activations={"act1": "relu"})
    ends = ["1 active until not finite", "1 never active", "1 never finite"]
    assert told(units(made, "act1")) == ["1 always active", *ends]
    made = recording({"act1": good}, {"act1": bad}, activations={"act1": "relu"})
    ends[0] = "2 active until not finite"
    assert told(units(made, "act1")) == ends
    assert any(ends[0] in t.get_text() for t in units(made, "act1", sort="index").texts)


def test_units_that_are_finite_again_are_judged_by_that():
    good, bad = torch.ones(100, 2), torch.full((100, 2), NAN)
    made = recording(*({"act1": x} for x in (good, bad, good)), activations={"act1": "relu"})
    assert told(units(made, "act1")) == ["2 always active"]
