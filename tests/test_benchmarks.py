"""The benchmarks run, name what is absent, and say of a bound what the interval says."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    bounds,
    disk,
    integrations,
    kernel,
    machine,
    nets,
    overhead,
    peers,
    ranks,
    report,
    scale,
    timing,
)
from benchmarks.__main__ import ALL  # noqa: E402


@pytest.fixture(autouse=True)
def _same_threads():
    """Leave the number of threads as it was: benchmarks set one."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


# ---- intervals -----------------------------------------------------------------------------------


def test_ratio_of_proportional_times_has_no_spread():
    under = np.array([1.0, 2.0, 4.0])
    assert timing.ratio(3 * under, under) == timing.Estimate(3.0, 3.0, 3.0)


def test_median_lies_in_its_interval_and_one_outlier_moves_little():
    times = np.array([1.0] * 14 + [100.0])
    assert timing.median(times) == timing.Estimate(1.0, 1.0, 1.0)
    spread = timing.median(np.arange(15.0))
    assert (spread.low, spread.value, spread.high) == (3.0, 7.0, 11.0)


def test_interval_covers_the_median_nineteen_times_in_twenty():
    draws = np.random.default_rng(1).normal(size=(300, 15))
    hits = sum(e.low <= 0 <= e.high for e in map(timing.median, draws))
    print(f"{hits} of 300")
    assert 270 <= hits <= 300


def test_ratio_of_added_times():
    none = np.array([1.0, 2.0, 1.0])
    measured = timing.ratio_of_added(1.5 * none, 1.25 * none, none)
    assert measured == timing.Estimate(2.0, 2.0, 2.0)
    assert timing.ratio_of_added(2 * none, none, none).value == np.inf


def test_rounds_measure_everything_once_and_leave_the_warm_up_out():
    seen = []

    def measure(name):
        def one():
            seen.append(name)
            return float(len(seen)), 0.0

        return one

    cpu, wall = timing.interleave({n: measure(n) for n in "abc"}, 4, "test", warm=1)
    assert len(seen) == 15
    assert all(sorted(seen[i : i + 3]) == ["a", "b", "c"] for i in range(0, 15, 3))
    assert len({tuple(seen[i : i + 3]) for i in range(0, 15, 3)}) > 1  # the order changes
    assert {len(t) for t in (*cpu.values(), *wall.values())} == {4}
    assert min(min(t) for t in cpu.values()) == 4.0


# ---- bounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "at_most", "at_least"),
    [(1, 2, "met", "missed"), (4, 5, "missed", "met"), (2, 4, *["within the interval"] * 2)],
)
def test_a_bound_is_missed_only_by_the_whole_interval(low, high, at_most, at_least):
    measured = timing.Estimate(1.5, low, high)
    assert bounds.Bound("x", 3).verdict(measured) == at_most
    assert bounds.Bound("x", 3, at_least=True).verdict(measured) == at_least


def test_bound_says_what_was_promised_and_measured():
    row = bounds.ADDED["mlp"].row(timing.Estimate(0.02, 0.01, 0.024))
    assert row["bound"] == "at most 2.5 %"
    assert row["measured"] == "2.0 %"
    assert row["interval"] == "1.0 % to 2.4 %"
    assert row["verdict"] == "met"
    factor = bounds.PEERS["mlp"].row(timing.Estimate(np.inf, 9, np.inf))
    assert factor["bound"] == "at least 10.00 x"
    assert factor["verdict"] == "within the interval"


def test_every_net_has_its_bounds():
    for table in (bounds.ADDED, bounds.PEERS, bounds.GRADIENTS):
        assert set(table) == set(nets.LABELS) == set(nets.MAKERS)


