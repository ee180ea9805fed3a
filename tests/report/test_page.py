"""The page as a document: complete in itself, well formed, accessible, safe from names."""

import base64
import hashlib
import itertools
import re
from dataclasses import replace

import pytest

import actstats
from actstats import Recording
from actstats.report import render
from report_samples import HOSTILE, Element, broken, healthy, hostile, large, read, sick

SAMPLES = {"sick": sick, "healthy": healthy, "broken": broken, "hostile": hostile}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: render(make()) for name, make in SAMPLES.items()}


@pytest.fixture(params=list(SAMPLES))
def page(request: pytest.FixtureRequest, pages: dict[str, str]) -> Element:
    return read(pages[request.param])


# ---- what it says --------------------------------------------------------------------------------


def test_verdict_stands_on_top_and_is_that_of_diagnose(pages):
    page, found = read(pages["sick"]), actstats.diagnose(sick())
    card = page.one("main").find("section")[0]
    root = found.roots[0]
    assert "critical" in card.attributes["class"]
    assert root.site in card.one("h2").text
    assert root.remedy in card.text
    assert root.message[1:] in card.text
    assert page.one("meta", name="description").attributes["content"] == found.verdict


def test_healthy_verdict_says_so_in_a_word_and_not_by_colour_alone(pages):
    card = read(pages["healthy"]).one("main").find("section")[0]
    assert "Healthy" in card.text
    assert "Nothing alarming" in card.one("h2").text


def test_every_finding_is_told_once_roots_before_what_follows(pages):
    page, found = read(pages["sick"]), list(actstats.diagnose(sick()))
    told = [e for e in page.everything if re.fullmatch(r"finding-\d+", e.attributes.get("id", ""))]
    assert [e.attributes["id"] for e in told] == [f"finding-{i + 1}" for i in range(len(found))]
    for element, finding in zip(told, found, strict=True):
        assert finding.message[1:] in element.text
        assert finding.site in element.text
        assert (element.tag == "article") == (finding.caused_by is None)


def test_evidence_of_a_finding_is_there_in_numbers(pages):
    root = actstats.diagnose(sick()).roots[0]
    told = read(pages["sick"]).one("article", id="finding-1").find("dl", class_="evidence")[0]
    names = [dt.text for dt in told.find("dt")]
    assert [name.replace("_", " ") for name in root.evidence] == names[: len(root.evidence)]


def test_table_has_a_row_for_each_site_in_order(page, request, pages):
    rows = page.one("table", id="table").one("tbody").find("tr")
    recording = SAMPLES[request.node.callspec.params["page"]]()
    assert len(rows) == len(recording)
    assert [row.attributes["id"] for row in rows] == [f"site-{i + 1}" for i in range(len(rows))]


def test_badge_of_a_row_is_the_gravest_finding_of_its_site(pages):
    page, found = read(pages["sick"]), actstats.diagnose(sick())
    site = found.roots[0].site
    rows = page.one("table", id="table").one("tbody").find("tr")
    (row,) = [r for r in rows if r.find("th")[0].find("bdi")[0].text == site]
    badge = row.one("a", class_="badge")
    worst = max((f for f in found if f.site == site), key=lambda f: f.severity == "critical")
    assert worst.severity in badge.one("span", class_="tag").attributes["class"]
    assert worst.rule in badge.text


def test_checks_tell_what_every_rule_answered(pages):
    section = read(pages["sick"]).one("section", id="checks")
    found = actstats.diagnose(sick())
    assert [code.text for code in section.find("code", class_="module")] == list(found.answers)
    for reason in found.not_judged.values():
        assert reason.replace("`", "") in section.text


def test_run_tells_notes_metadata_and_what_was_never_called():
    given = sick()
    metadata = {"model": "Net", "versions": {"torch": "2.13.0"}, "seed": 3, "rate": 1e-5}
    recording = Recording(given.windows, given.sites, ["thinned"], {"aux": "unused"}, metadata)
    page = read(render(recording))
    run = page.one("section", id="run").text
    assert all(
        t in run for t in ("2.13.0", "seed", "1e\N{MINUS SIGN}5", "thinned", "aux", "no gradient")
    )
    assert page.one("h1").text == "Net"


