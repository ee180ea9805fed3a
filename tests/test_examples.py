"""The examples run, reproduce the published tutorial, and say what their figures show."""

import importlib.util
import json
import math
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from actstats import diagnose

EXAMPLES = Path(__file__).parents[1] / "examples"
REFERENCE = Path(__file__).parent / "reference" / "bn_tutorial.json"
RUNS = json.loads(REFERENCE.read_text())["runs"]
NETS = ("plain", "bn")
LAYERS = [f"L{i}" for i in range(1, 9)]
FIGURES = {"saturated_fraction", "dead_fraction", "pre_activation_std", "activation_std"}


def load_example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tutorial():
    return load_example("bn_tutorial")


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    return load_example("digits")


def train(tutorial, activation, seed, **how):
    return tutorial.train(activation, tutorial.make_data(seed), seed=seed, **how)


def shares(part, figure):
    return {layer["layer"]: layer[figure] for layer in part["layers"]}


# ---- the published numbers -----------------------------------------------------------------------


FIRST_EPOCHS = """
import importlib.util, json, sys, torch
torch.set_num_threads(2)
spec = importlib.util.spec_from_file_location("bn_tutorial", sys.argv[1])
tutorial = sys.modules["bn_tutorial"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tutorial)
losses = []
for run in json.load(open(sys.argv[2]))["runs"]:
    data = tutorial.make_data(run["seed"])
    result = tutorial.train(run["activation"], data, epochs=1, seed=run["seed"])
    losses.append({variant: result.test_losses(variant) for variant in ("plain", "bn")})
json.dump(losses, sys.stdout)
"""


@pytest.fixture(scope="module")
def first_epochs():
    """Losses before and after one epoch of the ten runs, with two threads as the reference has.

    Sums that are split otherwise are rounded otherwise. In a process of its own, where a thread
    that waits sleeps: else two that wait for each other take the cores of xdist's other workers.
    """
    command = [sys.executable, "-c", FIRST_EPOCHS, EXAMPLES / "bn_tutorial.py", REFERENCE]
    env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def test_first_epoch_equals_the_published_tutorial(first_epochs):
    same_cpu = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    for run, losses in zip(RUNS, first_epochs, strict=True):
        print(run["activation"], run["seed"], losses)
        plain, bn = (run["test_loss_by_epoch"][variant] for variant in NETS)
        assert losses["plain"] == pytest.approx(plain[:2], rel=1e-3)
        assert losses["bn"][0] == pytest.approx(bn[0], rel=1e-3)
        if same_cpu:
            assert losses["bn"][1] == pytest.approx(bn[1], rel=1e-3)
        else:  # one rounding moves it by up to 60 %
            assert abs(math.log10(losses["bn"][1] / bn[1])) < 1


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_five_seeds_tell_the_same_story(tutorial, activation):
    parts = [tutorial.as_json(train(tutorial, activation, seed)) for seed in range(5)]
    finals = {v: [part[v]["final_test_loss"] for part in parts] for v in NETS}
    print(activation, finals)
    assert min(finals["plain"]) > {"tanh": 600, "relu": 750}[activation]
    assert statistics.median(finals["bn"]) < 200
    assert all(bn < plain / 2 for plain, bn in zip(finals["plain"], finals["bn"], strict=True))
    figure, sick, at_least, at_most = {
        "tanh": ("saturated_fraction", LAYERS[4:], 0.6, 0.4),
        "relu": ("dead_fraction", LAYERS[3:], 1.0, 0.5),
    }[activation]
    for part in parts:
        plain, bn = (shares(part[v], figure) for v in NETS)
        print(plain, bn)
        assert min(plain[name] for name in sick) >= at_least
        assert max(bn.values()) <= at_most


# ---- every number from raw values ----------------------------------------------------------------


def watch(net, raw):
    """Keep what every module gets and gives, by plain hooks."""

    def keep(name):
        def hook(module, args, output):
            raw[f"{name}:input"], raw[name] = args[0].clone(), output.clone()

        return hook

    return [module.register_forward_hook(keep(name)) for name, module in net.named_children()]


