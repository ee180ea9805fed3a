"""Many sites at once: the same as one by one, bit for bit."""

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actstats import TensorStats, activations
from actstats.gate import make_gate
from actstats.kernels import Spec, State, reference
from actstats.kernels.state import HostCopy
from actstats.stats import named_edges
from actstats.table import Columns, Kept, SiteTable, union
from claims import assert_identical, assert_stats_of, frozen

few = settings(max_examples=60, deadline=None, derandomize=True)
ODD = (0.0, -0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e-42, 1e38, 0.99999)


def kept(site, activation=None, *, resolution=3, units=3, edges=None, notes=()):
    known = None if activation is None else activations.get(activation)
    spec = Spec(
        resolution=resolution,
        width=max(units, 1),
        gate=make_gate(known),
        asymptote=known is not None and known.ends_at_one,
        edges=None if edges is None else named_edges(edges),
    )
    return Kept(site, spec, known, 0.05, units, notes)


def observed(site: Kept, seed: int, odd: int = 0, calls: int = 1) -> State:
    """Return the state of a site that saw so many tensors, each with so many odd values."""
    generator, state = torch.Generator().manual_seed(seed), State(site.spec)
    axis = -1 if site.units else None
    for step in range(calls):
        x = torch.randn(7, max(site.units, 2), generator=generator)
        places = torch.randint(x.numel(), (odd,), generator=generator)
        x.view(-1)[places] = torch.tensor(ODD)[places % len(ODD)]
        reference.observe(x, state, unit_axis=axis, step=step)
        if site.activation is not None and site.activation.judged_from == "input":
            reference.judge(x, state, unit_axis=axis, step=step)
    return state


def table(sites, states) -> SiteTable:
    return SiteTable.of(tuple(sites), HostCopy(states).words())


def one_by_one(sites, states) -> dict[str, TensorStats]:
    return {
        site.site: TensorStats.from_state(
            state,
            activation=site.activation,
            saturation_slope=site.saturation_slope,
            units=site.units,
            notes=dict(site.notes),
        )
        for site, state in zip(sites, states, strict=True)
        if state.calls
    }


def assert_same_sites(got, want):
    assert list(got) == list(want)
    for site in want:
        assert_identical(got[site], want[site], site=site)
        assert got[site].edges == want[site].edges
        assert got[site].activation == want[site].activation
        assert got[site].saturation_slope == want[site].saturation_slope


options = st.fixed_dictionaries(
    {
        "activation": st.sampled_from([None, "relu", "tanh", "sigmoid", "gelu"]),
        "resolution": st.integers(0, 4),
        "units": st.integers(0, 4),
        "edges": st.sampled_from([None, (4, -1.0, 1.0), (-0.5, 0.0, 2.0)]),
    }
)


@st.composite
def models(draw):
    drawn = draw(st.lists(options, min_size=1, max_size=4))
    return tuple(kept(f"layer{i}", **chosen) for i, chosen in enumerate(drawn))


def drawn_states(sites, seed, odd, calls):
    return [
        observed(site, seed + i, odd, calls[i % len(calls)] if calls else 1)
        for i, site in enumerate(sites)
    ]


runs = st.tuples(st.integers(0, 999), st.integers(0, 12), st.lists(st.integers(0, 2), max_size=4))


# ---- reading -------------------------------------------------------------------------------------


@few
@given(models(), runs)
def test_first_broken_steps_are_those_of_the_sites(sites, run):
    states = drawn_states(sites, *run)
    found, want = table(sites, states), one_by_one(sites, states)
    broken = {k: s.first_non_finite_step for k, s in want.items() if s.nan_count + s.inf_count}
    assert found.first_non_finite() == broken


@few
@given(models(), runs)
def test_a_site_is_what_its_state_holds(sites, run):
    states = drawn_states(sites, *run)
    assert_same_sites(table(sites, states), one_by_one(sites, states))


def test_a_table_is_a_copy():
    sites = (kept("a", "tanh"),)
    states = [observed(sites[0], 1)]
    found = table(sites, states)
    want = one_by_one(sites, states)
    reference.observe(torch.randn(5, 3), states[0])
    assert_same_sites(found, want)
    found["a"].moments.n[:] = -1  # nor does what is read hang on it
    found["a"].judged.seen[:] = -1
    assert_same_sites(found, want)


