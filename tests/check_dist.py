"""Check a built sdist and wheel: what is in them, and that the wheel works away from the source.

    python tests/check_dist.py build/dist

`python -m nox -s dist` builds them and calls this.
"""

import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = {".py", ".typed", ".html", ".css", ".js"}  # kinds of files of the package
IN_SDIST = (
    *(
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "README.md",
        "RELEASING.md",
        "SECURITY.md",
    ),
    *(
        ".github/ISSUE_TEMPLATE/config.yml",
        "constraints.txt",
        "noxfile.py",
        "pyproject.toml",
        "docs/conf.py",
        "examples/bn_tutorial.py",
    ),
    *("src/actstats/py.typed", "tests/conftest.py", "benchmarks/results/clinic.json"),
)
MADE = ("docs/tutorials/", "docs/_pictures/", "build/", "__pycache__", ".actstats-wal")


def sources() -> set[str]:
    """Return the package's files, as a wheel names them."""
    found = (ROOT / "src").rglob("*")
    return {p.relative_to(ROOT / "src").as_posix() for p in found if p.suffix in KEPT}


def wheel_faults(names: Collection[str], wanted: Collection[str]) -> list[str]:
    """Return what is wrong with the files of a wheel."""
    lost = sorted(set(wanted) - set(names))
    home = re.compile(r"actstats/|torch_actstats-[^/]+\.dist-info/")
    strange = sorted(name for name in names if not home.match(name))
    info = [name for name in ("entry_points.txt", "licenses/LICENSE") if not _ends(names, name)]
    return [
        *(f"not in the wheel: {name}" for name in [*lost, *info]),
        *(f"strange in the wheel: {name}" for name in strange),
    ]


def _ends(names: Collection[str], end: str) -> bool:
    return any(name.endswith(f".dist-info/{end}") for name in names)


def sdist_faults(names: Collection[str]) -> list[str]:
    """Return what is wrong with the files of an sdist, whose first folder is taken off."""
    made = sorted(name for name in names if any(part in name for part in MADE))
    return [
        *(f"not in the sdist: {name}" for name in IN_SDIST if name not in names),
        *(f"made, and in the sdist: {name}" for name in made),
    ]


def first_use() -> str:
    """Return the quickstart's first lines of code."""
    text = (ROOT / "docs" / "quickstart.md").read_text()
    return re.findall(r"```\{picture\}\n(.*?)```", text, re.DOTALL)[0]


def use_elsewhere(wheel: Path) -> None:
    """Install the wheel, without what it needs, beside this environment, and use it."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, system_site_packages=False, with_pip=True)
        python = Path(folder) / "bin" / "python"
        run = lambda *args: subprocess.run(args, check=True, cwd=folder)  # noqa: E731, three uses
        run(python, "-m", "pip", "install", "-q", "--no-deps", str(wheel.resolve()))
        borrowed = "\n".join(path for path in sys.path if path.endswith("site-packages"))
        (site,) = Path(folder).glob("lib/*/site-packages")
        (site / "borrowed.pth").write_text(borrowed)  # torch and the rest; our own comes first
        where = "import actstats; print(actstats.__file__)"
        run(python, "-I", "-c", f"{where}; assert {folder!r} in actstats.__file__")
        run(python, "-I", "-c", first_use())


def main() -> None:
    folder = Path(sys.argv[1])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        faults = wheel_faults(archive.namelist(), sources())
    with tarfile.open(sdist) as packed:
        faults += sdist_faults({name.partition("/")[2] for name in packed.getnames()})
    if faults:
        sys.exit("\n".join(faults))
    use_elsewhere(wheel)
    print(f"{wheel.name} and {sdist.name} are as they should be")


if __name__ == "__main__":
    main()
