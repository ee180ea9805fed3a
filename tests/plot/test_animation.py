"""The animated grid, read back with Pillow."""

import matplotlib as mpl
import pytest
import torch
from PIL import Image

from actstats import ActivationRecorder, make_mlp
from actstats.plot import animate_grid
from actstats.plot._page import Canvas


def recorded(steps=4, **options):
    net = make_mlp(1, [6, 6], 1, **options).eval()
    recorder = ActivationRecorder(net, capture=("output", "input"))
    with recorder, torch.no_grad():
        for i in range(steps):
            net(torch.linspace(-1, 1, 40)[:, None] * i)
            recorder.step(loss=1.0 / (i + 1))
    return recorder


def test_animation_has_a_frame_per_window(tmp_path):
    path = animate_grid(recorded(), tmp_path / "a.gif", fps=4, progress=False, dpi=40)
    with Image.open(path) as gif:
        assert gif.n_frames == 4
        durations = []
        for i in range(4):
            gif.seek(i)
            durations.append(gif.info["duration"])
    assert durations == [250, 250, 250, 1000]


def test_animation_ends_with_the_shortest_recording(tmp_path):
    both = {"a": recorded(4), "b": recorded(3, bn=True)}
    with Image.open(animate_grid(both, tmp_path / "a.gif", progress=False, dpi=40)) as gif:
        assert gif.n_frames == 3


def test_animation_captions_and_axes(tmp_path, monkeypatch):
    captions, limits = [], []
    draw = Canvas.draw

    def spy(self, panels, caption, tops=None):
        draw(self, panels, caption, tops)
        captions.append(caption)
        limits.append([(ax.get_xlim(), ax.get_ylim()) for ax in self.figure.axes])

    monkeypatch.setattr(Canvas, "draw", spy)
    animate_grid({"a": recorded(2), "b": recorded(2)}, tmp_path / "a.gif", progress=False, dpi=40)
    assert captions == ["step 0, eval   loss a 1, b 1", "step 1, eval   loss a 0.5, b 0.5"]
    assert limits[0] == limits[1]


def test_animation_background_is_white(tmp_path):
    with Image.open(animate_grid(recorded(2), tmp_path / "a.gif", progress=False, dpi=40)) as gif:
        assert gif.convert("RGB").getpixel((1, 1)) == (255, 255, 255)


def test_animation_shows_progress_if_asked(tmp_path, capsys):
    pytest.importorskip("tqdm")
    animate_grid(recorded(2), tmp_path / "a.gif", progress=False, dpi=40)
    assert capsys.readouterr().err == ""
    animate_grid(recorded(2), tmp_path / "a.gif", dpi=40)
    assert "frames" in capsys.readouterr().err


def test_animation_leaves_pyplot_and_settings_alone(tmp_path):
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    animate_grid(recorded(2), tmp_path / "a.gif", progress=False, dpi=40)
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("path", "options", "match"),
    [
        ("a.mp4", {}, "must end in .gif; got 'a.mp4'"),
        ("a.gif", {"fps": 0}, "`fps` must be a positive number; got 0"),
        ("a.gif", {"dpi": True}, "`dpi` must be a positive number; got True"),
    ],
)
def test_animation_refuses(tmp_path, path, options, match):
    with pytest.raises(ValueError, match=match):
        animate_grid(recorded(2), tmp_path / path, **options)
    assert not (tmp_path / path).exists()