def test_text_of_several_lines_keeps_them():
    given = sick()
    metadata = {"model": {"class": "Net", "summary": "Net(\n  (fc): <Linear>\n)"}}
    page = read(render(Recording(given.windows, given.sites, metadata=metadata)))
    pre = page.one("section", id="run").one("pre")
    assert [part for part in pre.parts if isinstance(part, str)] == [
        "Net(",
        "  (fc): <Linear>",
        ")",
    ]


def test_title_that_is_given_comes_before_the_model():
    assert read(render(sick(), title="A & B")).one("h1").text == "A & B"


def test_other_phases_are_named_and_can_be_asked_for():
    given = healthy()
    later = [replace(w, phase="eval", first_step=90, last_step=90) for w in given.windows[:1]]
    both = Recording((*given.windows, *later), given.sites)
    assert "eval" in read(render(both)).one("section", id="run").text
    page = read(render(both, phase="eval"))
    assert "phase eval" in page.one("header", class_="top").text
    assert "at least two" in page.one("section", id="time").text


def test_one_window_has_no_lines_over_time():
    page = read(render(sick().windows[-1]))
    assert not page.find("figure")
    assert "1 window" in page.one("header", class_="top").text


# ---- complete in itself --------------------------------------------------------------------------


def test_nothing_is_loaded_from_anywhere(page, request, pages):
    text = pages[request.node.callspec.params["page"]]
    assert "http:" not in text
    assert "https:" not in text
    for element in page.everything:
        for name in ("href", "src", "action", "data", "poster", "srcset", "xlink:href"):
            target = element.attributes.get(name, "#")
            assert target.startswith(("#", "data:")), (element.tag, name, target)
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}


def test_links_lead_somewhere_and_names_are_given_once(page):
    ids = [e.attributes["id"] for e in page.everything if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    targets = {e.attributes["href"] for e in page.everything if "href" in e.attributes}
    assert targets - {"data:,"} <= {f"#{one}" for one in ids}
    drawn = set(re.findall(r"url\(#([^)]*)\)", str([e.attributes for e in page.everything])))
    assert drawn <= set(ids)


def test_policy_allows_the_own_script_and_no_other(page):
    policy = page.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    script = page.one("script").text
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["img-src"] == "data:"
    assert "connect-src" not in rules


def test_same_recording_gives_the_same_bytes(pages):
    assert render(sick()) == pages["sick"]


# ---- names are data ------------------------------------------------------------------------------


@pytest.mark.hostile(118)
def test_hostile_names_make_no_elements(pages):
    page, others = read(pages["hostile"]), (read(pages["healthy"]), read(pages["sick"]))
    assert len(page.find("script")) == 1
    known = {e.tag for other in others for e in other.everything}
    assert {e.tag for e in page.everything} <= known | {"pre", "br"}  # of the model's summary
    names = {name for e in page.everything for name in e.attributes}
    assert not {name for name in names if name.startswith("on")}
    assert all(e.attributes["src"].startswith("data:") for e in page.find("img"))


@pytest.mark.hostile(118)
def test_hostile_names_are_shown_as_they_are_without_tricks(pages):
    page = read(pages["hostile"])
    shown = {bdi.text for bdi in page.one("table", id="table").find("bdi")}
    for i, name in enumerate(HOSTILE):
        visible = name.replace("\u202e", r"\u202e").replace("\n", r"\n").replace("\x00", r"\x00")
        assert visible.replace("\ud800", r"\ud800") + str(i) in shown
    assert not set("\u202e\x00\ud800") & set(pages["hostile"])
    assert "49" not in {bdi.text for bdi in page.find("bdi")}  # of {{ 7 * 7 }}


def test_hostile_title_scalars_and_metadata_stay_text():
    page = read(render(hostile(), title=HOSTILE[1]))
    assert page.one("h1").text == HOSTILE[1]
    headings = [h.text for h in page.one("section", id="time").find("h3")]
    assert headings[:2] == list(HOSTILE[:2])
    assert HOSTILE[0] in page.one("section", id="run").text


# ---- for everyone --------------------------------------------------------------------------------


def test_headings_go_down_one_level_at_a_time(page):
    levels = [int(e.tag[1]) for e in page.everything if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))


def test_language_title_and_way_past_the_head(page):
    assert page.one("html").attributes["lang"] == "en"
    assert page.one("head").one("title").text
    skip = page.one("a", class_="skip")
    assert page.one("main").attributes["id"] == skip.attributes["href"][1:]


