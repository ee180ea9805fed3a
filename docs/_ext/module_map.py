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


def not_implied(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Leave out what follows from others: a to c, where a imports b and b, in the end, c."""
    after: dict[str, set[str]] = {}
    for a, b in edges:
        after.setdefault(a, set()).add(b)

    def reach(name: str) -> set[str]:
        found = set(after.get(name, ()))
        return found.union(*map(reach, found))

    return {(a, b) for a, b in edges if not any(b in reach(c) for c in after[a] - {b})}


def draw() -> Any:
    """Draw the layers and what they import at once: a line goes from the importer down."""
    from matplotlib.figure import Figure

    layers, found = stated_layers(), imports()
    figure = Figure(figsize=(10, 9), layout="constrained")
    axes = figure.subplots()
    place = {name: (x, y) for y, (_, row) in enumerate(layers) for x, name in _spread(row)}
    edges = {(part(one.importer), part(one.imported)) for one in found if _drawn(one, place)}
    for a, b in sorted(not_implied(edges)):
        _line(axes, place[a], place[b])
    for name, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": "#0173B2"}
        axes.text(x, y, name, ha="center", va="center", fontsize=9, family="monospace", bbox=box)
    for y, (title, _) in enumerate(layers):
        axes.text(-0.02, y, title, ha="right", va="center", fontsize=10, color="#555555")
    axes.set(xlim=(-0.12, 1.02), ylim=(-0.5, len(layers) - 0.5))
    axes.axis("off")
    return figure


def _spread(row: Sequence[str]) -> list[tuple[float, str]]:
    """Place a row's boxes side by side, each as wide as its name."""
    widths = [len(name) + 4 for name in row]
    total, ends = sum(widths), [sum(widths[: i + 1]) for i in range(len(widths))]
    return [((end - w / 2) / total, n) for end, w, n in zip(ends, widths, row, strict=True)]


def _drawn(one: Import, place: Mapping[str, Any]) -> bool:
    ends = (part(one.importer), part(one.imported))
    return one.kind == "at once" and ends[0] != ends[1] and all(end in place for end in ends)


def _line(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    bend = 0.25 if start[1] == end[1] else 0.0  # inside a layer: an arc over the boxes between
    style = {"arrowstyle": "-|>", "color": "#888888", "lw": 0.8, "alpha": 0.8, "shrinkB": 13}
    style["connectionstyle"] = f"arc3,rad={bend}"
    axes.annotate("", xy=end, xytext=start, arrowprops=style)
