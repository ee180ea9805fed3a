"""Tutorials are ordinary scripts that write their pictures to `--out`; the gallery shows those.

`actstats.plot` makes figures without pyplot, so sphinx-gallery's own scraper would find none.
Pictures of a script whose page is translated are written in both languages.
"""

import hashlib
import importlib.metadata
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from chinese_figures import chinese_name, in_both_languages
from PIL import Image
from translations import PAGES

SHOWN: dict[Path, set[Path]] = {}  # script: its pictures that are on the page already

RUNNING = ExitStack()  # what ends with the script that is run

ROOT = Path(__file__).parents[2]
MADE_BY = ROOT / "build" / "tutorials" / "made_by.txt"
FOLDERS = ("src", "examples", "docs/_ext")  # what the pictures and the printed lines come from
PACKAGES = ("matplotlib", "numpy", "scikit-learn", "seaborn", "sphinx-gallery", "torch")


def makers(root: Path = ROOT, packages: Iterable[str] = PACKAGES) -> str:
    """Return a digest of what makes the tutorials: our sources, and the versions of others.

    sphinx-gallery runs a script anew when the script changes; this also tells a change of the
    package, whose old pictures and numbers would stay on the page.
    """
    digest = hashlib.sha256((root / "docs" / "conf.py").read_bytes())
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    for package in packages:
        digest.update(f"{package} {importlib.metadata.version(package)}\0".encode())
    return digest.hexdigest()


def stale(mark: Path = MADE_BY) -> bool:
    """Tell whether the tutorials were made by other sources than those that are here now."""
    return not mark.exists() or mark.read_text() != makers()


def remember_makers(app: Any, error: Exception | None, mark: Path = MADE_BY) -> None:
    """Keep the digest after a build that ran the tutorials and finished."""
    if error is None and app.config.sphinx_gallery_conf["plot_gallery"]:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(makers())


def setup(app: Any) -> dict[str, bool]:
    app.add_config_value("made_by", makers(), "env")  # where it changed, all pages are read anew
    app.connect("build-finished", remember_makers)
    return {"parallel_read_safe": True}


def begin_or_end(gallery_conf: dict[str, Any], script: str | None, when: str) -> None:
    """Called by sphinx-gallery before and after each script, and before a folder of them."""
    RUNNING.close()
    if script is None or f"tutorials/{Path(script).stem}" not in PAGES:
        return
    if when == "before":
        RUNNING.enter_context(in_both_languages())
    else:
        keep_twins(output_folder(script, gallery_conf), Path(gallery_conf["src_dir"]) / "_static")


def keep_twins(made: Path, static: Path) -> None:
    """Put beside each static picture the Chinese one of the same name, if it was made."""
    for picture in list(static.glob("*.png")):
        twin = chinese_name(made / picture.name)
        if twin.exists():
            shutil.copy(twin, static)


def output_folder(script: str, gallery_conf: dict[str, Any]) -> Path:
    return Path(gallery_conf["src_dir"]).parent / "build" / "tutorials" / Path(script).stem


def output_arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """The command line that a tutorial sees: its defaults, but in a new folder of the build."""
    folder = output_folder(script_vars["src_file"], gallery_conf)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    SHOWN[folder] = set()
    return ["--out", str(folder)]


def written_pictures(
    block: object, block_vars: dict[str, Any], gallery_conf: dict[str, Any]
) -> str:
    """Show what this block wrote, oldest first, one below the other."""
    folder = output_folder(block_vars["src_file"], gallery_conf)
    written = {path for path in folder.iterdir() if path.suffix in {".png", ".gif"}}
    new = sorted(written - SHOWN[folder], key=lambda path: (path.stat().st_mtime_ns, path.name))
    SHOWN[folder] |= written
    own = [path for path in new if ".zh_CN" not in path.suffixes]
    return "".join(show(path, block_vars, gallery_conf) for path in own)


def show(picture: Path, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Copy a picture, and the Chinese one beside it; not `image-sg`, which knows no languages."""
    copy = Path(next(block_vars["image_path_iterator"])).with_suffix(picture.suffix)
    shutil.copyfile(picture, copy)
    if chinese_name(picture).exists():
        shutil.copyfile(chinese_name(picture), chinese_name(copy))
    where, words = copy.relative_to(gallery_conf["src_dir"]), picture.stem.replace("_", " ")
    with Image.open(copy) as image:
        width = f"{image.width}px"  # an image that says its own links to its full size
    options = {"alt": words, "class": "sphx-glr-single-img", "width": width}
    told = "".join(f"   :{name}: {value}\n" for name, value in options.items())
    return f"\n.. image:: /{where.as_posix()}\n{told}\n"
