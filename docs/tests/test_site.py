"""The site in a browser: each page opens whole and fits a phone; search finds; themes are read."""

from urllib.parse import quote

import pytest

PHONE = 390  # CSS pixels
READ = (  # a page of each kind
    *("index", "quickstart", "lessons/batch-normalization", "symptoms/dead-relus"),
    *("rules/dead-units", "explanation/peers", "api/recorder", "tutorials/digits"),
    *("zh_CN/index", "zh_CN/quickstart", "zh_CN/glossary", "zh_CN/lessons/batch-normalization"),
)

PICTURES = """
    async () => {
      const all = [...document.querySelectorAll('img')];
      all.forEach(one => { one.loading = 'eager'; });
      await Promise.all(all.map(one => one.decode().catch(() => null)));
      const bare = one => !one.alt.trim() && !one.closest('.sphx-glr-thumbcontainer');
      return all.filter(one => !one.naturalWidth || bare(one)).map(one => one.outerHTML);
    }
"""
"""Pictures that did not load or lack words, when all were tried; a thumbnail's stand beneath it."""

TOO_WIDE = """
    const wide = document.documentElement.clientWidth;
    const frame = document.querySelector('.bd-article-container');  // scrolls as a whole
    const scrolls = one => getComputedStyle(one).overflowX !== 'visible';
    const inside = one => one && one !== frame && (scrolls(one) || inside(one.parentElement));
    return [...document.querySelectorAll('html, .bd-article-container *')]
      .filter(one => one.tagName === 'HTML' ? one.scrollWidth > wide
        : one.getBoundingClientRect().right > wide + 1 && !inside(one.parentElement))
      .map(one => one.outerHTML.slice(0, 120));
"""
"""What makes the page wider than the window, of what does not scroll by itself."""

FAINT = """
    const parse = text => text.match(/[\\d.]+/g).map(Number);
    const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const over = (top, below) => {
      const a = top.length > 3 ? top[3] : 1;
      return [0, 1, 2].map(i => a * top[i] + (1 - a) * below[i]);
    };
    const behind = one => {
      if (!one) return [255, 255, 255];
      const own = parse(getComputedStyle(one).backgroundColor);
      return own.length > 3 && own[3] === 0 ? behind(one.parentElement)
        : own.length > 3 ? over(own, behind(one.parentElement)) : own;
    };
    const walker = document.createTreeWalker(
      document.querySelector('.bd-article'), NodeFilter.SHOW_TEXT);
    const found = new Set();
    while (walker.nextNode()) {
      const text = walker.currentNode.textContent.trim(), one = walker.currentNode.parentElement;
      if (!text || !one.checkVisibility({visibilityProperty: true})) continue;
      const ground = behind(one);
      const ink = over(parse(getComputedStyle(one).color), ground);
      const [low, high] = [light(ink), light(ground)].sort((a, b) => a - b);
      const ratio = (high + 0.05) / (low + 0.05);
      if (ratio < 4.5) found.add(`${ratio.toFixed(1)}: ${one.tagName} ${one.className} ${text}`);
    }
    return [...found].map(one => one.slice(0, 100));
"""
"""Words that stand out from their ground less than WCAG 2 asks for (AA, 4.5 to 1)."""


@pytest.fixture
def opened(browser, site):
    """A function that opens a page of the site, in the theme of the system."""

    def open_page(page, **how):
        browser.open(site + page, **how)
        browser.wait("return document.readyState === 'complete'")
        return browser

    return open_page


def test_page_opens_whole_and_fits_a_phone(opened, site, page):
    browser = opened(page)
    assert browser.later(PICTURES) == []
    assert browser.console("WARNING", "SEVERE") == []
    loaded = browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [one for one in loaded if not one.startswith((site, "data:"))] == []
    browser.resize(PHONE)
    browser.wait(f"return innerWidth === {PHONE}")
    assert browser.run(TOO_WIDE) == []


SMALL = """
    return [...document.querySelectorAll('.bd-article a.image-reference > img')]
      .filter(one => one.naturalWidth >= 720 && one.getBoundingClientRect().width < 700)
      .map(one => one.outerHTML);
"""
"""Pictures whose words could not be read on a phone: wide ones that do not scroll."""


@pytest.mark.parametrize(
    "name", ["index", "quickstart", "lessons/batch-normalization", "tutorials/bn_tutorial"]
)
def test_wide_pictures_scroll_on_a_phone(opened, name):
    browser = opened(f"{name}.html", width=PHONE)
    assert browser.later(PICTURES) == []
    assert browser.all(".bd-article a.image-reference > img")
    assert browser.run(SMALL) == []


LINES = """
    const high = one => one.clientHeight - 2 * parseFloat(getComputedStyle(one).paddingTop);
    return [...document.querySelectorAll('.printed-table pre')]
      .map(one => high(one) / one.textContent.trim().split('\\n').length);
"""
"""Height of a line of what was printed as a table, in pixels."""


