"""Every link inside the site leads somewhere; those that leave it are only looked at."""

import re

import site_links
from site_links import BUILT


def test_no_link_inside_the_site_is_broken():
    found = site_links.read(BUILT.resolve())
    assert found.broken == []
    assert len(found.outside) > 20  # the sources that pages name


def test_links_that_leave_the_site_are_addresses_of_the_web():
    outside = site_links.read(BUILT.resolve()).outside
    wanted = re.compile(r"https://[\w.-]+\.\w+(/\S*)?$|mailto:|data:image/")
    assert [link for link in outside if not wanted.match(link)] == []


def test_what_is_broken_is_seen(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<p id="here"></p><a href="#here"></a><a href="#gone"></a><a href="sub/"></a>'
        '<a href="sub/index.html#far%20off"></a><a href="sub/index.html#near"></a>'
        '<img src="a.png"><a href="../b.html"></a><a href="https://example.org/x#y"></a>'
    )
    (tmp_path / "sub" / "index.html").write_text('<a name="far off" href="../index.html#here">')
    found = site_links.read(tmp_path)
    assert found.outside == ["https://example.org/x#y"]
    assert found.broken == [
        "index.html: #gone has no such place",
        "index.html: ../b.html is not there",
        "index.html: a.png is not there",
        "index.html: sub/index.html#near has no such place",
    ]