# ---- peers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", peers.PEERS)
def test_peer_watches_every_leaf(name):
    net = nets.make("tutorial")
    variant = peers.PEERS[name].variant(net.model)
    variant.attach()
    net.train(net.small)
    variant.step()
    variant.detach()
    kept = len(getattr(variant, "kept", ()))
    print(name, kept)
    per_leaf = {"composer": 2, "plain": 2, "observer": 0}.get(name, 1)
    if not peers.PEERS[name].installed:
        assert kept == per_leaf * 26
    variant.clear()
    assert not any(m._forward_hooks for m in net.model.modules())


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_wandb_formulas_take_constant_and_missing_values(value):
    kept = []
    peers.wandb_formulas(kept.append)(nn.Identity(), (), torch.full((3,), value))
    assert kept == ([([3], [0.0, 0.0])] if value == 0 else [])


def test_formulas_on_known_values():
    x = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    kept = []
    for make in (peers.fastai_formulas, peers.miniai_formulas, peers.composer_formulas):
        make(kept.append)(nn.Identity(), (), x)
    (mean, std, near_zero, histogram), (m, s, h), composer = kept
    assert (mean, near_zero, float(m)) == (1.5, 0.25, 1.5)
    assert std == float(s) == pytest.approx(x.std().item())
    assert histogram.sum() == h.sum() == 4
    assert composer == pytest.approx((14**0.5, 1.5, 1.64, 3.0), rel=1e-6)


def test_leaves_are_the_sites_of_the_recorder():
    for name in ("tutorial", "mlp"):
        net = nets.make(name)
        recorded = peers.Recorded(net.model)
        assert len(peers.leaves(net.model)) == len(recorded.recorder.sites)


def test_absent_peers_are_named_with_the_reason(monkeypatch):
    monkeypatch.setattr(peers, "version", lambda distribution: None)
    absent = peers.absent(peers.PEERS)
    assert absent["fastai ActivationStats"] == "fastai is not installed"
    assert "torch below" in absent["Composer ActivationMonitor"]
    assert "torch HistogramObserver" not in absent
    said = report.absences({"absent": absent})
    assert all(label in said for label in absent)
    assert report.absences({"absent": {}}) == "Nothing is absent."


def test_requirements_are_pinned():
    lines = (ROOT / "benchmarks" / "requirements-peers.txt").read_text().splitlines()
    wanted = [line.partition("#")[0].strip() for line in lines]
    assert all("==" in line for line in wanted if line)
    names = {line.partition("==")[0] for line in wanted if line}
    assert {p.distribution for p in peers.PEERS.values() if p.distribution} <= names


# ---- whole runs ----------------------------------------------------------------------------------


