"""The page in a browser: searched, sorted, unfolded, in both themes, on a phone, on paper."""

from pathlib import Path

import pytest

from actstats.report import write_report
from actstats.report.text import MINUS, NOTHING
from report_samples import broken, healthy, hostile, sick

TAB, ENTER = "\ue004", "\ue007"  # as WebDriver writes these keys

SAMPLES = {"sick": sick, "healthy": healthy, "broken": broken, "hostile": hostile}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    return {n: write_report(make(), folder / f"{n}.html") for n, make in SAMPLES.items()}


@pytest.fixture
def sick_page(browser, files):
    browser.open(files["sick"])
    browser.run("localStorage.clear()")
    browser.open(files["sick"])
    return browser


def shown_rows(browser) -> list[str]:
    """Names of the sites whose rows are visible."""
    return browser.run(
        "return [...document.querySelectorAll('#table tbody tr')]"
        ".filter(row => row.offsetHeight).map(row => row.querySelector('bdi').textContent)"
    )


def column(browser, title: str) -> list[str]:
    """Texts of a column, small pictures left out."""
    return browser.run(
        "const heads = [...document.querySelectorAll('#table thead th')];"
        "const at = heads.findIndex(head => head.textContent.startsWith(arguments[0]));"
        "return [...document.querySelectorAll('#table tbody tr')]"
        ".map(row => row.cells[at].firstChild.textContent.trim())",
        title,
    )


def head(browser, title: str):
    return next(h for h in browser.all("#table thead th") if h.text.startswith(title))


def choose(browser, kind: str) -> None:
    (option,) = [o for o in browser.all("#kind option") if o.text == kind]
    option.click()


def values(texts: list[str]) -> list[float]:
    return [float(t.replace(MINUS, "-").replace(",", "")) for t in texts]


@pytest.mark.parametrize("name", list(SAMPLES))
@pytest.mark.parametrize("dark", [False, True])
def test_page_opens_without_a_word_in_the_console_or_a_request(browser, files, name, dark):
    browser.open(files[name], dark=dark)
    assert browser.all("#table tbody tr")
    assert browser.console() == []
    loaded = browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [one for one in loaded if not one.startswith("data:")] == []


@pytest.mark.parametrize("name", list(SAMPLES))
def test_page_fits_a_phone(browser, files, name):
    browser.open(files[name], width=375)
    wide = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide == [375, 375]
    browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.run("return document.documentElement.scrollWidth") == 375


# ---- the table -----------------------------------------------------------------------------------


def test_search_filters_rows_by_name_module_and_finding(sick_page):
    every = shown_rows(sick_page)
    assert every == list(sick())
    search = sick_page.one("#search")
    search.send_keys("act3")
    assert shown_rows(sick_page) == ["act3", "act3:grad"]
    assert sick_page.one("#shown").text == f"2 of {len(every)} shown"
    search.clear()
    search.send_keys("TANH independent")
    found = shown_rows(sick_page)
    assert found
    assert all("act" in name for name in found)
    search.clear()
    search.send_keys("no such layer")
    assert shown_rows(sick_page) == []
    assert sick_page.one("#empty").is_displayed()


def test_kinds_and_findings_filter_rows(sick_page):
    choose(sick_page, "grad")
    assert shown_rows(sick_page) == [site for site in sick() if site.endswith(":grad")]
    choose(sick_page, "all")
    sick_page.one("#sick").click()
    badges = sick_page.all("#table .badge")
    assert len(shown_rows(sick_page)) == len(badges)


def test_sort_turns_round_and_says_so(sick_page):
    std = head(sick_page, "Std")
    button = std.find_element("tag name", "button")
    assert std.get_attribute("aria-sort") == "none"
    button.click()
    assert std.get_attribute("aria-sort") == "descending"
    falling = values(column(sick_page, "Std"))
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > falling[-1]
    button.click()
    assert std.get_attribute("aria-sort") == "ascending"
    assert values(column(sick_page, "Std")) == falling[::-1]
    head(sick_page, "#").find_element("tag name", "button").click()
    assert std.get_attribute("aria-sort") == "none"
    assert shown_rows(sick_page) == list(sick())


