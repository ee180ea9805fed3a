"""The example of two ranks, and what it checks."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import actstats
from actstats import make_mlp

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")

EXAMPLE = Path(__file__).parents[2] / "examples" / "distributed.py"


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("example_distributed", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_ranks_write_what_one_process_would_have_seen(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(EXAMPLE), "--steps", "15", "--out", str(tmp_path)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "30720 values of act1, 15360 of them on rank 0" in done.stdout
    assert "equal; see " in done.stdout
    merged = actstats.load(tmp_path / "run.actstats")
    assert [(w.first_step, w.last_step) for w in merged.windows] == [(0, 9), (10, 14)]
    files = actstats.merge([tmp_path / f"run.{rank}.actstats" for rank in range(2)])
    assert {site: files[site].bits for site in files} == {s: merged[s].bits for s in merged}


def test_its_check_finds_a_difference(example):
    torch.manual_seed(0)
    net = make_mlp(2, [4], 2)
    weights = [net.state_dict()] * 2
    one = example.replay(net, weights, world=2)
    assert example.differences(one, example.replay(net, weights, world=2)) == []
    assert example.differences(one, example.replay(net, weights[:1], world=2)) == ["other windows"]
    with torch.no_grad():
        net[0].weight.add_(0.5)
    assert "act1 in" in "".join(
        example.differences(one, example.replay(net, [net.state_dict()] * 2, world=2))
    )


def test_alone_it_is_a_group_of_one(example, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    example.main(["--steps", "3", "--out", str(tmp_path)])
    assert "equal; see " in capsys.readouterr().out
    assert not dist.is_initialized()
