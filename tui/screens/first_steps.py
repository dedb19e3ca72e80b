"""The line that tells somebody who is new what to press, and somebody who replays which keys play.

Knows hints and the main screen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tui.hints import Hints

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen

REPLAYING: Final = "replay: space pauses, , . step, < > set the speed, [ ] scrub, { } skip runs, enter goes on live"


def line(screen: ProbeScreen) -> str:
    """What is said; empty where nothing has to be."""
    if screen.player is not None:
        return REPLAYING
    hints = _hints(screen)
    return "" if hints is None else hints.line


def followed(screen: ProbeScreen, what: str) -> None:
    """What a hint may have been about was done."""
    hints = _hints(screen)
    if hints is not None and hints.did(what):
        screen.mark_stale()


def _hints(screen: ProbeScreen) -> Hints | None:
    found = getattr(screen.app, "hints", None)
    return found if isinstance(found, Hints) else None
