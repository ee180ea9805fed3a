"""Statistics of users' own: kept, merged, read, written and lost like the built-in ones."""

import io
import logging
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import actstats
from actstats import ActivationRecorder, make_mlp
from actstats.custom import CustomSpec
from actstats.custom.statistic import KNOWN
from actstats.statistics import EffectiveRank, NotKept, Statistic
from claims import assert_same_integers

ONCE = "; said once for all sites, summary() names them"

few = settings(max_examples=40, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Largest(Statistic):
    """The largest sum of a sample's values above a floor: a merge that does not add."""

    floor: float = 0.0
    marks: tuple[int, ...] = (1, 2)

    name = "largest_sum"
    figure_names = ("largest_sum", "samples_seen")

    def state(self, units):
        if units == 3:
            raise NotKept("three is too many")
        return {"most": (1,), "samples": (1,)}

    def update(self, state, x):
        sums = x.double().reshape(len(x), -1).sum(1)
        most = torch.cat((sums, state["most"])).max()
        state["most"].fill_(most.clamp(min=self.floor))
        state["samples"] += len(x)

    def merge(self, state, other):
        return {
            "most": np.maximum(state["most"], other["most"]),
            "samples": state["samples"] + other["samples"],
        }

    def figures(self, state):
        return {"largest_sum": state["most"][0], "samples_seen": state["samples"][0]}


def seen_by(net, name, batches):
    """Return a module's outputs, as float64 (N, U)."""
    outputs = []
    handle = net.get_submodule(name).register_forward_hook(lambda m, a, out: outputs.append(out))
    for x in batches:
        net(x)
    handle.remove()
    return torch.cat(outputs).detach().double().flatten(0, -2).numpy()


def effective_rank(x):
    values = np.linalg.eigvalsh(np.cov(x.T, bias=True)).clip(min=0)
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def trained(statistics=None, steps=5, seed=0, **options):
    torch.manual_seed(seed)
    net = make_mlp(2, [8, 6], 1, activation="relu")
    recorder = ActivationRecorder(net, statistics=statistics, **options)
    batches = [torch.randn(16, 2) for _ in range(steps)]
    with recorder:
        for x in batches:
            net(x).square().mean().backward()
            recorder.step()
    recorder.kept = net, batches
    return recorder


# ---- the worked example ------------------------------------------------------------------------


def test_effective_rank_over_windows_is_that_of_all_data():
    recorder = trained(EffectiveRank(), window=1)
    net, batches = recorder.kept
    for name in ("fc1", "fc2", "act1"):
        want = effective_rank(seen_by(net, name, batches))
        assert recorder[name].effective_rank == pytest.approx(want, rel=1e-9), name
    assert recorder["fc1"].effective_rank < 2.0001  # two inputs
    values = recorder.recording.series("effective_rank", "fc2")["fc2"]
    each = [effective_rank(seen_by(net, "fc2", [x])) for x in batches]
    np.testing.assert_allclose(values, each, rtol=1e-9)


@few
@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=5),
    st.sampled_from([0.0, 1e4]),
    st.integers(0, 99),
)
def test_effective_rank_is_the_same_however_data_are_split(sizes, mean, seed):
    x = torch.randn(sum(sizes), 3, generator=torch.Generator().manual_seed(seed)).double() + mean
    x[::3, 1] = math.nan
    spec, flats = CustomSpec(EffectiveRank(), 3), []
    for part in x.split(sizes):
        flat = torch.zeros(spec.words, dtype=torch.float64)
        spec.update(spec.views(flat), part, -1)
        flats.append(flat.numpy())
    whole = torch.zeros(spec.words, dtype=torch.float64)
    spec.update(spec.views(whole), x, -1)
    merged = np.zeros(spec.words)  # the identity
    for flat in flats:
        merged = spec.merged(merged, flat)
    np.testing.assert_allclose(merged, whole, rtol=1e-9, atol=1e-9 * max(1.0, mean))
    finite = x[x.isfinite().all(1)].numpy()
    assert spec.views(merged)["n"] == len(finite)
    if len(finite) > 3:
        got = spec.statistic.figures(spec.views(merged))["effective_rank"]
        assert got == pytest.approx(effective_rank(finite), rel=1e-6)


