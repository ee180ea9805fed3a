"""From what is to be said to HTML: templates, escaping, and what the page may do."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from actstats.plot._style import shorten
from actstats.report.text import visible

__all__ = ["page"]

PLAIN_TITLE = "Activation report"


def page(title: str, parts: Mapping[str, Any]) -> str:
    """Return the page.

    Every text is escaped, and what would hide or turn round in it is shown; only what templates
    and pictures of our own give is taken as HTML.
    """
    from actstats import __version__  # the facade is not imported at the top by what it imports

    environment = _environment()
    script = _asset(environment, "script.js")
    text = environment.get_template("page.html").render(
        title=title or PLAIN_TITLE,
        plain_title=PLAIN_TITLE,
        version=__version__,
        style=Markup(environment.get_template("style.css").render()),
        script=script,
        policy=_policy(script),
        **parts,
    )
    return text.encode("utf-8", "backslashreplace").decode()  # no lone surrogate is left


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("actstats.report"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": _breakable,
        "coded": _coded,
        "shorten": lambda name, room: shorten(visible(name), room),
    }
    return environment


def _asset(environment: Environment, name: str) -> Markup:
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def _policy(script: str) -> str:
    """Return a content security policy: our own script, our own pictures, nothing else."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _shown(value: Any) -> Any:
    """Return what an expression of a template puts on the page."""
    return value if hasattr(value, "__html__") or value is None else visible(str(value))


def _coded(text: str) -> Markup:
    """Return a text with what stands between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(visible(text)))))


def _breakable(name: str) -> Markup:
    """Return a name that may go on in the next line after each dot."""
    return Markup(escape(visible(name)).replace(".", Markup(".<wbr>")))
