"""The keys that work now, along the bottom of a screen.

Knows Textual's footer; nothing of what the keys do.
"""

from __future__ import annotations

from textual.widgets import Footer


class KeyBar(Footer):
    """A footer of one line that forgets the keys it no longer shows.

    Textual's footer makes its keys anew whenever the focus moves and never lets go of the old ones: each watches the
    footer for a change of its compactness, and such watchers are cleared only when that change comes.
    """

    def __init__(self) -> None:
        super().__init__(show_command_palette=False, compact=True)

    async def recompose(self) -> None:
        """Make the keys anew."""
        await super().recompose()
        self.mutate_reactive(Footer.compact)
