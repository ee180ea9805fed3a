"""A view of a run in a terminal, with rich, below what the run prints."""

from __future__ import annotations

from actstats.cli.view import View

__all__ = ["Terminal"]


class Terminal:
    """Lines at the end of the terminal that are replaced at each update.

    What the run prints goes above them. Where the output is no terminal, the last view is printed
    once, at the end.

    Raises
    ------
    ImportError
        If rich is not installed.
    """

    def __init__(self) -> None:
        try:
            import rich  # noqa: F401, only whether it is there
        except ImportError as error:
            raise ImportError(
                "a live display outside of a notebook needs rich, which the extra "
                "torch-actstats[rich] brings: python -m pip install rich"
            ) from error

    def start(self) -> None:
        """Take the terminal's last lines."""
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(), auto_refresh=False, vertical_overflow="crop")
        self._live.start()

    def show(self, view: View, title: str, state: str) -> None:
        """Show a view in place of the one before."""
        from actstats.cli.live import render
        from actstats.cli.trend import ASCII, BLOCKS

        on = self._live.console
        bars = BLOCKS if on.encoding.startswith("utf") else ASCII
        made = render(view, title, on.width, on.height - 1, bars, state=state, option="site=")
        self._live.update(made, refresh=True)

    def stop(self) -> None:
        """Give the terminal back, the last view left on it."""
        self._live.stop()
        if not self._live.console.is_terminal:
            self._live.console.print()  # rich ends no line there
