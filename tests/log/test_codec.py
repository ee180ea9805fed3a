"""The numbers of a window as bytes."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actstats import RecordingFileError, TensorStats
from actstats.log import codec
from actstats.log.codec import decode, encode, layout_from_json, layout_to_json
from actstats.table import SiteTable

few = settings(max_examples=80, deadline=None, derandomize=True)

sites = st.fixed_dictionaries(
    {
        "rows": st.sampled_from([0, 1, 3, 300]),
        "units": st.integers(1, 4),
        "activation": st.sampled_from([None, "relu", "tanh", "gelu"]),
        "resolution": st.integers(0, 7),
        "edges": st.sampled_from([None, (4, -1.0, 1.0)]),
        "scale": st.sampled_from([0.0, 1e-40, 1.0, 1e30, float("inf"), float("nan")]),
        "times": st.sampled_from([1, 1 << 20, 1 << 40]),
        "seed": st.integers(0, 99),
    }
)


def stats_of(rows, units, activation, resolution, edges, scale, times, seed):
    x = torch.randn(rows, units, generator=torch.Generator().manual_seed(seed)) * scale
    one = TensorStats.from_tensor(x, activation=activation, resolution=resolution, edges=edges)
    while one.calls < times:
        one = one.merge(one)
    return one


tables = st.lists(sites, max_size=4).map(
    lambda many: SiteTable.from_stats({f"s{i}": stats_of(**one) for i, one in enumerate(many)})
)


def assert_same_table(got, want):
    for part in ("dense", "bins", "counts"):
        a, b = getattr(got, part), getattr(want, part)
        assert a.dtype == b.dtype, part
        np.testing.assert_array_equal(a, b, err_msg=part)
    assert got.columns.sites == want.columns.sites


@few
@given(tables)
def test_a_table_comes_back_bit_for_bit(table):
    layout = json.loads(json.dumps(layout_to_json(table.columns)))
    assert_same_table(decode(layout_from_json(layout), encode(table)), table)


@pytest.fixture
def table():
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    return SiteTable.from_stats(
        {
            "a": TensorStats.from_tensor(x),
            "b": TensorStats.from_tensor(x.tanh(), activation="tanh", edges=(4, -1.0, 1.0)),
        }
    )


def test_bytes_cut_short_or_changed_are_refused_or_make_sense(table):
    """Without the digest that guards them in a file: nothing but our own error, no nonsense."""
    data = encode(table)
    for n in range(len(data)):
        with pytest.raises(RecordingFileError):
            decode(table.columns, data[:n])
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        try:
            found = decode(table.columns, bytes(changed))
        except RecordingFileError:
            continue
        assert found["a"].count >= 0
        assert (found.counts > 0).all()


@pytest.mark.hostile(117)
@few
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    table = SiteTable.from_stats({"a": TensorStats.from_tensor(torch.ones(3, 2))})
    with pytest.raises(RecordingFileError):
        decode(table.columns, data)


@pytest.mark.hostile(117)
def test_what_would_be_too_large_is_refused_before_it_is_made(table, monkeypatch):
    layout = layout_to_json(table.columns)
    layout[0]["width"] = layout[0]["units"] = 1 << 40
    with pytest.raises(RecordingFileError, match="a layout of sites cannot be read"):
        layout_from_json(layout)
    layout[0]["width"] = layout[0]["units"] = codec.MOST_WORDS
    with pytest.raises(RecordingFileError, match=r"a window of \d+ words is refused"):
        layout_from_json(layout)
    monkeypatch.setattr(codec, "MOST_BINS", 5)
    with pytest.raises(RecordingFileError, match="more than there can be"):
        decode(table.columns, encode(table))


@pytest.mark.hostile(117)
def test_deflated_bytes_are_not_inflated_beyond_what_they_should_be(table, monkeypatch):
    asked = []
    real = codec.zlib.decompressobj

    class Watched:
        def __init__(self):
            self.inner = real()

        def decompress(self, data, most):
            asked.append(most)
            return self.inner.decompress(data, most)

        def __getattr__(self, name):
            return getattr(self.inner, name)

    monkeypatch.setattr(codec.zlib, "decompressobj", Watched)
    decode(table.columns, encode(table))
    assert 0 < asked[0] < 10_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 9}, "`resolution` must be"),
        ({"resolution": "3"}, "`resolution` must be"),
        ({"units": 2}, "has 2 units and 3 columns"),
        ({"width": 0, "units": 0}, "has 0 units and 0 columns"),
        ({"site": 7}, "7 has"),
        ({"saturation_slope": 1.5}, "a saturation slope of 1.5"),
        ({"activation": None}, "judged without an activation"),
        ({"activation": "nonsense"}, "cannot be read"),
        ({"edges": [1.0, 0.0]}, "`edges` must be"),
        ({"notes": [["a"]]}, "cannot be read"),
        ({"more": 1}, "cannot be read"),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(table, change, message):
    layout = layout_to_json(table.columns)
    layout[1].update(change)
    with pytest.raises(RecordingFileError, match=message):
        layout_from_json(layout)


@pytest.mark.parametrize("layout", [None, 3, "text", [3], [["a"]], [{}]])
def test_what_is_no_layout_is_refused(layout):
    with pytest.raises(RecordingFileError, match="a layout of sites cannot be read"):
        layout_from_json(layout)


def test_a_layout_names_a_site_once(table):
    layout = layout_to_json(table.columns)
    layout[1]["site"] = "a"
    with pytest.raises(RecordingFileError, match="names one twice"):
        layout_from_json(layout)


@pytest.mark.parametrize(
    ("place", "value", "claim"),
    [
        (0, 0, "sites that were never called"),
        (2, 1000, "more exceptions than values"),
        (3, 1000, "more exceptions than values"),
        (1, 10, "more values in bins than were seen"),
    ],
)
def test_numbers_that_contradict_themselves_are_refused(table, place, value, claim):
    header = table.rows.header.view(np.int64)
    header[place, 0] = value
    with pytest.raises(RecordingFileError, match=claim):
        decode(table.columns, encode(table))
