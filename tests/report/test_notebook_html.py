"""What notebooks show of every object, in a browser: readable in both themes, narrow too."""

import pytest
import torch

import actstats
from actstats.cli.view import view_of
from actstats.live.notebook import page
from report_samples import hostile, sick

# What JupyterLab's own style does to tables, in our words
VIEWPORT = "<meta name=viewport content=width=device-width>"
STYLE = """
body { margin: 12px; font: 14px sans-serif; color: #212121; background: #fff }
body.dark { color: #e0e0e0; background: #111 }
table { border-collapse: collapse; font-size: 12px; margin-bottom: 1em }
td, th { text-align: right; padding: .5em; white-space: normal }
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(0)
    run, odd = sick(), hostile()
    net = actstats.make_mlp(2, [8], 1, activation="relu")
    with actstats.ActivationRecorder(net) as recorder:
        net(torch.randn(64, 2))
    shown = {
        "recorder": recorder,
        "summary": recorder.summary(),
        "recording": odd,
        "window": run.windows[-1],
        "stats": recorder["act1"],
        "diagnosis": actstats.diagnose(run),
        "odd": actstats.diagnose(odd),
        "comparison": actstats.compare(odd, odd),
    }
    parts = {name: one._repr_html_() for name, one in shown.items()}
    parts |= {"live": page(view_of(run), "actstats", "running")}
    parts |= {"live-odd": page(view_of(odd), "actstats", "running")}
    body = "".join(f'<section id="{name}">{text}</section>' for name, text in parts.items())
    path = tmp_path_factory.mktemp("notebook") / "page.html"
    path.write_text(
        f"<!doctype html><meta charset=utf-8>{VIEWPORT}<style>{STYLE}</style><body>{body}",
        encoding="utf-8",
    )
    return path


CONTRAST = """
const light = text => {
  const parts = text.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const behind = one => {
  const colour = getComputedStyle(one).backgroundColor;
  return colour === 'rgba(0, 0, 0, 0)' ? behind(one.parentElement) : colour;
};
return [...document.querySelectorAll('section *')].filter(one => one.textContent.trim())
  .map(one => {
    const pair = [light(getComputedStyle(one).color), light(behind(one))].sort((a, b) => b - a);
    return [(pair[0] + 0.05) / (pair[1] + 0.05), one.tagName, one.textContent.slice(0, 40)];
  }).sort((a, b) => a[0] - b[0])[0];
"""


@pytest.mark.parametrize("theme", ["", "dark"])
def test_every_word_reads_in_both_themes(browser, file, theme):
    browser.open(file)
    browser.run("document.body.className = arguments[0]", theme)
    least = browser.run(CONTRAST)
    assert least[0] >= 4.5, least  # WCAG AA
    assert browser.console() == []


def test_what_is_too_wide_scrolls_by_itself(browser, file):
    browser.open(file, width=375)
    assert browser.run("return document.documentElement.scrollWidth") == 375
    assert browser.run(
        "return [...document.querySelectorAll('#summary div')]"
        ".some(d => d.scrollWidth > d.clientWidth)"
    )


def test_names_are_text(browser, file):
    browser.open(file)
    assert browser.all("section script, section img, section style, section a") == []


def test_text_is_aligned_to_the_left_and_numbers_to_the_right(browser, file):
    browser.open(file)
    sides = browser.run(
        "return ['#summary', '#diagnosis', '#comparison', '#live'].map(at => "
        "[...document.querySelector(at + ' tbody tr').cells]"
        ".map(cell => getComputedStyle(cell).textAlign))"
    )
    assert sides[0][:4] == ["left", "left", "left", "right"]
    assert set(sides[1]) == {"left"}
    assert sides[2][:2] == ["left", "right"]
    assert sides[3] == ["left", "right", "left", "right", "right", "left"]