def test_effective_rank_of_channels_takes_each_position_as_a_sample():
    net = nn.Sequential(nn.Conv2d(3, 5, 3))
    x = torch.randn(4, 3, 8, 8)
    with ActivationRecorder(net, statistics=EffectiveRank()) as recorder:
        out = net(x)
    want = effective_rank(out.detach().double().movedim(1, -1).flatten(0, -2).numpy())
    assert recorder["0"].effective_rank == pytest.approx(want, rel=1e-9)


def test_autocast_does_not_reach_a_statistic():
    net = nn.Sequential(nn.Linear(4, 4))
    x = torch.randn(64, 4)
    with ActivationRecorder(net, statistics=EffectiveRank()) as recorder:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = net(x)
        assert out.dtype == torch.bfloat16
    want = effective_rank(out.detach().double().numpy())
    assert recorder["0"].effective_rank == pytest.approx(want, rel=1e-9)


def test_a_constant_layer_has_no_effective_rank():
    net = nn.Sequential(nn.Tanh())
    with ActivationRecorder(net, statistics=EffectiveRank()) as recorder:
        net(torch.ones(8, 3))
    assert math.isnan(recorder["0"].effective_rank)
    assert recorder["0"].why("effective_rank") == "effective_rank gives nan"


# ---- where figures are shown ---------------------------------------------------------------------


def test_figures_stand_beside_the_built_in_ones():
    recorder = trained([EffectiveRank(), Largest()], window=1)
    recording = recorder.recording
    assert recording.figure_names[-3:] == ("effective_rank", "largest_sum", "samples_seen")
    frame = recording.to_pandas()
    rows = frame[frame["site"] == "fc1"]
    assert rows["samples_seen"].tolist() == [16.0] * 5
    assert recorder["fc1"].to_dict()["samples_seen"] == 80
    assert rows["largest_sum"].max() == recorder["fc1"].largest_sum
    table = str(recorder.summary())
    assert "effective rank" in table
    assert "samples seen" in table
    dataset = recording.to_xarray()
    assert dataset["samples_seen"].sel(site="fc2").values.tolist() == [16.0] * 5


def test_a_figure_of_nobody_is_unknown():
    recorder = trained(EffectiveRank(max_width=7))
    with pytest.raises(AttributeError, match=r"no figure 'largest_sum'$"):
        _ = recorder["fc2"].largest_sum
    with pytest.raises(ValueError, match="`figure` must be one of"):
        recorder.recording.series("largest_sum")


def test_pictures_over_time_and_depth_take_a_figure_of_the_users_own():
    recorder = trained(EffectiveRank(), window=1)
    picture = actstats.plot.timeline(recorder, "effective_rank", sites="fc?")
    lines = {line.get_label(): line.get_ydata() for line in picture.axes[0].get_lines()}
    want = recorder.recording.series("effective_rank", "fc2")["fc2"]
    np.testing.assert_array_equal(lines["fc2"], want)
    assert actstats.plot.layers(recorder, "effective_rank").get_ylabel()


# ---- which sites -------------------------------------------------------------------------------


def test_the_first_pattern_that_matches_decides():
    recorder = trained(
        {"fc1": Largest(), "fc*:grad": [EffectiveRank()]}, capture=("output", "grad")
    )
    held = {site: tuple(stats.custom) for site, stats in recorder.items() if stats.custom}
    assert held == {
        "fc1": ("largest_sum",),
        "fc1:grad": ("effective_rank",),
        "fc2:grad": ("effective_rank",),
    }


