"""The page on the architecture says what is so: layers, imports that point down, and their map."""

import module_map
import pytest

# What is imported from a layer above when a function is called, and why that is so
DOORS = {
    ("recorder", "log"),  # log=
    ("recorder", "distributed"),  # merge_ranks
    ("recording", "log"),  # save
    ("recording", "exports"),  # to_xarray
    ("metadata", "__init__"),  # the version
    ("exports", "__init__"),
    ("report", "__init__"),
    ("cli", "__init__"),  # it uses the package as a user does
    ("pytest_plugin", "__init__"),
}


def test_every_module_has_its_layer():
    parts = {module_map.part(name) for name in module_map.modules()} - {module_map.FACADE}
    stated = [name for _, row in module_map.stated_layers() for name in row]
    assert sorted(stated) == sorted(parts)  # and none twice


def test_imports_point_down():
    layers = module_map.stated_layers()
    found = module_map.upward(module_map.imports(), module_map.heights(layers))
    assert {row for row in found if row[2] == "at once"} == set()
    assert {row[:2] for row in found if row[2] == "when called"} == DOORS


def test_imports_make_no_ring():
    assert module_map.cycle(module_map.imports()) == []


def package(folder, **files):
    for name, text in files.items():
        path = folder / (name.replace("__in__", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return module_map.imports(folder)


def test_an_upward_import_is_seen(tmp_path):
    found = package(tmp_path, low="from actstats.high import x", high="", __init__="")
    assert module_map.upward(found, {"low": 0, "high": 1}) == {("low", "high", "at once")}
    assert module_map.upward(found, {"low": 1, "high": 0}) == set()


def test_the_time_of_an_import_is_seen(tmp_path):
    late = "def f():\n    from actstats.b import x\n"
    types = "if TYPE_CHECKING:\n    import actstats.b.c\n"
    found = package(tmp_path, a=late, b__in____init__="", b__in__c=types, __init__="")
    assert found == [("a", "b", "when called")]
    found = package(tmp_path, a=types)
    assert found == [("a", "b.c", "for types")]


def test_names_of_the_facade_are_its_own(tmp_path):
    found = package(tmp_path, a="from actstats import b, __version__", b="", __init__="")
    assert [row.imported for row in found] == ["__init__", "b"]


def test_a_ring_is_seen(tmp_path):
    a, b, c = (f"from actstats.{name} import x" for name in "bca")
    assert module_map.cycle(package(tmp_path, a=a, b=b, c=c)) == ["a", "b", "c", "a"]
    late = "def f():\n    from actstats.a import x\n"
    assert module_map.cycle(package(tmp_path, c=late)) == []


@pytest.fixture(scope="module")
def drawn_map():
    figure = module_map.draw()
    figure.draw_without_rendering()
    return figure.axes[0]


def words(axes):
    """Return the names of both sides, the layers' titles and the legend, as they were placed."""
    titles = [*axes.texts, *axes.get_legend().get_texts()]
    return [*axes.get_xticklabels(), *axes.get_yticklabels(), *titles]


def overlaps(texts):
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    return [(a, b) for i, (a, own) in enumerate(boxes) for b, box in boxes[:i] if own.overlaps(box)]


def test_no_word_of_the_map_lies_on_another(drawn_map):
    assert overlaps(words(drawn_map)) == []
    larger = [text for text in drawn_map.get_yticklabels() if not text.set_fontsize(20)]
    assert len(overlaps(larger)) > 10


def test_the_map_has_a_dot_for_each_import(drawn_map):
    names = [label.get_text() for label in drawn_map.get_yticklabels()]
    assert names == [label.get_text() for label in drawn_map.get_xticklabels()]
    assert sorted(names) == sorted(name for _, row in module_map.stated_layers() for name in row)
    at_once, when_called = (dots.get_offsets().astype(int) for dots in drawn_map.collections[-2:])
    height = module_map.heights(module_map.stated_layers())
    left = {(names[row], names[column]) for column, row in at_once if column < row}
    assert {pair for pair in left if height[pair[0]] != height[pair[1]]} == set()
    found = {(one.importer, one.imported) for one in module_map.imports() if one.kind == "at once"}
    pairs = {tuple(map(module_map.part, pair)) for pair in found}
    shown = {(names[row], names[column]) for column, row in at_once}
    assert shown == {(a, b) for a, b in pairs if a != b and module_map.FACADE not in (a, b)}
    doors = {(names[row], names[column]) for column, row in when_called if column < row}
    assert {pair for pair in DOORS if module_map.FACADE not in pair} <= doors
