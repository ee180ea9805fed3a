"""Files of every version of the schema say for ever what they said when they were written."""

import importlib.util
import json
from pathlib import Path

import pytest

import actstats
from actstats.log.schema import VERSION

GOLDEN = Path(__file__).parent / "golden"
spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


def approx(value):
    """Return what compares numbers within 1e-9, wherever they are."""
    if isinstance(value, dict):
        return {key: approx(one) for key, one in value.items()}
    if isinstance(value, list):
        return [approx(one) for one in value]
    return pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_a_file_of_an_older_version_says_what_it_always_did(version):
    file = GOLDEN / f"v{version}.actstats"
    want = json.loads(file.with_suffix(".json").read_text())
    assert make.told(actstats.load(file)) == approx(want)
