"""From words to commands: help, errors, exit codes, pipes."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import actstats
from actstats.cli import show
from actstats.cli.app import COMMANDS, make_parser
from actstats.cli.errors import EXITS, CommandError, told


def process(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "actstats", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


@pytest.fixture(autouse=True)
def _width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_help_names_every_command_and_exit_code(run):
    code, out, _ = run("--help")
    assert code == 0
    for name in COMMANDS:
        assert f"\n    {name} " in out
    assert max(map(len, out.splitlines())) <= 80
    for number, text in EXITS.items():
        assert f"{number:3}  {text}" in out


def test_installing_makes_the_command():
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert settings["project"]["scripts"] == {"actstats": "actstats.cli:main"}


def test_a_process_answers_version():
    done = process("--version")
    assert (done.returncode, done.stdout) == (0, f"actstats {actstats.__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(run, name):
    code, out, err = run(name, "--help")
    assert (code, err) == (0, "")
    assert "examples:\n  actstats " in out
    assert "--json" in out
    assert max(map(len, out.splitlines())) <= 80


def examples():
    for name, command in COMMANDS.items():
        for line in re.findall(r"^  (actstats .*)$", command.EXAMPLES, re.MULTILINE):
            yield name, line


@pytest.mark.parametrize(("name", "line"), list(examples()))
def test_every_example_of_the_help_can_be_parsed(name, line):
    words = shlex.split(re.split(r"   | \| | \|\| | && | > ", line)[0])
    parsed = make_parser().parse_args(words[1:])
    assert parsed.run is COMMANDS[parsed.command].run
    assert parsed.command == name or name == "compare"


def test_help_needs_no_torch():
    code = (
        "import sys; from actstats.cli import main; main(['show', '--help']); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'numba', 'pandas', 'rich')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("shwo", "x"), r"no command 'shwo'; did you mean show\?"),
        (("show",), r"required: FILE \(see `actstats show --help`\)"),
        ((), r"required: COMMAND \(see `actstats --help`\)"),
        (("show", "x", "--wider"), r"unrecognized arguments: --wider"),
        (("show", "x", "--steps", "1:x"), r"wants A:B, A:, :B or A, whole numbers; got '1:x'"),
    ],
)
def test_wrong_words_are_told_without_a_traceback(run, words, message):
    code, out, err = run(*words)
    assert (code, out) == (64, "")
    assert re.search(message, err)
    assert err.startswith("actstats: ")
    assert "Traceback" not in err


def test_errors_are_json_where_json_is_asked_for(run, tmp_path):
    code, out, err = run("show", tmp_path / "none.actstats", "--json")
    assert (code, err) == (66, "")
    told = json.loads(out)
    assert told["exit_code"] == 66
    assert "none.actstats" in told["error"]


def test_wrong_words_are_json_too(run):
    code, out, err = run("shwo", "--json")
    assert (code, err, json.loads(out)["exit_code"]) == (64, "", 64)


def test_a_missing_file_names_its_neighbours(run, healthy_file):
    code, _, err = run("show", healthy_file.with_name("helthy.actstats"))
    assert code == 66
    assert "did you mean" in err
    assert "healthy.actstats" in err


def test_what_is_no_recording_is_told(run, tmp_path):
    path = tmp_path / "x.actstats"
    path.write_bytes(b"nonsense" * 100)
    code, _, err = run("show", path)
    assert code == 65
    assert "x.actstats" in err


def test_a_damaged_recording_is_told_and_salvaged(run, healthy_file):
    data = bytearray(healthy_file.read_bytes())
    at = data.rindex(b'"act1"')
    data[at + 1] ^= 1
    healthy_file.write_bytes(data)
    code, out, err = run("show", healthy_file)
    assert (code, out) == (65, "")
    assert "damaged" in err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, ""),
        (CommandError("no", 64), 64, "no"),
        (KeyError("no site 'x'"), 64, "no site 'x'"),
        (ValueError("`figure` must"), 64, "`figure` must"),
        (ModuleNotFoundError("needs pyarrow"), 69, "needs pyarrow"),
        (PermissionError(13, "Permission denied", "/x"), 74, "'/x': Permission denied"),
        (MemoryError(), 70, "--site, --phase and --steps choose a part"),
        (ZeroDivisionError("oh"), 70, "ZeroDivisionError: oh (a fault of actstats"),
    ],
)
def test_each_error_has_its_exit_code(run, monkeypatch, error, code, message):
    def broken(args, console):
        raise error

    monkeypatch.setattr(show, "run", broken)
    got, out, err = run("show", "x")
    assert (got, out) == (code, "")
    assert code in EXITS
    assert message in err
    assert "Traceback" not in err


def test_a_fault_shows_where_if_asked(run, monkeypatch):
    def broken(args, console):
        raise ZeroDivisionError("oh")

    monkeypatch.setenv("ACTSTATS_DEBUG", "1")
    monkeypatch.setattr(show, "run", broken)
    _, _, err = run("show", "x")
    assert "Traceback" in err


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize(
    "words", [("show",), ("show", "--json"), ("export", "--format", "json", "-o", "-")]
)
def test_a_reader_that_goes_away_ends_it_quietly(healthy_file, words):
    writer = subprocess.Popen(
        [sys.executable, "-m", "actstats", *words, healthy_file],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.stderr.close()
    assert writer.wait(timeout=120) == 141


def test_exit_codes_of_a_process(healthy_file, dead_file):
    assert process("diagnose", healthy_file).returncode == 0
    assert process("diagnose", dead_file).returncode == 2
    assert process("diagnose", "nowhere").returncode == 66


@pytest.mark.parametrize(
    "words",
    [
        ("show", "FILE"),
        ("diagnose", "FILE"),
        ("report", "FILE", "-o", "OUT"),
        ("compare", "FILE", "FILE"),
        ("plot", "timeline", "FILE", "-o", "OUT"),
        ("plot", "grid", "FILE", "-o", "OUT"),
        ("export", "FILE", "-o", "OUT", "--format", "csv"),
    ],
)
def test_a_file_that_holds_nothing_yet_has_one_exit_code(run, tmp_path, words):
    path = actstats.Recording().save(tmp_path / "x.actstats")
    given = {"FILE": str(path), "OUT": str(tmp_path / "out.png")}
    code, out, err = run(*(given.get(word, word) for word in words))
    assert (code, out) == (65, "")
    assert "holds no window yet" in err


def test_a_file_that_holds_nothing_yet_can_be_watched(run, tmp_path):
    path = actstats.Recording().save(tmp_path / "x.actstats")
    code, out, _ = run("watch", str(path), "--once")
    assert code == 0
    assert "no step yet" in out


@pytest.mark.parametrize("error", [KeyError(3), KeyError("fc1"), ValueError()])
def test_a_key_that_is_missing_within_is_no_mistake_of_the_user(error):
    message, code = told(error)
    assert code == 70
    assert "a fault of actstats" in message


def test_a_sentence_is_told_to_the_user():
    assert told(KeyError("no site 'x' here.")) == ("no site 'x' here.", 64)
