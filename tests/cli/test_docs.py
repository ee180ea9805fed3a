"""The page of the command line says what the program does."""

import re
import shlex
from pathlib import Path

import pytest

from actstats.cli.app import COMMANDS, make_parser
from actstats.cli.errors import EXITS
from actstats.cli.plot import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")


def test_every_command_has_a_row_and_a_section_in_the_order_of_the_help():
    assert re.findall(r"^\| \[`(\w+)`\]\(#\w+\) \|", PAGE, re.MULTILINE) == list(COMMANDS)
    sections = re.findall(r"^## (\w+)$", PAGE, re.MULTILINE)
    assert [name for name in sections if name in COMMANDS] == list(COMMANDS)


def test_every_exit_code_has_a_row_with_the_words_of_the_help():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)
    told = {
        int(number): text.replace("`ACTSTATS_DEBUG=1`", "ACTSTATS_DEBUG=1") for number, text in rows
    }
    told[141] = told[141].partition(" (")[0]
    assert told == EXITS


def test_every_kind_of_picture_has_a_row_with_its_options():
    (section,) = re.findall(r"^## plot\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| ([^|]*) \|$", section, re.MULTILINE)
    told = {name: re.findall(r"--\w+", options) for name, options in rows}
    assert told == {name: kind.flags for name, kind in KINDS.items()}


@pytest.mark.parametrize("line", re.findall(r"^\$ (actstats .*)$", PAGE, re.MULTILINE))
def test_every_command_line_can_be_parsed(line):
    words = shlex.split(line.split(" | ")[0])
    assert make_parser().parse_args(words[1:]).command in COMMANDS


def test_options_of_the_page_exist(run):
    known = "".join(run(name, "--help")[1] for name in COMMANDS)
    for option in set(re.findall(r"(?<![\w-])--[a-z]+", PAGE)):
        assert option in known or option == "--help"
