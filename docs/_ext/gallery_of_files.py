"""Tutorials are ordinary scripts that write their pictures to `--out`; the gallery shows those.

`actstats.plot` makes figures without pyplot, so sphinx-gallery's own scraper would find none.
"""

import shutil
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

SHOWN: dict[Path, set[Path]] = {}  # script: its pictures that are on the page already


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
    return "".join(show(path, block_vars, gallery_conf) for path in new)


def show(picture: Path, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    copy = Path(next(block_vars["image_path_iterator"])).with_suffix(picture.suffix)
    shutil.copyfile(picture, copy)
    return figure_rst([str(copy)], gallery_conf["src_dir"], picture.stem.replace("_", " "))
