"""Maps of one run, refining as they are computed: places of a plane by shade, and what is known at the cursor.

Shows the events of one run; knows maps and surfaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType

from engine.printable import printable
from engine.recipe import Recipe
from engine.results import Event, RowResult
from sessions.chart import Drawable, Surface
from sessions.maps import MAPS, concluded_of, told_of
from sessions.raster import within
from tui.messages import CursorMoved
from tui.screens.beside import READ_ON, BesideScreen
from tui.screens.guest import RUN_KEYS
from tui.screens.host import HostScreen
from tui.screens.tables import TablesScreen

STEPS = 32
"""Of the cursor across a map."""


def map_of(names: Mapping[str, object]) -> str | None:
    """The table of an experiment that is a map; None where none is."""
    return next((name for name in names if name in MAPS), None)


class MapScreen(BesideScreen):
    """One map at a time."""

    HELP = """\
## Map

Coarse places first; each is drawn like the nearest one that is known, until it is measured itself. The arrows move the
cursor, **shift** by four steps; what is known there stands beside the map. **tab** colours by the next number, **g**
goes to the next map of the run, **n** shows the rows as tables, with what was concluded from them.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "next_shade(1)", "colour", id="map.shade", tooltip="Colour by the next number", priority=True),
        Binding("shift+tab", "next_shade(-1)", show=False, id="map.shade-back", priority=True),
        Binding("g", "next_group", "map", id="map.group", tooltip="The next map of this run"),
        Binding("n", "numbers", "numbers", id="map.numbers", tooltip="The rows, and what was concluded from them"),
        Binding("m", "to_minimum", "minimum", id="map.minimum", tooltip="The cursor to the smallest number"),
        *RUN_KEYS,
        *READ_ON,
    ]

    def __init__(
        self, host: HostScreen | None, recipe: Recipe, events: tuple[Event, ...] = (), folder: Path | None = None
    ) -> None:
        from engine.experiments import EXPERIMENTS

        name = map_of(EXPERIMENTS[recipe.experiment].tables)
        assert name is not None
        self.name_of_map = name
        self.map = MAPS[name]
        self.events: list[RowResult] = []
        self.rows: list[dict[str, Any]] = []
        self.group = 0
        self.shade = 0
        self.cursor: tuple[float, float] | None = None
        self._followed = True
        """Whether the newest map is shown, while they come."""
        self._drawn: tuple[object, ...] = ()
        self._made: tuple[tuple[int, int, int], Surface] | None = None
        super().__init__(host, recipe, events, folder)
        self._followed = folder is None

    def result(self, event: Event) -> None:
        if isinstance(event, RowResult):
            self.events.append(event)
            if event.table == self.name_of_map:
                self.rows.append(dict(event.values))

    @property
    def picture(self) -> str:
        return self.name_of_map

    @property
    def chart(self) -> Drawable | None:
        return self._surface() if self.rows else None

    def _surface(self) -> Surface:
        """The map on the screen, without its cursor: made again only when it is another."""
        of = (len(self.rows), self.group, self.shade)
        if self._made is None or self._made[0] != of:
            self._made = of, self.map.surface(self.shown, self.map.shades[self.shade])
        return self._made[1]

    @property
    def table(self) -> str:
        return self.name_of_map

    @property
    def shown(self) -> list[Mapping[str, Any]]:
        """The rows of the map on the screen."""
        return self.map.of(self.rows, self.group) if self.rows else []

    def paint(self) -> None:
        if not self.rows:
            return
        if self._followed and not self.ended:
            self.group = len(self.map.groups(self.rows)) - 1
        state = (len(self.rows), len(self.events), self.group, self.shade, self.cursor, self.ascii)
        if state == self._drawn:
            return
        self._drawn = state
        rows = self.shown
        self.cursor = self._kept_on(self.cursor or self.map.place(rows[0]))
        surface, cursor, ascii = self._surface(), self.cursor, self.ascii

        def make() -> Drawable:
            return replace(surface, cursor=cursor, ascii=ascii)

        self.plot.show((state,), make)
        self.tell(self._told(rows))

    def _told(self, rows: list[Mapping[str, Any]]) -> Text:
        assert self.cursor is not None
        groups = len(self.map.groups(self.rows))
        lines = [f"map {self.group % groups + 1} of {groups}, {len(rows)} places", ""]
        lines += told_of(self.name_of_map, rows[self._surface().nearest(*self.cursor)])
        lines += self._concluded(rows)
        return Text("\n".join(printable(line) for line in lines))

    def _concluded(self, rows: list[Mapping[str, Any]]) -> list[str]:
        """What the other tables say of this map."""
        of = self.map.group
        found = [e for e in self.events if e.table != self.name_of_map and e.values.get(of) == rows[0][of]]
        lines = []
        for event in found:
            lines += ["", *concluded_of(self.name_of_map, event.values)]
        return lines

    def _kept_on(self, at: tuple[float, float]) -> tuple[float, float]:
        """A place of the map: itself, or the known one nearest to it."""
        rows = self.shown
        corners = np.array(self.map.outline(rows), dtype=float)
        if within(np.array([at]), corners, 1e-9 * float(np.ptp(corners)))[0]:
            return at
        return self.map.place(rows[self._surface().nearest(*at)])

    @on(CursorMoved)
    def _on_cursor(self, message: CursorMoved) -> None:
        if not self.rows or self.cursor is None:
            return
        corners = self.map.outline(self.shown)
        found = []
        for axis, steps in ((0, message.steps), (1, -message.curves)):
            low, high = (f(c[axis] for c in corners) for f in (min, max))
            by = max(-4, min(4, steps)) * (high - low) / STEPS
            found.append(min(high, max(low, self.cursor[axis] + by)))
        self.cursor = self._kept_on((found[0], found[1]))
        self.paint()

    def action_to_minimum(self) -> None:
        column = self.map.shades[self.shade].column
        known = [row for row in self.shown if isinstance(row[column], int | float)]
        if known:
            self.cursor = self.map.place(min(known, key=lambda row: float(row[column])))
            self.paint()

    def action_next_shade(self, by: int) -> None:
        self.shade = (self.shade + by) % len(self.map.shades)
        self.paint()

    def action_next_group(self) -> None:
        if self.rows:
            self._followed = False
            self.group = (self.group + 1) % len(self.map.groups(self.rows))
            self.paint()

    def action_numbers(self) -> None:
        """The rows, as they come."""
        self.app.push_screen(TablesScreen.beside(self, self.events))
