"""The browser of sessions: search, preview, open, replay, lay over, name, throw away, share.

Folders are read in threads, so that a slow disk holds nothing up. Knows the sessions directory and its main screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static

from engine.errors import DirscopeError
from engine.printable import printable
from sessions import archive, housekeeping
from sessions.catalogue import Entry, Session, entries, run_folders, whole_of
from sessions.paths import places
from tui.help import help_of
from tui.history import History
from tui.messages import Branched
from tui.player import Player
from tui.screens.dialogs import AskLine, Help
from tui.screens.keeping import lay_over_run
from tui.screens.preview import in_bytes, last_picture, told
from tui.screens.replaying import show_player
from tui.screens.running import unused
from tui.screens.showing import show_stored
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.keybar import KeyBar

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen

COLUMNS: Final = ("session", "changed", "runs", "status", "model", "size", "prompt")
PREVIEW_SECONDS: Final = 0.15
"""A cursor that moves on asks for no preview."""
TEXT: Final = 26
"""Cells of a name or prompt in the list."""


@dataclass(frozen=True)
class Row:
    """A session and how much it holds."""

    entry: Entry
    size: int

    @property
    def called(self) -> str:
        """Its title, else its folder's name."""
        return self.entry.title or self.entry.name

    def matches(self, words: list[str]) -> bool:
        """Whether every word is somewhere in what is known of it."""
        e = self.entry
        text = " ".join((e.title, e.name, e.prompt, e.model, e.status, e.experiment, f"{e.changed:%Y-%m-%d}")).lower()
        return all(word in text for word in words)


class SessionsScreen(Screen[None]):
    """Everything that is kept."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "back", id="sessions.back", tooltip="Clear the search, or go back"),
        Binding("slash", "search", "search", id="sessions.search", tooltip="Words of title, prompt, model or date"),
        Binding("enter", "open", "open", id="sessions.open", tooltip="Show its last run; new runs join it"),
        Binding("n", "replay", "replay", id="sessions.replay", tooltip="Play all its runs from the start"),
        Binding("P", "lay_over", "lay over", id="sessions.lay-over", tooltip="Pin its last curves behind this run"),
        Binding("t", "rename", "title", id="sessions.rename", tooltip="Give it a title"),
        Binding("delete,x", "trash", "trash", id="sessions.trash", tooltip="Move it to the trash"),
        Binding(
            "u", "restore", "take back", show=False, id="sessions.restore", tooltip="Take back what was thrown away"
        ),
        Binding("s", "share", "share", id="sessions.share", tooltip="One file that another machine opens"),
        Binding("i", "bring", "open file", id="sessions.bring", tooltip="Open a file that somebody shared"),
        Binding("question_mark,f1", "help", "help", id="sessions.help", tooltip="What is shown and every key"),
    ]
    HELP = """\
## Sessions