def written(folder, name, capsys):
    result = json.loads((folder / f"{name}.json").read_text())
    assert {"benchmark", "machine", "options", "absent"} <= set(result)
    assert {"date", "processor", "cores", "versions"} <= set(result["machine"])
    told, runs = result["machine"]["versions"]["torch"], torch.__version__
    assert told.partition("+")[0] == runs.partition("+")[0]  # the index leaves out which build
    assert (folder / f"{name}.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert (folder / f"{name}.md").read_text() in printed
    assert "Measured " in printed
    return result, printed


def test_overhead_writes_table_json_and_picture(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(overhead, "WARM_STEPS", 8)
    options = ["--rounds", "2", "--seconds", "0.001", "--nets", "tutorial"]
    overhead.main([*options, "--peers", "fastai", "plain", "--out", str(tmp_path)])
    result, printed = written(tmp_path, "overhead", capsys)
    (row,) = result["rows"]
    assert row["sites"] == 26
    assert row["steps_per_block"] % 4 == 0
    assert {len(t) for t in row["times_s"]["cpu"].values()} == {2}
    assert set(row["times_s"]["wall"]) == {"without", *row["ratios"]}
    assert [len(b) for b in row["bounds"]] == [5] * 4
    assert all(b["verdict"] in (bounds.MET, bounds.MISSED, bounds.WITHIN) for b in row["bounds"])
    assert all(b["what"] in printed for b in row["bounds"])
    assert all(label in printed for label in (*row["ratios"], *result["absent"]))


def test_kernel_writes_table_json_and_picture(tmp_path, capsys):
    options = ["--rounds", "2", "--seconds", "0.0005", "--sizes", "640", "--steps", "130"]
    parts = ["elements", "hook", "windows"]
    kernel.main([*options, "--kernels", "reference", "--parts", *parts, "--out", str(tmp_path)])
    result, printed = written(tmp_path, "kernel", capsys)
    assert len(result["elements"]) == len(kernel.GROUPS) + 3 * len(kernel.COMMON)
    assert [(r["first"], r["last"]) for r in result["windows"]] == [(0, 63), (64, 127), (128, 129)]
    assert {r["module"] for r in result["hook"]} == {"Identity", "ReLU", "Tanh"}
    assert all(group.label in printed for group in kernel.GROUPS.values())


def test_kernel_that_does_not_run_is_named():
    found = kernel.available(["reference", "cuda"])
    assert found["reference"].NAME == "reference"
    if not torch.cuda.is_available():
        assert isinstance(found["cuda"], str)


def test_scale_writes_table_json_and_picture(tmp_path, capsys):
    options = ["--rounds", "2", "--modules", "20", "--steps", "200"]
    scale.main([*options, "--out", str(tmp_path)])
    result, printed = written(tmp_path, "scale", capsys)
    assert [row["modules"] for row in result["attach"]] == [20]
    assert len(result["run"]["samples"]) == 100
    assert "200 steps with 10 sites" in printed


def test_simulated_ranks_merge_to_the_same_bits(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ranks, "measure_network", lambda: {"latency_s": 1e-4, "bytes_per_s": 1e9})
    ranks.main(["--ranks", "2", "9", "--sites", "20", "--units", "3", "--out", str(tmp_path)])
    result, printed = written(tmp_path, "ranks", capsys)
    assert [row["identical"] for row in result["merges"]] == [True, True]
    assert [row["shares"] for row in result["merges"]] == [2, 5]  # of at least four sites
    assert "20 sites of 3 units, one window a rank" in printed
    passed, _ = ranks.modelled(result["merges"][1], {"latency_s": 1.0, "bytes_per_s": 1e30})
    assert passed == pytest.approx(7 * 8)


def test_a_simulated_merge_that_is_not_the_same_is_told():
    made = ranks.recordings(4, 3)
    windows = [one.windows[0] for one in made[:3]]
    assert ranks.identical(made[0], windows[:1])
    assert not ranks.identical(made[0], windows)


def test_memory_is_told_by_halves():
    samples = [(step, 1000 + 2 * step, 10 + step % 2) for step in range(10)]
    told = scale.halves(samples)
    assert told["resident_bytes_per_step"] == pytest.approx(2.0)
    assert told["resident_bytes"] == [1008, 1018]
    assert told["recorder_bytes"] == [11, 11]


def test_disk_writes_table_json_and_picture(tmp_path, capsys):
    options = ("--rounds", "1", "--sites", "1", "4", "--windows", "8")
    disk.main([*options, "--out", str(tmp_path)])
    result, printed = written(tmp_path, "disk", capsys)
    assert [row["sites"] for row in result["append"]] == [1, 4]
    assert result["large"]["windows"] == 8
    assert result["large"]["report_s"] > 0
    assert "8 windows of 4 sites" in printed


def test_integrations_are_measured_beside_the_bare_recorder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(integrations, "installed", lambda name: name == "transformers")
    integrations.main(["--rounds", "1", "--steps", "4", "--out", str(tmp_path)])
    result = json.loads((tmp_path / "integrations.json").read_text())
    assert "transformers" in result["added_us"]
    assert "keras" not in result["added_us"]
    assert "mlflow, every=100" not in result["added_us"]
    assert result["bare_ms"] > 0
    printed = capsys.readouterr().out
    assert (tmp_path / "integrations.md").read_text() in printed
    assert "| transformers |" in printed


def test_committed_results_are_those_of_the_pages():
    for name, module in ALL.items():
        result = json.loads((report.RESULTS / f"{name}.json").read_text())
        page = (report.RESULTS / f"{name}.md").read_text()
        assert page.startswith(module.tables(result)), name
        assert machine.in_words(result["machine"]) in page
    result = json.loads((report.RESULTS / "integrations.json").read_text())
    assert integrations.table(result) in (report.RESULTS / "integrations.md").read_text()
