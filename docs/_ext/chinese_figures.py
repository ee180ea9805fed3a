"""Pictures with labels in both languages from one run of their code: `in_both_languages`.

Within it each picture that is saved is saved a second time, with Chinese labels, as `x.zh_CN.png`
beside `x.png`; Sphinx takes that one for the Chinese pages (its `figure_language_filename`).
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

from actstats import plot

NUMBER = r"\d+(?:,\d{3})*"
# Phrases of the labels, the longer ones first where one is part of another.
LABELS = {
    r"saturated: slope below ([\d.]+ %) of its maximum": r"饱和区：斜率低于最大值的 \1",
    r"← the gradient comes from the right; above 1 it grows": "← 梯度自右向左传播；大于 1 表示增大",
    r"spike: exactly one value": "竖线：恰好同一个值",
    r"always answering the mean": "始终预测均值",
    r"What was learned with (\w+)": r"学到的曲线（\1）",
    r"Test loss with (\w+)": r"测试损失（\1）",
    r"The task: a noisy parabola": "任务：带噪声的抛物线",
    rf"({NUMBER}) to train on": r"\1 个训练点",
    rf"({NUMBER}) to test on": r"\1 个测试点",
    r"test points": "测试点",
    r"root mean square": "均方根",
    r"rms of the gradient": "梯度的均方根",
    r"90 % of the windows": "90 % 的窗口",
    r"mean squared error": "均方误差",
    r"always the mean": "始终预测均值",
    r"before training": "训练前",
    r"my model": "我的模型",
    r"epochs trained": "已训练的轮数",
    r"signal fraction": "信号占比",
    r"linear output": "线性输出",
    r"weight gain": "权重增益",
    r"slope dφ/dz": "斜率 dφ/dz",
    r"batch norm": "批归一化",
    r"activation": "激活值",
    r"test_loss": "测试损失",
    r"gate gain": "门控增益",
    r"epoch (\d+)": r"第 \1 轮",
    rf"steps ({NUMBER}–{NUMBER})": r"第 \1 步",
    rf"step ({NUMBER})": r"第 \1 步",
    r", train\b": "，训练",
    r", eval\b": "，评估",
    r"plain": "普通网络",
    r"input": "输入",
    r"dead": "死单元",
    r"loss": "损失",
    r"gain": "增益",
    r"step": "步",
    r"sat": "饱和",
    r"at": "为",
    r", (?=[\u4e00-\u9fff])": "，",
}
KEPT = re.compile(r"(?i)(?:fc|bn|act)\d+|tanh|relu|\$.*\$")  # names, functions, formulas
FONT = "Noto Sans SC"


class NoChineseError(ValueError):
    """A label that `LABELS` knows no Chinese for."""


def in_chinese(label: str) -> str:
    """Return a label in Chinese.

    >>> in_chinese("L3, step 7"), in_chinese("act3")
    ('L3, 第 7 步', 'act3')
    """
    said = label
    for english, chinese in LABELS.items():
        said = re.sub(rf"(?<![A-Za-z_]){english}(?![A-Za-z_])", chinese, said)
    if re.search(r"[A-Za-z]{3}", KEPT.sub("", said)):
        raise NoChineseError(
            f"no Chinese for the label {label!r}: add it to LABELS in docs/_ext/chinese_figures.py"
        )
    return said


def chinese_name(path: Path) -> Path:
    """Return what Sphinx's `figure_language_filename` looks for: x.zh_CN.png."""
    return path.with_suffix(f".zh_CN{path.suffix}")


def add_font() -> None:
    """Let matplotlib know the font, of which there is one weight, for bold labels as well."""
    from pylopdf_fonts_zh_cn import sans_path

    known = font_manager.fontManager.ttflist
    if all(entry.name != FONT or entry.fname != str(sans_path()) for entry in known):
        font_manager.fontManager.addfont(sans_path())
        known.append(replace(known[-1], weight="bold"))


@contextmanager
def chinese_labels() -> Iterator[None]:
    """Write each label in Chinese; a sign that the fonts lack is an error."""
    add_font()
    write, family = Text.set_text, FontProperties.get_family

    def write_chinese(self: Text, s: Any) -> None:
        write(self, in_chinese(s) if isinstance(s, str) else s)

    def with_chinese(self: FontProperties) -> list[str]:
        return [*family(self), FONT]  # for each sign, the first font that has it

    with warnings.catch_warnings(), patch.object(Text, "set_text", write_chinese):
        warnings.filterwarnings("error", "Glyph .* missing from font")
        with patch.object(FontProperties, "get_family", with_chinese):
            yield


@contextmanager
def in_both_languages() -> Iterator[None]:
    """Save each picture twice; the code that draws it knows nothing of it."""
    save, animate = Figure.savefig, plot.animate_grid

    def save_both(figure: Figure, path: Path | str, **options: Any) -> None:
        save(figure, path, **options)
        texts = {text: text.get_text() for text in figure.findobj(Text)}
        with chinese_labels():
            for text, said in texts.items():
                text.set_text(said)
            save(figure, chinese_name(Path(path)), **options)
        for text, said in texts.items():
            text.set_text(said)

    def animate_both(recordings: Any, path: Path | str, **options: Any) -> Path:
        with chinese_labels():
            animate(recordings, chinese_name(Path(path)), **options)
        return animate(recordings, path, **options)

    with (
        patch.object(Figure, "savefig", save_both),
        patch.object(plot, "animate_grid", animate_both),
    ):
        yield
