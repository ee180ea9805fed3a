"""The Chinese pages: `-D language=zh_CN`, into the folder zh_CN of the English pages.

`PAGES` are translated, by the catalogs in docs/locale, and no others are made; links to those go
to the English ones, which are built first. A text without its translation is a warning. Both
languages have a switch at the top of each page.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.ext.intersphinx import InventoryAdapter
from sphinx.search.zh import SearchChinese
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import docname_join, logging

PAGES = (
    *("index", "quickstart", "glossary"),
    *("lessons/batch-normalization", "tutorials/bn_tutorial"),
    *("learn", "howto", "reference", "explanation/index", "symptoms/index"),  # the way to them
)
CHINESE = "zh_CN"
HAN = re.compile("[\u4e00-\u9fff]")

logger = logging.getLogger(__name__)


def is_chinese(config: Config) -> bool:
    return bool(config.language == CHINESE)


def only_translated_pages(app: Sphinx, config: Config) -> None:
    """Leave the other pages out of the Chinese site; the inventory of the English one has them."""
    if not is_chinese(config):
        return
    config.include_patterns = [f"{page}.*" for page in PAGES]
    config.suppress_warnings = [*config.suppress_warnings, "toc.excluded", "toc.not_readable"]
    english = Path(app.srcdir).parent / "build" / "docs" / "objects.inv"
    config.intersphinx_mapping["english"] = ("..", str(english))


def tutorial_in_menu(app: Sphinx, page: str, source: list[str]) -> None:
    """Let the one script that is translated stand where the English menu has all of them."""
    if is_chinese(app.config) and page == "learn":
        source[0] = source[0].replace("\ntutorials/index\n", "\ntutorials/bn_tutorial\n")


class LinksToEnglish(SphinxPostTransform):
    """Resolve links to pages that are not translated."""

    default_priority = 5  # before Sphinx and MyST miss them

    def run(self, **options: Any) -> None:
        if not is_chinese(self.config):
            return
        known = InventoryAdapter(self.env).named_inventory.get("english", {}).get("std:doc", {})
        for node in list(self.document.findall(addnodes.pending_xref)):
            page = page_of(node)
            if page in known and page not in self.env.all_docs:
                item = known[page]
                text = node.astext() if node["refexplicit"] else item.display_name
                up = "../" * node["refdoc"].count("/")
                anchor = f"#{node['reftargetid']}" if node.get("reftargetid") else ""
                link = nodes.reference("", "", internal=False, refuri=f"{up}{item.uri}{anchor}")
                link += nodes.inline("", text, classes=["english"])
                link["classes"] = node["classes"]
                node.replace_self(link)


def page_of(link: addnodes.pending_xref) -> str | None:
    """Return the page that a link of MyST or a role `doc` names."""
    if link["refdomain"] == "doc":
        return str(link["reftarget"])
    if (link["refdomain"], link["reftype"]) == ("std", "doc"):
        return docname_join(link["refdoc"], link["reftarget"])
    return None


def lift_code_links(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Let sphinx-gallery's links from code begin at the folder of their page, as others do."""
    for link in doctree.findall(nodes.reference) if is_chinese(app.config) else ():
        from_code = any(name.startswith("sphx-glr-backref") for name in link["classes"])
        if from_code and link["refuri"].startswith("../"):
            link["refuri"] = "../" * page.count("/") + link["refuri"]


def tell_untranslated(app: Sphinx, doctree: nodes.document) -> None:
    if is_chinese(app.config) and app.builder.name != "gettext":
        for node, text in untranslated(doctree):
            told = "no Chinese for %r: see Contributing, translations"
            logger.warning(told, text, location=node, type="translation")
        for node in without_twin(doctree):
            told = "no picture with Chinese labels beside %s: build the English pages first"
            logger.warning(told, node["uri"], location=node, type="translation")


def untranslated(doctree: nodes.document) -> Iterator[tuple[nodes.Element, str]]:
    """Yield what Sphinx found no translation for; of pictures, the words that stand for them."""
    for node in doctree.findall(nodes.Element):
        if isinstance(node, nodes.image):
            if not HAN.search(node.get("alt", "")):
                yield node, node.get("alt", "")
        elif node.get("translated") is False:
            yield node, node.astext()


def without_twin(doctree: nodes.document) -> Iterator[nodes.image]:
    """Yield the pictures of which Sphinx found none with Chinese labels and shows the English."""
    for image in doctree.findall(nodes.image):
        if f".{CHINESE}." not in Path(image["uri"]).name:
            yield image


# ---- the switch ----------------------------------------------------------------------------------


def add_switch(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Tell the template where this page is in the other language."""
    if is_chinese(app.config):
        name, code, target = "English", "en", f"../{page}.html"
    else:
        there = page if page in PAGES else "index"
        name, code, target = "中文", "zh-CN", f"{CHINESE}/{there}.html"
    where = context["pathto"](target, resource=True)
    context["other_language"] = {"name": name, "code": code, "href": where}


# ---- search --------------------------------------------------------------------------------------


class SearchPairs(SearchChinese):
    """Find Chinese by each two neighbouring characters: needs no dictionary of words."""

    language_name = "English"  # whose stemmer it takes; Sphinx 9.0 looks for a Chinese one in vain

    js_splitter_code = """
function splitQuery(query) {
  const words = query.match(/[a-zA-Z0-9_]+/g) || [];
  for (const run of query.match(/[\\u4e00-\\u9fff]+/g) || [])
    for (let i = 0; i < run.length - 1; i++) words.push(run.slice(i, i + 2));
  return words;
}
"""

    def split(self, input: str) -> list[str]:  # noqa: A002 - its name in Sphinx
        runs = re.findall("[\u4e00-\u9fff]+", input)
        pairs = [run[i : i + 2] for run in runs for i in range(len(run) - 1)]
        latin = self.latin1_letters.findall(input)
        self.latin_terms.update(latin)
        return pairs + latin


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", only_translated_pages, priority=90)
    app.connect("source-read", tutorial_in_menu)
    app.connect("doctree-read", tell_untranslated)
    app.connect("doctree-resolved", lift_code_links)
    app.connect("html-page-context", add_switch)
    app.add_post_transform(LinksToEnglish)
    app.add_search_language(SearchPairs)
    return {"parallel_read_safe": True}
