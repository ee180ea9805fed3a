"""Every window closed before a kill is read back, bit for bit."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from killed_run import batch, network

import actstats
from actstats import ActivationRecorder

ROUNDS = 100


def expected(steps):
    """Return the windows that a run of so many steps closes."""
    net = network()
    with ActivationRecorder(net, window=1, kernel="reference") as recorder:
        for step in range(steps):
            net(batch(step))
            recorder.step(loss=step / 7)
    return recorder.recording.windows


@pytest.mark.hostile(102)
@pytest.mark.skipif(sys.platform != "linux", reason="runs are forked and killed")
def test_what_had_closed_when_a_run_was_killed_is_there(tmp_path):
    script = Path(__file__).with_name("killed_run.py")
    command = [sys.executable, script, tmp_path, str(ROUNDS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(runs) == ROUNDS
    want = expected(max(steps for _, steps in runs) + 1)
    for path, steps in runs:
        found = actstats.load(path).windows
        assert len(found) in (steps, steps + 1), f"{path}: {len(found)} of {steps}"
        for got, wanted in zip(found, want, strict=False):
            assert got.scalars == wanted.scalars
            for part in ("dense", "bins", "counts"):
                a, b = getattr(got.stats, part), getattr(wanted.stats, part)
                np.testing.assert_array_equal(a, b, err_msg=f"{path}: {got} {part}")
    assert len({steps for _, steps in runs}) > ROUNDS / 10, "the kills came at different moments"


@pytest.mark.hostile(102)
def test_a_killed_run_is_gone_on_with(tmp_path):
    script = Path(__file__).with_name("killed_run.py")
    command = [sys.executable, script, tmp_path, "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    path, _ = json.loads(done.stdout)
    before = actstats.load(path).windows
    net = network()
    with ActivationRecorder(net, log=path, window=1) as recorder:
        for _ in range(3):
            net(batch(0))
            recorder.step()
    found = actstats.load(path)
    assert len(found.windows) == len(before) + 3
    assert [w.first_step for w in found.windows] == list(range(len(found.windows)))
    assert found.notes == ()
