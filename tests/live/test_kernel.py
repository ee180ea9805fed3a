"""A notebook run in a real kernel: every figure once, and one output that is replaced."""

import os

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

CELLS = {
    "record": """\
import torch, actstats
torch.manual_seed(0)
net = actstats.make_mlp(1, [8, 8], 1, activation="relu")
recorder = actstats.ActivationRecorder(net, window=1, capture=("output", "grad"))
def train(steps):
    for _ in range(steps):
        loss = net(torch.randn(32, 1)).square().mean()
        loss.backward()
        recorder.step(loss=loss.item())
with recorder:
    train(3)""",
    "grid": "actstats.plot.histogram_grid(recorder)",
    "timeline": "actstats.plot.timeline(recorder)",
    "assigned": "figure = actstats.plot.timeline(recorder)",
    "of pyplot": """\
%matplotlib inline
import matplotlib.pyplot as plt
page, axes = plt.subplots()
actstats.plot.heatmap(recorder, "act1", ax=axes);""",
    "after pyplot": "actstats.plot.timeline(recorder)",
    "summary": "recorder.summary()",
    "live": """\
with recorder, actstats.LiveDisplay(recorder):
    train(1)
    print("the user's own")""",
    "broken": """\
with recorder, actstats.LiveDisplay(recorder):
    train(1)
    raise ZeroDivisionError("the user's own")""",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the outputs of each cell, and the messages that wrote them."""
    from nbclient import NotebookClient

    messages = []

    class Client(NotebookClient):
        def process_message(self, message, cell, index):
            messages.append((list(CELLS)[index], message["msg_type"], message["content"]))
            return super().process_message(message, cell, index)

    cells = [nbformat.v4.new_code_cell(text) for text in CELLS.values()]
    notebook = nbformat.v4.new_notebook(cells=cells)
    os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
    here = str(tmp_path_factory.mktemp("notebook"))
    client = Client(
        notebook, timeout=240, kernel_name="python3", allow_errors=True, resources={"path": here}
    )
    client.execute(cwd=here)
    outputs = {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}
    assert not [o for o in outputs["record"] if o.output_type == "error"], outputs["record"]
    return outputs, messages


def images(outputs):
    return [o for o in outputs if "image/png" in o.get("data", {})]


def pages(outputs):
    return [o["data"]["text/html"] for o in outputs if "text/html" in o.get("data", {})]


@pytest.mark.parametrize("cell", ["grid", "timeline", "of pyplot", "after pyplot"])
def test_figure_that_ends_a_cell_is_shown_once(run, cell):
    assert len(images(run[0][cell])) == len(run[0][cell]) == 1


def test_figure_that_is_assigned_is_not_shown(run):
    assert run[0]["assigned"] == []


def test_summary_is_a_table(run):
    (page,) = pages(run[0]["summary"])
    assert "<table>" in page


def test_live_display_is_one_output_beside_what_the_run_prints(run):
    outputs = run[0]["live"]
    (page,) = pages(outputs)
    assert "act2" in page
    assert "ended" in page
    assert "1 window " in page  # of those that closed while it was shown
    assert [o["text"] for o in outputs if o.output_type == "stream"] == ["the user's own\n"]
    assert len(outputs) == 2


def test_live_display_is_updated_in_place(run):
    sent = [(kind, content) for cell, kind, content in run[1] if cell == "live"]
    shown = [c for kind, c in sent if kind == "display_data"]
    updates = [c for kind, c in sent if kind == "update_display_data"]
    assert len(shown) == 1
    assert len(updates) == 2  # the window that closed, and the end
    assert {c["transient"]["display_id"] for c in (*shown, *updates)} == {
        shown[0]["transient"]["display_id"]
    }
    assert ["running" in c["data"]["text/html"] for c in (*shown, *updates)] == [True, True, False]


def test_last_state_stays_shown_when_the_run_breaks(run):
    outputs = run[0]["broken"]
    assert [o.ename for o in outputs if o.output_type == "error"] == ["ZeroDivisionError"]
    (page,) = pages(outputs)
    assert "ended" in page
    assert "act2" in page
