"""Which screen shows a run.

Knows the names of screens; a new one is an entry here. Each is imported when it is first wanted, so that the first
frame of the app pays for none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.experiments import EXPERIMENTS
from engine.recipe import Recipe
from engine.results import Event
from engine.sealing import TABLE as SEAL

if TYPE_CHECKING:
    from tui.screens.guest import GuestScreen
    from tui.screens.host import HostScreen

STEERING: Final = "steering"


def screen_of(
    host: HostScreen | None, recipe: Recipe, events: tuple[Event, ...] = (), folder: Path | None = None
) -> GuestScreen:
    """The screen that shows an experiment, computed by the host or from a folder."""
    tables = EXPERIMENTS[recipe.experiment].tables
    if SEAL in tables:
        from tui.screens.blind import BlindScreen

        return BlindScreen(host, recipe, events, folder)
    if recipe.experiment == STEERING:
        from tui.screens.steering import SteeringScreen

        return SteeringScreen(host, recipe, events, folder)
    if tables:
        from tui.screens.map import MapScreen, map_of
        from tui.screens.tables import TablesScreen

        if map_of(tables) is not None:
            return MapScreen(host, recipe, events, folder)
        return TablesScreen(host, recipe, events, folder)
    from tui.screens.experiment import ExperimentScreen

    return ExperimentScreen(host, recipe, events, folder)