def test_aligned_lines_are_not_broken_on_a_phone(opened):
    heights = opened("lessons/batch-normalization.html", width=PHONE).run(LINES)
    assert len(heights) == 2
    assert max(heights) < 24


FIRST_SCREEN = """
    return [...document.querySelectorAll('.bd-article h1, .bd-article pre, .bd-article img,'
      + " .first-screen a[href='quickstart.html']")]
      .filter(one => one.getBoundingClientRect().top < innerHeight - 40)
      .map(one => one.tagName + (one.tagName === 'PRE' ? ' ' + one.textContent.trim() : ''));
"""


def test_the_front_page_tells_on_one_screen_what_this_is(opened):
    browser = opened("index.html")
    browser.wait("return innerHeight === 800")
    shown = browser.run(FIRST_SCREEN)
    assert {"H1", "A", "IMG"} <= set(shown)  # the way on, and what comes of it
    for told in ("with ActivationRecorder(", "CRITICAL", "pip install ."):
        assert any(told in one for one in shown), told


def test_faults_of_a_page_are_seen(opened):
    browser = opened("index.html", width=PHONE)
    add = "document.querySelector('.bd-article').insertAdjacentHTML('beforeend', arguments[0])"
    browser.run(add, '<div style="width: 900px">wide</div><img src="gone.png" alt="Gone">')
    browser.run(add, '<img src="_static/favicon.svg"><script src="gone.js"></script>')
    assert len(browser.later(PICTURES)) == 2
    assert any("gone.png" in line for line in browser.console("SEVERE"))
    assert any("wide" in one for one in browser.run(TOO_WIDE))


# ---- search --------------------------------------------------------------------------------------

FOUND = "return [...document.querySelectorAll('#search-results li a')].map(one => one.href)"
PAGE = "return document.querySelector('.bd-article')?.textContent.toLowerCase()"
ENTER = "\ue007"  # as WebDriver writes it


def test_search_finds_dead_relus(opened, site):
    browser = opened("index.html")
    browser.all(".search-button__button")[0].click()
    shown = "return [...document.querySelectorAll('input[name=q]')].find(one => one.offsetHeight)"
    browser.wait(shown).send_keys("dead ReLU" + ENTER)
    browser.wait("return location.pathname.endsWith('search.html')")
    wanted = f"{site}symptoms/dead-relus.html"
    browser.wait("return /finished/.test(document.querySelector('.search-summary')?.textContent)")
    found = browser.run(FOUND)
    (place,) = [i for i, link in enumerate(found[:5]) if link.startswith(wanted)][:1]
    browser.run("arguments[0].click()", browser.all("#search-results li a")[place])
    browser.wait(f"return location.href.startsWith('{wanted}')")
    assert "relus are dead" in browser.wait(PAGE)


@pytest.mark.parametrize(
    ("asked", "name"),
    [("死单元", "glossary"), ("批归一化", "lessons/batch-normalization"), ("饱和值", "glossary")],
)
def test_search_finds_chinese(opened, site, asked, name):
    browser = opened(f"zh_CN/search.html?q={quote(asked)}")
    browser.wait("return document.querySelector('#search-results p.search-summary')?.textContent")
    wanted = f"{site}zh_CN/{name}.html"
    script = f"return ({FOUND[7:]}).some(one => one.startsWith('{wanted}'))"
    browser.wait(script)
    found = browser.run(FOUND)
    assert [one for one in found if not one.startswith(f"{site}zh_CN/")] == []
    shown = f"return document.querySelector('.bd-article').textContent.includes('{asked}')"
    (place,) = [i for i, link in enumerate(found) if link.startswith(wanted)][:1]
    browser.run("arguments[0].click()", browser.all("#search-results li a")[place])
    browser.wait(f"return location.href.startsWith('{wanted}')")
    assert browser.wait(shown)


def test_search_in_chinese_says_when_it_finds_nothing(opened):
    browser = opened(f"zh_CN/search.html?q={quote('量子香蕉')}")
    told = "return document.querySelector('#search-results p.search-summary')?.textContent"
    assert browser.wait(told)
    assert browser.run(FOUND) == []


def test_search_says_when_it_finds_nothing(opened):
    browser = opened("search.html?q=zyzzyvaxq")
    told = "return document.querySelector('#search-results p.search-summary')?.textContent"
    assert "did not match any documents" in browser.wait(told)
    assert browser.run(FOUND) == []


# ---- themes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", READ)
def test_words_stand_out_in_both_themes(opened, name, dark):
    browser = opened(f"{name}.html", dark=dark)
    browser.wait(
        f"return document.documentElement.dataset.theme === '{'dark' if dark else 'light'}'"
    )
    assert browser.run(FAINT) == []


def test_faint_words_are_seen(opened):
    browser = opened("index.html")
    script = "document.querySelector('.bd-article p').style.color = '#ccc'; " + FAINT
    assert len(browser.run(script)) > 0
