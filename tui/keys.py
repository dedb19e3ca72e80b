"""Every key of every screen, by the id of what it does: for the configured keymap and the generated page of keys.

Knows which classes have bindings; a new screen or panel is one more line of `PLACES`.
"""

from __future__ import annotations

import string
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
PANELS: Final = ("tokens", "directions", "plot")
"""Of the main screen: its keys work there too."""
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


def _names() -> frozenset[str]:
    """Every key that a terminal sends: characters, and those with names."""
    characters = Binding.make_bindings([Binding(c, "x") for c in string.printable if not c.isspace() and c != ","])
    return frozenset({b.key for b in characters} | {"comma"} | {key.value for key in Keys if "<" not in key.value})


NAMES: Final = _names()


def every_binding() -> Iterator[tuple[str, Binding]]:
    """Where it works, and the binding."""
    for place, bindings in PLACES.items():
        for binding in bindings:
            if isinstance(binding, Binding):
                yield place, binding


def keymap(wanted: Mapping[str, str]) -> dict[str, str]:
    """A configured keymap, checked: ids to keys by the names that Textual has for them.

    Raises:
        UsageError: An id is unknown, a key cannot be had or is another action's where both work.
    """
    known = {binding.id: place for place, binding in every_binding() if binding.id}
    found: dict[str, str] = {}
    for action, keys in wanted.items():
        if action == "quit":
            raise UsageError(f"keys.quit: quitting stays on {QUIT}, so that it cannot be lost.")
        if action not in known:
            raise UsageError(f"keys: there is nothing called '{action}' to give a key{did_you_mean(action, known)}")
        found[action] = ",".join(_named(action, key) for key in keys.split(","))
    for place in PLACES:
        _check_apart(place, found)
    return found


def _check_apart(place: str, wanted: Mapping[str, str]) -> None:
    """Refuse a key that would mean two things in a place or in what lies below it."""
    together = {place, "everywhere"} | ({"main screen"} if place in PANELS else set())
    meaning: dict[str, str] = {}
    for where, binding in every_binding():
        id = binding.id or ""
        for key in wanted.get(id, binding.key).split(",") if where in together else ():
            other = meaning.setdefault(key, id)
            if other != id and {other, id} & set(wanted):
                raise UsageError(
                    f"keys: on '{place}', {key} would be both {other} and {id}: give the other another key."
                )


def _named(action: str, key: str) -> str:
    """The key by the name that Textual has for it."""
    key = key.strip()
    named = next(iter(Binding.make_bindings([Binding(key, "x")]))).key if key else ""
    if named == QUIT:
        raise UsageError(f"keys.{action}: {QUIT} quits, which cannot be taken away.")
    if named in TAKEN:
        raise UsageError(f"keys.{action}: {named} {TAKEN[named]}: choose another key.")
    if named not in NAMES:
        raise UsageError(f"keys.{action}: '{key}' is no key, such as p, P, f5, left, ctrl+g, comma or ?.")
    return named