def test_pictures_have_words_or_are_hidden(page):
    for picture in page.find("svg"):
        hidden = picture.attributes.get("aria-hidden") == "true"
        assert hidden or (picture.attributes["role"] == "img" and picture.attributes["aria-label"])
    assert all(e.attributes["alt"] for e in page.find("img"))
    assert all(e.attributes["aria-label"] for e in page.find("div", role="img"))


def test_tables_have_captions_and_heads_with_scope(page):
    for table in page.find("table"):
        assert table.one("caption").text.strip()
        assert all(th.attributes["scope"] in ("row", "col") for th in table.find("th"))
    heads = page.one("table", id="table").one("thead").find("th")
    for head in heads:
        assert head.attributes.get("aria-sort") == "none" or not head.find("button")


def test_controls_have_labels_and_wait_for_the_script(page):
    controls = page.one("div", id="controls")
    assert "hidden" in controls.attributes
    for tag in ("input", "select"):
        for control in controls.find(tag):
            assert control.parent.tag == "label"
            assert control.parent.text.strip()
    assert "hidden" in page.one("button", id="theme").attributes
    sorts = page.one("table", id="table").find("button")
    assert all("disabled" in button.attributes for button in sorts)


# ---- colours -------------------------------------------------------------------------------------

TEXT = [
    *[(ink, ground) for ink in ("ink", "quiet", "link") for ground in ("page", "card", "mark")],
    *[(tone, f"{tone}-tint") for tone in ("critical", "warning", "info", "ok")],
    *[(tone, "card") for tone in ("critical", "warning", "info", "ok")],
    *[("ink", f"{tone}-tint") for tone in ("critical", "warning", "info", "ok")],
]
GRAPHICS = [*[(f"s{i}", "card") for i in range(8)], ("bar", "card"), ("edge", "card")]


def palettes(html: str) -> dict[str, dict[str, str]]:
    """Return the colours by theme."""
    style = read(html).one("style").text
    blocks = re.findall(r"(:root[^{]*)\{([^}]*--page[^}]*)\}", style)
    return {
        selector.strip(): dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for selector, block in blocks
    }


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_of_known_pairs():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_themes_are_light_and_dark_and_dark_is_the_same_however_chosen(pages):
    found = palettes(pages["sick"])
    light, chosen, by_system, printed = found.values()
    assert printed["ink"] == light["ink"]
    assert chosen == by_system
    assert luminance(light["page"]) > 0.9
    assert luminance(chosen["page"]) < 0.02


@pytest.mark.parametrize("theme", [":root", ':root[data-theme="dark"]'])
def test_contrast_is_enough_in_both_themes(pages, theme):
    colors = palettes(pages["sick"])[theme]
    low = {
        (a, b): round(contrast(colors[a], colors[b]), 2)
        for pairs, least in ((TEXT, 4.5), (GRAPHICS, 3.0))
        for a, b in pairs
        if contrast(colors[a], colors[b]) < least
    }
    assert not low


# ---- many sites and windows ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def large_page() -> str:
    return render(large())


def test_two_hundred_sites_and_five_hundred_windows_fit_in_two_megabytes(large_page):
    assert len(large_page.encode()) < 2_000_000
    assert len(read(large_page).one("table", id="table").one("tbody").find("tr")) == 200


def test_pictures_side_by_side_share_no_name(large_page):
    page = read(large_page)
    ids = [e.attributes["id"] for e in page.everything if "id" in e.attributes]
    assert len(page.one("section", id="distributions").find("svg")) == 3
    assert len(ids) == len(set(ids))
    used = re.findall(r'url\(#([^)]*)\)|<use href="#([^"]*)"', large_page)
    assert {a or b for a, b in used} <= set(ids)


def test_many_layers_are_paged_mapped_and_said_to_be_left_out(large_page):
    page = read(large_page)
    grid = page.one("section", id="distributions")
    assert len(grid.find("details")) == 3
    assert "24 of 50 layers" in grid.text
    charts = page.one("section", id="time").find("figure")
    spread = next(c for c in charts if c.one("h3").text == "Spread of activations")
    assert len(spread.one("ul", class_="legend").find("li")) == 8
    assert len(spread.find("img")) == 1
    assert "8 of 50 layers" in spread.one("figcaption").text
    assert "500 windows" in spread.one("figcaption").text
