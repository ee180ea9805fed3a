"""Outputs that are not a float tensor: what is read, what is left out and says so."""

import subprocess
import sys
from collections import UserDict, deque

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from actstats import ActivationRecorder, TensorStats
from claims import assert_same_integers, assert_stats_of

ALL = ("output", "input", "grad")


class Gives(nn.Module):
    """Turns its input into something else."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


def recorded(make, x, capture=ALL, **options):
    """Run a module that gives something under a recorder; return both."""
    net = nn.Sequential(Gives(make))
    with ActivationRecorder(net, capture=capture, strict=True, **options) as recorder:
        out = net(x)
    return recorder, out


def assert_only_skipped(recorder, site, reason, times):
    """Claim that a site was skipped so often, under one reason, which the summary tells."""
    found = {why: n for (name, why), n in recorder.skipped.items() if name == site}
    assert list(found.values()) == [times], recorder.skipped
    (why,) = found
    assert reason in why
    assert f"skipped {times} x {site}: {why}" in str(recorder.summary())
    assert site not in recorder


# ---- nested values -------------------------------------------------------------------------------


@pytest.mark.hostile(62)
@pytest.mark.parametrize(
    "other",
    [None, 3, True, "text", np.ones(3), UserDict(x=1), deque([1]), {1, 2}, object()],
    ids=lambda value: type(value).__name__,
)
def test_what_holds_no_tensor_is_passed_over(other):
    recorder, out = recorded(lambda x: (x, other), torch.ones(4, 3))
    assert out[1] is other
    assert [site for site in recorder if ":" not in site] == ["0[0]"]
    alone, out = recorded(lambda x: other, torch.ones(4, 3))
    assert out is other
    assert list(alone) == ["0:input"]
    assert "0" not in alone.never_called()  # it was: only nothing of it can be read


@pytest.mark.hostile(62)
def test_a_value_that_holds_itself_ends():
    def circle(x):
        value = {"x": x}
        value["self"] = value
        return value

    recorder, out = recorded(circle, torch.ones(4, 3))
    assert out["self"] is out
    assert recorder["0['x']"].calls == 1
    assert not recorder.skipped


@pytest.mark.hostile(64)
def test_modules_that_run_when_a_generator_is_consumed_are_counted():
    class Streams(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return (self.fc(row) for row in x)

    net, x = Streams(), torch.randn(5, 4, 3)
    both = {"capture": ("output", "grad"), "strict": True}
    apart = ActivationRecorder(net, per_call="fc", **both)
    with ActivationRecorder(net, **both) as recorder, apart:
        rows = list(net(x))
        torch.stack(rows).sum().backward()
    assert recorder["fc"].calls == recorder["fc:grad"].calls == len(rows) == 5
    assert_stats_of(recorder["fc"], torch.stack(rows), merges=5)
    assert sum(apart[site].calls for site in apart if ":" not in site) == 5


# ---- other dtypes --------------------------------------------------------------------------------


@pytest.mark.hostile(66, 71, 72)
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda x: x.long(), "dtype int64"),
        (lambda x: x.to(torch.int8), "dtype int8"),
        (lambda x: x.abs().to(torch.uint8), "dtype uint8"),
        (lambda x: x.abs().to(torch.uint16), "dtype uint16"),
        (lambda x: x.abs().to(torch.uint64), "dtype uint64"),
        (lambda x: x > 0, "dtype bool"),
        (lambda x: x.byte().view(torch.float4_e2m1fn_x2), "dtype float4_e2m1fn_x2"),
        (lambda x: x.to("meta"), "meta tensor"),
        (lambda x: x.detach().cfloat().to_sparse(), "sparse"),
        (lambda x: torch.nested.nested_tensor([x[0].long(), x[1].long()]), "nested tensor"),
    ],
    ids=[
        *("int64", "int8", "uint8", "uint16", "uint64", "bool", "float4", "meta"),
        *("sparse complex", "nested int64"),
    ],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_what_cannot_be_observed_is_counted_with_its_reason(make, reason):
    net = nn.Sequential(nn.Linear(3, 4), Gives(make))
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        net(torch.randn(5, 3))
        net(torch.randn(5, 3))
    assert_only_skipped(recorder, "1", reason, 2)
    assert recorder["0"].calls == 2


@pytest.mark.hostile(72)
def test_fake_tensors_leave_nothing_behind():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        x = mode.from_tensor(torch.randn(5, 3))
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        with mode:
            net(x)
        assert_only_skipped(recorder, "0", "FakeTensor", 1)
        assert_only_skipped(recorder, "1", "FakeTensor", 1)
        net(torch.zeros(5, 3))
    assert recorder["1"].calls == 1
    assert recorder["1"].count == 20


@pytest.mark.hostile(75)
def test_a_subclass_that_computes_in_its_own_way_is_left_alone():
    class Own(torch.Tensor):
        seen = 0

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            cls.seen += 1
            plain = [a.as_subclass(torch.Tensor) if isinstance(a, cls) else a for a in args]
            return func(*plain, **(kwargs or {}))

    own = torch.randn(5, 3).as_subclass(Own)
    Own.seen = 0
    recorder, out = recorded(lambda x: own, torch.randn(2, 3))
    assert out is own
    assert Own.seen == 0
    assert_only_skipped(recorder, "0", "Own tensors are not supported yet", 1)


FLOAT8 = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu]


@pytest.mark.hostile(71)
@pytest.mark.parametrize("dtype", FLOAT8, ids=lambda dtype: str(dtype)[6:])
def test_every_value_of_eight_bits_is_read_as_what_it_stands_for(dtype):
    values = torch.arange(256, dtype=torch.uint8).view(dtype)
    recorder, _ = recorded(lambda x: values, torch.ones(1), resolution=7)
    assert_stats_of(recorder["0"], values.float())
    assert recorder["0"].nan_count == values.float().isnan().sum()
    assert recorder.recording.sites["0"].dtype == str(dtype).removeprefix("torch.")


@pytest.mark.hostile(67)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=["64", "128"])
@pytest.mark.parametrize("conjugate", [False, True], ids=["plain", "conjugate"])
def test_complex_numbers_are_two_sites(dtype, conjugate):
    x = torch.randn(16, 3, dtype=dtype, requires_grad=True)
    net = nn.Sequential(Gives(lambda x: (x * 2).conj() if conjugate else x * 2))
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        out = net(x)
        (out.real.sum() + 3 * out.imag.sum()).backward()
    assert set(recorder) == {
        f"0['{part}']{kind}" for part in ("real", "imag") for kind in ("", ":grad", ":input")
    }
    for part, slope in (("real", 1), ("imag", 3)):
        values = getattr(out.resolve_conj().detach().numpy(), part)
        assert_stats_of(recorder[f"0['{part}']"], values)
        assert_stats_of(recorder[f"0['{part}']:input"], getattr(x, part))
        gradient = recorder[f"0['{part}']:grad"]
        assert (gradient.min, gradient.max, gradient.count) == (slope, slope, 48)
        assert recorder[f"0['{part}']"].units == 3
    assert not recorder.skipped


@pytest.mark.hostile(67)
def test_complex_numbers_of_two_halves():
    out = torch.view_as_complex(torch.arange(8, dtype=torch.half).view(4, 2))
    recorder, _ = recorded(lambda x: out, torch.ones(1))
    assert_stats_of(recorder["0['imag']"], [1.0, 3.0, 5.0, 7.0])


@pytest.mark.hostile(67)
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.filterwarnings("ignore:.*complex operators:UserWarning")  # inductor leaves them as is
def test_complex_numbers_in_compiled_code(backend):
    net = nn.Sequential(nn.Linear(3, 4), Gives(lambda x: torch.complex(x, x + 1)))
    x = torch.randn(5, 3)
    z = net[0](x)
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        out = torch.compile(net, backend=backend, fullgraph=True)(x)
        (out.real.sum() + 3 * out.imag.sum()).backward()
    assert_stats_of(recorder["1['imag']"], z + 1)
    assert recorder["1['imag']:grad"].mean == 3
    assert not recorder.skipped


class SplitInTwo(nn.Module):
    """Give two samples of unequal length."""

    def forward(self, x):
        return torch.nested.as_nested_tensor([x[:2], x[2:]], layout=torch.jagged)


class Joined(nn.Module):
    def forward(self, x):
        return x.values()


@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
def test_nested_tensors_in_compiled_code_are_skipped_with_the_reason():
    net = nn.Sequential(nn.Linear(3, 4), SplitInTwo(), Joined(), nn.Linear(4, 1))
    with ActivationRecorder(net, strict=True) as recorder:
        torch.compile(net, backend="eager", fullgraph=True)(torch.randn(5, 3)).sum().backward()
    ((site, reason), calls), *others = recorder.skipped.items()
    assert (site, calls, others) == ("1", 1, [])
    assert "NestedTensor" in reason
    assert recorder["3"].count == 5  # what follows is recorded


@pytest.mark.hostile(70)
@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.filterwarnings("ignore:.*quantiz.*:DeprecationWarning", "ignore:.*:UserWarning")
def test_quantised_tensors_are_read_as_the_numbers_they_stand_for(per_channel):
    def quantised(x):
        if not per_channel:
            return torch.quantize_per_tensor(x, 0.1, 3, torch.qint8)
        scales = torch.tensor([0.1, 0.2, 0.3])
        return torch.quantize_per_channel(x, scales, torch.zeros(3), 1, torch.quint8)

    x = torch.randn(16, 3)
    recorder, out = recorded(quantised, x)
    assert out.is_quantized
    assert_stats_of(recorder["0"], out.dequantize())
    assert recorder["0"].units == 3
    assert recorder.recording.sites["0"].dtype == str(out.dtype).removeprefix("torch.")
    assert not recorder.skipped


# ---- other layouts -------------------------------------------------------------------------------


def uncoalesced():
    indices = torch.tensor([[0, 0, 1, 2], [1, 1, 0, 2]])
    return torch.sparse_coo_tensor(indices, torch.tensor([1.0, 2.0, 4.0, 0.0]), (3, 3))


def holes(*shape):
    return torch.randn(shape) * (torch.rand(shape) < 0.4)


SPARSE = {
    "uncoalesced": uncoalesced,
    "coo": lambda: holes(4, 6).to_sparse(),
    "hybrid": lambda: holes(4, 6, 2).to_sparse(1),
    "csr": lambda: holes(4, 6).to_sparse_csr(),
    "csc": lambda: holes(4, 6).to_sparse_csc(),
    "bsr": lambda: holes(4, 6).to_sparse_bsr((2, 2)),
    "bsc": lambda: holes(4, 6).to_sparse_bsc((2, 3)),
    "half": lambda: holes(4, 6).half().to_sparse(),
    "empty": lambda: torch.zeros(4, 6).to_sparse(),
}
about_sparse = pytest.mark.filterwarnings("ignore:Sparse (invariant|CSR|CSC|BSR|BSC).*:UserWarning")


@pytest.mark.hostile(68)
@pytest.mark.parametrize("name", SPARSE)
@about_sparse
def test_sparse_tensors_count_the_zeros_they_do_not_store(name):
    sparse = SPARSE[name]()
    was_coalesced = sparse.is_coalesced() if sparse.layout is torch.sparse_coo else None
    recorder, out = recorded(lambda x: sparse, torch.ones(1))
    got, dense = recorder["0"], sparse.to_dense()
    assert out is sparse
    assert_stats_of(got, dense, merges=2)
    assert got.calls == 1
    assert got.units == 0
    assert "sparse" in got.why("signal_fraction")
    if was_coalesced is not None:
        assert sparse.is_coalesced() == was_coalesced


@pytest.mark.hostile(68)
@about_sparse
def test_an_activation_of_a_sparse_tensor_is_judged_on_all_of_it():
    dense = torch.randn(40, 6) * (torch.rand(40, 6) < 0.4)
    net = nn.Sequential(nn.ReLU())
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        net(dense.to_sparse())
    want = TensorStats.from_tensor(torch.relu(dense), activation="relu", unit_axis=None)
    assert_same_integers(recorder["0"], want)
    assert recorder["0"].gate_openness == pytest.approx(want.gate_openness, rel=1e-13)
    assert_stats_of(recorder["0:input"], dense, merges=2)


@pytest.mark.hostile(68)
@about_sparse
def test_a_sparse_tensor_takes_the_time_of_what_it_stores():
    many = 2**31
    sparse = torch.sparse_coo_tensor(torch.tensor([[5], [7]]), torch.tensor([3.0]), (many, many))
    recorder, _ = recorded(lambda x: sparse, torch.ones(1))
    got = recorder["0"]
    assert got.count == many * many
    assert got.zeros == many * many - 1
    assert got.rms == pytest.approx(3 / many, rel=1e-12)


@pytest.mark.hostile(68)
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without MKL-DNN")
def test_tensors_of_mkldnn_are_read():
    x = torch.randn(8, 3, 5, 5)
    recorder, out = recorded(lambda x: x.to_mkldnn(), x)
    assert out.is_mkldnn
    assert_stats_of(recorder["0"], x)


def nested_of(layout, requires_grad=False):
    pieces = [torch.randn(n, 4) for n in (3, 1, 5)]
    nested = torch.nested.nested_tensor(pieces, layout=layout, requires_grad=requires_grad)
    return nested, torch.cat(pieces)


@pytest.mark.hostile(69)
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=["strided", "jagged"])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_are_read_sample_by_sample(layout):
    nested, values = nested_of(layout, requires_grad=True)
    net = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    with ActivationRecorder(net, capture=ALL, strict=True) as recorder:
        out = net(nested)
        sum((3 * piece).sum() for piece in out.unbind()).backward()
    z = net[0](values)
    want = {"0:input": values, "0": z, "1": z.relu(), "1:grad": torch.full_like(z, 3)}
    want |= {"0:grad": 3.0 * (z > 0)}
    for site, tensor in want.items():
        assert_stats_of(recorder[site], tensor, site=site)
        assert recorder[site].calls == 1
        assert recorder[site].units == tensor.shape[-1], site
    assert recorder["1"].judged.seen.tolist() == [9, 9]
    assert not recorder.skipped


@pytest.mark.hostile(69)
def test_a_jagged_tensor_with_holes_is_read_without_them():
    whole = torch.randn(3, 5, 4)
    lengths = torch.tensor([2, 3, 1])
    nested = torch.nested.narrow(whole, 1, torch.tensor([0, 1, 2]), lengths, layout=torch.jagged)
    recorder, _ = recorded(lambda x: nested, torch.ones(1))
    want = torch.cat([whole[0, :2], whole[1, 1:4], whole[2, 2:3]])
    assert_stats_of(recorder["0"], want)


@pytest.mark.hostile(69)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=["strided", "jagged"])
def test_nested_tensors_of_unequal_last_axes_have_no_units(layout):
    nested, values = nested_of(layout)
    recorder, _ = recorded(lambda x: nested.transpose(1, 2), torch.ones(1))
    assert_stats_of(recorder["0"], values)
    assert recorder["0"].units == 0
    assert "unequal lengths" in recorder["0"].why("signal_fraction")


@pytest.mark.hostile(69)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_padding_is_not_counted_in_an_encoder_that_evaluates_nested():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    net = nn.TransformerEncoder(layer, 2).eval()
    x, padding = torch.randn(3, 5, 8), torch.arange(5) >= torch.tensor([5, 2, 3])[:, None]
    seen = []
    net.layers[0].norm2.register_forward_hook(lambda module, args, out: seen.append(out))
    with torch.no_grad(), ActivationRecorder(net, include="layers.*", strict=True) as recorder:
        net(x, src_key_padding_mask=padding)
        net(x)
    nested, dense = seen
    assert nested.is_nested
    assert not dense.is_nested
    tokens = torch.cat([*nested.unbind(), dense.flatten(0, 1)])
    assert len(tokens) == 10 + 15
    assert not recorder.skipped
    got = recorder["layers.0.norm2"]
    assert_stats_of(got, tokens, merges=2)
    assert got.calls == 2
    assert got.units == 8
    assert got.moments.n.tolist() == [25] * 8


# ---- values that break arithmetic ----------------------------------------------------------------


@pytest.mark.hostile(73)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_an_empty_batch_changes_nothing_but_the_number_of_calls(kernel):
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    x = torch.randn(8, 3)
    with ActivationRecorder(net, capture=ALL, kernel=kernel, strict=True) as recorder:
        for batch in (torch.randn(0, 3), x, torch.randn(0, 3)):
            net(batch).sum().backward()
            recorder.step()
    z = net[0](x)
    for site, want in (("0", z), ("1", z.relu()), ("0:input", x), ("1:grad", torch.ones(8, 4))):
        assert_stats_of(recorder[site], want, merges=3, site=site)
        assert recorder[site].calls == 3
    nothing = recorder.recording.windows[0]["1"]
    assert nothing.count == 0
    assert "nothing" in nothing.why("mean")


@pytest.mark.hostile(73)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_one_value_has_variance_zero(kernel):
    recorder, _ = recorded(lambda x: x.mean(), torch.randn(5, 3), kernel=kernel)
    assert recorder["0"].count == 1
    assert recorder["0"].var == 0.0


@pytest.mark.hostile(74)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
@pytest.mark.parametrize("order", [1, -1], ids=["first", "last"])
def test_nan_and_inf_are_counted_apart_and_poison_no_figure(kernel, order):
    bad = torch.tensor([[torch.nan, torch.inf, 1.0], [-torch.inf, torch.inf, 0.0]])
    batches = [bad, torch.randn(6, 3)][::order]
    net = nn.Sequential(nn.Identity())
    with ActivationRecorder(net, kernel=kernel, strict=True) as recorder:
        for batch in batches:
            net(batch)
            recorder.step()
    assert_stats_of(recorder["0"], torch.cat(batches), merges=2)
    assert recorder["0"].first_non_finite_step == (0 if order == 1 else 1)
    assert (recorder["0"].nan_count, recorder["0"].inf_count) == (1, 3)


# ---- out of the user's sight ---------------------------------------------------------------------


def everything(net, x, recorder):
    """Forward, backward and the end of a step: all that a recorder does in a loop."""
    for _ in range(3):
        net.zero_grad()
        net(x).sum().backward()
        recorder.step()


def observing_net():
    return nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.LayerNorm(4))


@pytest.mark.hostile(76)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
@pytest.mark.parametrize("rows", [5, 300_000], ids=["small", "for threads"])
def test_a_dispatch_mode_sees_only_the_users_operations(kernel, rows):
    class Notes(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.seen.append(str(func))
            return func(*args, **(kwargs or {}))

    net, x = observing_net(), torch.randn(rows, 3)
    recorder = ActivationRecorder(net, capture=ALL, kernel=kernel, strict=True)
    notes = {}
    for name in ("plain", "recorded"):
        with Notes() as notes[name]:
            everything(net, x, recorder)
        recorder.attach()
    recorder.detach()
    assert notes["recorded"].seen == notes["plain"].seen
    assert recorder["1"].calls == recorder["1:grad"].calls == 3


@pytest.mark.hostile(76)
def test_operations_are_counted_as_the_users_alone():
    net, x = observing_net(), torch.randn(5, 3)
    counts = []
    recorder = ActivationRecorder(net, capture=ALL, kernel="reference", strict=True)
    for _ in range(2):
        with FlopCounterMode(display=False) as counter:
            everything(net, x, recorder)
        counts.append(counter.get_total_flops())
        recorder.attach()
    recorder.detach()
    assert counts[0] == counts[1] > 0


@pytest.mark.hostile(76)
def test_a_profile_shows_the_recorders_work_under_its_name():
    net, x = observing_net(), torch.randn(5, 3)
    with ActivationRecorder(net, kernel="reference", strict=True), torch.profiler.profile() as run:
        net(x)
    mine = [event for event in run.events() if event.name == "actstats"]
    assert mine

    def is_labelled(event):
        while event is not None and event.name != "actstats":
            event = event.cpu_parent
        return event is not None

    reductions = [e for e in run.events() if e.name in ("aten::aminmax", "aten::count_nonzero")]
    assert reductions
    assert all(is_labelled(event) for event in reductions)


# ---- much of it ----------------------------------------------------------------------------------


@pytest.mark.hostile(77)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_layouts_in_memory_do_not_matter(kernel):
    x = torch.randn(4, 6, 5, 7)
    makes = {
        "contiguous": lambda x: x * 1,
        "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
        "transposed": lambda x: x.permute(2, 1, 3, 0).contiguous().permute(3, 1, 0, 2),
        "sliced": lambda x: x.repeat(1, 1, 2, 2)[:, :, 5:, 7:],
    }
    stats = {}
    for name, make in makes.items():
        recorder, out = recorded(make, x, capture="output", kernel=kernel)
        assert torch.equal(out, x), name
        stats[name] = recorder["0"]
        assert_stats_of(stats[name], x, site=name)
        assert stats[name].units == 6
        assert_same_integers(stats[name], stats["contiguous"], site=name)


@pytest.mark.hostile(78)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
@pytest.mark.parametrize("activation", [nn.Identity(), nn.Tanh(), nn.GELU()], ids=repr)
def test_an_expanded_tensor_counts_all_its_values(kernel, activation):
    small = torch.randn(3, 1, 5)
    net = nn.Sequential(Gives(lambda x: small.expand(3, 4, 5)), activation)
    with ActivationRecorder(net, capture=ALL, kernel=kernel, strict=True) as recorder:
        out = net(torch.ones(1))
    z = small.expand(3, 4, 5).contiguous()
    known = None if isinstance(activation, nn.Identity) else activation
    plain = TensorStats.from_tensor(out.contiguous(), z=z, activation=known)
    assert_same_integers(recorder["1"], plain)
    assert recorder["1"].gate_openness == pytest.approx(plain.gate_openness, rel=1e-13, nan_ok=True)
    for site in ("0", "1:input"):
        assert_stats_of(recorder[site], z, merges=1, site=site)
        assert (recorder[site].calls, recorder[site].units) == (1, 5)


@pytest.mark.hostile(78)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_a_tensor_expanded_a_trillion_times_is_read_once(kernel):
    many = 2**40
    base = torch.tensor([[1.0, -2.0, 0.0, torch.inf]], requires_grad=True)
    net = nn.Sequential(Gives(lambda x: (x * 1).expand(many, 4)), nn.Identity())
    edges = {"*": (2, -2.0, 2.0)}
    with ActivationRecorder(net, capture=ALL, kernel=kernel, edges=edges, strict=True) as recorder:
        net(base)
    for site in ("0", "1", "1:input"):
        got = recorder[site]
        assert (got.calls, got.count, got.zeros, got.inf_count) == (1, 4 * many, many, many), site
        assert (got.min, got.max, got.units) == (-2.0, 1.0, 4)
        assert got.mean == pytest.approx(-1 / 3, rel=1e-15)
        assert got.var == pytest.approx(5 / 3 - 1 / 9, rel=1e-15)
        assert got.bits.total == 2 * many
    assert recorder["0"].histogram(2, (-2.0, 2.0))[0].tolist() == [many, 2 * many]
    whole = TensorStats.from_tensor(torch.ones(1).expand(many))
    assert (whole.count, whole.mean, whole.var) == (many, 1.0, 0.0)


MEMORY = """
import resource, sys, torch
from torch import nn
from actstats import ActivationRecorder

