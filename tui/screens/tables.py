"""A run whose results are tables, filling as it computes: rows to sort, and a chart where a table has one.

Shows the events of one run; knows its host, which has it computed. Also shows such a run from disk.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static, Tab, Tabs

from engine.recipe import Recipe
from engine.results import Event, Note, Progress, RowResult, RunEnded, RunStarted
from sessions.chart import Chart
from sessions.digest import splice_lines
from sessions.pictures import PICTURES, picture_of
from sessions.printable import printable
from sessions.reader import recorded_status
from sessions.timeleft import TimeLeft
from tui.screens import running
from tui.screens.dialogs import Help
from tui.screens.host import HostScreen
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.rows import cell, in_order

REFRESH_SECONDS: Final = 1 / 4
RESORT_SECONDS: Final = 2.0
"""A table that grows is sorted again at most this often."""


class TablesScreen(Screen[None]):
    """Tables of one run.

    Args:
        host: has it computed; None where the run is on disk.
        recipe: what to compute.
        title: what it is, for people.
        rows: of a run on disk.
        first: the table to show as soon as it has rows, and the column that it is sorted by.
        folder: of a run on disk.
    """

    VERTICAL_BREAKPOINTS = [(0, "-short"), (22, "-tall")]  # noqa: RUF012 (an instance variable upstream)
    HELP = """\
## Tables

