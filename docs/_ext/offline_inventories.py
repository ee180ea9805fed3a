"""Links into other projects' pages without a network: the few names that we mention.

intersphinx reads inventories; these are written here, from the table below, into the build folder.
"""

import zlib
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

# project: (address, {name: (role, page)})
NAMES = {
    "python": (
        "https://docs.python.org/3/",
        {
            "bltin-boolean-values": ("std:label", "library/stdtypes.html#boolean-type-bool"),
            "bool": ("py:class", "library/functions.html#bool"),
            "callable": ("py:function", "library/functions.html#callable"),
            "dict": ("py:class", "library/stdtypes.html#dict"),
            "float": ("py:class", "library/functions.html#float"),
            "generator": ("std:term", "glossary.html#term-generator"),
            "int": ("py:class", "library/functions.html#int"),
            "iterable": ("std:term", "glossary.html#term-iterable"),
            "KeyError": ("py:exception", "library/exceptions.html#KeyError"),
            "list": ("py:class", "library/stdtypes.html#list"),
            "None": ("py:data", "library/constants.html#None"),
            "False": ("py:data", "library/constants.html#False"),
            "RuntimeError": ("py:exception", "library/exceptions.html#RuntimeError"),
            "sequence": ("std:term", "glossary.html#term-sequence"),
            "str": ("py:class", "library/stdtypes.html#str"),
            "True": ("py:data", "library/constants.html#True"),
            "tuple": ("py:class", "library/stdtypes.html#tuple"),
            "TypeError": ("py:exception", "library/exceptions.html#TypeError"),
            "ValueError": ("py:exception", "library/exceptions.html#ValueError"),
        },
    ),
    "torch": (
        "https://docs.pytorch.org/docs/stable/",
        {
            "torch.Tensor": ("py:class", "tensors.html#$"),
            "torch.nn.BatchNorm1d": ("py:class", "generated/torch.nn.BatchNorm1d.html#$"),
            "torch.nn.Linear": ("py:class", "generated/torch.nn.Linear.html#$"),
            "torch.nn.Module": ("py:class", "generated/torch.nn.Module.html#$"),
            "torch.nn.Sequential": ("py:class", "generated/torch.nn.Sequential.html#$"),
        },
    ),
    "numpy": (
        "https://numpy.org/doc/stable/",
        {
            "array_like": ("std:term", "glossary.html#term-array_like"),
            "arrays.scalars": ("std:label", "reference/arrays.scalars.html#arrays-scalars"),
            "numpy.histogram": ("py:function", "reference/generated/numpy.histogram.html#$"),
            "numpy.ndarray": ("py:class", "reference/generated/numpy.ndarray.html#$"),
        },
    ),
    "matplotlib": (
        "https://matplotlib.org/stable/",
        {
            "matplotlib.animation.FuncAnimation": (
                "py:class",
                "api/_as_gen/matplotlib.animation.FuncAnimation.html#$",
            ),
            "matplotlib.axes.Axes": ("py:class", "api/_as_gen/matplotlib.axes.Axes.html#$"),
            "matplotlib.figure.Figure": ("py:class", "api/figure_api.html#$"),
        },
    ),
    "pandas": (
        "https://pandas.pydata.org/docs/",
        {"pandas.DataFrame": ("py:class", "reference/api/pandas.DataFrame.html#$")},
    ),
}


def write_inventory(path: Path, project: str, objects: dict[str, tuple[str, str]]) -> None:
    """Write `objects` in the format of Sphinx's `objects.inv`, version 2."""
    head = (
        f"# Sphinx inventory version 2\n# Project: {project}\n# Version:\n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    rows = (
        f"{name} {role} 1 {page} {'-' if role != 'std:label' else name}\n"
        for name, (role, page) in objects.items()
    )
    path.write_bytes(head.encode() + zlib.compress("".join(rows).encode()))


def map_projects(app: Sphinx, config: Config) -> None:
    folder = Path(app.doctreedir) / "inventories"
    folder.mkdir(parents=True, exist_ok=True)
    for project, (address, objects) in NAMES.items():
        path = folder / f"{project}.inv"
        write_inventory(path, project, objects)
        config.intersphinx_mapping[project] = (address, str(path))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", map_projects, priority=100)  # before intersphinx checks them
    return {"parallel_read_safe": True}
