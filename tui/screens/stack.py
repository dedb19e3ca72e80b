"""Which screen plays, of all that lie on each other.

Knows the stack of screens; imports none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from textual.app import App

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen


def playing(app: App[Any]) -> ProbeScreen | None:
    """The screen that plays a replay, if one does."""
    shown = [screen for screen in app.screen_stack if getattr(screen, "player", None) is not None]
    return cast("ProbeScreen", shown[-1]) if shown else None
