"""The figures of all sites at once are those of the sites one by one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actstats import Recording, TensorStats, Window
from actstats.figures import figures
from actstats.stats import COUNTS, FIGURES
from actstats.table import SiteTable
from claims import assert_identical

few = settings(max_examples=120, deadline=None, derandomize=True)
ODD = (0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e-42, 0.99999)

sites = st.fixed_dictionaries(
    {
        "rows": st.sampled_from([0, 1, 2, 7, 29, 30, 40]),
        "units": st.integers(1, 5),
        "unit_axis": st.sampled_from([-1, None]),
        "activation": st.sampled_from([None, "relu", "tanh", "gelu", "hardtanh", "sigmoid"]),
        "resolution": st.integers(0, 4),
        "edges": st.sampled_from([None, (4, -1.0, 1.0)]),
        "mean": st.sampled_from([0.0, 5.0, -3.0, 1e6]),
        "odd": st.integers(0, 12),
        "dead": st.booleans(),
        "seed": st.integers(0, 99),
    }
)


def stats_of(rows, units, unit_axis, activation, resolution, edges, mean, odd, dead, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, units, generator=generator) + mean
    if dead and rows:
        x[:, 0] = 0.0
    if rows:
        places = torch.randint(x.numel(), (odd,), generator=generator)
        x.view(-1)[places] = torch.tensor(ODD)[places % len(ODD)]
    if activation == "relu":
        x = x.relu()
    return TensorStats.from_tensor(
        x,
        z=x if activation == "gelu" else None,
        unit_axis=unit_axis,
        activation=activation,
        resolution=resolution,
        edges=edges,
    )


drawn = st.lists(sites, min_size=1, max_size=4).map(
    lambda many: {f"s{i}": stats_of(**one) for i, one in enumerate(many)}
)


@few
@given(drawn)
def test_figures_of_a_table_are_those_of_its_sites(stats):
    found = figures(SiteTable.from_stats(stats))
    assert tuple(found) == FIGURES
    for place, (site, one) in enumerate(stats.items()):
        for name, want in one.to_dict().items():
            got = found[name][place]
            if name in COUNTS or math.isnan(want):
                np.testing.assert_equal(got, float(want), err_msg=f"{site} {name}")
            else:
                np.testing.assert_allclose(got, want, rtol=1e-12, err_msg=f"{site} {name}")


@few
@given(drawn)
def test_a_table_made_of_statistics_holds_the_same(stats):
    table = SiteTable.from_stats(stats)
    assert list(table) == list(stats)
    for site, one in stats.items():
        assert_identical(table[site], one, site=site)
        assert table[site].activation == one.activation
        assert table[site].edges == one.edges
        assert table[site].notes == one.notes


def test_what_saw_nothing_has_no_place_in_a_table():
    table = SiteTable.from_stats({"a": TensorStats.empty()})
    assert len(table) == 0
    assert {name: values.shape for name, values in figures(table).items()} == dict.fromkeys(
        FIGURES, (0,)
    )


def test_a_window_gives_a_figure_by_site():
    stats = {"a": TensorStats.from_tensor(torch.tensor([1.0, 3.0]))}
    window = Window(0, 0, "train", stats)
    assert window.figure("mean") == {"a": 2.0}
    assert math.isnan(window.figure("dead_fraction")["a"])
    with pytest.raises(ValueError, match=r"`figure` must be one of .* got 'meen'"):
        window.figure("meen")


def test_a_data_frame_of_nothing_has_the_columns():
    frame = Recording().to_pandas()
    assert list(frame.columns)[-len(FIGURES) :] == list(FIGURES)
    assert frame.empty


@pytest.mark.parametrize(("rows", "want"), [(29, math.nan), (30, 0.5)])
def test_units_are_dead_from_as_many_samples_on_as_one_by_one(rows, want):
    x = torch.tensor([0.0, 1.0]).expand(rows, 2)
    one = TensorStats.from_tensor(x, activation="relu")
    found = figures(SiteTable.from_stats({"a": one}))
    np.testing.assert_equal([found["dead_fraction"][0], one.dead_fraction], [want, want])
