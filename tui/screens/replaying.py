"""Playing recorded runs on the main screen: pace, pause, step, speed, scrubbing, and going on live from any place.

Knows players and screens; the player knows what is due.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from textual.widgets import Input

from engine.errors import DirscopeError
from engine.experiments import EXPERIMENTS
from engine.results import RunEnded, RunStarted
from tui.messages import Branched
from tui.picture import Picture
from tui.player import Player
from tui.screens.opening import screen_of
from tui.widgets.direction_list import DirectionList

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen

PACE_SECONDS: Final = 1 / 20


def play(screen: ProbeScreen) -> None:
    """Feed a player's events at their pace."""
    if screen.playing is None:
        screen.playing = screen.set_interval(PACE_SECONDS, lambda: _play_due(screen))


def _play_due(screen: ProbeScreen) -> None:
    player = screen.player
    if player is None:
        return
    for event in player.due():
        if isinstance(event, RunStarted):
            _set_stage(screen, player)
        if screen.stage is not None:
            screen.folder = player.folder
            screen.stage[1].take(event)
            if isinstance(event, RunEnded):
                screen.stage[1].kept(player.folder)
            continue
        if isinstance(event, RunStarted) and player.recipe != screen.recipe:
            screen.recipe = player.recipe
            screen.query_one("#prompt", Input).value = screen.recipe.site.prompt
            screen.query_one(DirectionList).show(screen.recipe, screen.features)
        screen.folder = player.folder
        screen.take(event)
    screen.mark_stale(patient=True)  # the time in the status line goes on
    if player.finished and screen.playing is not None:
        screen.playing.stop()
        screen.playing = None
        screen.mark_stale()


def _set_stage(screen: ProbeScreen, player: Player) -> None:
    """A run of tables is played on a screen of its own, over the curves of the runs before it."""
    if screen.stage is not None and screen.stage[0] == player.folder:
        return  # it was stopped, and goes on
    _clear_stage(screen)
    if EXPERIMENTS[player.recipe.experiment].tables:
        stage = screen_of(None, player.recipe)
        screen.stage = player.folder, stage
        screen.app.push_screen(stage)


def _clear_stage(screen: ProbeScreen) -> None:
    """Take away what the run before was shown on."""
    screen.stage = None
    stack = screen.app.screen_stack
    for _ in stack[stack.index(screen) + 1 :]:
        screen.app.pop_screen()


def _moved(screen: ProbeScreen, back: bool) -> None:
    """The player went somewhere else; what is shown is built again where it went back."""
    if back:
        screen.picture = screen.drawn = Picture()
        _clear_stage(screen)
    play(screen)
    _play_due(screen)
    screen.mark_stale()


def again(screen: ProbeScreen) -> None:
    """Play from the beginning; on the live screen, the run that is shown, over it."""
    if screen.player is not None:
        screen.player.restart()
        _moved(screen, back=True)
        return
    folder = screen.whole_run("replayed")
    if folder is None:
        return
    try:
        player = Player([folder])
    except DirscopeError as error:
        screen.complain(str(error))
    else:
        show_player(screen, player)


def show_player(screen: ProbeScreen, player: Player) -> None:
    """Play over the live screen, looked at in the same way."""
    over = type(screen)(player.recipe, None, None, player)
    over.view = replace(screen.view, curve=0, step=0)
    screen.app.push_screen(over)


def pause(screen: ProbeScreen) -> None:
    """Stop where it is, or go on."""
    if screen.player is not None:
        again_from_start = screen.player.finished
        screen.player.pause()
        _moved(screen, back=again_from_start)


def step(screen: ProbeScreen, by: int) -> None:
    """One result further or back."""
    if screen.player is not None:
        _moved(screen, screen.player.step(by))


def scrub(screen: ProbeScreen, share: float) -> None:
    """A share of the whole further or back."""
    if screen.player is not None:
        _moved(screen, screen.player.seek(screen.player.place + share * screen.player.total))


def skip(screen: ProbeScreen, by: int) -> None:
    """To the run before or after."""
    if screen.player is not None:
        _moved(screen, screen.player.skip(by))


def faster(screen: ProbeScreen, factor: float) -> None:
    """Play faster or slower."""
    if screen.player is not None:
        screen.player.faster(factor)
        screen.mark_stale()


def branch(screen: ProbeScreen) -> None:
    """Go on live from the run that is playing: it is shown whole, and what is changed now is computed."""
    player = screen.player
    if player is None:
        return
    folder: Path = player.folder
    if screen.playing is not None:
        screen.playing.stop()
        screen.playing = None
    screen.app.post_message(Branched(folder))
