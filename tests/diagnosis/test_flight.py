"""FlightRecorder: what is kept before the first NaN, who is told, and what is written."""

import json

import pytest
import torch
from torch import nn

import actstats
from actstats import ActivationRecorder, FlightRecorder, UnhealthyError, make_mlp


def net():
    torch.manual_seed(0)
    return make_mlp(4, [16, 16], 1, activation="relu")


def fly(model, recorder, steps, broken_at=None):
    for step in range(steps):
        x = torch.randn(64, 4)
        if step == broken_at:
            x[0, 0] = torch.nan
        model(x)
        recorder.step(loss=float(step))


def test_the_last_windows_before_the_first_nan_are_kept():
    model = net()
    recorder = ActivationRecorder(model, window=1)
    with recorder, FlightRecorder(recorder, keep=3) as flight:
        fly(model, recorder, 10, broken_at=6)
    assert [window.first_step for window in flight.windows] == [4, 5, 6]
    assert (flight.offender.site, flight.offender.since) == ("fc1", 6)
    assert recorder.recording.windows[-1].last_step == 9  # the run went on


def test_while_all_is_finite_the_last_windows_move_on():
    model = net()
    recorder = ActivationRecorder(model, window=1)
    with recorder, FlightRecorder(recorder, keep=2) as flight:
        fly(model, recorder, 5)
    assert [window.first_step for window in flight.windows] == [3, 4]
    assert flight.offender is None
    assert "nothing broken" in repr(flight)


def test_windows_that_merge_in_the_recorder_are_kept_as_they_closed():
    model = net()
    recorder = ActivationRecorder(model)
    with recorder, FlightRecorder(recorder, keep=4) as flight:
        fly(model, recorder, 80)
        assert [w.last_step - w.first_step + 1 for w in flight.windows] == [2] * 4
    assert flight.windows[-1].first_step == flight.windows[-1].last_step == 79  # it was open


def test_the_file_holds_offender_and_figures(tmp_path):
    model = net()
    recorder = ActivationRecorder(model, window=1)
    path = tmp_path / "flight.json"
    with recorder, FlightRecorder(recorder, keep=2, path=path):
        fly(model, recorder, 4, broken_at=2)
    written = json.loads(path.read_text())
    assert written["offender"]["site"] == "fc1"
    assert [window["first_step"] for window in written["windows"]] == [1, 2]
    assert written["windows"][1]["sites"]["fc1"]["nan_count"] == 16
    assert written["windows"][0]["scalars"] == {"loss": 1.0}
    assert [file.name for file in tmp_path.iterdir()] == ["flight.json"]


def test_nan_in_another_phase_is_caught():
    model = net()
    recorder = ActivationRecorder(model, window=1)
    with recorder, FlightRecorder(recorder) as flight:
        fly(model, recorder, 3)
        model.eval()
        fly(model, recorder, 1, broken_at=0)
    assert (flight.offender.site, flight.offender.since) == ("fc1", 3)
    assert "of eval" in flight.offender.message
    assert not actstats.diagnose(recorder).ok


def test_the_window_that_is_open_at_the_end_is_looked_at():
    model = net()
    recorder = ActivationRecorder(model, window=50)
    flight = FlightRecorder(recorder)

    def interrupted():
        with recorder, flight:
            fly(model, recorder, 20, broken_at=10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert (flight.offender.site, flight.offender.since) == ("fc1", 10)


def test_gradients_that_a_loss_scaler_skips_do_not_end_the_watch():
    model = net()
    recorder = ActivationRecorder(model, window=1, capture=("output", "grad"))
    recorder.grad_scale = 2.0**10
    with recorder, FlightRecorder(recorder, keep=8) as flight:
        for step in range(4):
            loss = model(torch.randn(64, 4)).square().mean()
            (loss * (1e38 if step == 1 else 1e3) * (1e38 if step == 1 else 1)).backward()
            recorder.step()
        assert flight.offender is None
        fly(model, recorder, 1, broken_at=0)
    assert (flight.offender.site, flight.offender.since) == ("fc1", 4)


def test_findings_are_told_once_and_again_when_graver():
    told = []
    model = net()
    recorder = ActivationRecorder(model, window=1)
    with recorder, FlightRecorder(recorder, keep=1, every=1, on_finding=told.append):
        fly(model, recorder, 2)
        nn.init.constant_(model.fc1.bias[:7], -100)
        fly(model, recorder, 2)
        nn.init.constant_(model.fc1.bias, -100)
        fly(model, recorder, 2)
    dead = [finding.severity for finding in told if finding.rule == "dead-units"]
    assert dead[-2:] == ["warning", "critical"]
    assert len(dead) == len(set(dead))


def test_a_critical_finding_is_raised_out_of_step():
    model = net()
    recorder = ActivationRecorder(model, window=1)
    nn.init.constant_(model.fc1.bias, -100)
    with recorder, FlightRecorder(recorder, every=2, raise_on="critical"):
        with pytest.raises(UnhealthyError, match="CRITICAL dead-units at act1") as caught:
            fly(model, recorder, 5)
        assert caught.value.diagnosis.roots[0].site == "act1"
        fly(model, recorder, 1)  # step() had done its work
    assert [w.last_step for w in recorder.recording.windows] == [0, 1, 2]


def test_nothing_is_told_once_it_has_ended():
    told = []
    model = net()
    nn.init.constant_(model.fc1.bias, -100)
    recorder = ActivationRecorder(model, window=1)
    with FlightRecorder(recorder, every=1, on_finding=told.append):
        pass
    with recorder:
        fly(model, recorder, 2)
    assert told == []
    assert recorder._run.windows.arrived is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keep": 0}, "`keep` must be an integer of at least 1; got 0"),
        ({"every": 1.5}, "`every` must be an integer of at least 1; got 1.5"),
        ({"raise_on": "fatal"}, "`raise_on` must be one of"),
        ({"path": "nowhere/to/be.json"}, "`path` must lie in a folder that exists"),
    ],
)
def test_arguments_that_cannot_work_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        FlightRecorder(ActivationRecorder(net()), **given)