net = nn.Sequential(nn.ReLU(inplace=True))
options = {"kernel": sys.argv[1], "strict": True}
with ActivationRecorder(net, **options):
    net(torch.randn(2**19, 2).bfloat16())  # compiles, starts threads
x = torch.empty(2**14, 2**11, dtype=torch.bfloat16).normal_()
x = x.t() if sys.argv[2] == "transposed" else x
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with ActivationRecorder(net, **options) as recorder:
    net(x)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
print(recorder["0"].count, x.nbytes, (after - before) * unit)
"""


@pytest.mark.hostile(78)
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
@pytest.mark.parametrize("kernel", ["cpu"])
def test_a_large_tensor_needs_no_more_memory_than_a_block(kernel, layout):
    run = [sys.executable, "-c", MEMORY, kernel, layout]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    count, size, extra = map(int, done.stdout.split())
    assert count == 2**25
    assert extra < size / 2, f"{extra / 2**20:.0f} MiB for a tensor of {size / 2**20:.0f} MiB"


# ---- one layout now, another later ---------------------------------------------------------------


class Passes(nn.Module):
    def __init__(self):
        super().__init__()
        self.passed = nn.Identity()

    def forward(self, x):
        return self.passed(x)


@pytest.mark.hostile(68)
@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_as_many_stored_values_as_units_are_not_taken_for_a_sample(kernel):
    net, dense, thin = Passes(), torch.randn(4, 8), torch.zeros(4, 8)
    thin[:2, :4] = 3.0
    with ActivationRecorder(net, include="passed", kernel=kernel) as recorder:
        for given in (dense, thin.to_sparse(), dense):
            net(given)
    stats, whole = recorder["passed"], torch.cat((dense, thin, dense)).double()
    assert (stats.count, stats.zeros, stats.units) == (96, 24, 0)
    assert stats.notes["units"] == "units of a sparse tensor are pooled"
    assert stats.mean == pytest.approx(whole.mean().item(), rel=1e-6)
    assert stats.var == pytest.approx(whole.var(correction=0).item(), rel=1e-6)


@pytest.mark.hostile(68, 69)
def test_a_mask_is_not_laid_over_stored_values():
    net, thin = Passes(), torch.zeros(4, 8)
    thin[0, :4] = 1.0
    with ActivationRecorder(net, include="passed") as recorder:
        recorder.mask(torch.tensor([True, False, True, True]))
        net(thin.to_sparse())
    assert recorder["passed"].count == 32
    assert recorder.skipped["passed", "a mask does not fit this layout: all samples taken"] == 1
