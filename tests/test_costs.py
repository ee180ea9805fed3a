"""What README and pages say of the cost is what the committed benchmarks measured."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

COLUMNS = {  # of the README's table: row of the committed results
    "without, ms": "a step without hooks, ms",
    "recorded": "actstats",
    "fastai ActivationStats": "fastai ActivationStats 2.8.12",
    "wandb histogram": "wandb histogram 0.30.0",
    "ten plain-torch statistics": "ten plain-torch statistics",
}
LEAVES = 26  # of the smallest network


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def measured():
    """Return the committed table of process CPU time: row: cells, a network each."""
    text = (ROOT / "benchmarks" / "results" / "overhead.md").read_text()
    rows = [cells(line) for line in text.partition("\n\n")[0].splitlines()]
    return {name: found for name, *found in rows}


def number(cell):
    return float(cell.split()[0])


def test_the_table_of_the_readme_is_what_was_measured():
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line[:1] == "|"]
    (start,) = [i for i, line in enumerate(lines) if line.startswith("| step |")]
    head, rows = cells(lines[start])[1:], [cells(line)[1:] for line in lines[start + 2 : start + 6]]
    assert head == list(COLUMNS)
    for place, row in enumerate(rows):
        for title, cell in zip(head, row, strict=True):
            wanted = number(measured()[COLUMNS[title]][place])
            unit = 1 if title == "without, ms" and wanted > 1 else 0.01
            assert abs(number(cell) - wanted) <= unit / 2 + 1e-9, (title, place)


def test_the_cost_of_a_small_tensor_is_one_number():
    step, ours = (number(measured()[name][0]) for name in ("a step without hooks, ms", "actstats"))
    assert f"{1000 * step * (ours - 1) / LEAVES:.0f}" == "10"
    for page in ("README.md", "docs/benchmarks.md", "docs/explanation/cost.md"):
        text = (ROOT / page).read_text()
        assert "about 10 µs" in text, page
        assert f"{LEAVES} leaves" in text, page
        shares = re.findall(r"(\d+) % of ([\d.]+) ms", text)
        assert shares in ([], [(f"{100 * (ours - 1):.0f}", f"{step:.2f}")]), page
