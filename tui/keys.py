"""Every key of every screen, by the id of what it does: for the configured keymap and the generated page of keys.

Knows which classes have bindings; a new screen or panel is one more line of `PLACES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from textual.binding import Binding, BindingType
from textual.keys import Keys

from engine.errors import UsageError, did_you_mean
from tui.everywhere import EVERYWHERE
from tui.screens.blind import BlindScreen
from tui.screens.experiment import ExperimentScreen
from tui.screens.map import MapScreen
from tui.screens.probe import ProbeScreen
from tui.screens.sessions import SessionsScreen
from tui.screens.steering import SteeringScreen
from tui.screens.tables import TablesScreen
from tui.screens.workbench import Workbench
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.direction_list import DirectionList
from tui.widgets.token_strip import TokenStrip

PLACES: Final[Mapping[str, list[BindingType]]] = {
    "everywhere": [action.binding for action in EVERYWHERE.values()],
    "main screen": list(ProbeScreen.BINDINGS),
    "tokens": list(TokenStrip.BINDINGS),
    "directions": list(DirectionList.BINDINGS),
    "plot": list(CurvePlot.BINDINGS),
    "experiment": list(ExperimentScreen.BINDINGS),
    "tables": list(TablesScreen.BINDINGS),
    "map": list(MapScreen.BINDINGS),
    "blind test": list(BlindScreen.BINDINGS),
    "features": list(Workbench.BINDINGS),
    "steering": list(SteeringScreen.BINDINGS),
    "sessions": list(SessionsScreen.BINDINGS),
}
"""Bindings by where they work."""
QUIT: Final = "ctrl+q"
TAKEN: Final = {
    "ctrl+c": "copies a selection",
    "ctrl+p": "opens the palette",
    "ctrl+z": "suspends a program",
    "ctrl+h": "is what many terminals send for backspace",
    "ctrl+i": "is what terminals send for tab",
    "ctrl+m": "is what terminals send for enter",
    "ctrl+j": "is what terminals send for a new line",
    "ctrl+b": "is tmux's prefix",
    "ctrl+a": "is screen's prefix",
}
"""Keys that never arrive, or mean something else."""


def every_binding() -> Iterator[tuple[str, Binding]]:
    """Where it works, and the binding."""
    for place, bindings in PLACES.items():
        for binding in bindings:
            if isinstance(binding, Binding):
                yield place, binding


def keymap(wanted: Mapping[str, str]) -> dict[str, str]:
    """A configured keymap, checked: ids to keys.

    Raises:
        UsageError: An id is unknown, a key cannot be had or is another action's in the same place.
    """
    known = {binding.id: place for place, binding in every_binding() if binding.id}
    for action, keys in wanted.items():
        if action == "quit":
            raise UsageError(f"keys.quit: quitting stays on {QUIT}, so that it cannot be lost.")
        if action not in known:
            raise UsageError(f"keys: there is nothing called '{action}' to give a key{did_you_mean(action, known)}")
        for key in _keys(keys):
            _check(action, key)
    places: dict[tuple[str, str], str] = {}
    for place, binding in every_binding():
        for key in _keys(wanted.get(binding.id or "", binding.key)):
            other = places.setdefault((place, key), binding.id or "")
            if other != (binding.id or "") and {other, binding.id} & set(wanted):
                raise UsageError(
                    f"keys: on '{place}', {key} would be both {other} and {binding.id}: move the other too."
                )
    return dict(wanted)


def _keys(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",") if key.strip()]


def _check(action: str, key: str) -> None:
    if key == QUIT:
        raise UsageError(f"keys.{action}: {QUIT} quits, which cannot be taken away.")
    if key in TAKEN:
        raise UsageError(f"keys.{action}: {key} {TAKEN[key]}: choose another key.")
    plain = key.rsplit("+", 1)[-1]
    named = {k.value for k in Keys}
    if len(plain) > 1 and plain not in named and not plain.replace("_", "").isalpha():
        raise UsageError(f"keys.{action}: '{key}' is no name of a key, such as p, P, f5, left, ctrl+g, comma or slash.")
