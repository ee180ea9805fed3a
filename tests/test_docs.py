"""The pages say what is so: layers of the code, rules and their rates, code that runs."""

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

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


module_map = load("module_map")
rule_facts = load("rule_facts")


def code_of(page, kind):
    """Return the blocks of a page whose first line is ```{kind}."""
    return re.findall(rf"```\{{{kind}\}}.*?\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


# ---- layers --------------------------------------------------------------------------------------

# What is imported from a layer above when a function is called, and why that is so
DOORS = {
    ("recorder", "log"),  # log=
    ("recorder", "distributed"),  # merge_ranks
    ("recording", "log"),  # save
    ("recording", "exports"),  # to_xarray
    ("metadata", "__init__"),  # the version
    ("exports", "__init__"),
    ("report", "__init__"),
    ("cli", "__init__"),  # it uses the package as a user does
    ("pytest_plugin", "__init__"),
}


def test_every_module_has_its_layer():
    parts = {module_map.part(name) for name in module_map.modules()} - {module_map.FACADE}
    stated = [name for _, row in module_map.stated_layers() for name in row]
    assert sorted(stated) == sorted(parts)  # and none twice


def test_imports_point_down():
    layers = module_map.stated_layers()
    found = module_map.upward(module_map.imports(), module_map.heights(layers))
    assert {row for row in found if row[2] == "at once"} == set()
    assert {row[:2] for row in found if row[2] == "when called"} == DOORS


def test_imports_make_no_ring():
    assert module_map.cycle(module_map.imports()) == []


def package(folder, **files):
    for name, text in files.items():
        path = folder / (name.replace("__in__", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return module_map.imports(folder)


def test_an_upward_import_is_seen(tmp_path):
    found = package(tmp_path, low="from actstats.high import x", high="", __init__="")
    assert module_map.upward(found, {"low": 0, "high": 1}) == {("low", "high", "at once")}
    assert module_map.upward(found, {"low": 1, "high": 0}) == set()


def test_the_time_of_an_import_is_seen(tmp_path):
    late = "def f():\n    from actstats.b import x\n"
    types = "if TYPE_CHECKING:\n    import actstats.b.c\n"
    found = package(tmp_path, a=late, b__in____init__="", b__in__c=types, __init__="")
    assert found == [("a", "b", "when called")]
    found = package(tmp_path, a=types)
    assert found == [("a", "b.c", "for types")]


def test_names_of_the_facade_are_its_own(tmp_path):
    found = package(tmp_path, a="from actstats import b, __version__", b="", __init__="")
    assert [row.imported for row in found] == ["__init__", "b"]


def test_a_ring_is_seen(tmp_path):
    a, b, c = (f"from actstats.{name} import x" for name in "bca")
    assert module_map.cycle(package(tmp_path, a=a, b=b, c=c)) == ["a", "b", "c", "a"]
    late = "def f():\n    from actstats.a import x\n"
    assert module_map.cycle(package(tmp_path, c=late)) == []


@pytest.fixture(scope="module")
def drawn_map():
    figure = module_map.draw()
    figure.draw_without_rendering()
    return figure.axes[0]


def words(axes):
    """Return the names of both sides, the layers' titles and the legend, as they were placed."""
    titles = [*axes.texts, *axes.get_legend().get_texts()]
    return [*axes.get_xticklabels(), *axes.get_yticklabels(), *titles]


def overlaps(texts):
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    return [(a, b) for i, (a, own) in enumerate(boxes) for b, box in boxes[:i] if own.overlaps(box)]


def test_no_word_of_the_map_lies_on_another(drawn_map):
    assert overlaps(words(drawn_map)) == []
    larger = [text for text in drawn_map.get_yticklabels() if not text.set_fontsize(20)]
    assert len(overlaps(larger)) > 10


def test_the_map_has_a_dot_for_each_import(drawn_map):
    names = [label.get_text() for label in drawn_map.get_yticklabels()]
    assert names == [label.get_text() for label in drawn_map.get_xticklabels()]
    assert sorted(names) == sorted(name for _, row in module_map.stated_layers() for name in row)
    at_once, when_called = (dots.get_offsets().astype(int) for dots in drawn_map.collections[-2:])
    height = module_map.heights(module_map.stated_layers())
    left = {(names[row], names[column]) for column, row in at_once if column < row}
    assert {pair for pair in left if height[pair[0]] != height[pair[1]]} == set()
    found = {(one.importer, one.imported) for one in module_map.imports() if one.kind == "at once"}
    pairs = {tuple(map(module_map.part, pair)) for pair in found}
    shown = {(names[row], names[column]) for column, row in at_once}
    assert shown == {(a, b) for a, b in pairs if a != b and module_map.FACADE not in (a, b)}
    doors = {(names[row], names[column]) for column, row in when_called if column < row}
    assert {pair for pair in DOORS if module_map.FACADE not in pair} <= doors


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


# ---- first use -----------------------------------------------------------------------------------


def test_a_diagnosis_takes_ten_lines_at_most():
    check, loop, *_ = code_of("quickstart.md", "testcode")
    assert len([line for line in check.splitlines() if line.strip()]) <= 10
    assert len([line for line in loop.splitlines() if line.endswith("# new")]) <= 10


def test_the_quickstart_runs_as_it_stands(tmp_path):
    """In an interpreter of its own that has only what the block itself says."""
    code = code_of("quickstart.md", "testcode")[0]
    assert code == check_dist.first_use()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import torch; torch.manual_seed(0)\n{code}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "CRITICAL dead-units at act3" in done.stdout
    assert "Tried on a copy:" in done.stdout


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
    import torch

    edges = {"*": [-100.0, 0.05000001, 100.0]}
    a = torch.relu(torch.randn(500, 8, generator=torch.Generator().manual_seed(0)))
    net = torch.nn.Sequential(torch.nn.ReLU())
    with actstats.ActivationRecorder(net, edges=edges) as recorder:
        net(a)
        recorder.step()
    counts, _ = recorder["0"].histogram()
    assert counts[0] / a.numel() == ((a <= 0.05).sum() / a.numel()).item()


# ---- release -------------------------------------------------------------------------------------


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.+)$", text, re.MULTILINE)[1] == actstats.__version__


def test_a_wheel_is_checked_for_what_it_lacks_and_has_too_much():
    info = {f"torch_actstats-1.dist-info/{n}" for n in ("entry_points.txt", "licenses/LICENSE")}
    wanted = {"actstats/__init__.py", "actstats/py.typed"}
    assert check_dist.wheel_faults(wanted | info, wanted) == []
    lost = check_dist.wheel_faults({"actstats/__init__.py", "tests/x.py", *info}, wanted)
    assert lost == ["not in the wheel: actstats/py.typed", "strange in the wheel: tests/x.py"]
    (lack,) = check_dist.wheel_faults(wanted | set(sorted(info)[:1]), wanted)
    assert lack == "not in the wheel: licenses/LICENSE"


def test_an_sdist_is_checked_for_what_it_lacks_and_has_too_much():
    whole = set(check_dist.IN_SDIST)
    assert check_dist.sdist_faults(whole) == []
    assert check_dist.sdist_faults(whole - {"LICENSE"}) == ["not in the sdist: LICENSE"]
    made = check_dist.sdist_faults(whole | {"docs/_pictures/a.png"})
    assert made == ["made, and in the sdist: docs/_pictures/a.png"]


def test_the_package_has_templates_beside_its_code():
    assert {"actstats/py.typed", "actstats/report/templates/page.html"} <= check_dist.sources()