def test_a_pattern_that_matches_no_site_is_told():
    recorder = trained({"fc*": Largest(), "cf*": EffectiveRank(), "*:grad": EffectiveRank()})
    assert [note for note in recorder.recording.notes if "pattern" in note] == [
        "no site matches the pattern 'cf*'"
    ]


def test_what_is_not_kept_says_why():
    recorder = trained(EffectiveRank(max_width=7))
    assert recorder["fc2"].effective_rank > 0
    with pytest.raises(AttributeError, match="8 units are more than max_width=7"):
        _ = recorder["fc1"].effective_rank
    assert recorder["fc1"].why("effective_rank") == "8 units are more than max_width=7"
    assert "no effective_rank: 8 units are more than max_width=7" in str(recorder.summary())
    values = recorder.recording.series("effective_rank")
    assert np.isnan(values["fc1"]).all()
    assert np.isfinite(values["fc2"]).all()


def test_built_in_statistics_are_the_same_with_others_beside_them():
    plain, more = trained(capture="output"), trained([EffectiveRank(), Largest()])
    for site in plain:
        assert_same_integers(more[site], plain[site], site=site)
        assert more[site].to_dict().items() >= plain[site].to_dict().items() or any(
            math.isnan(value) for value in plain[site].to_dict().values()
        )
        assert (more[site].mean, more[site].var) == (plain[site].mean, plain[site].var)
    for a, b in zip(plain.kept[0].parameters(), more.kept[0].parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_a_large_tensor_is_seen_once_by_all_threads():
    net = nn.Sequential(nn.Identity())
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ActivationRecorder(net, statistics=Largest(), kernel="cpu") as recorder:
            for _ in range(3):
                net(torch.ones(1 << 19, 4))
    finally:
        torch.set_num_threads(before)
    assert recorder["0"].samples_seen == 3 << 19
    assert recorder["0"].count == 3 << 21


def test_scaled_gradients_reach_a_statistic_unscaled():
    net = nn.Sequential(nn.Linear(2, 2), nn.Identity())
    recorder = ActivationRecorder(net, capture="grad", statistics={"1:grad": Largest()})
    recorder.grad_scale = 1024.0
    with recorder:
        (net(torch.randn(4, 2)).sum() * 1024).backward()
    assert recorder["1:grad"].largest_sum == 2.0


# ---- merging and losing --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Largest", "Halting"])  # two that give one figure
def test_what_two_sides_do_not_keep_alike_is_lost_with_the_reason(kind):
    one, other = (trained(globals()[kind](floor=floor)) for floor in (1.0, 2.0))
    merged = actstats.merge([one, other])
    assert merged["fc1"].count == 2 * one["fc1"].count
    with pytest.raises(AttributeError, match="not kept alike in all that was merged"):
        _ = merged["fc1"].samples_seen
    assert actstats.merge([one, one])["fc1"].samples_seen == 160


def test_a_changed_width_ends_it():
    net = nn.Sequential(nn.Identity())
    with ActivationRecorder(net, statistics=EffectiveRank()) as recorder:
        net(torch.randn(8, 3))
        net(torch.randn(8, 4))
    assert recorder["0"].count == 56
    with pytest.raises(AttributeError, match="no figure 'effective_rank'"):
        _ = recorder["0"].effective_rank


def test_windows_that_merge_to_fit_keep_it():
    recorder = trained(EffectiveRank(), steps=150)
    assert len(recorder.recording.windows) < 65
    net, batches = recorder.kept
    want = effective_rank(seen_by(net, "fc2", batches))
    assert recorder["fc2"].effective_rank == pytest.approx(want, rel=1e-9)


def test_a_budget_drops_it_with_the_units():
    recorder = trained(EffectiveRank(), window=1, steps=12, budget=200_000)
    assert "per-unit detail of old windows" in " ".join(recorder.recording.notes)
    assert not recorder.recording.windows[0]["fc1"].custom
    assert recorder.latest["fc1"].custom


def test_a_coarser_histogram_keeps_it():
    stats = trained(Largest())["fc1"]
    assert stats.coarsen(1).largest_sum == stats.largest_sum


# ---- errors --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Broken(Statistic):
    after: int = 0

    name = "broken"

    def state(self, units):
        return {"calls": (1,)}

    def update(self, state, x):
        if state["calls"] >= self.after:
            raise RuntimeError("no more")
        state["calls"] += 1

    def figures(self, state):
        return {"broken": state["calls"][0]}


def test_an_error_ends_that_statistic_and_nothing_else(caplog):
    with caplog.at_level(logging.WARNING, logger="actstats"):
        recorder = trained({"fc1": [Broken(2), Largest()]}, window=3)
    assert recorder["fc1"].samples_seen == 80
    assert recorder["fc1"].count == 5 * 16 * 8
    with pytest.raises(AttributeError, match="RuntimeError: no more"):
        _ = recorder["fc1"].broken
    assert [r.getMessage() for r in caplog.records] == [
        f"fc1: `update` of broken raised RuntimeError: no more{ONCE}"
    ]


def test_strict_raises_it():
    with pytest.raises(RuntimeError, match="no more"):
        trained(Broken(), strict=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (EffectiveRank, "must be instances of subclasses"),
        ({"fc1": 3}, "must be instances of subclasses"),
        ([Largest(), Largest(1.0)], "must have different names"),
        ({1: Largest()}, "must map site patterns"),
    ],
)
def test_what_is_no_statistic_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        ActivationRecorder(make_mlp(), statistics=given)