# ---- assert_healthy ------------------------------------------------------------------------------


def sick_recorder():
    model = net()
    nn.init.constant_(model.fc1.bias, -100)
    with ActivationRecorder(model) as recorder:
        model(torch.randn(64, 4))
    return recorder


def test_a_sick_net_fails_with_its_diagnosis():
    with pytest.raises(AssertionError, match="16 of 16 units are dead"):
        actstats.assert_healthy(sick_recorder())


def test_what_is_ignored_or_lesser_does_not_fail():
    found = actstats.assert_healthy(
        sick_recorder(), ignore=("dead-units", "input-independent", "exploding-activation")
    )
    assert not found.ok
    with pytest.raises(UnhealthyError):
        actstats.assert_healthy(found, severity="info")


def test_nothing_recorded_is_not_healthy():
    with pytest.raises(ValueError, match="nothing was recorded"):
        actstats.assert_healthy(ActivationRecorder(net()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ignore": "dead"}, "`ignore` has no rule 'dead'"),
        ({"severity": "fatal"}, "`severity` must be one of"),
    ],
)
def test_unknown_names_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        actstats.assert_healthy(sick_recorder(), **given)


PLUGIN = """
import torch, actstats
from torch import nn

IGNORED = ("dead-units", "input-independent", "no-gradient")

def run(model, healthy_recorder, **options):
    recorder = healthy_recorder(model, **options)
    model(torch.randn(64, 4)).square().mean().backward()
    recorder.step()
    assert recorder.attached

def make(bias):
    torch.manual_seed(0)
    model = actstats.make_mlp(4, [16], 1, activation="relu")
    nn.init.constant_(model.fc1.bias, bias)
    return model

def test_healthy(healthy_recorder):
    run(make(0.0), healthy_recorder)

def test_sick(healthy_recorder):
    run(make(-100.0), healthy_recorder)

def test_ignored(healthy_recorder):
    run(make(-100.0), healthy_recorder, severity="critical", ignore=IGNORED)
"""


def test_the_fixture_fails_tests_of_sick_nets(pytester):
    pytester.makepyfile(PLUGIN)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*test_sick*", "*dead-units at act1*"])


def test_the_file_is_a_recording_of_the_windows_kept(tmp_path):
    path = tmp_path / "flight.actstats"
    model = net()
    recorder = ActivationRecorder(model, window=1)
    with recorder, FlightRecorder(recorder, keep=3, path=path) as flight:
        fly(model, recorder, 5, broken_at=3)
    assert [w.first_step for w in flight.windows] == [1, 2, 3]
    found = actstats.load(path)
    assert [w.first_step for w in found.windows] == [w.first_step for w in flight.windows]
    assert found.metadata["offender"]["site"] == flight.offender.site
    assert found.windows[-1].first_non_finite == flight.windows[-1].first_non_finite


def test_a_file_that_cannot_be_written_does_not_stop_the_run(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr("actstats.diagnosis.flight.os.replace", fail)
    model = net()
    recorder = ActivationRecorder(model, window=1)
    with recorder, FlightRecorder(recorder, path=tmp_path / "flight.json") as flight:
        fly(model, recorder, 5, broken_at=3)
    assert flight.offender is not None
    assert "flight.json cannot be written: no space" in caplog.text
