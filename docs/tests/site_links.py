"""The links of a folder of pages, read without a browser."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

BUILT = Path(__file__).parents[2] / "build" / "docs"
_LINKS = ("href", "src", "poster", "data-src")


@dataclass
class Page(HTMLParser):
    """What a page links to, and where it can be linked to."""

    text: str
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in _LINKS and value:
                self.links.append(value)
            elif name == "srcset" and value:
                self.links += [one.split()[0] for one in value.split(",")]
            elif (name == "id" or (tag, name) == ("a", "name")) and value:
                self.anchors.add(value)

    def has(self, anchor: str) -> bool:
        """Tell whether there is such a place; the page itself is one."""
        return not anchor or anchor in self.anchors


@dataclass(frozen=True)
class Links:
    """All links of a site: those inside it that lead nowhere, and those that leave it."""

    broken: list[str]
    outside: list[str]


def pages_of(folder: Path) -> list[str]:
    """Name the pages of a site; what the theme keeps among its own files are none."""
    names = (path.relative_to(folder) for path in folder.rglob("*.html"))
    return sorted(str(name) for name in names if "_static" not in name.parts)


def read(folder: Path) -> Links:
    """Read every page of a folder."""
    paths = [folder / name for name in pages_of(folder)]
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in paths}
    broken, outside = set(), set()
    for path, page in pages.items():
        for link in page.links:
            if urlsplit(link).scheme or link.startswith("//"):
                outside.add(link)
            else:
                broken.update(_faults(folder, pages, path, link))
    return Links(sorted(broken), sorted(outside))


def _faults(folder: Path, pages: dict[Path, Page], path: Path, link: str) -> Iterator[str]:
    parts = urlsplit(link)
    start = folder if parts.path.startswith("/") else path.parent
    target = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    name = path.relative_to(folder)
    if not target.is_relative_to(folder.resolve()) or not target.exists():
        yield f"{name}: {link} is not there"
    elif (
        target in pages and parts.fragment and unquote(parts.fragment) not in pages[target].anchors
    ):
        yield f"{name}: {link} has no such place"
