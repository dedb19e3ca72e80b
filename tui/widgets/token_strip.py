"""The tokens of the prompt on one line; left and right pick the base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.widget import Widget

from tui.messages import PositionPicked


class TokenStrip(Widget, can_focus=True):
    """Shows token strings, the base in brackets, and scrolls to keep it in sight."""

    HELP = """\
## Tokens

The prompt as the model sees it, BOS included. The token in brackets is the **base**: the position whose residual
stream is perturbed.

- **left / right** (or h / l) pick another token
- **home / end** the first or last token
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "move(-1)", "token", id="token.left", tooltip="Base one token to the left"),
        Binding("right,l", "move(1)", "token", show=False, id="token.right", tooltip="Base one token to the right"),
        Binding("home", "jump(0)", "first token", show=False, id="token.first"),
        Binding("end", "jump(-1)", "last token", show=False, id="token.last"),
    ]
    DEFAULT_CSS = """
    TokenStrip { height: 1; }
    """

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._tokens: Sequence[str] = ()
        self._position = 0
        self._spans: list[tuple[int, int]] = []

    def show(self, tokens: Sequence[str], position: int) -> None:
        """Show these tokens with this base."""
        if (tuple(tokens), position) != (tuple(self._tokens), self._position):
            self._tokens, self._position = tuple(tokens), position
            self.refresh()

    def action_move(self, by: int) -> None:
        self._pick(self._position + by)

    def action_jump(self, to: int) -> None:
        self._pick(to % len(self._tokens) if self._tokens else 0)

    def _pick(self, position: int) -> None:
        if 0 <= position < len(self._tokens) and position != self._position:
            self._position = position
            self.refresh()
            self.post_message(PositionPicked(position))

    def on_click(self, event: Click) -> None:
        for i, (start, end) in enumerate(self._spans):
            if start <= event.x < end:
                self._pick(i)

    def render(self) -> RenderResult:
        if not self._tokens:
            return Text("tokens appear with the run", style="dim")
        label = "tokens ▸" if self.has_focus else "tokens  "
        pieces = [_visible(token) for token in self._tokens]
        widths = [len(p) + 2 for p in pieces]
        room = max(10, self.size.width - len(label) - 3)
        first = 0
        while sum(widths[first : self._position + 1]) > room:
            first += 1
        line = Text(label, style="dim", no_wrap=True, end="")
        line.append("…" if first else " ", style="dim")
        self._spans = [(0, 0)] * first
        for i in range(first, len(pieces)):
            start = line.cell_len
            if i == self._position:
                line.append(f"[{pieces[i]}]", style="bold reverse" if self.has_focus else "bold underline")
            else:
                line.append(f" {pieces[i]} ", style="" if i % 2 else "dim")
            self._spans.append((start, line.cell_len))
        return line


def _visible(token: str) -> str:
    """A token without blanks that a terminal would swallow."""
    if token == "<|endoftext|>":
        return "BOS"
    shown = token.replace("\n", "⏎").replace("\t", "⇥")
    return shown[1:] if len(shown) > 1 and shown.startswith(" ") else shown.replace(" ", "␣")
