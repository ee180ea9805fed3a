"""The pages say what is so: rules and their rates, code that runs."""

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import actstats
import check_dist
from actstats.diagnosis import RULES, Thresholds

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MEASURED = {"recent", "enough_samples"}


def load(name):
    """Import a file of docs/_ext; those that want Sphinx are not asked for."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


rule_facts = load("rule_facts")


def code_of(page, kind):
    """Return the blocks of a page whose first line is ```{kind}."""
    return re.findall(rf"```\{{{kind}\}}.*?\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


# ---- rules ---------------------------------------------------------------------------------------


def test_every_rule_has_its_page():
    pages = {path.stem for path in (DOCS / "rules").glob("*.md")}
    assert pages == {rule.name for rule in RULES}
    listed = re.findall(r"^\| \[`([a-z-]+)`\]\(rules/\1\.md\)", _rules_page(), re.MULTILINE)
    assert sorted(listed) == sorted(pages)


def _rules_page():
    return (DOCS / "rules.md").read_text()


def bounds_of(rule):
    text = (DOCS / "rules" / f"{rule.name}.md").read_text()
    (block,) = re.findall(rf"```\{{rule\}} {rule.name}\n(.*?)```", text, re.DOTALL)
    return block.removeprefix(":bounds:").split()


def test_every_threshold_is_on_a_page():
    told = {name for rule in RULES for name in bounds_of(rule)}
    known = {field.name for field in fields(Thresholds)}
    assert told <= known
    assert known - told <= MEASURED


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_facts_of_a_rule_are_its_own(rule):
    text = rule_facts.facts(rule.name, bounds_of(rule))
    assert rule.source in text
    for cause in rule.causes:
        assert f"[`{cause.rule}`]({cause.rule}.md)" in text
    for name in bounds_of(rule):
        assert f"| `{name}` | {getattr(Thresholds(), name):g} |" in text


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rates_are_those_of_the_clinic(rule):
    halves = json.loads((ROOT / "benchmarks" / "results" / "clinic.json").read_text())["halves"]
    rows = rule_facts.rate_table(rule.name).splitlines()[2:]
    assert len(rows) == len(halves) == 3
    for row in rows:
        part, found, own, near, false = (cell.strip() for cell in row.strip("|").split("|"))
        fault = halves[part]["by_fault"][rule.name]
        alarms = halves[part]["healthy"]["by_rule"][rule.name]
        shares = (fault["hit"], fault["exact_rule"], fault["site_within_one"], alarms)
        for cell, share in zip((found, own, near, false), shares, strict=True):
            wanted = f"{share['hits']}/{share['n']}" if share["n"] else "-"
            assert cell.split()[0] == wanted
            assert len(cell.split(" ")) == (2 if share["n"] else 1)  # the interval is not broken


# ---- first use -----------------------------------------------------------------------------------


def test_a_diagnosis_takes_ten_lines_at_most():
    check, loop, *_ = code_of("quickstart.md", "picture")
    assert len([line for line in check.splitlines() if line.strip()]) <= 10
    assert len([line for line in loop.splitlines() if line.endswith("# new")]) <= 10


def test_the_quickstart_runs_as_it_stands(tmp_path):
    """In an interpreter of its own that has only what the block itself says."""
    code = code_of("quickstart.md", "picture")[0]
    assert code == check_dist.first_use()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import torch; torch.manual_seed(0)\n{code}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for told in ("CRITICAL dead-units at act3", "\n  -> ", "\n  | dead-units at act4, act5, act6"):
        assert told in done.stdout  # what the page explains
    for told in ("INFO ", "Not judged: ", "Tried on a copy:", "nothing alarming is left"):
        assert told in done.stdout


def test_the_loss_of_a_classifier_is_one_that_check_takes():
    (code,) = re.findall(r"`loss_fn = ([^`]+)`", (DOCS / "quickstart.md").read_text())
    loss_fn = eval(code, {"torch": torch})
    model = actstats.make_mlp(8, [16] * 2, 3, activation="relu")
    batch = torch.randn(64, 8), torch.randint(3, (64,))
    assert actstats.check(model, batch, loss_fn).ok


def test_moves_from_other_tools_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (setup,) = code_of("migrating.md", "testsetup")
    names = {}
    exec(setup, names)
    moves = code_of("migrating.md", "testcode")
    assert len(moves) == 4  # fastai, wandb, Composer, delve
    for move in moves:
        exec(move, names)
        recorder = names["recorder"]
        assert recorder["1"].count > 0
        assert not list(recorder.never_called())
    assert 0 <= names["recorder"]["3"].signal_fraction <= 1
    assert 1 <= names["recorder"]["3"].effective_rank <= 16
    assert names["counts"].sum() > 0
    assert set(names["frame"].columns) == {"first_step", "site", "mean", "max", "rms"}


def test_near_zero_is_fastais(tmp_path):
    """Its share of values up to 0.05, where the recorder was given that edge, is exact."""
    edges = {"*": [-100.0, 0.05000001, 100.0]}
    a = torch.relu(torch.randn(500, 8, generator=torch.Generator().manual_seed(0)))
    net = torch.nn.Sequential(torch.nn.ReLU())
    with actstats.ActivationRecorder(net, edges=edges) as recorder:
        net(a)
        recorder.step()
    counts, _ = recorder["0"].histogram()
    assert counts[0] / a.numel() == ((a <= 0.05).sum() / a.numel()).item()
