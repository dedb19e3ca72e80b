"""Jump mode: a letter on every panel that can have the focus; pressing it goes there. After posting's.

Knows widgets and where they lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual.app import ComposeResult
from textual.events import Key
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Label, Tabs

if TYPE_CHECKING:
    from textual.app import App

LETTERS: Final = "asdfghjklqwertyuiopzxcvbnm"


class Jump(ModalScreen[Widget | None]):
    """Letters over the screen below."""

    DEFAULT_CSS = """
    Jump { background: $background 30%; }
    Jump Label { background: $accent; color: $text; text-style: bold; width: 3; padding: 0 1; position: absolute; }
    Jump #jump-hint { width: auto; dock: bottom; position: relative; background: $panel; }
    """

    def __init__(self, targets: list[Widget]) -> None:
        super().__init__()
        self._targets = dict(zip(LETTERS, targets, strict=False))

    def compose(self) -> ComposeResult:
        for letter, target in self._targets.items():
            label = Label(letter)
            label.styles.offset = (target.region.x, target.region.y)
            yield label
        yield Label("press a letter to go to its panel   esc back", id="jump-hint")

    def on_key(self, event: Key) -> None:
        event.stop()
        self.dismiss(self._targets.get(event.character or ""))


def jump(app: App[None]) -> None:
    """Ask which panel has the focus next."""
    below = app.screen
    targets = [w for w in below.focus_chain if w.region.width > 0 and not isinstance(w, Tabs)]

    def use(target: Widget | None) -> None:
        if target is not None:
            below.set_focus(target)

    app.push_screen(Jump(targets), use)
