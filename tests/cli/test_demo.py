"""The tutorial in one command."""

import json

import pytest
import torch

from actstats import load
from actstats.cli.demo import train


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_it_shows_a_sick_network_and_a_healthy_one(run, tmp_path, activation):
    out_dir = tmp_path / "demo"
    code, out, err = run("demo", "--activation", activation, "-o", out_dir, "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert sorted(p.name for p in out_dir.iterdir()) == [
        *("batch_norm.actstats", "grid.png", "plain.actstats"),
    ]
    assert told["loss"]["batch_norm"] < 0.5 * told["loss"]["plain"]
    assert not told["diagnosis"]["plain"]["ok"]
    assert told["diagnosis"]["batch_norm"]["ok"]


@pytest.fixture
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_a_seed_is_a_run_and_the_callers_numbers_stay(tmp_path):
    torch.set_num_threads(3)
    state = torch.get_rng_state()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tmp_path / name, "tanh", False, 1, seed)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == 3
    a, b, c = (load(tmp_path / name)["fc1:grad"].rms for name in "abc")
    assert a == b != c


def test_an_older_demo_is_replaced(tmp_path):
    for _ in range(2):
        train(tmp_path / "x.actstats", "relu", True, 1, 1)
    windows = load(tmp_path / "x.actstats").windows
    assert (windows[0].first_step, windows[-1].last_step, len(windows)) == (0, 31, 4)
    assert load(tmp_path / "x.actstats").metadata["seed"] == 1


def test_words_for_people(run, tmp_path):
    code, out, _ = run("demo", "--epochs", "1", "-o", tmp_path)
    assert code == 0
    assert "plain: loss " in out
    assert f"  actstats show {tmp_path / 'plain.actstats'}" in out


@pytest.mark.parametrize("epochs", ["0", "-1", "x"])
def test_wrong_epochs(run, tmp_path, epochs):
    code, _, err = run("demo", "--epochs", epochs, "-o", tmp_path)
    assert code == 64
    assert "wants a whole number of at least 1" in err or "expected one argument" in err