def test_what_is_read_keeps_no_dense_memory_alive():
    site = kept("a", "tanh", edges=(4, -1.0, 1.0))
    found = table([site], [observed(site, 1)])["a"]
    for part in (found.moments.n, found.judged.seen, found.linear):
        whole = part if part.base is None else part.base
        assert whole.nbytes <= 8 * 5 * 4


def test_sites_without_calls_are_left_out():
    sites = tuple(kept(name, "relu") for name in "abc")
    states = [observed(site, 0, calls=name != "b") for site, name in zip(sites, "abc", strict=True)]
    found = table(sites, states)
    assert list(found) == ["a", "c"]
    assert len(found) == 2
    assert "b" not in found
    assert "c" in found
    with pytest.raises(KeyError):
        found["b"]
    assert not table(sites, [State(site.spec) for site in sites])


def test_a_call_without_values_is_one():
    site = kept("a", "tanh")
    state = State(site.spec)
    reference.observe(torch.empty(0, 3), state)
    found = table([site], [state])
    assert found["a"].calls == 1
    assert math.isnan(found["a"].min)
    assert_same_sites(found.merge(found), union(dict(found), dict(found)))


def test_a_pickle_holds_the_statistics_themselves():
    sites = (kept("a", "gelu"), kept("b", edges=(4, -1.0, 1.0)))
    states = drawn_states(sites, 3, 4, [])
    assert_same_sites(pickle.loads(pickle.dumps(table(sites, states))), one_by_one(sites, states))


# ---- merging -------------------------------------------------------------------------------------


@few
@given(models(), runs, runs)
def test_merging_all_at_once_is_merging_one_by_one(sites, run, other_run):
    (seed, odd, _), (other_seed, other_odd, _) = run, other_run
    one, other = (
        drawn_states(sites, seed, odd, [1, 2]),
        drawn_states(sites, other_seed, other_odd, []),
    )
    a, b = table(sites, one), table(sites, other)
    merged = a.merge(b)
    assert isinstance(merged, SiteTable)
    assert_same_sites(merged, union(one_by_one(sites, one), one_by_one(sites, other)))
    again = merged.merge(a)
    assert_same_sites(again, union(dict(merged), dict(a)))


@few
@given(models(), runs, runs)
def test_sites_may_come_and_go(sites, run, other_run):
    one, other = drawn_states(sites, *run), drawn_states(sites, *other_run)
    merged = table(sites, one).merge(table(sites, other))
    assert_same_sites(merged, union(one_by_one(sites, one), one_by_one(sites, other)))


@few
@given(models(), runs, runs)
def test_merging_changes_neither_side(sites, run, other_run):
    a, b = (table(sites, drawn_states(sites, seed, odd, [])) for seed, odd, _ in (run, other_run))
    before = [{site: frozen(stats) for site, stats in one.items()} for one in (a, b)]
    merged = a.merge(b)
    merged.dense[:], merged.counts[:], merged.bins[:] = 0, 0, 0
    assert [{site: frozen(stats) for site, stats in one.items()} for one in (a, b)] == before


@pytest.mark.parametrize(
    "empty", [SiteTable.of((), np.empty(0, np.int64)), {}], ids=["table", "{}"]
)
def test_an_empty_side_is_the_identity(empty):
    sites = (kept("a", "tanh"), kept("b"))
    states = drawn_states(sites, 3, 4, [])
    a = table(sites, states)
    assert_same_sites(a.merge(empty), one_by_one(sites, states))
    if isinstance(empty, SiteTable):
        assert_same_sites(empty.merge(a), one_by_one(sites, states))
        assert len(empty.merge(empty)) == 0


