"""A picture and, beside it, what is known of what is chosen in it: the frame of maps and blind tests.

Knows widgets; no results.
"""

from __future__ import annotations

from typing import Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from tui.screens.guest import GuestScreen
from tui.widgets.curve_plot import CurvePlot

READ_ON: Final[tuple[BindingType, ...]] = (
    Binding("pagedown", "read_on(5)", "text down", show=False, id="beside.down", tooltip="Scroll the text beside it"),
    Binding("pageup", "read_on(-5)", "text up", show=False, id="beside.up"),
)


class BesideScreen(GuestScreen):
    """One run as a picture with a cursor and a column of text."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (96, "-wide")]  # noqa: RUF012 (an instance variable upstream)

    def body(self) -> ComposeResult:
        with Container(id="beside"):
            yield CurvePlot(id="beside-plot", titled=True)
            with VerticalScroll(id="beside-told", can_focus=False):
                yield Static(id="beside-text", markup=False)

    def start_focus(self) -> Widget:
        return self.plot

    @property
    def plot(self) -> CurvePlot:
        """The picture."""
        return self.query_one("#beside-plot", CurvePlot)

    def tell(self, text: Text) -> None:
        """Show text beside the picture."""
        self.query_one("#beside-text", Static).update(text)

    def action_read_on(self, lines: int) -> None:
        """Scroll the text."""
        self.query_one("#beside-told").scroll_relative(y=lines, animate=False)
