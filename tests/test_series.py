import numpy as np
import pytest
import torch

from actstats import Recording, TensorStats, Window


@pytest.fixture
def recording():
    def window(step, phase, **sites):
        stats = {name: TensorStats.from_tensor(torch.tensor(v)) for name, v in sites.items()}
        return Window(step, step, phase, stats)

    return Recording(
        (
            window(0, "train", a=[1.0, 3.0], b=[5.0]),
            window(1, "train", a=[2.0]),
            window(1, "eval", a=[9.0]),
        )
    )


def test_series_is_a_figure_over_the_windows_of_train(recording):
    series = recording.series("mean")
    assert series.sites == ("a", "b")
    assert series.phase == "train"
    np.testing.assert_array_equal(series.values, [[2.0, 5.0], [2.0, np.nan]])
    np.testing.assert_array_equal(series["a"], [2.0, 2.0])
    np.testing.assert_array_equal(series.steps, [0, 1])


def test_series_of_chosen_sites_and_phase(recording):
    series = recording.series("max", site="a", phase="eval")
    assert series.sites == ("a",)
    np.testing.assert_array_equal(series.values, [[9.0]])


def test_series_of_nothing_is_empty():
    series = Recording().series("mean")
    assert series.values.shape == (0, 0)
    assert repr(series) == "Series('mean', 0 sites x 0 windows)"


def test_series_refuses_an_unknown_figure_site_and_phase(recording):
    with pytest.raises(ValueError, match=r"`figure` must be one of .* got 'median'"):
        recording.series("median")
    with pytest.raises(KeyError, match="no site 'c'"):
        recording.series("mean", site="c")
    with pytest.raises(KeyError, match="no phase 'test'"):
        recording.series("mean", phase="test")
    with pytest.raises(KeyError, match="no site 'c' in this series; known are 'a', 'b'"):
        recording.series("mean")["c"]