@pytest.fixture(scope="module", params=["tanh", "relu"])
def raw_and_result(tutorial, request):
    """A trained run, and the raw values of its last look at the test points."""
    data = tutorial.make_data(1)
    result = tutorial.train(request.param, data, epochs=3, seed=1)
    raw = {}
    for variant, net in result.nets.items():
        values = raw[variant] = {}
        handles = watch(net, values)
        net.eval()
        with torch.no_grad():
            net(data.test_x)
        for handle in handles:
            handle.remove()
    return raw, result


def cells():
    """The 4 x 9 grid: variant, site, range."""
    yield from (("plain", "fc1:input", (-7, 10)), ("bn", "bn0:input", (-7, 10)))
    yield from (("bn", "bn0", (-7, 10)), ("bn", "fc1:input", (-7, 10)))
    for variant in NETS:
        for i in range(1, 9):
            yield from ((variant, f"fc{i}", (-4, 4)), (variant, f"act{i}", (-1, 1)))


def test_every_bin_of_the_grid_equals_numpy_histogram(raw_and_result):
    raw, result = raw_and_result
    for variant, site, ends in cells():
        values = raw[variant][site].double().numpy()
        counts, edges = np.histogram(values, bins=10, range=ends)
        ours = result.after(variant, site).histogram(10, ends)
        assert ours.exact, (variant, site)
        np.testing.assert_array_equal(ours.counts, counts, err_msg=f"{variant} {site}")
        np.testing.assert_array_equal(ours.edges, edges)
        assert ours.below + ours.above == values.size - counts.sum(), (variant, site)


def test_every_bar_of_the_picture_equals_numpy_histogram(tutorial, raw_and_result):
    raw, result = raw_and_result
    figure = tutorial.draw_grid(result, result.epochs)
    inputs = {"pre": {"plain": "fc1:input", "bn": "bn0:input"}, "act": {"plain": "fc1:input"}}
    panels = [
        (variant, site, (-7, 10) if "0" in site or ":" in site else ends)
        for kind, name, ends in (("pre", "fc", (-4, 4)), ("act", "act", (-1, 1)))
        for variant in NETS
        for site in (inputs[kind].get(variant, "bn0"), *(f"{name}{i}" for i in range(1, 9)))
    ]
    assert len(figure.axes) == 4 * 9
    for axes, (variant, site, ends) in zip(figure.axes, panels, strict=True):
        (bars,) = (patch for patch in axes.patches if patch.get_gid() == "bars")
        counts, edges = np.histogram(raw[variant][site].double().numpy(), bins=10, range=ends)
        np.testing.assert_array_equal(bars.get_data().values, counts, f"{variant} {site}")
        np.testing.assert_array_equal(bars.get_data().edges, edges, f"{variant} {site}")


def test_layer_figures_are_those_of_the_raw_values(tutorial, raw_and_result):
    raw, result = raw_and_result
    for variant in NETS:
        for i, layer in enumerate(tutorial.layers(result, variant), 1):
            z, a = (raw[variant][f"{kind}{i}"].double().numpy() for kind in ("fc", "act"))
            assert layer.layer == f"L{i}"
            assert layer.pre_activation_std == pytest.approx(z.std(), rel=1e-9)
            assert layer.activation_std == pytest.approx(a.std(), rel=1e-9, abs=1e-12)
            if result.activation == "tanh":
                assert layer.saturated_fraction == pytest.approx((abs(a) > 0.97).mean(), rel=1e-12)
                assert layer.dead_fraction is None
            else:
                assert layer.saturated_fraction == pytest.approx((a <= 0).mean(), rel=1e-12)
                assert layer.dead_fraction == pytest.approx((a <= 0).all(0).mean(), rel=1e-12)