def test_a_figure_may_not_take_the_name_of_a_built_in_one():
    @dataclass(frozen=True)
    class Mean(Largest):
        name = "own_mean"
        figure_names = ("mean",)

    with pytest.raises(ValueError, match="calls a figure 'mean', which exists already"):
        ActivationRecorder(make_mlp(), statistics=Mean())


def test_a_name_must_be_an_identifier():
    with pytest.raises(TypeError, match="must be an identifier; got 'a b'"):
        type("Odd", (Statistic,), {"name": "a b"})


# ---- files, checkpoints, copies ------------------------------------------------------------------


def test_a_file_holds_it(tmp_path):
    recorder = trained([EffectiveRank(), Largest(floor=-1.0)], window=2)
    path = recorder.recording.save(tmp_path / "a.actstats")
    read = actstats.load(path)
    assert read["fc1"].custom["largest_sum"].spec == CustomSpec(Largest(floor=-1.0), 8)
    for site in recorder:
        assert read[site].to_dict() == pytest.approx(recorder[site].to_dict(), nan_ok=True)
    both = actstats.merge([path, recorder])
    assert both["fc1"].samples_seen == 160


def test_a_run_that_writes_holds_it(tmp_path):
    path = tmp_path / "run.actstats"
    recorder = trained(EffectiveRank(), window=1, log=path)
    assert actstats.load(path)["fc2"].effective_rank == recorder["fc2"].effective_rank


def test_a_file_is_read_without_the_class(tmp_path, monkeypatch, caplog):
    recorder = trained([Largest(), EffectiveRank()], window=2)
    path = recorder.recording.save(tmp_path / "a.actstats")
    monkeypatch.delitem(KNOWN, "largest_sum")
    read = actstats.load(path)
    assert read["fc2"].effective_rank == recorder["fc2"].effective_rank
    assert "largest_sum" not in read.figure_names
    told = [record.getMessage() for record in caplog.records]
    assert [text for text in told if "'largest_sum', which cannot be read here" in text] == told
    assert len(told) == 1
    copy = read.save(tmp_path / "b.actstats")
    monkeypatch.undo()
    assert actstats.load(copy)["fc1"].samples_seen == 80


