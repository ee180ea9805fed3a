"""What we believe of torch's private corners; a failure names the one that torch has changed."""

import ast
import importlib.util
import threading
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import actstats
from actstats import _torch
from actstats._torch.modules import is_hooked

HERE = Path(_torch.__file__).parent
PRIVATE_NAMES = {"_backward_hooks", "_buffers", "_forward_hooks", "_forward_pre_hooks"} | {
    "_modules",
    "_parameters",
    "_is_zerotensor",
    "_scale",
}


def fresh(name):
    """Load a module of the package anew, beside the one that is in use."""
    spec = importlib.util.spec_from_file_location(f"fresh_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_a_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join(60)
    return found[0]


# ---- where private names may stand ---------------------------------------------------------------


def private_uses(path):
    """Yield the private names of torch in a file, read from its source."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            names = [*node.module.split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Attribute):
            names = ast.unparse(node).split(".")
            if names[0] != "torch" and not (names[0] != "self" and names[-1] in PRIVATE_NAMES):
                continue
        else:
            continue
        if any(name.startswith("_") and not name.startswith("__") for name in names):
            yield f"{path.name}:{node.lineno}: {'.'.join(names)}"


def test_private_names_of_torch_stand_in_one_place():
    package = Path(actstats.__file__).parent
    files = [path for path in package.rglob("*.py") if HERE not in path.parents]
    assert len(files) > 100
    assert [use for path in sorted(files) for use in private_uses(path)] == []


def test_the_search_for_private_names_finds_them():
    found = {use.partition(": ")[2] for path in HERE.glob("*.py") for use in private_uses(path)}
    assert {"torch._C", "tensor._backward_hooks"} <= found, found


# ---- what each is believed to mean ---------------------------------------------------------------


def test_a_graph_task_is_there_only_inside_backward():
    inside = []
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.register_hook(lambda _: inside.append(_torch.graph_task()))
    assert _torch.graph_task() == -1, "torch._C._current_graph_task_id() outside backward"
    y.sum().backward()
    assert inside[0] != -1, "torch._C._current_graph_task_id() inside backward"
    assert in_a_thread(_torch.graph_task) == -1, "torch._C._current_graph_task_id() in a thread"


def test_tracing_is_told_only_while_it_traces():
    seen = []

    class Asks(nn.Module):
        def forward(self, x):
            seen.append(_torch.is_tracing())
            return x

    Asks()(torch.ones(1))
    torch.jit.trace(Asks(), torch.ones(1), check_trace=False)
    assert seen == [False, True], "torch._C._is_tracing()"


def test_a_trace_is_told_while_it_is_checked_and_taken_into_a_graph():
    jit, fx = [], []

    class Asks(nn.Module):
        def forward(self, x):
            jit.append(_torch.in_jit_trace())
            fx.append(_torch.in_fx_trace())
            return x + 1

    Asks()(torch.ones(1))
    torch.jit.trace(Asks(), torch.ones(1))
    assert jit[0] is False and all(jit[1:]) and len(jit) > 2, "torch.jit._trace._trace_module_map"  # noqa: PT018
    torch.fx.symbolic_trace(Asks())
    assert fx[-1] is True and not any(fx[:-1]), "torch.fx._symbolic_trace._is_fx_tracing_flag"  # noqa: PT018
    assert not _torch.in_fx_trace()


def test_a_level_of_functorch_is_there_only_inside_a_transform():
    seen = []
    torch.func.vmap(lambda x: seen.append(_torch.functorch_level()) or x)(torch.ones(2))
    seen.append(_torch.functorch_level())
    assert seen[0] is not None and seen[1] is None, "torch._C._functorch.maybe_current_level()"  # noqa: PT018


class Mode(TorchFunctionMode):
    seen = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen += 1
        return func(*args, **(kwargs or {}))


def test_function_modes_are_told_by_thread():
    assert not _torch.function_mode()
    with Mode() as mode:
        assert _torch.function_mode(), "torch._C._is_torch_function_mode_enabled()"
        assert _torch.function_modes() == [mode], "_get_current_function_mode_stack()"
        assert not in_a_thread(_torch.function_mode), "function modes have left their thread"
    assert _torch.function_modes() == []


def test_a_function_mode_is_taken_off_from_among_others():
    with Mode() as lowest, Mode() as wrong:
        with Mode() as highest:
            _torch.drop_function_mode(wrong)
            assert _torch.function_modes() == [lowest, highest], "_pop_mode(), _push_mode()"
            _torch.drop_function_mode(wrong)
            assert _torch.function_modes() == [lowest, highest]
        torch.overrides._push_mode(wrong)
    assert _torch.function_modes() == []


def test_a_device_is_a_function_mode_whose_end_pops_whatever_is_innermost():
    with Mode() as mode:
        with torch.device("meta"):
            torch.overrides._push_mode(mode)
        left, device = _torch.function_modes()
        assert left is mode
        assert torch.empty(1).is_meta, "torch._C's torch.device.__exit__()"
        _torch.drop_function_mode(device)
        assert torch.empty(1).device.type == "cpu"
    assert _torch.function_modes() == []


def test_a_call_of_a_module_is_told_by_its_frame():
    seen = []

    class Asks(nn.Module):
        def forward(self, again):
            seen.append((_torch.is_called(self), _torch.calls_itself(self)))
            return self(False) if again else again

    net = Asks()
    net(True)
    assert seen == [(True, False), (True, True)], "nn.Module._call_impl(self, ...)"
    assert not _torch.is_called(net)
    assert not _torch.calls_itself(net)


class Dispatched(TorchDispatchMode):
    seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen += 1
        return func(*args, **(kwargs or {}))


class Own(torch.Tensor):
    seen = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen += 1
        return super().__torch_function__(func, types, args, kwargs)


def test_quiet_reaches_neither_modes_nor_subclasses():
    own = torch.ones(2).as_subclass(Own)
    with Mode() as mode:
        before = mode.seen, Own.seen
        with _torch.quiet():
            own.detach()
        assert (mode.seen, Own.seen) == before, "torch._C.DisableTorchFunction"
    assert _torch.dispatch_modes() == 0, "torch._C._len_torch_dispatch_stack()"
    with Dispatched() as mode:
        assert _torch.dispatch_modes() == 1, "torch._C._len_torch_dispatch_stack()"
        with _torch.quiet():
            torch.ones(2) + 1
        assert mode.seen == 0, "torch.utils._python_dispatch._disable_current_modes()"


def test_a_profiler_is_told_while_it_runs():
    assert not _torch.is_profiling(), "torch.autograd._profiler_enabled()"
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        assert _torch.is_profiling(), "torch.autograd._profiler_enabled()"


def test_a_gradient_is_watched_without_a_handle():
    x = torch.ones(3, requires_grad=True)
    y, seen = x * 2, []
    _torch.watch_gradient(y, seen.append)
    assert y._backward_hooks, "Tensor._backward_hooks: the fallback is in use"
    y.register_hook(seen.append)
    (y * 3).sum().backward()
    assert [grad.tolist() for grad in seen] == [[3.0] * 3] * 2, "Tensor._backward_hooks"


def test_zeros_without_memory_are_told():
    zeros = torch._efficientzerotensor((2,))
    assert zeros._is_zerotensor(), "Tensor._is_zerotensor()"
    assert not torch.zeros(2)._is_zerotensor(), "Tensor._is_zerotensor()"


MANY = ("_foreach_zero_", "_foreach_copy_", "_foreach_add_", "_foreach_sub_", "_foreach_norm")


def assert_each_is_reached():
    many = [torch.ones(2), torch.ones(2)]
    _torch.copy_to_all(many, torch.tensor([5.0, 7.0]))
    _torch.add_to_all(many, -1)
    assert [one.tolist() for one in many] == [[4.0, 6.0]] * 2
    _torch.subtract_each(many, [torch.tensor([1.0, 2.0]), torch.tensor([1.0, 6.0])])
    assert [one.tolist() for one in many] == [[3.0, 4.0], [3.0, 0.0]]
    assert _torch.norms(many).tolist() == [5.0, 3.0]
    _torch.zero_all(many)
    assert [one.tolist() for one in many] == [[0.0, 0.0]] * 2


def test_what_is_done_to_many_tensors_is_done_to_each():
    for name in MANY:
        assert hasattr(torch, name), f"torch.{name}: the fallback is in use"
    assert_each_is_reached()


def test_modules_hold_what_we_look_at():
    inner = nn.Linear(2, 2)
    both = nn.ModuleDict({"a": inner, "b": inner})
    both.register_module("none", None)
    assert list(_torch.children(both)) == ["a", "b", "none"], "Module._modules"
    assert not _torch.has_forward_hooks(inner)
    with_hook = inner.register_forward_hook(lambda *_: None)
    assert _torch.has_forward_hooks(inner), "Module._forward_hooks"
    with_hook.remove()
    assert not is_hooked(inner)
    with inner.register_forward_pre_hook(lambda *_: None):
        assert is_hooked(inner), "Module._forward_pre_hooks"
        assert not _torch.has_forward_hooks(inner)
    assert issubclass(nn.InstanceNorm1d, _torch.NORMALISATIONS), "batchnorm._NormBase"
    assert issubclass(nn.ConvTranspose3d, _torch.CONVOLUTIONS), "conv._ConvNd"
    assert _torch.native_functions() == (torch._C._nn,)


def test_a_scaler_knows_its_scale():
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(torch.ones(1))
    assert isinstance(scaler._scale, torch.Tensor), "GradScaler._scale: the fallback is in use"
    assert float(_torch.scaler_scale(scaler)) == 8.0


# ---- without them --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "name", "function", "answer"),
    [
        (torch._C, "_current_graph_task_id", "graph_task", -1),
        (torch._C, "_is_tracing", "is_tracing", False),
        (torch._C, "_functorch", "functorch_level", None),
        (torch._C, "_is_torch_function_mode_enabled", "function_mode", True),
        (torch._C, "_len_torch_dispatch_stack", "dispatch_modes", 0),
        (torch.autograd, "_profiler_enabled", "is_profiling", False),
        (torch.overrides, "_get_current_function_mode_stack", "function_modes", None),
    ],
)
def test_without_a_state_we_answer_what_is_safe(monkeypatch, owner, name, function, answer):
    monkeypatch.delattr(owner, name)
    assert getattr(fresh("states"), function)() == answer


def test_without_the_way_to_take_a_function_mode_off_it_stays(monkeypatch):
    with Mode() as mode, monkeypatch.context() as patch:
        patch.delattr(torch.overrides, "_push_mode")
        fresh("states").drop_function_mode(mode)
        assert _torch.function_modes() == [mode]


def test_without_the_way_to_be_quiet_subclasses_are_still_left_out(monkeypatch):
    monkeypatch.delattr(torch._C, "DisableTorchFunction")
    own = torch.ones(2).as_subclass(Own)
    before = Own.seen
    with fresh("states").quiet():
        own.detach()
    assert Own.seen == before


@pytest.mark.parametrize("name", MANY)
def test_without_calls_for_many_tensors_each_is_called(monkeypatch, name):
    monkeypatch.delattr(torch, name)
    assert_each_is_reached()


def test_without_torchs_classes_those_of_ours_are_known(monkeypatch):
    monkeypatch.delattr(nn.modules.batchnorm, "_NormBase")
    monkeypatch.delattr(nn.modules.conv, "_ConvNd")
    monkeypatch.delattr(torch._C, "_nn")
    modules = fresh("modules")
    assert issubclass(nn.BatchNorm2d, modules.NORMALISATIONS)
    assert issubclass(nn.Conv2d, modules.CONVOLUTIONS)
    assert modules.native_functions() == ()


def test_without_torchs_own_words_functions_are_compiled_as_they_come(monkeypatch):
    monkeypatch.delattr(torch._C, "_dynamo")
    compiler = fresh("compiler")

    def function():
        return 3

    assert compiler.interpreted(function) is function
    assert compiler.compiled_as_they_are([nn.Linear(1, 1)]) == []


def test_without_a_default_store_there_is_none(monkeypatch):
    from torch.distributed import distributed_c10d

    monkeypatch.delattr(distributed_c10d, "_get_default_store")
    assert _torch.default_store() is None


class Bare:
    """An object with the public half of a torch object."""

    def __init__(self, **public):
        self.__dict__.update(public)


def test_what_objects_no_longer_hold_is_asked_in_public():
    assert _torch.children(Bare(named_children=lambda: [("a", 1)])) == {"a": 1}
    assert not _torch.has_forward_hooks(Bare())
    assert _torch.scaler_scale(Bare(get_scale=lambda: 4.0)) == 4.0
    assert _torch.resolved(Bare(resolve_neg=lambda: "as it is")) == "as it is"
    seen = []
    _torch.watch_gradient(Bare(register_hook=seen.append), "hook")
    assert seen == ["hook"]