def test_losses_are_kept_for_every_look(raw_and_result, tutorial):
    _, result = raw_and_result
    part = tutorial.as_json(result)
    for variant in NETS:
        assert len(part[variant]["test_loss_by_epoch"]) == 3
        assert [w.first_step for w in result.recorders[variant].recording.windows] == [0, 1, 2, 3]
        assert {w.phase for w in result.recorders[variant].recording.windows} == {"eval"}


# ---- what it says --------------------------------------------------------------------------------


def test_words_follow_the_figures(tutorial):
    sick = tutorial.story(train(tutorial, "relu", 0, epochs=2))
    assert "Every unit of L3-L8 is dead" in sick
    assert "the batch norm network ends with a loss" in sick
    well = tutorial.story(train(tutorial, "relu", 0, epochs=2, bias_init=0.2))
    assert "Every unit" not in well.splitlines()[0]


def test_table_names_what_does_not_apply(tutorial):
    tanh = tutorial.table(train(tutorial, "tanh", 0, epochs=1)).splitlines()
    assert tanh[0] == "tanh, after 1 epoch"
    assert [line.split()[0] for line in tanh[6:14]] == LAYERS
    assert all(line.split()[-2:] == ["-", "-"] for line in tanh[6:14])
    assert tanh[14].startswith("-: does not apply (tanh is never exactly flat")


@pytest.mark.parametrize(
    ("names", "joined"),
    [(["L1"], "L1"), (["L4", "L5", "L6"], "L4-L6"), (["L1", "L3", "L4", "L8"], "L1, L3-L4, L8")],
)
def test_layers_are_joined_to_spans(tutorial, names, joined):
    assert tutorial.spans(names) == joined


# ---- the command lines ---------------------------------------------------------------------------


def test_tutorial_writes_what_it_promises(tutorial, tmp_path, capsys):
    tutorial.main(["--epochs", "1", "--out", str(tmp_path / "new" / "out")])
    out = tmp_path / "new" / "out"
    per_activation = ("grid_{}.png", "grid_{}.gif", "loss_{}.png", "fit_{}.png")
    expected = {name.format(a) for name in per_activation for a in ("tanh", "relu")}
    expected |= {"data.png", "activation_functions.png", "results.json"}
    assert {path.name for path in out.iterdir()} == expected
    assert all(path.stat().st_size > 0 for path in out.iterdir())
    results = json.loads((out / "results.json").read_text())
    assert set(results) == {"tanh", "relu"}
    for part in results.values():
        assert set(part) == set(NETS)
        for net in part.values():
            assert set(net) == {"test_loss_by_epoch", "final_test_loss", "layers"}
            assert [layer["layer"] for layer in net["layers"]] == LAYERS
            assert all(set(layer) == {"layer", *FIGURES} for layer in net["layers"])
    printed = capsys.readouterr().out
    assert "tanh, after 1 epoch" in printed
    assert "relu, after 1 epoch" in printed


def test_tutorial_leaves_out_what_is_not_wanted(tutorial, tmp_path):
    tutorial.main(
        ["--activation", "relu", "--epochs", "1", "--no-animation", "--out", str(tmp_path)]
    )
    names = {path.name for path in tmp_path.iterdir()}
    assert "grid_relu.png" in names
    assert not any("tanh" in name or name.endswith(".gif") for name in names)


