"""The directive `picture` runs its code and shows, beneath it, what that prints and draws.

All code of one page shares its names, as the cells of a notebook do, and runs in the folder of the
pictures, so that a page may write a file (an animation) and show it. What fails stops the build.

A page that is translated is run once, for the English build: what its code printed and drew, the
latter with labels in both languages, is kept for the Chinese one.
"""

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any, ClassVar

import torch
from chinese_figures import in_both_languages
from docutils import nodes
from docutils.parsers.rst import directives
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from translations import PAGES, is_chinese

FOLDER = "_pictures"  # of the sources; not kept


class Picture(SphinxDirective):
    """``{picture} name`` shows the figure, or the file, that the last line gives.

    Wants ``:alt:`` then, what it shows in words. Without a name only code runs. ``:hide-code:``
    leaves the code out of the page. ``:table:`` says that the lines that are printed align, so that
    a narrow page scrolls them and does not break them.
    """

    has_content = True
    optional_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {
        "alt": directives.unchanged_required,
        "hide-code": directives.flag,
        "table": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        code = "\n".join(self.content)
        printed, picture = self._kept(code) if is_chinese(self.config) else self._run(code)
        shown: list[nodes.Node] = []
        if "hide-code" not in self.options:
            shown.append(nodes.literal_block(code, code, language="python"))
        if printed:
            classes = ["printed-table"] if "table" in self.options else []
            shown.append(nodes.literal_block(printed, printed, language="none", classes=classes))
        if picture:
            image = nodes.image(uri=f"/{FOLDER}/{picture}", alt=self.options["alt"])
            image["width"] = self._width(picture)
            self.set_source_info(image)
            shown.append(image)
        return shown

    def _width(self, picture: str) -> str:
        """Return the width of a file: an image that says its own links to its full size."""
        with Image.open(Path(self.env.srcdir) / FOLDER / picture) as image:
            return f"{image.width}px"

    def _run(self, code: str) -> tuple[str, str]:
        """Return what the code prints, and the name of the file that it draws."""
        folder = Path(self.env.srcdir) / FOLDER
        folder.mkdir(exist_ok=True)
        printed, translated = io.StringIO(), self.env.docname in PAGES
        languages = in_both_languages() if translated else contextlib.nullcontext()
        with contextlib.chdir(folder), contextlib.redirect_stdout(printed), languages:
            value = evaluate(code, names_of_page(self.env))
            picture = self._saved(value) if self.arguments else ""
        done = printed.getvalue().rstrip(), picture
        if translated:
            blocks = self.env.temp_data.setdefault("blocks", {})
            blocks[str(self.lineno)] = code, *done
            self._memory().write_text(json.dumps(blocks))
        return done

    def _saved(self, value: Any) -> str:
        if "alt" not in self.options:
            raise self.error("a picture wants `:alt:`, what it shows in words")
        figure = value.figure if isinstance(value, Axes) else value
        if isinstance(figure, Figure):
            figure.savefig(f"{self.arguments[0]}.png", dpi=140)
            return f"{self.arguments[0]}.png"
        if isinstance(value, Path):
            return value.name
        raise self.error(f"the last line must give a figure or a file; got {type(value).__name__}")

    def _kept(self, code: str) -> tuple[str, str]:
        """Return the same as the English build found."""
        memory = self._memory()
        blocks = json.loads(memory.read_text()) if memory.exists() else {}
        known, printed, picture = blocks.get(str(self.lineno), ("", "", ""))
        if known != code:
            raise self.error("the English page was not built as it stands now: build it first")
        return printed, picture

    def _memory(self) -> Path:
        name = self.env.docname.replace("/", ".")
        return Path(self.env.srcdir) / FOLDER / f"{name}.json"


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
