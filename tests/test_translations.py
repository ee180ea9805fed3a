"""The Chinese pages: their catalogs, and the pictures with labels in both languages.

That each text of a page has its Chinese is checked where the pages are built: a warning there is
an error, see docs/_ext/translations.py.
"""

import re
from collections import Counter
from pathlib import Path

import chinese_figures
import numpy as np
import pytest
import torch
from chinese_figures import NoChineseError, chinese_name, in_both_languages, in_chinese
from matplotlib.figure import Figure
from matplotlib.image import imread
from PIL import Image

import actstats
from actstats import plot

# What brings them is the extra `docs`, which is not there where the floor is tested
pofile = pytest.importorskip("babel.messages.pofile")
translations = pytest.importorskip("translations")
pytest.importorskip("pylopdf_fonts_zh_cn")
nodes = pytest.importorskip("docutils.nodes")
addnodes = pytest.importorskip("sphinx.addnodes")

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CATALOGS = DOCS / "locale" / "zh_CN" / "LC_MESSAGES"

MADE = re.compile(r"sphx_glr|:download:|Sphinx-Gallery|^[a-z]+ [a-z]+$|^data$")  # by sphinx-gallery
MARKUP = {
    "code": r"`+[^`]+`+",
    "role": r"[{:][a-z:]+[}:](?=`)",
    "target": r"\]\([^)]*\)",
    "number": r"\d+(?:[.,]\d+)*",
}


def messages(page):
    with (CATALOGS / f"{page}.po").open(encoding="utf-8") as file:
        catalog = pofile.read_po(file, locale="zh_CN")
    return [message for message in catalog if message.id]


def marks(text):
    """Count what a translation must not change; of links with a text only the target."""
    text = re.sub(r"`[^`<]*<([^>`]+)>`", r"`\1`", text)  # {term}`... <site>` as {term}`site`
    return {name: Counter(re.findall(pattern, text)) for name, pattern in MARKUP.items()}


# ---- catalogs ------------------------------------------------------------------------------------


def test_each_translated_page_has_its_catalog():
    found = (path.relative_to(CATALOGS).with_suffix("") for path in CATALOGS.rglob("*.po"))
    assert {path.as_posix() for path in found} == {*translations.PAGES, "sphinx"}  # the theme's


@pytest.mark.parametrize("page", [*translations.PAGES, "sphinx"])
def test_no_message_is_empty_or_fuzzy(page):
    assert [m.id for m in messages(page) if not m.string or m.fuzzy] == []


@pytest.mark.parametrize("page", translations.PAGES)
def test_messages_are_of_the_page_as_it_stands(page):
    """What an edit of the English page leaves behind is out of date."""
    path = DOCS / f"{page}.md"
    if page == "tutorials/bn_tutorial":
        path = ROOT / "examples" / "bn_tutorial.py"
    text = re.sub(r"^# (?=\S)|^#   (?=\S)", "", path.read_text(), flags=re.MULTILINE)
    text = " ".join(text.split())
    wanted = [m.id for m in messages(page) if not MADE.search(m.id)]
    assert wanted
    assert [message for message in wanted if " ".join(message.split()) not in text] == []


@pytest.mark.parametrize("page", translations.PAGES)
def test_markup_and_numbers_are_those_of_the_english_text(page):
    for message in messages(page):
        assert marks(message.string) == marks(message.id), message.id


def test_changed_markup_is_seen():
    text = "See {term}`site` and [rules](rules.md): `x` is 5.9 %"
    assert marks("见 {term}`观测点 <site>` 和[规则](rules.md)：`x` 为 5.9 %") == marks(text)
    for right, wrong in (("`x`", "`y`"), ("5.9", "5.8"), ("rules.md", "rule.md"), ("term", "func")):
        assert marks(text.replace(right, wrong)) != marks(text)