def test_sort_by_name_counts_numbers_and_puts_what_has_no_figure_last(sick_page):
    head(sick_page, "Site").find_element("tag name", "button").click()
    names = shown_rows(sick_page)
    assert names[:3] == ["act1", "act1:grad", "act2"]
    saturated = head(sick_page, "Saturated").find_element("tag name", "button")
    for _ in range(2):
        saturated.click()
        texts = column(sick_page, "Saturated")
        without = texts.count(NOTHING)
        assert 0 < without < len(texts)
        assert set(texts[-without:]) == {NOTHING}


def test_sort_works_from_the_keyboard_with_a_visible_focus(sick_page):
    sick_page.one("#search").send_keys(ENTER)
    sick_page.run("document.querySelector('#table thead button').focus()")
    active = sick_page.driver.switch_to.active_element
    active.send_keys(TAB)
    active = sick_page.driver.switch_to.active_element
    active.send_keys(ENTER)
    assert head(sick_page, "Site").get_attribute("aria-sort") == "ascending"
    outline = sick_page.run("return getComputedStyle(arguments[0]).outlineStyle", active)
    assert outline == "solid"


# ---- what is folded ------------------------------------------------------------------------------


def test_details_unfold(sick_page):
    evidence = sick_page.all("#finding-1 details")[0]
    figures = evidence.find_element("tag name", "dl")
    assert not figures.is_displayed()
    evidence.find_element("tag name", "summary").click()
    assert figures.is_displayed()


def test_link_to_what_is_folded_unfolds_it(sick_page):
    badge = next(
        b
        for b in sick_page.all("#table .badge")
        if not sick_page.one(b.get_dom_attribute("href")).is_displayed()
    )
    target = sick_page.one(badge.get_dom_attribute("href"))
    badge.click()
    assert target.is_displayed()


def test_link_to_a_row_that_is_filtered_out_shows_it(sick_page):
    sick_page.one("#search").send_keys("out")
    link = sick_page.one("#finding-1 h3 a")
    link.send_keys(ENTER)
    assert link.text in shown_rows(sick_page)


def test_paper_folds_nothing_and_has_no_controls(sick_page):
    folded = len(sick_page.all("details:not([open])"))
    assert folded
    sick_page.media("print", dark=True)
    sick_page.run("dispatchEvent(new Event('beforeprint'))")
    assert not sick_page.all("details:not([open])")
    assert not sick_page.one("#controls").is_displayed()
    assert not sick_page.one("#theme").is_displayed()
    sick_page.run("dispatchEvent(new Event('afterprint'))")
    assert len(sick_page.all("details:not([open])")) == folded


def test_paper_is_white_in_a_dark_theme_too(browser, files):
    browser.open(files["sick"])
    browser.run("document.documentElement.dataset.theme = 'dark'")
    browser.media("print", dark=True)
    assert background(browser) == "rgb(255, 255, 255)"


# ---- themes --------------------------------------------------------------------------------------


def background(browser) -> str:
    return browser.run("return getComputedStyle(document.body).backgroundColor")


def test_theme_follows_the_system_until_it_is_chosen(sick_page, files):
    button = sick_page.one("#theme")
    light = background(sick_page)
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    dark = background(sick_page)
    assert dark != light
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert background(sick_page) == light
    sick_page.open(files["sick"], dark=True)
    assert background(sick_page) == light  # chosen before, and remembered
    sick_page.run("localStorage.clear()")
    sick_page.open(files["sick"], dark=True)
    assert background(sick_page) == dark


# ---- what the page may not do --------------------------------------------------------------------


def test_a_script_of_others_does_not_run(sick_page):
    sick_page.run(
        "const script = document.createElement('script');"
        "script.textContent = 'window.intruded = true';"
        "document.body.append(script)"
    )
    assert sick_page.run("return window.intruded === undefined")
    assert any("Content Security Policy" in line for line in sick_page.console())


def test_content_is_there_without_a_script(browser, files, tmp_path):
    text = files["sick"].read_text(encoding="utf-8")
    bare = tmp_path / "bare.html"
    bare.write_text(text[: text.index("<script>")] + "</body></html>", encoding="utf-8")
    browser.open(bare)
    assert shown_rows(browser) == list(sick())
    assert not browser.one("#controls").is_displayed()
    assert not browser.one("#theme").is_displayed()
    assert browser.one("#verdict").is_displayed()