def test_a_class_that_keeps_something_else_now_is_not_fed_old_numbers(tmp_path, monkeypatch):
    path = trained(Largest()).recording.save(tmp_path / "a.actstats")

    @dataclass(frozen=True)
    class Changed(Largest):
        def state(self, units):
            return {"other": (5,)}

    monkeypatch.setitem(KNOWN, "largest_sum", Changed)
    assert "largest_sum" not in actstats.load(path).figure_names


def test_a_resumed_run_goes_on(tmp_path):
    recorder = trained([Largest(), EffectiveRank()], steps=5, window=2)
    data = io.BytesIO()
    torch.save(recorder.state_dict(), data)
    data.seek(0)
    net, batches = recorder.kept
    again = ActivationRecorder(net, statistics=[Largest(), EffectiveRank()], window=2)
    again.load_state_dict(torch.load(data, weights_only=True))
    with again:
        for x in batches:
            net(x)
            again.step()
    assert again["fc1"].samples_seen == 160
    want = effective_rank(seen_by(net, "fc1", batches))
    assert again["fc1"].effective_rank == pytest.approx(want, rel=1e-9)


def test_compiled_code_feeds_it():
    torch.manual_seed(0)
    net = make_mlp(2, [8], 1, activation="relu")
    recorder = ActivationRecorder(net, statistics=[Largest(), EffectiveRank()])
    x = torch.randn(16, 2)
    with recorder:
        run = torch.compile(net, backend="aot_eager", fullgraph=True)
        for _ in range(3):
            run(x)
            recorder.step()
    assert recorder["fc1"].samples_seen == 48
    want = effective_rank(seen_by(net, "fc1", [x]))
    assert recorder["fc1"].effective_rank == pytest.approx(want, rel=1e-6)
    torch.compiler.reset()


@dataclass(frozen=True)
class Halting(Largest):
    name = "halting"
    figure_names = ("largest_sum", "samples_seen")

    def update(self, state, x):
        super().update(state, x)
        if x.max() > 100:
            raise KeyboardInterrupt


def test_an_interrupt_in_an_update_leaves_all_of_it_or_nothing():
    net = nn.Sequential(nn.Identity())
    with ActivationRecorder(net, statistics=Halting()) as recorder:
        net(torch.ones(4, 2))
        with pytest.raises(KeyboardInterrupt):
            net(torch.full((4, 2), 1000.0))
        net(torch.ones(4, 2))
    assert recorder["0"].samples_seen == 8
    assert recorder["0"].largest_sum == 2.0


@dataclass(frozen=True)
class Slow(Largest):
    """Windows close as long as it works."""

    name = "slow"
    figure_names = ("largest_sum", "samples_seen")

    def update(self, state, x):
        super().update(state, x)
        closing_windows[0]()


closing_windows = [lambda: None]


def test_an_update_that_is_slower_than_steps_ends_and_loses_nothing():
    net = nn.Sequential(nn.Identity(), nn.Identity())
    recorder = ActivationRecorder(net, statistics={"0": Slow()}, window=1)
    updates = []

    def close():
        updates.append(1)
        recorder._shared.observed = True
        recorder.step()

    with recorder:
        net(torch.ones(4, 2))
        recorder.step()
        closing_windows[0] = close
        try:
            net(torch.ones(4, 2))
        finally:
            closing_windows[0] = lambda: None
    assert len(updates) == 2
    assert (recorder["0"].samples_seen, recorder["0"].calls) == (8, 2)
    assert recorder["0"].largest_sum == 2.0


@dataclass(frozen=True)
class Unmergeable(Largest):
    name = "unmergeable"
    figure_names = ("largest_sum", "samples_seen")

    def merge(self, state, other):
        raise RuntimeError("these do not merge")


@dataclass(frozen=True)
class Unreadable(Largest):
    name = "unreadable"
    figure_names = ("largest_sum", "samples_seen")

    def figures(self, state):
        raise RuntimeError("nothing to read")


