"""The tutorials: run anew when what makes them changed, and shown with what they wrote."""

from types import SimpleNamespace

import pytest
from PIL import Image

pytest.importorskip("sphinx")  # the extra `docs`, which is not there where the floor is tested
gallery = pytest.importorskip("gallery_of_files")


@pytest.fixture
def root(tmp_path):
    for name in ("src/actstats/stats.py", "examples/a.py", "docs/_ext/pictures.py", "docs/conf.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["src/actstats/stats.py", "examples/a.py", "docs/_ext/pictures.py", "docs/conf.py"]
)
def test_a_changed_source_changes_the_digest(root, name):
    before = gallery.makers(root)
    assert gallery.makers(root) == before
    (root / name).write_text("x = 1\n")
    assert gallery.makers(root) != before


def test_a_moved_source_changes_the_digest(root):
    before = gallery.makers(root)
    (root / "examples" / "a.py").rename(root / "examples" / "b.py")
    assert gallery.makers(root) != before


def test_another_version_changes_the_digest(root, monkeypatch):
    before = gallery.makers(root)
    monkeypatch.setattr(gallery.importlib.metadata, "version", lambda _: "999")
    assert gallery.makers(root) != before


def build(*, run):
    return SimpleNamespace(config=SimpleNamespace(sphinx_gallery_conf={"plot_gallery": run}))


def test_only_a_whole_build_that_ran_the_tutorials_makes_them_fresh(tmp_path):
    mark = tmp_path / "tutorials" / "made_by.txt"
    assert gallery.stale(mark)
    gallery.remember_makers(build(run=False), None, mark)
    gallery.remember_makers(build(run=True), ValueError("a page failed"), mark)
    assert gallery.stale(mark)
    gallery.remember_makers(build(run=True), None, mark)
    assert not gallery.stale(mark)
    mark.write_text("of other sources")
    assert gallery.stale(mark)


def test_a_picture_is_shown_in_its_size_with_its_twin_beside_it(tmp_path):
    made, shown = tmp_path / "made", tmp_path / "docs" / "tutorials"
    made.mkdir()
    shown.mkdir(parents=True)
    for name in ("grid_tanh.png", "grid_tanh.zh_CN.png"):
        Image.new("RGB", (40, 20)).save(made / name)
    variables = {"image_path_iterator": iter([str(shown / "a_001.png")])}
    text = gallery.show(made / "grid_tanh.png", variables, {"src_dir": str(tmp_path / "docs")})
    assert text.split("\n")[1:5] == [
        ".. image:: /tutorials/a_001.png",
        "   :alt: grid tanh",
        "   :class: sphx-glr-single-img",
        "   :width: 40px",
    ]
    assert {path.name for path in shown.iterdir()} == {"a_001.png", "a_001.zh_CN.png"}
