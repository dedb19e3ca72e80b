"""Putting recorded events on the main screen: a stored run at once, a replay at its pace.

Knows run folders and players; no worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.widgets import Input

from engine.errors import DirscopeError
from engine.results import RunStarted
from sessions.reader import read_run
from tui.picture import Picture
from tui.widgets.direction_list import DirectionList

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen

PACE_SECONDS: Final = 1 / 20
TABLES_ONLY: Final = "This run holds tables instead of curves: {}; dirscope export RUN --format md prints them."


def show_stored(screen: ProbeScreen, folder: Path) -> None:
    """Show a run from disk, whole and at once."""
    try:
        run = read_run(folder)
    except DirscopeError as error:
        screen.complain(str(error))
        return
    screen.recipe, screen.folder = run.recipe, folder
    screen.picture = screen.drawn = Picture()
    screen.beside = None
    screen.cursor_moved = False
    screen.query_one("#prompt", Input).value = run.recipe.site.prompt
    for _, event in run.events:
        screen.take(event)
    if not screen.picture.ended:
        screen.picture = replace(screen.picture, ended=True, status="was cut off")
    if run.tables and not run.curves:
        screen.complain(TABLES_ONLY.format(folder / "tables"))
    screen.query_one(DirectionList).show(screen.recipe, screen.features)


def warn_of_sae(screen: ProbeScreen, info: Mapping[str, Any]) -> None:
    """Say aloud, once, that an SAE is suspect: at the end of a line it might not be seen."""
    for text in info.get("warnings", []):
        if "SAE" in text and text not in screen.warned:
            screen.warned.add(text)
            screen.notify(text, title="check this SAE", severity="warning", timeout=12, markup=False)


def play(screen: ProbeScreen) -> None:
    """Feed a player's events at their pace."""
    screen.playing = screen.set_interval(PACE_SECONDS, lambda: _play_due(screen))


def _play_due(screen: ProbeScreen) -> None:
    player = screen.player
    if player is None:
        return
    for event in player.due():
        if isinstance(event, RunStarted) and player.recipe != screen.recipe:
            screen.recipe = player.recipe
            screen.query_one("#prompt", Input).value = screen.recipe.site.prompt
            screen.query_one(DirectionList).show(screen.recipe, screen.features)
        screen.folder = player.folder
        screen.take(event)
    if player.finished and screen.playing is not None:
        screen.playing.stop()
        screen.playing = None
        screen.mark_stale()


def play_again(screen: ProbeScreen) -> None:
    """Play a replay from its beginning."""
    if screen.player is not None:
        screen.player.restart()
        screen.picture = screen.drawn = Picture()
        if screen.playing is None:
            play(screen)