Rows of a run as they come, and a picture where a table has one. **tab** goes to the next table, **s** sorts by the next
column (or press a column's head), **r** the other way. What never happens comes last.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "back", id="tables.back", tooltip="Stop what runs and go back"),
        Binding("s", "sort", "sort", id="tables.sort", tooltip="Sort by the next column"),
        Binding("r", "reverse", "reverse", id="tables.reverse", tooltip="Sort the other way"),
        Binding("t", "edit", "edit", id="tables.edit", tooltip="Edit bases, directions, path and options as TOML"),
        Binding("space", "pause", "stop/go on", id="tables.pause", tooltip="Stop, keeping all; or go on from there"),
        Binding("e", "export", "export", id="tables.export", tooltip="A report, a picture or the numbers"),
        Binding("question_mark,f1", "help", "help", id="tables.help", tooltip="What is shown and every key"),
        Binding("tab", "next_table", "table", id="tables.next", tooltip="The next table", priority=True),
    ]

    def __init__(
        self,
        host: HostScreen | None,
        recipe: Recipe,
        title: str,
        rows: list[RowResult] | None = None,
        first: tuple[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__()
        self._host = host
        self.recipe = recipe
        self._title = title
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self._status = "starting"
        self._notes: list[str] = []
        self._current = ""
        self._sorts: dict[str, tuple[str, bool]] = {}
        """By table: the column it is sorted by, and whether downwards."""
        self._first = first
        self._drawn: tuple[object, ...] = ()
        self._tabbed = -1
        """Rows when the tabs were last named."""
        self._said = ("", "")
        """What stands around the table."""
        self._filled: tuple[object, ...] = ()
        self._ordered = 0.0
        self.folder = folder
        """Of the run, once it is on disk to its end."""
        self._left = ""
        self._time = TimeLeft()
        self.ended = rows is not None
        """Whether the run is over."""
        for row in rows or []:
            self.take(row)
        if rows is not None:
            self._status = "from disk"

    def compose(self) -> ComposeResult:
        yield Static(id="tables-head", markup=False)
        yield Tabs(id="tables-tabs")
        with Vertical(id="tables-body"):
            yield CurvePlot(id="tables-plot", titled=True)
            yield DataTable(id="tables-rows", cursor_type="row", zebra_stripes=True)
        yield Static(id="tables-notes", markup=False)
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.query_one("#tables-plot").can_focus = False
        self.query_one(DataTable).focus()
        self.set_interval(REFRESH_SECONDS, self._paint)
        if self._host is not None and not self.ended:
            self._host.run_for(self, self.recipe)
        self._paint()

    @property
    def _sorted(self) -> tuple[str, bool] | None:
        return self._sorts.get(self._current)

    # What the host passes on

    def take(self, event: Event) -> None:
        """One more event of the run."""
        match event:
            case RowResult(table, values):
                self.tables.setdefault(table, []).append(dict(values))
            case Progress(text, done, total):
                self._status = f"{text}: {done} of {total}" if total else text
                self._left = self._time.after(done, total, time.monotonic()) if total else ""
            case Note(text):
                self._notes.append(text)
            case RunStarted(info):
                self._notes += list(info.get("warnings", []))
            case RunEnded(status, why):
                self._status, self._left = why or status, ""
                self.ended = True
            case _:
                pass

    def kept(self, folder: Path) -> None:
        """The run is whole on disk."""
        self.folder = folder
        stopped = recorded_status(folder) != "done"
        self._status = f"stopped {folder.name}, space goes on" if stopped else f"saved {folder.name}"

    def failed(self, why: str) -> None:
        """The run ended in an error."""
        self._status, self._left = "failed", ""
        self.ended = True
        self._notes.append(why)

    # Drawing

    def _paint(self) -> None:
        total = sum(len(rows) for rows in self.tables.values())
        self._say()
        if total != self._tabbed:
            self._tabbed = total
            self._show_tabs()
        state = (total, self._current, self._sorted, self.ended)
        if not self._current or self._drawn == state:
            return
        self._drawn = state
        rows = self.tables[self._current]
        plot = self.query_one(CurvePlot)
        plot.display = self._current in PICTURES
        if plot.display:
            name, tables = self._current, {table: list(held) for table, held in self.tables.items()}
            ascii = self._host is not None and self._host.ascii

            def make() -> Chart | None:
                made = picture_of(name, tables)
                return None if made is None else replace(made, ascii=ascii)

            plot.show((total, name), make)
        self._fill(rows)

    def _say(self) -> None:
        """Bring the lines around the table up to date; whatever has not changed is left alone."""
        left = f" · {self._left}" if self._left else ""
        lines = [*self._notes, *splice_lines(self.tables.get(self._current, []))]
        said = (f" {printable(self._status)}{left} · {self._title}", "\n".join(printable(n) for n in lines))
        if said != self._said:
            self._said = said
            self.query_one("#tables-head", Static).update(said[0])
            notes = self.query_one("#tables-notes", Static)
            notes.update(said[1])
            notes.display = bool(lines)

    def _show_tabs(self) -> None:
        tabs = self.query_one(Tabs)
        shown = {tab.id for tab in tabs.query(Tab)}
        for name, rows in self.tables.items():
            if f"table-{name}" not in shown:
                tabs.add_tab(Tab(name, id=f"table-{name}"))
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
        names = list(dict.fromkeys(name for row in rows for name in row))
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
        self._paint()

    @on(DataTable.HeaderSelected)
    def _on_header(self, event: DataTable.HeaderSelected) -> None:
        self._sort_by(str(event.column_key.value))

    def _sort_by(self, column: str) -> None:
        down = self._sorted is not None and self._sorted[0] == column and not self._sorted[1]
        self._order(column, down)

    def _order(self, column: str, down: bool) -> None:
        self._sorts[self._current] = (column, down)
        self._paint()

    def action_sort(self) -> None:
        rows = self.tables.get(self._current, [])
        if rows:
            names = list(rows[0])
            at = names.index(self._sorted[0]) if self._sorted is not None and self._sorted[0] in names else -1
            self._order(names[(at + 1) % len(names)], False)

    def action_reverse(self) -> None:
        if self._sorted is not None:
            self._order(self._sorted[0], not self._sorted[1])

    def action_next_table(self) -> None:
        self.query_one(Tabs).action_next_tab()

    def action_edit(self) -> None:
        host = self._host
        if host is not None:
            running.edit(
                self,
                self.recipe,
                lambda recipe: self.app.switch_screen(TablesScreen(host, recipe, running.title_of(recipe))),
            )

    def action_pause(self) -> None:
        if self._host is not None:
            self._status = running.stop_or_go_on(self, self._host) or self._status
            self._paint()

    def action_export(self) -> None:
        running.export_from(self, self.folder, self._current if self._current in PICTURES else None)

    def action_help(self) -> None:
        self.app.push_screen(Help(running.help_for(self)))

    def action_leave(self) -> None:
        if self._host is not None:
            self._host.say_goodbye()
        self.dismiss(None)