@pytest.mark.parametrize(
    ("statistic", "said", "site"),
    [
        (Unmergeable(), "`merge` of unmergeable raised RuntimeError: these do not merge", "fc1: "),
        (Unreadable(), "`figures` of unreadable raised RuntimeError: nothing to read", ""),
    ],
)
def test_errors_in_merging_and_reading_stay_out_of_the_loop(statistic, said, site, caplog):
    recorder = trained({"fc*": statistic}, steps=150)
    assert recorder["fc1"].count == 150 * 16 * 8
    assert math.isnan(recorder["fc1"].samples_seen)
    assert recorder["fc1"].why("samples_seen") == said
    assert f"no {statistic.name}: {said}" in str(recorder.summary())
    for window in recorder.recording.windows:
        window.figure("samples_seen")
    assert recorder["fc2"].why("samples_seen") == said
    assert [r.getMessage() for r in caplog.records] == [f"{site}{said}{ONCE}"]


def test_a_fault_in_reading_a_file_is_logged_once_for_all_its_sites(tmp_path, caplog):
    path = trained({"*": Unreadable()}).recording.save(tmp_path / "run.actstats")
    caplog.clear()
    found = actstats.load(path)
    for site in found:
        assert math.isnan(found[site].samples_seen)
    assert [ONCE in r.getMessage() for r in caplog.records] == [True]


def test_a_figure_that_does_not_apply_accuses_no_method():
    recorder = trained({"fc1": Unmergeable()}, steps=1)
    assert recorder["fc1"].why("samples_seen") is None
    recorder["fc1"].custom["unmergeable"].spec.failed("merge", RuntimeError("elsewhere"))
    assert recorder["fc1"].why("samples_seen") is None
    assert "elsewhere" not in str(recorder.summary())


@dataclass(frozen=True)
class Changing(Largest):
    """Works on the tensor that it is given."""

    name = "changing"
    figure_names = ("largest_sum", "samples_seen")

    def update(self, state, x):
        super().update(state, x.abs_())


@dataclass(frozen=True)
class After(Largest):
    """Is given what another has worked on before."""

    name = "after"
    figure_names = ("after", "samples_after")

    def figures(self, state):
        return {"after": state["most"][0], "samples_after": state["samples"][0]}


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("shape", [(4, 3, 2), (4, 3)], ids=["units first", "units last"])
def test_an_update_works_on_a_copy(shape, inference, caplog):
    net = nn.Sequential(nn.Conv1d(3, 5, 1) if len(shape) == 3 else nn.Linear(3, 5), nn.Identity())
    torch.nn.init.constant_(net[0].weight, -1.0)
    recorder = ActivationRecorder(
        net, statistics=[Changing(), After()], capture=("output", "grad"), strict=True
    )
    with torch.inference_mode(inference):
        x = torch.ones(shape)
        want = net(x)
        with recorder:
            got = net(x)
            assert torch.equal(net(x), want)  # each time, not from the second on
            if not inference:
                got.sum().backward()
    assert torch.equal(got, want)
    assert recorder["0"].largest_sum > 0
    assert recorder["0"].after == 0  # all are negative
    assert recorder["0"].samples_seen == 2 * want.numel() / 5
    assert not caplog.records


def test_a_site_that_turns_sparse_keeps_every_value_and_drops_them():
    net, dense = Gives(), torch.randn(4, 8)
    thin = torch.zeros(4, 8)
    thin[0, :5] = torch.arange(1.0, 6.0)
    with ActivationRecorder(net, include="given", statistics=EffectiveRank()) as recorder:
        for given in (dense, dense, thin.to_sparse(), dense):
            net(given)
    whole = torch.cat((dense, dense, thin, dense))
    assert recorder["given"].count == 128
    assert recorder["given"].zeros == 27
    assert recorder["given"].mean == pytest.approx(whole.double().mean().item(), rel=1e-6)
    with pytest.raises(AttributeError, match="units of a sparse tensor are pooled"):
        _ = recorder["given"].effective_rank