@pytest.mark.parametrize(
    "changed",
    [{"units": 0, "notes": (("units", "gone"),)}, {"units": 5}, {"resolution": 1}],
    ids=["pooled", "width", "resolution"],
)
def test_a_site_that_keeps_something_else_is_merged_alone(changed):
    sites = (kept("a", "tanh"), kept("b"))
    others = (kept("a", "tanh", **changed), sites[1])
    one, other = drawn_states(sites, 1, 3, []), drawn_states(others, 2, 3, [])
    merged = table(sites, one).merge(table(others, other))
    want = union(one_by_one(sites, one), one_by_one(others, other))
    assert_same_sites(merged, want)
    assert merged["a"].bits.resolution == changed.get("resolution", 3)


def test_other_notes_are_kept():
    sites, others = (kept("a", notes=(("axis", "x"),)),), (kept("a", notes=(("units", "y"),)),)
    one, other = drawn_states(sites, 1, 0, []), drawn_states(others, 2, 0, [])
    merged = table(sites, one).merge(table(others, other))
    assert merged["a"].notes == {"axis": "x", "units": "y"}


def test_unequal_activations_are_refused():
    tanh, relu = kept("a", "tanh"), kept("a", "relu")
    a, b = table([tanh], [observed(tanh, 1)]), table([relu], [observed(relu, 2)])
    with pytest.raises(ValueError, match="unequal `activation`"):
        a.merge(b)


def test_a_table_merges_with_any_mapping():
    site = kept("a")
    one, other = observed(site, 1), observed(site, 2)
    want = union(one_by_one([site], [one]), one_by_one([site], [other]))
    assert_same_sites(table([site], [one]).merge(one_by_one([site], [other])), want)


def test_many_merges_stay_within_the_bounds():
    site = kept("a")
    xs = [100 + torch.randn(9, 3, generator=torch.Generator().manual_seed(i)) for i in range(20)]
    tables = []
    for x in xs:
        state = State(site.spec)
        reference.observe(x, state)
        tables.append(table([site], [state]))
    merged = tables[0]
    for other in tables[1:]:
        merged = merged.merge(other)
    assert_stats_of(merged["a"], torch.cat(xs), merges=20)


# ---- memory --------------------------------------------------------------------------------------


def test_tables_of_the_same_sites_share_their_columns():
    sites = (kept("a", "tanh"), kept("b"))
    again = (kept("a", "tanh"), kept("b"))
    a, b = (table(s, drawn_states(s, i, 0, [])) for i, s in enumerate((sites, again)))
    assert a.columns is b.columns
    assert a.columns is not Columns.of((kept("a", "tanh"), kept("b", resolution=2)))
    assert a.columns is not Columns.of((kept("a", "tanh"), kept("b", notes=(("units", "x"),))))


def test_only_occupied_bins_are_kept():
    sites = (kept("a", "tanh", units=10),)
    state = observed(sites[0], 5)
    found = table(sites, [state])
    occupied = int((state.histogram != 0).sum()) + int((state.asymptote != 0).sum())
    assert len(found.bins) == len(found.counts) == occupied
    assert found.nbytes == 8 * (12 + 5 * 10 + 5 * 10) + (4 + 8) * occupied
    assert found.nbytes < state.nbytes / 10


@few
@given(models(), st.lists(runs, min_size=4, max_size=7))
def test_a_sum_of_many_tables_is_their_merge_one_by_one(sites, many):
    """Every table has all sites: seen at least once."""
    tables = [
        table(sites, drawn_states(sites, seed, odd, [1 + n for n in calls]))
        for seed, odd, calls in many
    ]
    want = tables[0]
    for other in tables[1:]:
        want = want.merge(other)
    got = SiteTable.sum(tables)
    for part in ("dense", "bins", "counts"):
        np.testing.assert_array_equal(getattr(got, part), getattr(want, part), err_msg=part)
        assert getattr(got, part).dtype == getattr(want, part).dtype


def test_a_sum_changes_none_of_the_tables():
    sites = (kept("a"), kept("b", "tanh"))
    tables = [table(sites, drawn_states(sites, i, 3, [1])) for i in range(5)]
    before = [(t.dense.copy(), t.counts.copy()) for t in tables]
    SiteTable.sum(tables)
    for one, (dense, counts) in zip(tables, before, strict=True):
        np.testing.assert_array_equal(one.dense, dense)
        np.testing.assert_array_equal(one.counts, counts)
