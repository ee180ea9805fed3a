"""The directive `rule`: what the page's example was told, then what `rule_facts` knows.

It stands after a `picture` that leaves the names `diagnosis`; a page whose example is not found
sick by its own rule stops the build.
"""

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from pictures import names_of_page
from rule_facts import facts
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class RuleFacts(SphinxDirective):
    """``{rule} dead-units``, with ``:bounds:``, the fields of `Thresholds` that it reads."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"bounds": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        markdown = facts(name, self.options.get("bounds", "").split())
        return [*self._told(name), *self.parse_text_to_nodes(markdown)]

    def _told(self, name: str) -> list[nodes.Node]:
        diagnosis = names_of_page(self.env).get("diagnosis", ())
        own = [finding for finding in diagnosis if finding.rule == name]
        alarms = [finding for finding in own if finding.severity != "info"]
        if not alarms:
            raise self.error(f"the example of this page is not found to have {name!r}: {own}")
        text = str(alarms[0])
        return [nodes.paragraph("", "It says:"), nodes.literal_block(text, text, language="none")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("rule", RuleFacts)
    return {"parallel_read_safe": True}
