"""Which windows and sites pictures over time show."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from recordings import normal, recording

from actstats import ActivationRecorder, Recording, TensorStats, Window, make_mlp
from actstats.plot._sites import chosen_series, history, opened, picked
from actstats.stats import FIGURES


def relu(*shares):
    """One window of a ReLU layer for each share of zeros."""
    windows = []
    for share in shares:
        x = torch.ones(100, 4)
        x[: int(100 * share)] = 0
        windows.append({"fc1": x, "act1": x})
    return recording(*windows, activations={"act1": "relu"})


def test_windows_are_in_order_of_time_and_of_one_phase():
    stats = {"a": TensorStats.from_tensor([1.0])}
    steps = ((4, 5, "train"), (0, 1, "train"), (0, 0, "eval"))
    made = Recording(Window(*window, stats) for window in steps)
    assert [w.first_step for w in opened(made, None)[1]] == [0, 4]
    assert [w.phase for w in opened(made, "eval")[1]] == ["eval"]


def test_the_first_phase_is_read_where_train_was_not_seen():
    stats = {"a": TensorStats.from_tensor([1.0])}
    made = Recording([Window(0, 0, "eval", stats), Window(0, 0, "test", stats)])
    assert opened(made, None)[1][0].phase == "eval"


def test_an_empty_recording_is_refused():
    with pytest.raises(ValueError, match="nothing was recorded"):
        opened(ActivationRecorder(make_mlp()), None)


def test_what_is_no_recording_is_refused():
    with pytest.raises(TypeError, match="got int"):
        opened(3, None)


def test_an_unknown_phase_is_refused():
    with pytest.raises(KeyError, match=r"no phase 'eval'.*known are 'train'"):
        opened(relu(0.5), "eval")


def test_history_leaves_out_windows_that_did_not_see_the_site():
    stats = TensorStats.from_tensor([1.0])
    windows = [Window(i, i, "train", {"a": stats} if i % 2 else {"b": stats}) for i in range(4)]
    assert [w.first_step for w in history(Recording(windows), "a", None).windows] == [1, 3]


def test_history_names_close_sites():
    with pytest.raises(KeyError, match=r"no site 'atc1' in phase 'train'.*did you mean 'act1'"):
        history(relu(0.5), "atc1", None)


@pytest.mark.parametrize("most", [1, 3, 4, 7])
def test_merged_rows_are_exact_and_cover_every_window_once(most):
    made = recording(*({"act1": normal(seed=i)} for i in range(7)))
    whole, merged = made["act1"], history(made, "act1", None).merged(most)
    assert len(merged.windows) == min(most, 7)
    assert sum(stats.count for stats in merged.stats) == whole.count
    total = sum(merged.stats, start=TensorStats.empty())
    np.testing.assert_array_equal(total.bits.counts, whole.bits.counts)
    spans = [(w.first_step, w.last_step) for w in merged.windows]
    assert spans[0][0] == 0
    assert spans[-1][1] == 6
    assert all(a[1] + 1 == b[0] for a, b in pairwise(spans))


def test_default_sites_are_the_layers():
    series, left_out = chosen_series(relu(0.5, 0.2), "zero_fraction", None, "train")
    assert series.sites == ("act1",)
    np.testing.assert_allclose(series["act1"], [0.5, 0.2])
    assert left_out == 0


def test_default_sites_are_the_outputs_where_no_layer_has_the_figure():
    made = recording({"fc1": normal(), "act1": torch.zeros(9, 4)}, activations={"act1": "relu"})
    series, _ = chosen_series(made, "signal_fraction", None, "train")  # of zeros there is none
    assert series.sites == ("fc1", "out")


def test_chosen_sites_without_the_figure_are_counted():
    series, left_out = chosen_series(relu(0.5), "saturated_fraction", "*", "train")
    assert (series.sites, left_out) == (("act1",), 2)


def test_a_figure_that_applies_nowhere_says_why():
    made = recording({"act1": normal().tanh()}, activations={"act1": "tanh"})
    with pytest.raises(ValueError, match="figure 'dead_fraction' here: act1: tanh is never"):
        chosen_series(made, "dead_fraction", None, "train")
    with pytest.raises(ValueError, match="figure 'dead_fraction' here: act1: 9 samples are too"):
        chosen_series(
            recording({"act1": torch.ones(9, 4)}, activations={"act1": "relu"}),
            *("dead_fraction", "*", "train"),
        )


def test_unknown_sites_and_figures_are_refused():
    with pytest.raises(KeyError, match=r"no site 'atc\*'"):
        chosen_series(relu(0.5), "std", "atc*", "train")
    with pytest.raises(ValueError, match="`figure` must be one of"):
        chosen_series(relu(0.5), "sdt", None, "train")


def test_sites_of_a_bare_window_keep_their_order():
    stats = TensorStats.from_tensor(normal())
    made = Recording([Window(0, 0, "train", {"z": stats, "b": stats, "a": stats})])
    assert chosen_series(made, "std", None, "train")[0].sites == ("z", "b", "a")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [(1, [9]), (2, [0, 9]), (4, [0, 3, 6, 9]), (99, list(range(10))), ([-1, 2], [2, 9])],
)
def test_picked_windows_are_spread_evenly(wanted, found):
    windows = [Window(i, i, "train", {}) for i in range(10)]
    assert picked(windows, wanted) == found


def test_picked_windows_must_be_there():
    windows = [Window(i, i, "train", {}) for i in range(3)]
    with pytest.raises(KeyError, match="no window 3; phase 'train' has 3, 0 to 2"):
        picked(windows, [3])
    with pytest.raises(ValueError, match="at least 1"):
        picked(windows, 0)
    with pytest.raises(ValueError, match="at least one"):
        picked(windows, [])


def test_every_figure_has_words():
    from actstats.plot._figures import LABELS

    assert set(FIGURES) < set(LABELS)