class Gives(nn.Module):
    def __init__(self):
        super().__init__()
        self.given = nn.Identity()

    def forward(self, x):
        return self.given(x)


# ---- faults of who writes one --------------------------------------------------------------------


@dataclass(frozen=True)
class Odd(Largest):
    """Does one thing wrong."""

    fault: str = ""

    name = "odd"
    figure_names = ("odd",)

    def state(self, units):
        shapes = {"negative": {"most": (-1,)}, "no shape": {"most": 3}, "a list": ["most"]}
        if self.fault == "an error":
            raise RuntimeError("in state")
        return shapes.get(self.fault, super().state(units))

    def update(self, state, x):
        super().update(state, x)
        if self.fault == "rebound":
            state["most"] = torch.ones(1)

    def merge(self, state, other):
        if self.fault == "merged shape":
            return {"most": np.zeros(5), "samples": state["samples"]}
        return super().merge(state, other)

    def figures(self, state):
        return {"odd": state["samples"][0]}


@pytest.mark.parametrize("site", ["0", "0:grad"])
def test_a_tensor_expanded_a_trillion_times_is_not_copied_for_them(site):
    class Expands(nn.Module):
        def forward(self, x, times):
            return (x * 1).expand(times, 4)

    def pass_through(times):
        output = net[0](torch.randn(1, 4, requires_grad=True), times)
        if site == "0:grad":  # as torch would, whose backward would read it all
            (hook,) = output._backward_hooks.values()
            hook(torch.ones(1, 4).expand(times, 4))

    net = nn.Sequential(Expands())
    capture = site.partition(":")[2] or "output"
    own = {site: Largest()}
    with ActivationRecorder(net, statistics=own, capture=capture, strict=True) as recorder:
        recorder.grad_scale = 2.0
        pass_through(5)
        assert recorder[site].samples_seen == 5
        pass_through(2**38)
        pass_through(5)
    assert recorder[site].count == 2**40 + 40
    assert not recorder[site].custom
    assert "an expanded tensor of 1099511627776 values" in recorder[site].notes["largest_sum"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("an error", "fc1: `state` of odd raised RuntimeError: in state"),
        ("rebound", "fc1: `update` of odd raised TypeError: `update` must change the arrays of"),
    ],
)
def test_a_fault_is_logged_once_and_each_site_has_its_reason(fault, said, caplog):
    recorder = trained({"*": Odd(fault=fault)}, steps=3)
    assert [r.getMessage().startswith(said) for r in caplog.records] == [True]
    assert caplog.records[0].getMessage().endswith(ONCE)
    for site in ("fc1", "act1", "fc2", "out"):
        assert recorder[site].notes["odd"].startswith(said.removeprefix("fc1: "))
    trained({"*": Odd(fault=fault)}, steps=1)  # another recorder's is said again
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    "fault", ["negative", "no shape", "a list", "an error", "rebound", "merged shape"]
)
def test_a_faulty_statistic_takes_nothing_else_with_it(fault):
    recorder, plain = trained(Odd(fault=fault), steps=150), trained(steps=150)
    for site in plain:
        assert_same_integers(recorder[site], plain[site], site=site)
    assert recorder["fc1"].mean == plain["fc1"].mean
    assert math.isnan(getattr(recorder["fc1"], "odd", math.nan))
    assert str(recorder.summary())


def test_options_that_no_file_can_hold_are_refused_at_once():
    with pytest.raises(TypeError, match="options of largest_sum must be numbers"):
        ActivationRecorder(make_mlp(), statistics=Largest(marks=[1, 2]))
    with pytest.raises(TypeError, match="options of largest_sum must be numbers"):
        ActivationRecorder(make_mlp(), statistics=Largest(floor=torch.ones(2)))


def test_two_statistics_may_not_give_one_figure():
    with pytest.raises(ValueError, match="must have different figures; two give"):
        ActivationRecorder(make_mlp(), statistics={"fc*": Largest(), "act*": Unreadable()})
