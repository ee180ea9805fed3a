"""The mutation check can be trusted: its edits fit, and what nothing noticed is told."""

import shutil
import subprocess
import sys
from dataclasses import replace

import mutations
import pytest
from mutations import HERE, MUTATIONS, SOURCE, Mutation

GOOD = MUTATIONS[0]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_edit_fits_and_names_tests_that_are_there(mutation):
    assert mutation.fits(), f"{mutation.old!r} is not in {mutation.file} once"
    assert mutation.old != mutation.new
    first = mutation.tests[0].partition("::")[0]
    assert (HERE / "tests" / first).exists(), first
    assert "-k" not in mutation.tests


@pytest.mark.parametrize("words", sorted({mutation.words for mutation in MUTATIONS}))
def test_the_tests_that_edits_name_are_collected(words):
    """What pytest cannot find or choose would notice nothing."""
    named = dict.fromkeys(test for m in MUTATIONS if m.words == words for test in m.tests)
    chosen = [f"tests/{test}" for test in named]
    collect = ["-m", "pytest", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider"]
    command = [sys.executable, *collect, *chosen, "-k", words]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_names_tell_mutations_apart():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.fixture
def source(tmp_path):
    """A package of one file."""
    copy = tmp_path / "src" / "actstats"
    (copy / GOOD.file).parent.mkdir(parents=True)
    shutil.copy(SOURCE / GOOD.file, copy / GOOD.file)
    return copy


@pytest.mark.parametrize(
    ("code", "said"),
    [(0, "trouble='SURVIVED'"), (1, "test='a test'"), (2, "trouble='NOT TRIED: a test'")],
)
def test_only_a_test_that_fails_has_noticed(source, monkeypatch, code, said):
    seen = []

    def run_tests(source, tests, words):
        seen.append((source / GOOD.file).read_text())
        return code, "a test"

    monkeypatch.setattr(mutations, "run_tests", run_tests)
    whole = (source / GOOD.file).read_text()
    assert said in repr(mutations.judged(GOOD, source))
    assert seen == [whole.replace(GOOD.old, GOOD.new)]
    assert (source / GOOD.file).read_text() == whole


def test_an_edit_that_does_not_fit_is_told(source):
    stale = replace(GOOD, old="no such text")
    assert "DOES NOT FIT" in mutations.judged(stale, source).trouble
    twice = Mutation("twice", GOOD.file, "return", "raise", ("test_hooks.py",))
    assert "DOES NOT FIT" in mutations.judged(twice, source).trouble
