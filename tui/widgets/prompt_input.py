"""The prompt line: an input that says what it leaves out of a paste."""

from __future__ import annotations

from textual.events import Paste
from textual.widgets import Input


class PromptInput(Input):
    """One line of text; a recipe can hold a prompt of several."""

    HELP = """\
## Prompt

What the model reads. Curves follow while you type; **enter** goes back to the tokens. A prompt of several lines goes
into a recipe (`--batch`), since this line shows one.
"""

    def _on_paste(self, event: Paste) -> None:
        lines = event.text.splitlines()
        if len(lines) > 1:
            self.notify(f"Only the first of {len(lines)} lines was pasted: a recipe can hold them all.")
        super()._on_paste(event)
