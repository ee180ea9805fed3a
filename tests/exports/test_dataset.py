"""Labelled arrays."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from recordings import normal, recording

from actstats import Recording, TensorStats, Window
from actstats.stats import FIGURES


@pytest.fixture
def made():
    windows = [{"fc1": normal(seed=i), "act1": normal(seed=i).tanh()} for i in range(3)]
    losses = [{"loss": 1.0}, {}, {"loss": 0.5}]
    return recording(*windows, activations={"act1": "tanh"}, scalars=losses, steps=10)


def test_figures_by_window_and_site(made):
    data = made.to_xarray()
    assert dict(data.sizes) == {"window": 3, "site": 3}
    assert set(FIGURES) <= set(data)
    for i, window in enumerate(made.windows):
        for site in made:
            got = data["std"].sel(site=site, window=i).item()
            assert got == window.figure("std")[site]


def test_coordinates(made):
    data = made.to_xarray()
    assert data["first_step"].values.tolist() == [0, 10, 20]
    assert data["last_step"].values.tolist() == [9, 19, 29]
    assert data["phase"].values.tolist() == ["train"] * 3
    assert data["site"].values.tolist() == ["fc1", "act1", "out"]
    assert data["module_type"].sel(site="act1").item() == "Tanh"
    assert data["activation"].values.tolist() == ["", "tanh", ""]
    assert data["order"].dtype.kind == "i"


def test_what_was_not_seen_or_does_not_apply_is_nan(made):
    first = made.windows[0]
    without = replace(first, stats={"fc1": first["fc1"]})
    data = Recording([without, *made.windows[1:]], made.sites).to_xarray()
    assert np.isnan(data["count"].sel(window=0, site="act1"))
    assert np.isnan(data["saturated_fraction"].sel(site="fc1")).all()


def test_scalars_by_window(made):
    values = made.to_xarray()["scalar_loss"].values
    np.testing.assert_array_equal(values, [1.0, np.nan, 0.5])


def test_nothing_recorded():
    assert dict(Recording().to_xarray().sizes) == {"window": 0, "site": 0}


def test_names_may_hold_anything():
    stats = TensorStats.from_tensor(normal())
    data = Recording([Window(0, 0, "p\udc80", {"half\udc80": stats})]).to_xarray()
    assert data["site"].item() == r"half\udc80"


def test_without_xarray_it_says_how_to_install_it(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match="python -m pip install xarray"):
        made.to_xarray()
