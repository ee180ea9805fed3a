"""The tables, column by column."""

import numpy as np
import pytest
import torch
from recordings import normal, recording

from actstats import Recording, TensorStats, Window
from actstats.exports.tables import make_tables
from actstats.sites import Site
from actstats.stats import FIGURES

KEYS = ["window", "first_step", "last_step", "phase", "site"]


@pytest.fixture
def made():
    windows = [{"fc1": normal(seed=i), "act1": normal(seed=i).tanh()} for i in range(3)]
    losses = [{"loss": 1.0, "lr": 0.1}, {"loss": 0.5}, {}]
    return recording(*windows, activations={"act1": "tanh"}, scalars=losses, steps=10)


def table(made, name):
    return make_tables(made, [name])[name]


def test_sites(made):
    frame = table(made, "sites")
    assert list(frame["site"]) == ["fc1", "act1", "out"]
    row = frame.set_index("site").loc["act1"]
    assert (row["module"], row["kind"], row["module_type"]) == ("act1", "output", "Tanh")
    assert (row["activation"], row["source"], row["dtype"], row["order"]) == (
        *("tanh", "fc1", "float32", 1),
    )
    assert frame.set_index("site").loc["fc1", "activation"] is None


def test_figures_are_those_of_to_pandas(made):
    frame = table(made, "figures")
    assert list(frame) == [*KEYS, *FIGURES]
    assert frame.equals(made.to_pandas())


def test_scalars(made):
    frame = table(made, "scalars")
    assert list(frame) == [*KEYS[:4], "name", "count", "mean", "min", "max", "last"]
    assert list(zip(frame["window"], frame["name"], frame["last"], strict=True)) == [
        *((0, "loss", 1.0), (0, "lr", 0.1), (1, "loss", 0.5)),
    ]
    assert list(frame["first_step"]) == [0, 0, 10]
    assert list(frame["last_step"]) == [9, 9, 19]
    assert frame["count"].dtype == np.int64


def test_histograms_hold_every_finite_value_in_one_bin():
    x = torch.tensor([[0.0, -1.0, 0.25, 0.75, 1.0, 0.9999, float("nan"), float("inf"), 3e38]])
    stats = TensorStats.from_tensor(x.T.repeat(2, 1), activation="tanh")
    frame = table(Recording([Window(0, 0, "train", {"act": stats})]), "histograms")
    assert list(frame) == ["window", "site", "low", "high", "count"]
    assert frame["count"].sum() == stats.finite_count == 14
    bins = {(low, high): n for low, high, n in frame[["low", "high", "count"]].to_numpy()}
    assert bins[0.0, 0.0] == bins[1.0, 1.0] == bins[-1.0, -1.0] == 2
    for value in (0.25, 0.75, 0.9999):
        assert sum(n for (low, high), n in bins.items() if low <= value <= high) == 2
    assert min(high - low for low, high in bins if low <= 0.9999 <= high) < 1e-4
    assert (frame["low"].diff()[1:] >= 0).all()
    assert (frame["high"] >= frame["low"]).all()


def test_bins_are_counted_as_numpy_does(made):
    frame = table(made, "histograms")
    x = normal(seed=1).double().numpy()
    part = frame[(frame["window"] == 1) & (frame["site"] == "fc1")]
    for low, high, n in part[["low", "high", "count"]].to_numpy():
        inside = (low <= x) & (x < high) if high > 0 else (low < x) & (x <= high)
        assert inside.sum() == n


def test_edges_are_the_named_ones_with_what_lies_outside():
    stats = TensorStats.from_tensor(normal(), edges=(2, -1, 1))
    other = TensorStats.from_tensor(normal())
    frame = table(Recording([Window(0, 0, "train", {"a": stats, "b": other})]), "edges")
    assert list(frame["site"]) == ["a"] * 4
    assert list(frame["low"]) == [-np.inf, -1, 0, 1]
    assert list(frame["high"]) == [-1, 0, 1, np.inf]
    assert list(frame["count"][1:3]) == stats.histogram().counts.tolist()
    assert frame["count"].sum() == stats.count


def test_a_site_that_was_not_seen_has_no_rows():
    seen = TensorStats.from_tensor(normal())
    made = Recording([Window(0, 0, "train", {"a": seen}), Window(1, 1, "train", {"b": seen})])
    for name in ("figures", "histograms"):
        frame = table(made, name)
        pairs = frame[["window", "site"]].astype(str).drop_duplicates().to_numpy().tolist()
        assert pairs == [["0", "a"], ["1", "b"]]


@pytest.mark.parametrize("name", ["sites", "figures", "scalars", "histograms", "edges"])
def test_no_windows_have_the_same_columns_and_types(name, made):
    empty = table(Recording(), name)
    full = table(made, name)
    assert len(empty) == 0
    assert list(empty) == list(full)
    for column in full:
        assert empty[column].dtype.kind == full[column].dtype.kind


def test_names_may_hold_anything():
    names = ["half\udc80", "=1+1", "a\nb", "nul\0", "\u202e"]
    stats = TensorStats.from_tensor(normal())
    sites = {name: Site(name, module_type=f"T{name}") for name in names}
    made = Recording([Window(0, 0, "train\udc80", dict.fromkeys(names, stats))], sites)
    assert list(table(made, "sites")["site"]) == list(made)
    assert list(table(made, "figures")["site"]) == list(made)
    assert set(made) == set(names)
    assert set(table(made, "figures")["phase"]) == {"train\udc80"}
    assert set(table(made, "histograms")["site"]) == set(names)


def test_progress_counts_windows(made):
    told = []
    make_tables(made, ["histograms"], lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_tables_come_in_their_own_order(made):
    assert list(make_tables(made, ["scalars", "sites"])) == ["sites", "scalars"]
