"""The live plot: draws a chart in a thread of its own, at most eight times a second."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar, Final

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from tui.messages import CursorMoved
from tui.panels import Shown
from tui.plotting import draw
from tui.widgets.lines import Lines, strips

DRAW_SECONDS: Final = 1 / 8
NOTHING: Final = "nothing to draw yet"
_DRAWER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dirscope-plot")
"""plotext has one global figure: one thread draws all charts of the process."""


class CurvePlot(Lines, can_focus=True):
    """Shows the newest chart it was given."""

    HELP = """\
## Curves

KL, L2, cosine or KL as a share of its end along each direction; a letter at a curve's end names its kind.

- **left / right** move the cursor along the path, **shift** moves ten steps
- **up / down** select another curve; the readout and the next tokens follow it
- dotted: the quadratic (Fisher) prediction, what any smooth model does near the base
- ● the threshold of each curve, ▴ the native length of each direction, ◆ the cursor
- at an SAE feature's own length, 2 doubles it, and 0 ablates it where the sign is -
- the horizontal line is the threshold level; the faint vertical one the typical distance between real activations
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "cursor(-1, 0)", "cursor", id="plot.left", tooltip="Cursor one step towards the base"),
        Binding("right,l", "cursor(1, 0)", "cursor", show=False, id="plot.right"),
        Binding("shift+left", "cursor(-10, 0)", "10 steps back", show=False, id="plot.left10"),
        Binding("shift+right", "cursor(10, 0)", "10 steps on", show=False, id="plot.right10"),
        Binding("shift+up", "cursor(0, -4)", "4 curves up", show=False, id="plot.up4"),
        Binding("shift+down", "cursor(0, 4)", "4 curves down", show=False, id="plot.down4"),
        Binding("up,k", "cursor(0, -1)", "curve", show=False, id="plot.up", tooltip="Select the curve before"),
        Binding("down,j", "cursor(0, 1)", "curve", show=False, id="plot.down"),
    ]

    class Drawn(Message):
        """A chart is finished, off the event loop."""

        def __init__(self, lines: list[Text], built: list[Strip], label: str) -> None:
            super().__init__()
            self.lines = lines
            self.built = built
            self.label = label

    def __init__(self, id: str, titled: bool = False) -> None:
        """`titled`: whether what the axes show stands in the border."""
        super().__init__(id=id)
        self._titled = titled
        self._make: Callable[[], Shown | None] | None = None
        self._of: tuple[object, ...] = ()
        self._drawing: Future[None] | None = None
        self._stale = False
        self._last = 0.0
        self.drawings = 0
        """Charts drawn so far."""

    def show(self, of: tuple[object, ...], make: Callable[[], Shown | None]) -> None:
        """Draw a chart when the drawer is free; a newer one replaces it.

        Args:
            of: what it is made of; the very same things again draw nothing.
            make: makes it, in the drawing thread: of values that no longer change. None where there is nothing to draw.
        """
        if len(of) == len(self._of) and all(new is old for new, old in zip(of, self._of, strict=True)):
            return
        self._of, self._make = of, make
        self._request()

    @property
    def has_chart(self) -> bool:
        """Whether it shows a chart, not a word in place of one."""
        return self._make is not None and self.drawings > 0

    def say(self, text: str) -> None:
        """Show a line of text in place of a chart."""
        self._of, self._make = (), None
        width = max(10, self.size.width - 2)
        lines = [part for line in text.split("\n") for part in textwrap.wrap(line, width) or [""]]
        self.put([Text(line.center(self.size.width).rstrip(), style="dim") for line in lines])

    def _request(self) -> None:
        self._stale = True
        if self._drawing is not None or not self.is_mounted:
            return
        wait = self._last + DRAW_SECONDS - time.monotonic()
        if wait > 0:
            self.set_timer(wait, self._request)
            return
        self._draw()

    def _draw(self) -> None:
        make, (width, height), console = self._make, self.size, self.app.console
        if make is None or not self._stale or self._drawing is not None:
            return
        self._stale, self._last = False, time.monotonic()

        def work() -> None:
            label = ""
            try:
                chart = make()
                label = "" if chart is None else chart.title
                text = Text(NOTHING, style="dim") if chart is None else draw(chart, width, height)
            except Exception as error:
                # An exception here would vanish with the thread: the plot says it instead.
                text = Text(f"cannot draw this chart: {type(error).__name__}: {error}")
            lines = list(text.split("\n", allow_blank=True))
            self.post_message(self.Drawn(lines, strips(lines, console), label))

        self._drawing = _DRAWER.submit(work)

    def on_curve_plot_drawn(self, message: Drawn) -> None:
        message.stop()
        self._drawing = None
        if self._make is not None:
            self.put_strips(message.lines, message.built)
        if self._titled:
            self.border_title = message.label
        self.drawings += 1
        if self._stale:
            self._request()

    def on_resize(self) -> None:
        if self._make is not None:
            self._request()

    def action_cursor(self, steps: int, curves: int) -> None:
        self.post_message(CursorMoved(steps, curves))
