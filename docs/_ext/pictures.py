"""The directive `picture` runs its code and shows, beneath it, the figure that its last line gives.

All code of one page shares its names, as the cells of a notebook do. What fails stops the build.
"""

import ast
from pathlib import Path
from typing import Any, ClassVar

import torch
from docutils import nodes
from docutils.parsers.rst import directives
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = "_pictures"  # of the sources; not kept


class Picture(SphinxDirective):
    """``{picture} name``, with ``:alt:`` where it gives a figure; without a name only code runs."""

    has_content = True
    optional_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        code = "\n".join(self.content)
        value = evaluate(code, self._names())
        block = nodes.literal_block(code, code, language="python")
        if not self.arguments:
            return [block]
        figure = value.figure if isinstance(value, Axes) else value
        if not isinstance(figure, Figure):
            raise self.error(f"the last line must give a figure; got {type(value).__name__}")
        if "alt" not in self.options:
            raise self.error("a picture wants `:alt:`, what it shows in words")
        name = f"{self.arguments[0]}.png"
        folder = Path(self.env.srcdir) / FOLDER
        folder.mkdir(exist_ok=True)
        figure.savefig(folder / name, dpi=140)
        return [block, nodes.image(uri=f"/{FOLDER}/{name}", alt=self.options["alt"])]

    def _names(self) -> dict[str, Any]:
        """Return the names of this page, which begin with none and the same random numbers."""
        if "pictures" not in self.env.temp_data:
            torch.manual_seed(0)
        names: dict[str, Any] = self.env.temp_data.setdefault("pictures", {})
        return names


def evaluate(code: str, names: dict[str, Any]) -> Any:
    """Run code; return the value of its last line where that is an expression."""
    *body, last = ast.parse(code).body
    if not isinstance(last, ast.Expr):
        body.append(last)
    exec(compile(ast.Module(body, []), "<page>", "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "<page>", "eval"), names)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("picture", Picture)
    return {"parallel_read_safe": True}
