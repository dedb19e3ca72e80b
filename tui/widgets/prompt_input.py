"""The prompt's line: says what was typed once typing pauses, and what is left out of a paste."""

from __future__ import annotations

from typing import Final

from textual import on
from textual.events import Paste
from textual.timer import Timer
from textual.widgets import Input

from tui.messages import PromptTyped

PAUSE_SECONDS: Final = 0.3


class PromptInput(Input):
    """One line of text; a recipe can hold a prompt of several."""

    HELP = """\
## Prompt

What the model reads. Curves follow while you type; **enter** goes back to the tokens. A prompt of several lines goes
into a recipe (`--batch`), since this line shows one.
"""

    def __init__(self, value: str, id: str, compact: bool, select_on_focus: bool) -> None:
        super().__init__(value, id=id, compact=compact, select_on_focus=select_on_focus)
        self._typing: Timer | None = None

    def _stop(self) -> None:
        if self._typing is not None:
            self._typing.stop()
            self._typing = None

    @on(Input.Changed)
    def _on_typed(self, event: Input.Changed) -> None:
        self._stop()
        self._typing = self.set_timer(PAUSE_SECONDS, lambda: self._say(done=False))

    @on(Input.Submitted)
    def _on_done(self) -> None:
        self._say(done=True)

    def _on_paste(self, event: Paste) -> None:
        lines = event.text.splitlines()
        if len(lines) > 1:
            self.notify(f"Only the first of {len(lines)} lines was pasted: a recipe can hold them all.")
        super()._on_paste(event)

    def _say(self, done: bool) -> None:
        self._stop()
        self.post_message(PromptTyped(self.value, done))
