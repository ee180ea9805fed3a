"""How the pages are made: `python -m nox -s docs`. Needs no network."""

import importlib.metadata
import re
import sys
import warnings
from itertools import pairwise
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import gallery_of_files  # noqa: E402 - found by the line above

project = "actstats"
author = "actstats contributors"
copyright = "2026, actstats contributors"
release = importlib.metadata.version("torch-actstats")
version = release

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "gallery_of_files",
    "hostile_matrix",
    "offline_inventories",
    "pictures",
    "rule_pages",
    "translations",
]
templates_path = ["_templates"]
exclude_patterns = ["_ext", "tutorials/*.ipynb", "tutorials/*.py", "tutorials/*.md5"]
default_role = "code"  # docstrings are read in a terminal first: `x` is code there
nitpicky = True

# -- Markdown ------------------------------------------------------------------------------------

# No formulas of LaTeX: what draws them would come from the network. `x²` and `Σ` are enough here.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_exclude = ".linenos, .gp, .go"  # copy the code without prompts and output

# -- The reference -------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give types with shape, range and default
autosummary_generate = False  # one hand-written page for each group
numpydoc_show_class_members = False  # autodoc lists them, on the same page
numpydoc_xref_param_type = True  # link the types that are named here, leave every other word alone
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    "ActivationRecorder": "actstats.ActivationRecorder",
    "Recording": "actstats.Recording",
    "Scalar": "actstats.Scalar",
    "TensorStats": "actstats.TensorStats",
    "Window": "actstats.Window",
    "Axes": "matplotlib.axes.Axes",
    "Answer": "actstats.diagnosis.Answer",
    "Cause": "actstats.diagnosis.Cause",
    "Checkup": "actstats.Checkup",
    "Comparison": "actstats.Comparison",
    "DataFrame": "pandas.DataFrame",
    "Dataset": "xarray.Dataset",
    "Diagnosis": "actstats.Diagnosis",
    "DoesNotApply": "actstats.diagnosis.DoesNotApply",
    "Figure": "matplotlib.figure.Figure",
    "Finding": "actstats.Finding",
    "Layer": "actstats.diagnosis.Layer",
    "Module": "torch.nn.Module",
    "Optimizer": "torch.optim.Optimizer",
    "Reading": "actstats.diagnosis.Reading",
    "Risk": "actstats.diagnosis.Risk",
    "Rule": "actstats.diagnosis.Rule",
    "ndarray": "numpy.ndarray",
    "Separation": "actstats.comparison.Separation",
    "Sequential": "torch.nn.Sequential",
    "SiteComparison": "actstats.comparison.SiteComparison",
    "Tensor": "torch.Tensor",
    "Thresholds": "actstats.diagnosis.Thresholds",
    "Tried": "actstats.diagnosis.Tried",
    "UnhealthyError": "actstats.UnhealthyError",
}
numpydoc_validation_checks = {
    "all",  # but these:
    "ES01",  # an extended summary, where one line says it all
    "EX01",  # an example of each method: pytest runs those that a class and a function have
    "GL01",  # text on the line after the quotes: ours begins on the line of the quotes
    "GL08",  # a docstring of what Sphinx lists by itself: ruff's D asks for those of public names
    "PR01",  # a table of parameters, where the one line of a small method names its argument
    "PR04",  # a type for each of several parameters that are documented together
    "PR08",  # a capital letter: a description may begin with `code`
    "PR09",  # a full stop: the same
    "RT01",  # a section Returns, where the one line begins with "Return"
    "RT02",  # two arrays are returned together, with one name each
    "RT03",  # a description of what is returned, where its type says it
    "SA01",  # a section See Also: the pages link by topic
    "SS02",  # a capital letter: a summary may begin with a formula
    "SS05",  # an infinitive: "Cross-entropy ..." is a noun
    "YD01",  # Yields, of context managers
}
# Our docstrings have a section `Source`, which numpydoc's parser tells us it does not know; see
# `source_as_references` below.
warnings.filterwarnings("ignore", message="Unknown section Source")

# Names of other projects link through the small inventories of _ext/offline_inventories.py. One
# that is not in there cannot be checked without a network: it stays plain, and is no error.
nitpick_ignore_regex = [
    (r"py:.*", r"(collections|matplotlib|numpy|pandas|seaborn|torch|typing|xarray)\..*"),
]

# -- Snippets ------------------------------------------------------------------------------------

doctest_test_doctest_blocks = ""  # those in docstrings are run by pytest
doctest_global_setup = """
import torch
torch.manual_seed(0)
"""

# -- Tutorials -----------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "tutorials",
    # these are run, the others only shown
    "filename_pattern": r"(bn_tutorial|compare_runs|digits|nan_in_bf16|pick_initialisation"
    r"|residual_scale|sick_cnn)\.py$",
    "ignore_pattern": r"(__init__|conftest)\.py$|/_",
    # of the one that is not run: it wants several processes
    "default_thumb_file": str(HERE.parent / "benchmarks" / "results" / "ranks.png"),
    "reset_argv": "gallery_of_files.output_arguments",
    "reset_modules": ("matplotlib", "seaborn", "gallery_of_files.begin_or_end"),
    "reset_modules_order": "both",
    "image_scrapers": ("gallery_of_files.written_pictures",),
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "run_stale_examples": gallery_of_files.stale(),
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": float("inf"),  # no time on the page, which would want a translation
    "inspect_global_variables": False,
}
suppress_warnings = ["config.cache"]

# -- Chinese: see _ext/translations.py ------------------------------------------------------------

locale_dirs = ["locale"]
gettext_compact = False  # one catalog for each page
gettext_location = False  # no change of a catalog where only lines move

# -- The pages -----------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "actstats"
html_static_path = ["_static"]
html_css_files = ["actstats.css"]
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}  # without it the theme complains at each first visit
html_sidebars = {"quickstart": []}  # it has no neighbours, and long lines
toc_object_entries_show_parents = "hide"
html_show_sourcelink = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["language-switch", "search-button-field"],  # on phones too
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}


def source_as_references(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Let numpydoc read our `Source` sections, which it calls `References`."""
    for i, (title, rule) in enumerate(pairwise(lines.copy())):
        if title.strip() == "Source" and re.fullmatch(r"\s*-{3,}\s*", rule):
            lines[i : i + 2] = ["References", "----------"]


def same_ten_lines_in_the_readme(app: Sphinx) -> None:
    """Fail unless the README shows the lines that the front page shows, which doctest runs."""
    (shown,) = re.findall(r"```\{testcode\}\n(.*?)```", (HERE / "index.md").read_text(), re.DOTALL)
    if f"```python\n{shown}```" not in (HERE.parent / "README.md").read_text():
        raise ExtensionError("README.md and docs/index.md show different lines of first use")


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", source_as_references, priority=100)
    app.connect("builder-inited", same_ten_lines_in_the_readme)