Everything that is kept, newest first. **enter** shows the last run of a session, and what is computed then joins it.
**P** lays its last curves over the run on the main screen, whatever model, layer or prompt they are of. Sharing writes
one file beside you; opening one checks every name, size and hash in it and runs nothing.
"""
    place: ClassVar[str] = "sessions"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 (an instance variable upstream)
    VERTICAL_BREAKPOINTS = [(0, "-short"), (22, "-tall")]  # noqa: RUF012

    def __init__(self, host: ProbeScreen) -> None:
        super().__init__()
        self._host = host
        self.rows: list[Row] = []
        """All there are."""
        self.shown: list[Row] = []
        """Those that the search leaves."""
        self._moving: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static(" sessions", id="sessions-head", markup=False)
        yield Input(
            placeholder="words of the title, prompt, model, experiment or date", id="sessions-search", compact=True
        )
        with Horizontal(id="sessions-body"):
            yield DataTable(id="sessions-list", cursor_type="row")
            with Vertical(id="sessions-preview"):
                yield CurvePlot(id="sessions-plot")
                yield Static(id="sessions-told", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        for name in COLUMNS:
            table.add_column(name, key=name)
        self.query_one(CurvePlot).can_focus = False
        table.focus()
        self.look_again()

    # What there is

    @work(thread=True, exclusive=True, exit_on_error=False, group="sessions")
    def look_again(self, at: str = "") -> None:
        """Read the directory; `at` is the name that the cursor goes to."""
        where = places().sessions
        found = [Row(entry, housekeeping.size_of(entry.folder)) for entry in entries(where)]
        self.app.call_from_thread(self._take, found, at)

    @property
    def _is_there(self) -> bool:
        """Whether it is still on the screen: what was read may come after it was left."""
        return self.is_attached and bool(self.query("#sessions-told")) and bool(self.query(DataTable))

    def _take(self, rows: list[Row], at: str) -> None:
        if self._is_there:
            self.rows = rows
            self._fill(at)

    def _fill(self, at: str = "") -> None:
        table = self.query_one(DataTable)
        words = self.query_one("#sessions-search", Input).value.lower().split()
        before = at or (self.selected.entry.name if self.selected is not None else "")
        self.shown = [row for row in self.rows if row.matches(words)]
        table.clear()
        for row in self.shown:
            table.add_row(*_cells(row), key=row.entry.name)
        of = f" of {len(self.rows)}" if words else ""
        total = sum(row.size for row in self.shown)
        where = places().sessions
        self.query_one("#sessions-head", Static).update(
            f" {len(self.shown)}{of} sessions, {in_bytes(total)} · {where}"
            if self.rows
            else f" no sessions yet in {where}"
        )
        names = [row.entry.name for row in self.shown]
        if before in names:
            table.move_cursor(row=names.index(before))
        if not self.shown:
            self.query_one("#sessions-told", Static).update("")
            self.query_one(CurvePlot).say("nothing matches" if words else "")

    @property
    def selected(self) -> Row | None:
        """The session under the cursor."""
        at = self.query_one(DataTable).cursor_row
        return self.shown[at] if 0 <= at < len(self.shown) else None

    @on(DataTable.RowHighlighted)
    def _on_moved(self) -> None:
        if self._moving is not None:
            self._moving.stop()
        self._moving = self.set_timer(PREVIEW_SECONDS, self._preview)

    def _preview(self) -> None:
        row = self.selected if self._is_there else None
        if row is None:
            return
        ascii = self._host.ascii
        self.query_one(CurvePlot).border_title = printable(row.called)[:TEXT]
        self.query_one(CurvePlot).show((row, ascii), partial(last_picture, row.entry.folder, ascii))
        self._tell(row)

    @work(thread=True, exclusive=True, exit_on_error=False, group="told")
    def _tell(self, row: Row) -> None:
        text = told(row.entry)
        self.app.call_from_thread(self._say, row, text)

    def _say(self, row: Row, text: str) -> None:
        if self._is_there and self.selected == row:
            self.query_one("#sessions-told", Static).update(text)

    # What the user does

    @on(Input.Changed, "#sessions-search")
    def _on_search(self) -> None:
        self._fill()

    @on(Input.Submitted, "#sessions-search")
    def _on_searched(self) -> None:
        self.query_one(DataTable).focus()

    @on(DataTable.RowSelected)
    def _on_chosen(self) -> None:
        self.action_open()

    def action_search(self) -> None:
        self.query_one("#sessions-search").focus()

    def action_leave(self) -> None:
        search = self.query_one("#sessions-search", Input)
        if search.value:
            search.value = ""
            self.query_one(DataTable).focus()
        elif search.has_focus:
            self.query_one(DataTable).focus()
        else:
            self.dismiss(None)

    def _with_folder(self, do: Callable[[Row], None]) -> None:
        """Do something with the session under the cursor; an error is said."""
        row = self.selected
        if row is None:
            self.notify("There is no session here yet.", severity="warning", markup=False)
            return
        try:
            do(row)
        except DirscopeError as error:
            self.notify(str(error), severity="error", timeout=10, markup=False)

    def action_open(self) -> None:
        def do(row: Row) -> None:
            runs = run_folders(row.entry.folder)
            if self._host.player is not None:
                self.dismiss(None)
                self.app.post_message(Branched(runs[-1]))
                return
            self._host.drop_run()
            self._host.history = History()  # undo does not lead into another session
            self._host.session = Session.growing_from(row.entry.folder, places().sessions)
            self.dismiss(None)
            show_stored(self._host, runs[-1])

        self._with_folder(do)

    def action_replay(self) -> None:
        def do(row: Row) -> None:
            player = Player(run_folders(row.entry.folder))
            self.dismiss(None)
            show_player(self._host, player)

        self._with_folder(do)

    def action_lay_over(self) -> None:
        def do(row: Row) -> None:
            self.dismiss(None)
            lay_over_run(self._host, row.entry.folder)

        self._with_folder(do)

    def action_rename(self) -> None:
        def do(row: Row) -> None:
            def use(title: str | None) -> None:
                if title is None:
                    return
                try:
                    housekeeping.rename(row.entry.folder, title)
                except DirscopeError as error:
                    self.notify(str(error), severity="error", timeout=10, markup=False)
                self.look_again(row.entry.name)

            self.app.push_screen(AskLine("title of this session", row.entry.title, f"folder {row.entry.name}"), use)

        self._with_folder(do)

    def action_trash(self) -> None:
        def do(row: Row) -> None:
            mine = {self._host.folder and whole_of(self._host.folder)}
            mine.add(self._host.session.on_disk if self._host.session is not None else None)
            if row.entry.folder in mine:
                self.notify("This session is on the main screen: open another one first.", severity="warning")
                return
            gone = housekeeping.remove(row.entry.name, places().sessions, places().trash)
            self._host.thrown.append(gone.name)
            self.notify("in the trash; u takes it back", title=printable(row.called), markup=False)
            self.look_again()

        self._with_folder(do)

    def action_restore(self) -> None:
        if not self._host.thrown:
            self.notify(
                "Nothing was thrown away here: dirscope sessions restore NAME takes back older ones.", markup=False
            )
            return
        try:
            back = housekeeping.restore(self._host.thrown.pop(), places().sessions, places().trash)
        except DirscopeError as error:
            self.notify(str(error), severity="error", timeout=10, markup=False)
        else:
            self.look_again(back.name)

    def action_share(self) -> None:
        if self.selected is not None:
            self._pack(self.selected.entry.folder)

    @work(thread=True, group="sharing")
    def _pack(self, folder: Path) -> None:
        file = unused(Path.cwd() / f"{folder.name}{archive.SUFFIX}")
        try:
            behind = archive.pack(folder, file)
        except DirscopeError as error:
            self.app.call_from_thread(self.notify, str(error), severity="error", timeout=10, markup=False)
            return
        left = f", without {len(behind)} files that no session has" if behind else ""
        said = f"{file}, {in_bytes(file.stat().st_size)}{left}"
        self.app.call_from_thread(self.notify, said, title="shared", timeout=10, markup=False)

    def action_bring(self) -> None:
        def use(name: str | None) -> None:
            if name is not None and name.strip():
                self._unpack(Path(name.strip()).expanduser())

        hint = "every name, size and hash in it is checked; nothing in it is run"
        self.app.push_screen(AskLine(f"open a shared file (*{archive.SUFFIX})", "", hint), use)

    @work(thread=True, group="sharing")
    def _unpack(self, file: Path) -> None:
        try:
            folder = archive.unpack(file, places().sessions)
        except DirscopeError as error:
            self.app.call_from_thread(self.notify, str(error), severity="error", timeout=10, markup=False)
        else:
            self.app.call_from_thread(self.look_again, folder.name)

    def action_help(self) -> None:
        self.app.push_screen(Help(help_of(self)))


def _cells(row: Row) -> list[Text]:
    e = row.entry
    style = "dim" if e.status == "damaged" else ""
    return [
        Text(printable(row.called)[:TEXT], style=style or ("bold" if e.title else "")),
        Text(f"{e.changed.astimezone():%m-%d %H:%M}", style=style),
        Text(f"{e.runs}" if e.is_session else "batch", style=style, justify="right"),
        Text(e.status, style="yellow" if e.status in ("damaged", "failed") else style),
        Text(e.model.rstrip("/").rsplit("/", 1)[-1][:12], style=style),
        Text(in_bytes(row.size), style=style, justify="right"),
        Text(printable(e.prompt)[:TEXT], style=style),
    ]
