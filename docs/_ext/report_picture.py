"""Make docs/_static/report.png anew, the top of a report: `python -m nox -s images` runs it.

Wants Chromium (Debian: chromium). Look at the picture before you keep it.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

import actstats

SIZE = (1180, 900)
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--force-device-scale-factor=1"),
)


def train() -> actstats.Recording:
    """Train the tutorial's net without batch normalization, every bias at -0.2."""
    torch.manual_seed(1)
    net = actstats.make_mlp(activation="tanh", weight_std=0.1, bias_init=-0.2)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x = torch.linspace(-7, 10, 200).unsqueeze(1)
    with actstats.ActivationRecorder(net, capture=("output", "input", "grad")) as recorder:
        for _ in range(300):
            loss = (net(x) - x**2).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss.item())
    return recorder.recording


def photograph(page: Path, picture: Path) -> None:
    """Write the top of a page as a small PNG."""
    with tempfile.TemporaryDirectory() as profile:
        own = (f"--user-data-dir={profile}", "--window-size={},{}".format(*SIZE))
        shot = f"--screenshot={picture}"
        subprocess.run(
            ["chromium", *FLAGS, *own, shot, page.as_uri()], check=True, capture_output=True
        )
    with Image.open(picture) as image:
        small = image.convert("RGB").quantize(64)
    small.save(picture, optimize=True)


def main() -> None:
    if shutil.which("chromium") is None:
        sys.exit("no chromium here: docs/_static/report.png stays as it is")
    with tempfile.TemporaryDirectory() as folder:
        title = "A net that does not learn"
        page = actstats.report.write_report(train(), Path(folder) / "report.html", title=title)
        photograph(page, Path(__file__).parents[1] / "_static" / "report.png")


if __name__ == "__main__":
    main()
