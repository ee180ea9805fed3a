"""Sites: names, patterns, which modules, which leaves, which axis."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from actstats.sites import (
    Site,
    close_matches,
    input_leaves,
    join_key,
    leaves,
    lookup,
    matches,
    named_sites,
    selected,
    split_key,
    unit_axis,
)

ONE = torch.ones(1)


@pytest.mark.parametrize(
    ("key", "split", "joined"),
    [
        ("fc3", ("fc3", "output"), "fc3"),
        ("fc3:grad", ("fc3", "grad"), "fc3:grad"),
        (("fc3", "grad"), ("fc3", "grad"), "fc3:grad"),
        ("fc3:output", ("fc3", "output"), "fc3"),
        ("odd:name", ("odd:name", "output"), "odd:name"),
        ("lstm[1][0]:input", ("lstm[1][0]", "input"), "lstm[1][0]:input"),
    ],
)
def test_keys(key, split, joined):
    assert split_key(key) == split
    assert join_key(key) == joined


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind must be one of"):
        split_key(("fc3", "gradient"))


def test_a_site_has_its_key():
    assert Site("fc", "grad", "[0]").key == "fc[0]:grad"
    assert Site("(root)").key == "(root)"


@pytest.mark.parametrize(
    ("pattern", "site", "hit"),
    [
        ("fc*", "fc1", True),
        ("fc*", "fc1:grad", False),
        ("fc*:grad", "fc1:grad", True),
        ("*", "a.b.c", True),
        ("a.*.c", "a.b.x.c", True),
        ("fc?", "fc1", True),
        ("fc?", "fc12", False),
        ("fc[1]", "fc[1]", True),  # brackets are letters, not wildcards
        ("fc[12]", "fc1", False),
        ("a.b", "axb", False),
        ("l*[0]", "lstm[0]", True),
    ],
)
def test_patterns(pattern, site, hit):
    assert matches(pattern, site) is hit


def test_lookup_takes_the_exact_name_then_the_first_pattern():
    table = {"*": 1, "fc*": 2, "fc1": 3}
    assert lookup(table, "fc1") == 3
    assert lookup(table, "fc2") == 1
    assert lookup({"x": 1}, "y", 7) == 7
    assert lookup(None, "y") is None


def test_hints():
    assert "did you mean 'act3'" in close_matches("atc3", ["act3", "zzz"])
    assert "'lstm[0]'" in close_matches("lstm", ["lstm[0]"])
    assert close_matches("q", []) == "; nothing is."


# ---- modules -------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(2))
        self.many = nn.ModuleList([nn.ReLU(), nn.Sequential(nn.Tanh())])
        self.again = self.fc


@pytest.mark.hostile(33)
def test_each_module_once_with_its_aliases():
    modules, aliases = named_sites(Block())
    assert list(modules) == ["(root)", "fc", "many", "many.0", "many.1", "many.1.0"]
    assert aliases == {"again": "fc"}


def test_default_selection_is_what_computes():
    modules, _ = named_sites(Block())
    assert list(selected(modules)) == ["(root)", "fc", "many.0", "many.1.0"]


@pytest.mark.parametrize(
    ("include", "exclude", "names"),
    [
        ("many*", None, ["many.0", "many.1", "many.1.0"]),
        (nn.Linear, None, ["fc"]),
        (lambda name, module: name.endswith("0"), None, ["many.0", "many.1.0"]),
        ([nn.Linear, "many.0"], None, ["fc", "many.0"]),
        (None, nn.Linear, ["(root)", "many.0", "many.1.0"]),
        (None, ["many*", "(root)"], ["fc"]),
        ("(root)", None, ["(root)"]),
    ],
)
def test_include_and_exclude(include, exclude, names):
    modules, _ = named_sites(Block())
    assert list(selected(modules, include, exclude)) == names


def test_nothing_to_observe_is_refused():
    modules, _ = named_sites(Block())
    with pytest.raises(ValueError, match="leave no module"):
        selected(modules, "nothing")
    with pytest.raises(ValueError, match="`include` must be a glob"):
        selected(modules, 3)
    with pytest.raises(ValueError, match="must hold modules"):
        named_sites({"a": 3})


@pytest.mark.hostile(30)
def test_parametrizations_are_left_out():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.ReLU())
    assert list(selected(named_sites(net)[0])) == ["0", "1"]


@pytest.mark.hostile(12)
def test_wrappers_leave_no_trace_in_names():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert list(named_sites(nn.DataParallel(net))[0]) == ["(root)", "0", "1"]
    assert list(named_sites(torch.compile(net, backend="eager"))[0]) == ["(root)", "0", "1"]
    checkpoint = torch.distributed.algorithms._checkpoint.checkpoint_wrapper.checkpoint_wrapper
    wrapped = nn.Sequential(checkpoint(nn.Linear(2, 2)))
    assert list(named_sites(wrapped)[0]) == ["(root)", "0"]


@pytest.mark.hostile(12)
def test_the_wrappers_names_are_legal_for_users():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(2, 2)
            self._orig_mod = nn.Linear(2, 2)

    assert list(named_sites(Mine())[0]) == ["(root)", "module", "_orig_mod"]


def test_modules_in_a_circle():
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].__dict__["_modules"]["up"] = net
    assert list(named_sites(net)[0]) == ["(root)", "0"]


# ---- leaves --------------------------------------------------------------------------------------


@dataclass
class Result:
    logits: torch.Tensor
    extra: object = None


Pair = namedtuple("Pair", ["a", "b"])


def generator():
    yield ONE


@pytest.mark.hostile(62)
@pytest.mark.parametrize(
    ("value", "paths"),
    [
        (ONE, [""]),
        ((ONE, (ONE, [ONE])), ["[0]", "[1][0]", "[1][1][0]"]),
        ({"a": ONE, 3: ONE}, ["['a']", "[3]"]),
        (OrderedDict(x=ONE), ["['x']"]),
        (Pair(ONE, ONE), ["[0]", "[1]"]),
        (Result(ONE, (ONE,)), ["['logits']", "['extra'][0]"]),
        (pack_sequence([torch.ones(3, 2)]), [""]),
        ((None, 3, "text", True, 1.5, ONE.numpy()), []),
        (generator(), []),
        (Result, []),
    ],
    ids=[
        "tensor",
        "nested",
        "dict",
        "ordered",
        "named",
        "dataclass",
        "packed",
        "others",
        "generator",
        "class",
    ],
)
def test_leaves(value, paths):
    assert [path for path, _ in leaves(value)] == paths


@pytest.mark.hostile(63)
def test_a_generator_is_not_consumed():
    given = generator()
    list(leaves((given,)))
    assert list(given) == [ONE]


@pytest.mark.hostile(62)
def test_a_circle_ends():
    circle = {"a": ONE}
    circle["self"] = circle
    assert next(leaves(circle))[0] == "['a']"
    assert len(list(leaves(circle))) < 20


def test_model_outputs_of_transformers():
    outputs = pytest.importorskip("transformers.modeling_outputs")
    value = outputs.BaseModelOutput(last_hidden_state=ONE, hidden_states=(ONE, ONE))
    assert [p for p, _ in leaves(value)] == [
        "['last_hidden_state']",
        "['hidden_states'][0]",
        "['hidden_states'][1]",
    ]


def test_input_leaves():
    got = [path for path, _ in input_leaves(((ONE, ONE), ONE), {"mask": ONE})]
    assert got == ["[0]", "[1]", "[1]", "['mask']"] or len(set(got)) == len(got), got


# ---- axes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "shape", "inherited", "axis"),
    [
        (nn.Linear(2, 2), (4, 2), None, -1),
        (nn.Linear(2, 2), (4, 3, 5, 2), 1, -1),
        (nn.Linear(2, 2), (2,), None, -1),
        (nn.Conv2d(2, 2, 1), (4, 2, 3, 3), None, 1),
        (nn.Conv1d(2, 2, 1), (4, 2, 3), -1, 1),
        (nn.BatchNorm1d(2), (4, 2), None, -1),
        (nn.BatchNorm1d(2), (4, 2, 5), None, 1),
        (nn.BatchNorm2d(2), (4, 2, 5, 5), None, 1),
        (nn.LayerNorm(2), (4, 3, 2), 1, -1),
        (nn.LSTM(2, 2), (4, 3, 2), None, -1),
        (nn.ReLU(), (4, 3, 2), None, -1),
        (nn.ReLU(), (4, 3, 2), 1, 1),
        (nn.ReLU(), (4, 3, 2, 2), None, 1),
        (nn.ReLU(), (4, 3, 2, 2), -1, -1),
        (nn.ReLU(), (4,), None, None),
        (nn.ReLU(), (), None, None),
    ],
)
def test_unit_axis(module, shape, inherited, axis):
    assert unit_axis(module, torch.zeros(shape), inherited) == axis
