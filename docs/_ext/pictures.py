"""The directive `picture` runs its code and shows, beneath it, what that prints and draws.

All code of one page shares its names, as the cells of a notebook do, and runs in the folder of the
pictures, so that a page may write a file (an animation) and show it. What fails stops the build.
"""

import ast
import contextlib
import io
from pathlib import Path
from typing import Any, ClassVar

import torch
from docutils import nodes
from docutils.parsers.rst import directives
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = "_pictures"  # of the sources; not kept


class Picture(SphinxDirective):
    """``{picture} name`` shows the figure, or the file, that the last line gives.

    Wants ``:alt:`` then, what it shows in words. Without a name only code runs. ``:hide-code:``
    leaves the code out of the page.
    """

    has_content = True
    optional_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {
        "alt": directives.unchanged_required,
        "hide-code": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        code = "\n".join(self.content)
        folder = Path(self.env.srcdir) / FOLDER
        folder.mkdir(exist_ok=True)
        printed = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
            value = evaluate(code, names_of_page(self.env))
        shown: list[nodes.Node] = []
        if "hide-code" not in self.options:
            shown.append(nodes.literal_block(code, code, language="python"))
        if printed.getvalue():
            text = printed.getvalue().rstrip()
            shown.append(nodes.literal_block(text, text, language="none"))
        return [*shown, self._image(value, folder)] if self.arguments else shown

    def _image(self, value: Any, folder: Path) -> nodes.image:
        if "alt" not in self.options:
            raise self.error("a picture wants `:alt:`, what it shows in words")
        name = self.arguments[0]
        figure = value.figure if isinstance(value, Axes) else value
        if isinstance(figure, Figure):
            figure.savefig(folder / f"{name}.png", dpi=140)
            return self._shown(folder / f"{name}.png")
        if isinstance(value, Path):
            return self._shown(folder / value.name)
        raise self.error(f"the last line must give a figure or a file; got {type(value).__name__}")

    def _shown(self, path: Path) -> nodes.image:
        """Show a file; an image that has a width is a link to the file in its full size."""
        with Image.open(path) as image:
            width = f"{image.width}px"
        return nodes.image(uri=f"/{FOLDER}/{path.name}", alt=self.options["alt"], width=width)


def names_of_page(env: Any) -> dict[str, Any]:
    """Return the names of the page that is read, which begins with none, and the same seed."""
    if "pictures" not in env.temp_data:
        torch.manual_seed(0)
    names: dict[str, Any] = env.temp_data.setdefault("pictures", {})
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
