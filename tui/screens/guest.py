"""What screens of one run have in common: how far it is, its notes, stopping and going on, editing, export, leaving.

A guest of the main screen, which has the run computed; also shows runs from disk. What is drawn of the results is the
subclass's. Knows events and hosts.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from engine.printable import printable
from engine.recipe import Recipe
from engine.results import Draft, Event, Note, Progress, RunEnded, RunStarted, Sketches
from sessions.chart import Drawable
from sessions.reader import recorded_status
from sessions.timeleft import TimeLeft
from tui.help import help_of
from tui.screens import running
from tui.screens.dialogs import Help
from tui.screens.host import HostScreen
from tui.screens.stack import playing
from tui.widgets.keybar import KeyBar

REFRESH_SECONDS: Final = 1 / 4
RUN_KEYS: Final[tuple[BindingType, ...]] = (
    Binding("escape,q", "leave", "back", id="run.back", tooltip="Stop what runs, keep it, and go back"),
    Binding("question_mark,f1", "help", "help", id="run.help", tooltip="What is shown and every key"),
    Binding("space", "pause", "stop/go on", id="run.pause", tooltip="Stop, keeping all; or go on from there"),
    Binding("e", "export", "export", id="run.export", tooltip="A report, a picture or the numbers"),
    Binding("y", "copy", "copy", show=False, id="run.copy", tooltip="Copy report, numbers, recipe or plot"),
    Binding("t", "edit", "edit", id="run.edit", tooltip="Edit bases, directions, path and options as TOML"),
)
"""Of every screen of a run, behind its own."""


class GuestScreen(Screen[None]):
    """One run.

    Args:
        host: has it computed; None where the run is on disk and nothing can be computed.
        recipe: what to compute.
        events: of a run on disk, shown in place of computing.
        folder: of that run; None computes.
        title: what it is, where its recipe does not say it best.
    """

    VERTICAL_BREAKPOINTS = [(0, "-short"), (22, "-tall")]  # noqa: RUF012 (an instance variable upstream)
    place: ClassVar[str] = "experiment"
    """Which of the screens behind number keys it is."""

    def __init__(
        self,
        host: HostScreen | None,
        recipe: Recipe,
        events: tuple[Event, ...] = (),
        folder: Path | None = None,
        title: str = "",
    ) -> None:
        super().__init__()
        self.heading = title or running.title_of(recipe)
        self.host = host
        self.recipe = recipe
        self.folder = folder
        """Of the run, once it is on disk to its end."""
        self.ended = folder is not None
        """Whether the run is over."""
        self.info: dict[str, Any] = {}
        self.status = "starting"
        self.notes: list[str] = []
        self.held: list[Event] = []
        """What came, for the same screen once more."""
        self.adopted = False
        """Whether its run was begun on another screen, and goes on."""
        self._composed = False
        self._left = ""
        self._far = (0, 0)
        """Done and total, as last told."""
        self._time = TimeLeft()
        self._said = ("", "")
        """What stands around the results."""
        for event in events:
            self.take(event)
        if folder is not None:
            self.ended = True
            self.status = self._kept_as(folder)

    # What a subclass shows

    def body(self) -> ComposeResult:
        """The widgets between the head and the notes."""
        raise NotImplementedError

    def result(self, event: Event) -> None:
        """One more result of the run."""
        raise NotImplementedError

    def paint(self) -> None:
        """Bring what is drawn up to date; called four times a second."""
        raise NotImplementedError

    def remarks(self) -> list[str]:
        """Lines of the results themselves, below the notes."""
        return []

    @property
    def picture(self) -> str | None:
        """The name of the picture that an export draws."""
        return None

    @property
    def chart(self) -> Drawable | None:
        """The picture that an export draws, where it has no name."""
        return None

    @property
    def table(self) -> str | None:
        """The table whose rows are exported, of a run of tables."""
        return None

    def rerun(self, recipe: Recipe) -> None:
        """Another recipe in place of this one."""
        from tui.screens.opening import screen_of

        if self.host is not None:
            self.app.switch_screen(screen_of(self.host, recipe))

    def twin(self, events: tuple[Event, ...]) -> GuestScreen:
        """A screen of the same run that has these events."""
        from tui.screens.opening import screen_of

        return screen_of(self.host, self.recipe, events, self.folder)

    def again(self) -> GuestScreen:
        """The same run once more, as far as it came; while it goes on, it goes on there."""
        running = self.host is not None and self.host.runs(self)
        screen = self.twin(tuple(self.held) if running or self.folder is not None else ())
        screen._far = self._far
        if running and self.host is not None:
            # What it stopped at before, if it ever did, is behind it.
            screen.adopted, screen.ended, screen.status = True, False, self.status
            self.host.hand_over(self, screen)
        elif self.folder is not None:
            screen.status = screen._kept_as(self.folder)
        return screen

    # The frame

    def compose(self) -> ComposeResult:
        yield Static(id="run-head", markup=False)
        with Vertical(id="run-body"):
            yield from self.body()
        yield Static(id="run-notes", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self._composed = True
        self.start_focus().focus()
        self.set_interval(REFRESH_SECONDS, self._paint)
        if self.host is not None and self.folder is None and not self.adopted:
            self.host.run_for(self, self.recipe)
        self._paint()

    def start_focus(self) -> Widget:
        """What has the focus first."""
        raise NotImplementedError

    @property
    def ascii(self) -> bool:
        """Whether pictures do without braille and blocks."""
        return self.host is not None and self.host.ascii

    # What the host passes on

    def take(self, event: Event) -> None:
        """One more event of the run."""
        if not isinstance(event, Progress | Sketches | Draft):
            self.held.append(event)
        match event:
            case RunStarted(info):
                self.info = dict(info)
                self.notes = list(info.get("warnings", []))
                self._time = TimeLeft()  # of a run that goes on, idle time would count
            case Progress(text, done, total):
                self._far = (done, total)
                self.status = f"{text}: {done} of {total}" if total else text
                self._left = self._time.after(done, total, time.monotonic()) if total else ""
            case Note(text):
                self.notes.append(text)
            case RunEnded(status, why):
                self.status, self._left = why or status, ""
                self.ended = True
            case _:
                self.result(event)

    def kept(self, folder: Path) -> None:
        """The run is on disk as far as it came, and nothing more comes of it."""
        self.folder, self.ended = folder, True
        self.status = self._kept_as(folder)

    def _kept_as(self, folder: Path) -> str:
        stopped = recorded_status(folder) != "done"
        far = f" at {self._far[0]} of {self._far[1]}" if self._far[1] else ""
        goes_on = ", space goes on" if self.host is not None else ""
        return f"stopped{far}{goes_on}: {folder.name}" if stopped else f"saved {folder.name}"

    def failed(self, why: str) -> None:
        """The run ended in an error."""
        self.status, self._left = "failed", ""
        self.ended = True
        self.notes.append(why)

    # Drawing

    def _paint(self) -> None:
        if not self._composed:
            return
        left = f" · {self._left}" if self._left else ""
        player = playing(self.app) if self.host is None else None
        lines = [*self.notes, *self.remarks()]
        # What changes comes first, where no narrow terminal cuts it off.
        status = player.player.caption if player is not None and player.player is not None else printable(self.status)
        title = f" {status}{left} · {self.heading}"
        said = (title, "\n".join(printable(line) for line in lines))
        if said != self._said:  # whatever has not changed is left alone
            self._said = said
            self.query_one("#run-head", Static).update(title)
            notes = self.query_one("#run-notes", Static)
            notes.update(said[1])
            notes.display = bool(lines)
        self.paint()

    # What the user does

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a host nothing can be computed."""
        return self.host is not None or action not in ("edit", "pause")

    def action_edit(self) -> None:
        if self.host is not None:
            running.edit(self, self.recipe, self.rerun)

    def action_pause(self) -> None:
        if self.host is not None:
            self.status = running.stop_or_go_on(self, self.host) or self.status
            self._paint()

    def action_export(self) -> None:
        running.export_from(self, self.folder, self.picture, self.table, self.chart)

    def action_copy(self) -> None:
        from tui.screens.taking import copy_from_run

        copy_from_run(self)

    def action_help(self) -> None:
        self.app.push_screen(Help(help_of(self)))

    def action_leave(self) -> None:
        self.leave()
        self.dismiss(None)

    def leave(self, stop: bool = True) -> None:
        """To be come back to.

        Args:
            stop: end what runs, keeping it; else it goes on until something else is computed.
        """
        if self.host is not None:
            if stop or self.ended:
                self.host.say_goodbye()
            self.host.remember(self, self.place)