def test_texts_without_chinese_are_named():
    told, missing = ({"translated": done} for done in (True, False))
    page = nodes.section(
        "",
        nodes.paragraph("", "译文", **told),
        nodes.paragraph("", "a new text", **missing),
        nodes.image(alt="损失曲线", **missing),  # Sphinx does not mark pictures
        nodes.image(alt="a curve", **missing),
    )
    assert [text for _, text in translations.untranslated(page)] == ["a new text", "a curve"]


def test_pictures_without_chinese_labels_are_named():
    page = nodes.section(
        "", nodes.image(uri="_pictures/a.zh_CN.png"), nodes.image(uri="a.zh_CN.d/b.png")
    )
    assert [image["uri"] for image in translations.without_twin(page)] == ["a.zh_CN.d/b.png"]


def link(**attributes):
    return addnodes.pending_xref(refdoc="lessons/batch-normalization", **attributes)


def test_the_page_that_a_link_names_is_known():
    assert translations.page_of(link(refdomain="doc", reftarget="rules")) == "rules"
    role = link(refdomain="std", reftype="doc", reftarget="../tutorials/digits")
    assert translations.page_of(role) == "tutorials/digits"
    assert translations.page_of(link(refdomain="py", reftype="func", reftarget="check")) is None


# ---- pictures ------------------------------------------------------------------------------------


def test_labels_are_said_in_chinese():
    assert in_chinese("steps 1,110–1,119, train   loss plain 565.4, batch norm 253.7") == (
        "第 1,110–1,119 步，训练   损失 普通网络 565.4，批归一化 253.7"
    )
    assert in_chinese("100 %\nat −0.2") == "100 %\n为 −0.2"
    for same in ("act3", "tanh", "−0.2", r"$\mathdefault{10^{-8}}$", "a = φ(z)", ""):
        assert in_chinese(same) == same


def test_a_label_without_chinese_is_refused():
    with pytest.raises(NoChineseError, match="'unit std': add it to LABELS"):
        in_chinese("unit std")


def figure_of(title):
    figure = Figure(figsize=(2, 1))
    figure.subplots().set(title=title, xlabel="step", xticks=[0, 1])
    return figure


def test_a_figure_is_saved_in_both_languages(tmp_path):
    figure = figure_of("plain")
    with in_both_languages():
        figure.savefig(tmp_path / "both.png")
    figure.savefig(tmp_path / "after.png")
    figure_of("plain").savefig(tmp_path / "english.png")
    english = imread(tmp_path / "english.png")
    for name in ("both", "after"):  # the other language leaves nothing behind
        np.testing.assert_array_equal(imread(tmp_path / f"{name}.png"), english)
    assert (imread(chinese_name(tmp_path / "both.png")) != english).any()
    assert not chinese_name(tmp_path / "after.png").exists()


def test_an_animation_is_written_in_both_languages(tmp_path):
    net = actstats.make_mlp(1, [4], 1, activation="tanh")
    with actstats.ActivationRecorder(net, window=1) as recorder:
        for _ in range(2):
            net(torch.linspace(-1, 1, 16).unsqueeze(1))
            recorder.step()
    with in_both_languages():
        found = plot.animate_grid({"plain": recorder}, tmp_path / "a.gif", progress=False)
    assert found == tmp_path / "a.gif"
    with Image.open(found) as english, Image.open(chinese_name(found)) as chinese:
        assert english.n_frames == chinese.n_frames == 2
        assert english.size == chinese.size
        assert english.convert("RGB").tobytes() != chinese.convert("RGB").tobytes()


def test_a_sign_that_no_font_has_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(chinese_figures.LABELS, "plain", "\U000f0000")
    with in_both_languages(), pytest.raises(UserWarning, match="missing from font"):
        figure_of("plain").savefig(tmp_path / "x.png")


# ---- search --------------------------------------------------------------------------------------


def test_chinese_is_found_by_pairs_of_characters():
    words = translations.SearchPairs({}).split("死单元 (dead unit)")
    assert words == ["死单", "单元", "dead", "unit"]
