"""A widget of ready-made lines: what is drawn is built when it changes, and the event loop only picks it up.

Textual's own way from text to the screen wraps and styles it again at every frame, which holds the event loop up under
load. Knows lines; not what they say.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.style import Style
from rich.text import Text
from textual.strip import Strip
from textual.widget import Widget


def strips(lines: Sequence[Text], console: Console) -> list[Strip]:
    """Lines as Textual draws them; any thread may build them."""
    return [Strip(line.render(console), line.cell_len) for line in lines]


class Lines(Widget):
    """Shows lines, cut off at its edge."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: list[Text] = []
        self._strips: list[Strip] = []
        self._ground: Style | None = None

    def put(self, lines: Sequence[Text]) -> None:
        """Show these lines; the same ones again draw nothing."""
        new = list(lines)
        if [(t.plain, t.style, t.spans) for t in new] != [(t.plain, t.style, t.spans) for t in self._shown]:
            self.put_strips(new, strips(new, self.app.console))

    def put_strips(self, lines: list[Text], built: list[Strip]) -> None:
        """Show lines that were built elsewhere."""
        self._shown, self._strips = lines, built
        self.refresh()

    @property
    def plain(self) -> str:
        """What is shown, without colours."""
        return "\n".join(line.plain for line in self._shown)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if self._ground is None:
            self._ground = self.rich_style
        if y >= len(self._strips):
            return Strip.blank(width, self._ground)
        return self._strips[y].adjust_cell_length(width).apply_style(self._ground)

    def notify_style_update(self) -> None:
        self._ground = None
        super().notify_style_update()