def test_tutorial_defaults(tutorial, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = tutorial.read_arguments([])
    assert (args.activations, args.epochs, args.seed) == (["tanh", "relu"], 12, 1)
    assert (str(args.out), args.bias_init) == ("bn_tutorial_output", -0.2)
    assert args.animation
    assert args.window is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--activation", "gelu"], "invalid choice: 'gelu'"),
        (["--epochs", "0"], "must be an integer of at least 1; got 0"),
        (["--epochs", "two"], "invalid integer value: 'two'"),
        (["--seed", "-1"], "must be an integer from 0 to 4294967295; got -1"),
        (["--bias-init", "nan"], "must be finite; got nan"),
        (["--show"], "--show needs a display: matplotlib's backend here, 'agg', opens no window"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_tutorial_refuses_bad_arguments(
    tutorial, tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    with pytest.raises(SystemExit, match="2"):
        tutorial.main(arguments)
    plt.close("all")
    assert message in capsys.readouterr().err


def test_tutorial_refuses_a_file_as_folder(tutorial, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="2"):
        tutorial.main(["--out", str(tmp_path / "file")])
    assert "--out cannot be made" in capsys.readouterr().err


def test_tutorial_shows_every_epoch_in_its_window(tutorial, tmp_path, monkeypatch):
    shown = []

    class Window:
        def show(self, picture):
            shown.append(picture)

        def wait(self):
            shown.append("closed")

    monkeypatch.setattr(tutorial, "Window", Window)
    small = ["--activation", "tanh", "--epochs", "2", "--no-animation"]
    tutorial.main([*small, "--show", "--out", str(tmp_path)])
    assert len(shown) == 4  # before each of two epochs, after the last, and the end
    assert shown[-1] == "closed"


def test_window_shows_the_picture_pixel_by_pixel(tutorial, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    monkeypatch.setattr(FigureCanvasAgg, "required_interactive_framework", "as if")
    window = tutorial.Window()
    picture = Figure(figsize=(3, 2), facecolor="red")
    window.show(picture)
    shown = plt.gcf()
    shown.canvas.draw()
    pixels = np.asarray(shown.canvas.buffer_rgba())
    plt.close("all")
    plt.ioff()
    assert pixels.shape[:2] == (160, 240)
    assert (pixels == (255, 0, 0, 255)).all()


def test_tutorial_runs_without_tqdm(tutorial, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert list(tutorial.progress(range(3), "train with tanh")) == [0, 1, 2]
    assert "no progress bar without tqdm: pip install tqdm" in capsys.readouterr().err


# ---- digits --------------------------------------------------------------------------------------


def test_digits_die_without_batch_norm_only(digits, tmp_path, capsys):
    recorders = digits.main(["--out", str(tmp_path)])
    plain, bn = recorders["plain"], recorders["batch norm"]
    assert digits.dead(plain, -1)[-1] == 1
    assert digits.accuracies(plain)[-1] < 0.2
    assert max(digits.dead(bn, -1)) < 0.1
    assert digits.accuracies(bn)[-1] > 0.9
    assert {path.name for path in tmp_path.iterdir()} == {"accuracy.png", "grid.png"}
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()[2:6]] == [
        *["plain"] * 2,
        *["batch"] * 2,
    ]


def test_digits_refuses_bad_arguments(digits, capsys):
    with pytest.raises(SystemExit, match="2"):
        digits.main(["--epochs", "0"])
    assert "--epochs must be at least 1" in capsys.readouterr().err


# ---- an initialisation ---------------------------------------------------------------------------


def test_only_xavier_is_fit_to_train(tmp_path, capsys):
    pytest.importorskip("sklearn")
    found = load_example("pick_initialisation").main(["--out", str(tmp_path)])
    assert [name for name, checkup in found.items() if checkup.ok] == ["Xavier"]
    assert {path.name for path in tmp_path.iterdir()} == {"initialisations.png"}
    assert [line.split("  ")[-1].strip() for line in capsys.readouterr().out.splitlines()] == [
        "vanishing-gradient at fc2",
        "vanishing-gradient at fc2",
        "fit to train",
        "saturated at act1",
    ]


# ---- a sick CNN ----------------------------------------------------------------------------------


def test_sick_cnn_is_told_by_the_dead_channels_of_one_layer(tmp_path, capsys):
    pytest.importorskip("sklearn")
    recorders = load_example("sick_cnn").main(["--out", str(tmp_path)])
    windows = recorders["sick"].recording.windows
    first, last = (windows[at].scalars["loss"].mean for at in (0, -1))
    assert last < first / 4  # it falls all the same
    found = {name: diagnose(recorder) for name, recorder in recorders.items()}
    assert found["healthy"].ok
    (root,) = (finding for finding in found["sick"] if finding.severity != "info")
    assert (root.rule, root.site, root.since) == ("dead-units", "relu3", 0)
    assert recorders["sick"]["relu3"].dead_units.tolist() == [True] * 12 + [False] * 4
    assert "Set the bias of conv3 to 0" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"channels.png"}


# ---- a resumed run -------------------------------------------------------------------------------


def test_compared_runs_separate_at_the_layer_that_was_not_restored(tmp_path, capsys):
    pytest.importorskip("sklearn")
    example = load_example("compare_runs")
    comparison = example.main(["--out", str(tmp_path)])
    assert (comparison.first.site, comparison.first.first_step) == ("fc3", example.RESUMED)
    distances = comparison.series()
    at = dict(zip(distances.sites, distances.values[example.RESUMED], strict=True))
    assert [at[site] for site in ("fc1", "act1", "fc2", "act2")] == [0] * 4
    assert min(at[site] for site in ("fc3", "act3", "fc4", "act4", "out")) > 0.5
    assert not distances.values[: example.RESUMED].any()
    printed = capsys.readouterr().out
    before, after = map(float, re.findall(r"\d+\.\d+", printed.splitlines()[0]))
    assert after > 3 * before
    assert "The two separate first at fc3 in step 60:" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"resumed.png"}


# ---- a residual scale ----------------------------------------------------------------------------


def test_bad_residual_scale_is_found_at_its_sum(tmp_path, capsys):
    pytest.importorskip("sklearn")
    example = load_example("residual_scale")
    recorders = example.main(["--out", str(tmp_path)])
    found = {name: diagnose(recorder) for name, recorder in recorders.items()}
    assert found["scale 1"].ok
    (root,) = (root for root in found["scale 100"].roots if root.severity != "info")
    assert (root.rule, root.site) == ("exploding-activation", "blocks.2.add2")
    for name, leap in (("scale 1", 1.5), ("scale 100", 15)):
        window = recorders[name].recording.windows[-1]
        before, at, last = (window[f"blocks.{site}"].rms for site in ("2.add1", "2.add2", "5.add2"))
        grads = [window[f"blocks.2.{site}:grad"].rms for site in ("add1", "add2")]
        print(name, at / before, last / at, grads[0] / grads[1])
        assert (at / before > leap) == (grads[0] / grads[1] > leap) == (name == "scale 100")
        assert (last / at < 1.1) == (name == "scale 100")  # what later blocks add is lost
    assert "at blocks.2.add2" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"residual_stream.png"}


# ---- a NaN ---------------------------------------------------------------------------------------


def first_not_finite(net):
    """Keep the name of the first module that gives NaN or Inf, by plain hooks."""
    found = []

    def look(name):
        def hook(module, args, output):
            if not output.isfinite().all():
                found.append(name)

        return hook

    for name, module in net.named_children():
        module.register_forward_hook(look(name))
    return found


def test_nan_is_hunted_down_to_its_layer_and_cured(tmp_path, capsys, monkeypatch):
    pytest.importorskip("sklearn")
    example = load_example("nan_in_bf16")
    make_net, found = example.make_net, []

    def watched(most):
        net = make_net(most)
        found.append(first_not_finite(net))
        return net

    monkeypatch.setattr(example, "make_net", watched)
    flights = example.main(["--out", str(tmp_path)])
    uncut, cut = flights["uncut"], flights["cut off at 0.99"]
    assert (uncut.offender.site, found[0][0]) == ("from_ball", "from_ball")
    assert uncut.offender.since == uncut.windows[-1].last_step > 3
    assert all(window["from_ball"].finite_count == 1024 for window in uncut.windows[:-1])
    assert cut.offender is None
    assert not found[1]
    assert cut.windows[-1].last_step == example.STEPS - 1
    assert cut.windows[-1].scalars["loss"].mean < uncut.windows[-2].scalars["loss"].mean
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("uncut: critical: non-finite at from_ball:")
    assert lines[1] == "cut off at 0.99: nothing broken"
    assert {path.name for path in tmp_path.iterdir()} == {"first_nan.png"}
