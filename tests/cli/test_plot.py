"""Pictures by kind: which function draws, with which arguments, into which file."""

import inspect
import json

import pytest
from matplotlib.figure import Figure
from PIL import Image
from recordings import normal, recording

import actstats
from actstats import Recording, plot
from actstats.cli.plot import KINDS


@pytest.fixture
def calls(monkeypatch):
    """What the functions that draw are called with."""
    made = []

    def stand_in(name):
        def draw(*recordings, **options):
            made.append((recordings, options))
            return Figure().subplots()

        monkeypatch.setattr(plot, name, draw)

    for kind in KINDS.values():
        stand_in(kind.function)
    return made


@pytest.mark.parametrize("name", KINDS)
def test_the_functions_take_what_they_are_given(name):
    kind = KINDS[name]
    parameters = list(inspect.signature(getattr(plot, kind.function)).parameters.values())
    number = 2 if name == "compare" else 1  # a grid takes all of them in one mapping
    recordings, rest = parameters[:number], parameters[number:]
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in recordings)
    known = {p.name for p in rest}
    if any(p.kind is p.VAR_KEYWORD for p in rest):  # compare hands these on
        known |= set(inspect.signature(actstats.compare).parameters)
    assert set(kind.options) <= known
    needed = {p.name for p in rest if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    assert needed <= {"site"} & set(kind.options)


def test_a_grid_is_written_beside_the_recording(run, healthy_file):
    code, out, err = run("plot", "grid", healthy_file)
    path = healthy_file.with_name("healthy-grid.png")
    assert (code, err) == (0, "")
    assert out.startswith(f"wrote {path} (")
    with Image.open(path) as image:
        assert image.format == "PNG"


def test_a_grid_of_several_has_a_row_of_each(run, calls, healthy_file, tmp_path):
    other = recording({"fc1": normal()}).save(tmp_path / "other.actstats")
    assert run("plot", "grid", healthy_file, other)[0] == 0
    assert list(calls[0][0][0]) == ["healthy", "other"]
    (tmp_path / "sub").mkdir()
    twin = recording({"fc1": normal()}).save(tmp_path / "sub" / "other.actstats")
    run("plot", "grid", other, twin)
    assert list(calls[1][0][0]) == [str(other), str(twin)]
    run("plot", "grid", other, other)
    assert list(calls[2][0][0]) == [str(other), f"{other} (2)"]


def test_options_reach_the_function(run, calls, healthy_file, tmp_path):
    words = ("--figure", "std", "--site", "act*", "--site", "fc1", "--phase", "train")
    code, _, err = run(
        "plot", "timeline", healthy_file, *words, "--title", "T", "-o", tmp_path / "t.svg"
    )
    assert (code, err) == (0, "")
    ((found,), options) = calls[0]
    assert isinstance(found, Recording)
    assert options == {
        "figure": "std",
        "sites": ["act*", "fc1"],
        "phase": "train",
        "title": "T",
    }
    assert (tmp_path / "t.svg").read_text().startswith("<?xml")


def test_what_is_not_given_is_left_to_the_function(run, calls, healthy_file):
    run("plot", "layers", healthy_file)
    assert calls[0][1] == {}


def test_the_dots_per_inch_are_chosen(run, calls, healthy_file, tmp_path):
    run("plot", "timeline", healthy_file, "--dpi", "50", "-o", tmp_path / "t.png")
    with Image.open(tmp_path / "t.png") as image:
        assert image.size == (320, 240)


def test_one_site_is_passed_as_one(run, calls, healthy_file, tmp_path):
    run("plot", "ridgeline", healthy_file, "--site", "act1", "-o", tmp_path / "r.png")
    assert calls[0][1] == {"site": "act1"}


@pytest.mark.parametrize("name", [name for name in KINDS if name != "compare"])
def test_every_kind_draws(run, deep_file, tmp_path, name):
    words = ("--site", "act1") if "site" in KINDS[name].options else ()
    code, _, err = run("plot", name, deep_file, *words, "-o", tmp_path / "x.png", "--dpi", "40")
    assert (code, err) == (0, "")
    with Image.open(tmp_path / "x.png") as image:
        assert min(image.size) > 50


def test_two_recordings_are_compared_by_name(run, calls, healthy_file, dead_file, tmp_path):
    run("plot", "compare", healthy_file, dead_file, "-o", tmp_path / "c.png")
    ((a, b), options) = calls[0]
    assert (len(a.windows), len(b.windows)) == (3, 2)
    assert options == {"names": ("healthy", "dead")}


def test_a_comparison_is_drawn(run, healthy_file, tmp_path):
    words = ("--site", "act*", "--phase", "train", "--dpi", "40")
    code, _, err = run(
        "plot", "compare", healthy_file, healthy_file, *words, "-o", tmp_path / "c.png"
    )
    assert (code, err) == (0, "")
    assert (tmp_path / "c.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gird",), "no kind of picture 'gird'; did you mean grid?"),
        (("ridgeline",), "ridgeline shows one site; --site says which"),
        (("ridgeline", "--site", "a", "--site", "b"), "ridgeline shows one site; got 2"),
        (("ridgeline", "--site", "a", "--figure", "rms"), "ridgeline takes no --figure; it takes"),
        (("compare",), "compare takes 2 recordings; got 1"),
        (("grid", "-o", "x.bmpp"), "--output must end in one of ."),
        (("grid", "--dpi", "9999"), "wants a whole number from 10 to 1200; got '9999'"),
        (("grid", "--site", "act9"), "did you mean 'act1'"),
        (("grid", "-o", "nowhere/x.png"), "no folder 'nowhere'"),
    ],
)
def test_wrong_arguments_are_told(run, healthy_file, words, message):
    kind, *options = words
    code, out, err = run("plot", kind, healthy_file, *options)
    assert code in (64, 74)
    assert out == ""
    assert message in err


def test_a_recording_is_not_drawn_over(run, healthy_file):
    code, _, err = run("plot", "grid", healthy_file, "-o", healthy_file)
    assert code == 64
    assert "is the recording itself" in err


def test_json_tells_the_file(run, healthy_file, tmp_path):
    _, out, _ = run("plot", "grid", healthy_file, "-o", tmp_path / "g.png", "--json")
    told = json.loads(out)
    assert told == {"path": str(tmp_path / "g.png"), "bytes": (tmp_path / "g.png").stat().st_size}


def test_every_kind_is_in_the_help(run):
    _, out, _ = run("plot", "--help")
    for name in KINDS:
        assert f"\n  {name} " in out


def test_letters_that_no_font_has_are_no_warning(run, tmp_path):
    made = recording({"fc日": normal(), "act日": normal()}, activations={"act日": "relu"})
    path = made.save(tmp_path / "x.actstats")
    assert run("plot", "grid", path)[::2] == (0, "")
