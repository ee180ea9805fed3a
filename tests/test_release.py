"""What a release is made of: citation, addresses, the sdist and the wheel, and words on privacy."""

import re
from pathlib import Path

import pytest

import actstats
import check_dist

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.+)$", text, re.MULTILINE)[1] == actstats.__version__


def test_a_release_has_its_date_and_a_version_on_the_way_none():
    text = (ROOT / "CITATION.cff").read_text()
    dated = re.search(r"^date-released: \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert bool(dated) is (".dev" not in actstats.__version__)


def test_the_address_of_the_project_is_everywhere_or_nowhere():
    places = {
        "pyproject.toml": r"^\[project\.urls\]",
        "CITATION.cff": r"^repository-code: https://",
        ".github/ISSUE_TEMPLATE/config.yml": r"^contact_links:",
    }
    told = {
        name: bool(re.search(pattern, (ROOT / name).read_text(), re.MULTILINE))
        for name, pattern in places.items()
    }
    assert len(set(told.values())) == 1, told


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", ".github/ISSUE_TEMPLATE/diagnosis.yml"])
def test_what_a_recording_holds_is_said_alike(name):
    (told,) = re.findall(r"[Rr]ecording[^.]* holds (no .*?)[;:]", (ROOT / name).read_text())
    assert told == "no tensor, but exact figures of them, names, and how the model prints itself"
    (whole,) = re.findall(
        r"^## What a recording holds\n\n(.*)$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE
    )
    for fact in ("No tensor", "figures that are exact", "names", "how the model prints itself"):
        assert fact in whole
    assert "Look before you publish one." in whole
    assert "Look before you publish one." in (ROOT / name).read_text()


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
