"""Who imports whom in actstats, and whether that agrees with the layers that the docs state.

Reads the sources with `ast`; imports nothing of them.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "actstats"
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
PACKAGE = "actstats"
FACADE = "__init__"

Kind = Literal["at once", "when called", "for types"]


class Import(NamedTuple):
    """One import: files as dotted names below the package, and when it happens."""

    importer: str
    imported: str
    kind: Kind


def part(module: str) -> str:
    """Return the part of the package that a file belongs to: `plot` of `plot.grid`."""
    return module.partition(".")[0]


def modules(sources: Path = SOURCES) -> dict[str, Path]:
    """Return every file of the package by its dotted name below it."""
    found = {}
    for path in sorted(sources.rglob("*.py")):
        parts = path.relative_to(sources).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and parts[1:] else parts)
        found[name] = path
    return found


def imports(sources: Path = SOURCES) -> list[Import]:
    """Return who imports whom inside the package, once each."""
    known = modules(sources)
    found = {
        Import(name, target, kind)
        for name, path in known.items()
        for target, kind in _imports_of(ast.parse(path.read_text()), known, "at once")
        if target != name
    }
    return sorted(found)


def _imports_of(tree: ast.AST, known: Mapping[str, Path], kind: Kind) -> Iterator[tuple[str, Kind]]:
    for node in ast.iter_child_nodes(tree):
        within = kind
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and kind == "at once":
            within = "when called"
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            within = "for types"
        for target in _targets(node):
            yield _nearest(target, known), within
        yield from _imports_of(node, known, within)


def _targets(node: ast.AST) -> list[str]:
    """Return what an import statement names, in full."""
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names if _ours(node.module)]
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if _ours(alias.name)]
    return []


def _ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def _nearest(target: str, known: Mapping[str, Path]) -> str:
    """Return the file that a name comes from: `recording` of `actstats.recording.Window`."""
    parts = target.split(".")[1:]
    while parts and ".".join(parts) not in known:
        parts.pop()
    return ".".join(parts) or FACADE


def stated_layers(page: Path = PAGE) -> list[tuple[str, tuple[str, ...]]]:
    """Return the page's table of layers, the lowest first: its name and its parts."""
    rows = re.findall(r"^\| (\w[\w ]*) \| (`[^|]*`) \| [^|]+ \|$", page.read_text(), re.MULTILINE)
    return [(name, tuple(re.findall(r"`(\w+)`", parts))) for name, parts in rows][::-1]


def heights(layers: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, int]:
    """Return the height of each part's layer."""
    return {name: height for height, (_, parts) in enumerate(layers) for name in parts}


def upward(found: Sequence[Import], height: Mapping[str, int]) -> set[tuple[str, str, Kind]]:
    """Return the imports, by part, of what stands in a higher layer; the facade is above all."""
    top = len(height)
    return {
        (part(one.importer), part(one.imported), one.kind)
        for one in found
        if height.get(part(one.imported), top) > height.get(part(one.importer), top)
    }


def cycle(found: Sequence[Import]) -> list[str]:
    """Return files that import each other in a ring when they are imported, or nothing."""
    after: dict[str, list[str]] = {}
    for one in found:
        if one.kind == "at once":
            after.setdefault(one.importer, []).append(one.imported)
    clear: set[str] = set()

    def ring(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in clear:
            for follower in after.get(name, ()):
                if rings := ring(follower, [*path, name]):
                    return rings
            clear.add(name)
        return []

    return next((rings for name in sorted(after) if (rings := ring(name, []))), [])


def ordered(layers: Sequence[tuple[str, tuple[str, ...]]], found: Sequence[Import]) -> list[str]:
    """Return the parts from the top down; in a layer, each before those that it imports."""
    after: dict[str, set[str]] = {}
    for one in found:
        if one.kind == "at once":
            after.setdefault(part(one.importer), set()).add(part(one.imported))

    def below(name: str) -> set[str]:
        """Return all that follows from a part: fewer than from any that imports it."""
        seen, ahead = {name}, [name]
        while ahead:
            new = after.get(ahead.pop(), set()) - seen
            seen |= new
            ahead += new
        return seen

    return [
        name for _, row in layers[::-1] for name in sorted(row, key=lambda n: (-len(below(n)), n))
    ]


MARKS: dict[Kind, dict[str, str]] = {
    "at once": {"color": "#0173B2"},
    "when called": {"facecolors": "none", "edgecolors": "#DE8F05"},
}
LABELS = {"at once": "imports it when it is imported", "when called": "only when it is called"}


def draw() -> Any:
    """Draw who imports whom: a row for each part, and a dot in the column of what it imports."""
    from matplotlib.figure import Figure

    layers, found = stated_layers(), imports()
    names = ordered(layers, found)
    figure = Figure(figsize=(11.5, 10.5), layout="constrained")
    axes = figure.subplots()
    _blocks(axes, layers, len(names))
    for kind, style in MARKS.items():
        places = _places(found, names, kind)
        axes.scatter(*zip(*places, strict=True), s=26, **style, label=LABELS[kind], zorder=3)
    letters = {"fontsize": 8.5, "family": "monospace"}
    axes.set_yticks(range(len(names)), names, **letters)
    axes.set_xticks(range(len(names)), names, rotation=90, **letters)
    axes.tick_params(which="both", length=0, labelbottom=False, labeltop=True)
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
    axes.legend(loc="lower left", fontsize=10)
    axes.spines[:].set_visible(False)
    return figure


def _places(found: Sequence[Import], names: Sequence[str], kind: Kind) -> list[tuple[int, int]]:
    """Return (column, row) of what one part imports of another; the facade has no row."""
    pairs = _pairs(found, kind)
    if kind == "when called":
        pairs -= _pairs(found, "at once")
    known = {name: place for place, name in enumerate(names)}
    return sorted((known[a], known[b]) for a, b in pairs if a != b and {a, b} <= set(known))


def _pairs(found: Sequence[Import], kind: Kind) -> set[tuple[str, str]]:
    return {(part(one.imported), part(one.importer)) for one in found if one.kind == kind}


def _blocks(axes: Any, layers: Sequence[tuple[str, tuple[str, ...]]], count: int) -> None:
    """Shade the layers: the row of each, and on the diagonal what it imports of its own."""
    axes.set_facecolor("white")
    axes.set_xticks([place - 0.5 for place in range(count)], minor=True)
    axes.set_yticks([place - 0.5 for place in range(count)], minor=True)
    axes.grid(which="minor", color="#eeeeee", lw=0.5)
    start = -0.5
    for title, row in layers[::-1]:
        end = start + len(row)
        axes.fill_between([start, end], start, end, color="#0173B2", alpha=0.13, lw=0)
        axes.axhline(end, color="#999999", lw=0.8)
        axes.axvline(end, color="#999999", lw=0.8)
        axes.text(count - 0.2, (start + end) / 2, title, va="center", fontsize=10, color="#555555")
        start = end
