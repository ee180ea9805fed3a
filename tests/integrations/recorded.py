"""What the tests of all trainers ask of a recorder and its model."""

import pytest

COUNTED = ("count", "zeros", "nan_count", "inf_count", "min", "max")


def hooks(model):
    """How many hooks are on a model."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def keyed(recorder):
    windows = recorder.recording.windows
    return {(w.first_step, w.last_step, w.phase, site): w[site] for w in windows for site in w}


def assert_same_windows(recorder, wanted):
    """Counts and bins of every window and site are the same, moments up to rounding."""
    found, wanted = keyed(recorder), keyed(wanted)
    assert found.keys() == wanted.keys()
    assert len(wanted) > 10
    for key, stats in wanted.items():
        for name in COUNTED:
            assert getattr(found[key], name) == getattr(stats, name), (key, name)
        assert found[key].bits.index.tolist() == stats.bits.index.tolist(), key
        assert found[key].bits.counts.tolist() == stats.bits.counts.tolist(), key
        assert found[key].rms == pytest.approx(stats.rms, rel=1e-9), key
