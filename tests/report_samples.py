"""Recordings that reports are made of, and a reader of the pages."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from html.parser import HTMLParser

import torch
from torch import nn

from actstats import ActivationRecorder, Recording, make_mlp

HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</style></table>",
    "turned\u202eround",
    "two\nlines",
    "nul\x00",
    "half\ud800",
    "$\\frac{$",
    "{{ 7 * 7 }}",
    "&lt;b&gt;",
    "`code`",
    "x" * 300,
)


def observed(
    net: nn.Module,
    inputs: torch.Tensor,
    steps: int = 6,
    capture: Sequence[str] = ("output", "grad"),
    scalars: Sequence[str] = ("loss",),
) -> Recording:
    """Train a net for some steps, a window each."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with ActivationRecorder(net, capture=capture, window=1) as recorder:
        for _ in range(steps):
            loss = net(inputs).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(**dict.fromkeys(scalars, loss.item()))
    return recorder.recording


@cache
def sick() -> Recording:
    """A net whose layers lose their input, with what follows from it."""
    torch.manual_seed(0)
    net = make_mlp(activation="tanh", weight_std=0.1, bias_init=-0.2)
    return observed(net, torch.linspace(-7, 10, 64).unsqueeze(1))


@cache
def healthy() -> Recording:
    """A net of which there is nothing to say."""
    torch.manual_seed(0)
    net = make_mlp(4, [16, 16, 16], 1, activation="tanh", bn=True)
    return observed(net, torch.randn(64, 4))


@cache
def broken() -> Recording:
    """A net that gives NaN from the middle on."""
    torch.manual_seed(0)
    net = make_mlp(4, [16, 16], 1)
    good, bad = observed(net, torch.randn(64, 4)), observed(net, torch.full((64, 4), torch.nan))
    later = (
        replace(w, first_step=w.first_step + 6, last_step=w.last_step + 6) for w in bad.windows
    )
    return Recording((*good.windows, *later), good.sites)


@cache
def hostile() -> Recording:
    """A net whose names, scalars and metadata try to leave their place."""
    torch.manual_seed(0)
    net = nn.Sequential()
    for i, name in enumerate(HOSTILE):
        net.add_module(f"{name}{i}", nn.Tanh() if i % 2 else nn.Linear(8, 8))
    found = observed(net, torch.randn(64, 8), scalars=HOSTILE[:2])
    nested = {name: {name: [name]} for name in HOSTILE[:3]}
    model = {"class": HOSTILE[0], "summary": f"Net(\n  {HOSTILE[0]}\n  {'wide ' * 60}\n)"}
    metadata = {"model": model, **nested}
    return Recording(found.windows, found.sites, HOSTILE[:3], {HOSTILE[1]: "unused"}, metadata)


@cache
def large(windows: int = 500, layers: int = 100) -> Recording:
    """Many sites and windows, the windows few and repeated."""
    torch.manual_seed(0)
    parts = [part for _ in range(layers // 2) for part in _block()]
    found = observed(
        nn.Sequential(*parts), torch.randn(64, 16), steps=4, capture=("output", "grad")
    )
    many = [found.windows[(i * i) % 4] for i in range(windows)]
    return Recording(
        [replace(w, first_step=10 * i, last_step=10 * i + 9) for i, w in enumerate(many)],
        found.sites,
    )


def _block() -> tuple[nn.Module, nn.Module]:
    linear = nn.Linear(16, 16)
    nn.init.xavier_normal_(linear.weight, gain=1.6)
    return linear, nn.Tanh()


# ---- reading pages -------------------------------------------------------------------------------

VOID = {"meta", "link", "img", "input", "br", "wbr", "hr"}


@dataclass(eq=False)
class Element:
    """A part of a page."""

    tag: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    parts: "list[Element | str]" = field(default_factory=list)

    @property
    def text(self) -> str:
        """All the text inside."""
        return "".join(p if isinstance(p, str) else p.text for p in self.parts)

    @cached_property
    def everything(self) -> "list[Element]":
        """This element and all inside, in order."""
        inner = [e for p in self.parts if isinstance(p, Element) for e in p.everything]
        return [self, *inner]

    def find(self, tag: str, **attributes: str) -> "list[Element]":
        """Return the elements inside with a tag and some attributes (``class_`` for a class)."""
        wanted = {name.rstrip("_").replace("_", "-"): v for name, v in attributes.items()}
        return [
            e
            for e in self.everything
            if e.tag == tag
            and all(
                v in e.attributes.get(n, "").split() if n == "class" else e.attributes.get(n) == v
                for n, v in wanted.items()
            )
        ]

    def one(self, tag: str, **attributes: str) -> "Element":
        """Return the only one."""
        (found,) = self.find(tag, **attributes)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.open = Element("document", {})

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), f"<{tag}> repeats an attribute"
        element = Element(tag, {name: value or "" for name, value in attributes}, self.open)
        self.open.parts.append(element)
        if tag not in VOID:
            self.open = element

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open = self.open.parent

    def handle_endtag(self, tag):
        assert tag == self.open.tag, f"</{tag}> closes <{self.open.tag}>"
        self.open = self.open.parent

    def handle_data(self, data):
        self.open.parts.append(data)


@cache
def read(html: str) -> Element:
    """Return a page as a tree; every tag has to be closed."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open is reader.root, f"<{reader.open.tag}> is never closed"
    return reader.root
