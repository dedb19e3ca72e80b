"""Which screen shows a run.

Knows screens; a new one is an entry here.
"""

from __future__ import annotations

from pathlib import Path

from engine.experiments import EXPERIMENTS
from engine.recipe import Recipe
from engine.results import Event
from engine.sealing import TABLE as SEAL
from tui.screens.blind import BlindScreen
from tui.screens.experiment import ExperimentScreen
from tui.screens.guest import GuestScreen
from tui.screens.host import HostScreen
from tui.screens.map import MapScreen, map_of
from tui.screens.steering import SteeringScreen
from tui.screens.tables import TablesScreen

STEERING = "steering"


def screen_of(
    host: HostScreen | None, recipe: Recipe, events: tuple[Event, ...] = (), folder: Path | None = None
) -> GuestScreen:
    """The screen that shows an experiment, computed by the host or from a folder."""
    tables = EXPERIMENTS[recipe.experiment].tables
    if SEAL in tables:
        return BlindScreen(host, recipe, events, folder)
    if map_of(tables) is not None:
        return MapScreen(host, recipe, events, folder)
    if recipe.experiment == STEERING:
        return SteeringScreen(host, recipe, events, folder)
    if tables:
        return TablesScreen(host, recipe, events, folder)
    return ExperimentScreen(host, recipe, events, folder)
