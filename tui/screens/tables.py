"""A run whose results are tables, filling as it computes: rows to sort, and a chart where a table has one.

Shows the events of one run; knows its host, which has it computed. Also shows such a run from disk.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import DataTable, Tab, Tabs

from engine.recipe import Recipe
from engine.results import Event, RowResult
from sessions.chart import Drawable
from sessions.digest import splice_lines
from sessions.maps import MAPS
from sessions.pictures import PICTURES, picture_of
from tui import edits
from tui.screens.guest import RUN_KEYS, GuestScreen
from tui.screens.host import HostScreen
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.rows import cell, in_order

VECTOR: Final = "vector"
"""A column of base64, for recipes rather than for eyes."""
RESORT_SECONDS: Final = 2.0
"""A table that grows is sorted again at most this often."""


class TablesScreen(GuestScreen):
    """Tables of one run.

    Args:
        host, recipe, events, folder, title: as of any guest.
        first: the table to show as soon as it has rows, and the column that it is sorted by.
    """

    HELP = """\
## Tables

Rows of a run as they come, and a picture where a table has one. **tab** goes to the next table, **s** sorts by the next
column (or press a column's head), **r** the other way. What never happens comes last.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "sort", id="tables.sort", tooltip="Sort by the next column"),
        Binding("r", "reverse", "reverse", id="tables.reverse", tooltip="Sort the other way"),
        Binding("a", "add", "add", id="tables.add", tooltip="Add the row's vector to the main screen's directions"),
        Binding("tab", "next_table", "table", id="tables.next", tooltip="The next table", priority=True),
        *RUN_KEYS,
    ]

    def __init__(
        self,
        host: HostScreen | None,
        recipe: Recipe,
        events: tuple[Event, ...] = (),
        folder: Path | None = None,
        title: str = "",
        first: tuple[str, str] | None = None,
    ) -> None:
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self._current = ""
        self._sorts: dict[str, tuple[str, bool]] = {}
        """By table: the column it is sorted by, and whether downwards."""
        self._first = first
        self._drawn: tuple[object, ...] = ()
        self._tabbed = -1
        """Rows when the tabs were last named."""
        self._filled: tuple[object, ...] = ()
        self._ordered = 0.0
        self._leader: GuestScreen | None = None
        self._source: Sequence[Event] = ()
        self._pulled = 0
        super().__init__(host, recipe, events, folder, title)

    def body(self) -> ComposeResult:
        yield Tabs(id="tables-tabs")
        yield CurvePlot(id="tables-plot", titled=True)
        yield DataTable(id="tables-rows", cursor_type="row", zebra_stripes=True)

    def start_focus(self) -> Widget:
        self.query_one("#tables-plot").can_focus = False
        return self.query_one(DataTable)

    @classmethod
    def beside(cls, leader: GuestScreen, events: Sequence[Event]) -> TablesScreen:
        """The tables of a run that another screen shows, growing as long as that does.

        Args:
            leader: whose run it is.
            events: its rows, a list that grows.
        """
        screen = cls(None, leader.recipe, title=leader.heading)
        screen._leader, screen._source = leader, events
        return screen

    def _follow(self, leader: GuestScreen) -> None:
        for event in self._source[self._pulled :]:
            self.result(event)
        self._pulled = len(self._source)
        self.status, self.ended, self.folder = leader.status, leader.ended, leader.folder

    def result(self, event: Event) -> None:
        if isinstance(event, RowResult):
            self.tables.setdefault(event.table, []).append(dict(event.values))

    @property
    def table(self) -> str | None:
        return self._current or None

    def remarks(self) -> list[str]:
        return splice_lines(self.tables.get(self._current, []))

    @property
    def picture(self) -> str | None:
        return self._current if self._current in PICTURES else None

    @property
    def _sorted(self) -> tuple[str, bool] | None:
        return self._sorts.get(self._current)

    # Drawing

    def paint(self) -> None:
        if self._leader is not None:
            self._follow(self._leader)
        total = sum(len(rows) for rows in self.tables.values())
        if total != self._tabbed:
            self._tabbed = total
            self._show_tabs()
        state = (total, self._current, self._sorted, self.ended)
        if not self._current or self._drawn == state:
            return
        self._drawn = state
        rows = self.tables[self._current]
        plot = self.query_one(CurvePlot)
        plot.display = self._current in PICTURES and self._current not in MAPS  # which have a screen of their own
        if plot.display:
            name, tables = self._current, {table: list(held) for table, held in self.tables.items()}
            ascii = self.ascii

            def make() -> Drawable | None:
                made = picture_of(name, tables)
                return None if made is None else replace(made, ascii=ascii)

            plot.show((total, name), make)
        self._fill(rows)

    def _show_tabs(self) -> None:
        tabs = self.query_one(Tabs)
        shown = {tab.id for tab in tabs.query(Tab)}
        for name, rows in self.tables.items():
            if f"table-{name}" not in shown:
                tabs.add_tab(Tab(f"{name} {len(rows)}", id=f"table-{name}"))
            else:
                tabs.query_one(f"#table-{name}", Tab).label = f"{name} {len(rows)}"
        tabs.display = len(self.tables) > 1
        if not self._current and self.tables:
            self._current = next(iter(self.tables))
        if self._first is not None and self._first[0] in self.tables:
            (self._current, column), self._first = self._first, None
            tabs.active = f"table-{self._current}"
            self._sorts[self._current] = (column, False)

    def _fill(self, rows: list[dict[str, Any]]) -> None:
        """Bring the table up to its rows: further ones are added, a sorted table is made again now and then."""
        table = self.query_one(DataTable)
        names = list(dict.fromkeys(name for row in rows for name in row if name != VECTOR))
        what = (self._current, tuple(names), self._sorted)
        if self._sorted is None and what == self._filled:
            for row in rows[table.row_count :]:
                table.add_row(*[cell(name, row.get(name)) for name in names])
            return
        if what == self._filled and time.monotonic() - self._ordered < RESORT_SECONDS and not self.ended:
            return
        self._filled, self._ordered = what, time.monotonic()
        at = table.cursor_row
        table.clear(columns=True)
        for name in names:
            arrow = "" if self._sorted is None or self._sorted[0] != name else (" ↓" if self._sorted[1] else " ↑")
            table.add_column(name.replace("_", " ") + arrow, key=name)
        for row in in_order(rows, self._sorted):
            table.add_row(*[cell(name, row.get(name)) for name in names])
        if at < len(rows):
            table.move_cursor(row=at)

    @on(Tabs.TabActivated)
    def _on_tab(self, event: Tabs.TabActivated) -> None:
        chosen = str(event.tab.id).removeprefix("table-")
        if chosen == self._current:
            return
        self._current = chosen
        self.paint()
        self.refresh_bindings()

    @on(DataTable.HeaderSelected)
    def _on_header(self, event: DataTable.HeaderSelected) -> None:
        self._sort_by(str(event.column_key.value))

    def _sort_by(self, column: str) -> None:
        down = self._sorted is not None and self._sorted[0] == column and not self._sorted[1]
        self._order(column, down)

    def _order(self, column: str, down: bool) -> None:
        self._sorts[self._current] = (column, down)
        self.paint()

    def action_sort(self) -> None:
        rows = self.tables.get(self._current, [])
        if rows:
            names = list(rows[0])
            at = names.index(self._sorted[0]) if self._sorted is not None and self._sorted[0] in names else -1
            self._order(names[(at + 1) % len(names)], False)

    def action_reverse(self) -> None:
        if self._sorted is not None:
            self._order(self._sorted[0], not self._sorted[1])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Vectors are added where rows have some, and where there is something to add them to."""
        if action == "add":
            return self.host is not None and any(VECTOR in row for row in self.tables.get(self._current, [])[:1])
        return super().check_action(action, parameters)

    def action_add(self) -> None:
        rows, at = in_order(self.tables[self._current], self._sorted), self.query_one(DataTable).cursor_row
        host = self.host
        if host is None or not self.ended or not 0 <= at < len(rows):
            self.notify("A vector is added once the run is whole.", severity="warning")
            return
        label, vector = str(rows[at]["label"]), str(rows[at][VECTOR])
        host.change(lambda recipe: edits.with_vector(recipe, label, vector))
        self.notify(label, title="added to the directions of the main screen", markup=False)

    def action_next_table(self) -> None:
        self.query_one(Tabs).action_next_tab()
