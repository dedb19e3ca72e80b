"""An experiment of many curves, filling as it computes: bands, distributions, maps and numbers of groups.

Shows the events of one run; knows its host, which has it computed. Also shows such a run from disk.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from engine.recipe import Recipe
from engine.results import CurveResult, Event, Note, Progress, RunEnded, RunStarted
from sessions.chart import Chart, HeatMap
from sessions.crowd import SCALARS, Crowd
from sessions.printable import printable
from sessions.separation import across
from sessions.timeleft import TimeLeft
from sessions.views import Choice, views
from tui import edits
from tui.screens import running
from tui.screens.dialogs import Help
from tui.screens.host import HostScreen
from tui.widgets.crowd_table import CrowdTable
from tui.widgets.curve_plot import CurvePlot

REFRESH_SECONDS: Final = 1 / 4
COUNT_SECONDS: Final = 1.0
"""Numbers of growing groups are computed again at most this often."""


class ExperimentScreen(Screen[None]):
    """Curves of one run, by group.

    Args:
        host: has it computed.
        recipe: what to compute.
        events: of a run on disk, shown in place of computing.
        folder: of that run.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "back", id="experiment.back", tooltip="Stop what runs, keep it, and go back"),
        Binding("tab", "next_view(1)", "view", id="experiment.view", tooltip="The next picture", priority=True),
        Binding("shift+tab", "next_view(-1)", show=False, id="experiment.view-back", priority=True),
        Binding("k", "next_scalar", "number", id="experiment.number", tooltip="The next number of a curve"),
        Binding("m", "next_metric", "metric", id="experiment.metric", tooltip="The next metric and read hook"),
        Binding(
            "g",
            "next_group",
            "group",
            show=False,
            id="experiment.group",
            tooltip="The next group, in maps of one group",
        ),
        Binding("s", "toggle_path", "sphere", id="experiment.path", tooltip="Straight lines or the sphere: runs again"),
        Binding(
            "x", "toggle_across", "across", show=False, id="experiment.across", tooltip="Compare across families too"
        ),
        Binding("t", "edit", "edit", id="experiment.edit", tooltip="Edit bases, directions, path and options as TOML"),
        Binding(
            "space", "pause", "stop/go on", id="experiment.pause", tooltip="Stop, keeping all; or go on from there"
        ),
        Binding("e", "export", "export", id="experiment.export", tooltip="A report, a picture or the numbers"),
        Binding("question_mark,f1", "help", "help", id="experiment.help", tooltip="What is shown and every key"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (22, "-tall")]  # noqa: RUF012 (an instance variable upstream)
    HELP = """\
## Experiment

Curves by group: kinds of direction, kinds of base, or both, each with a letter and a colour. **tab** goes from medians
with quartiles to means with examples, histograms, cumulative shares, predicted against measured thresholds, and a map
of the layers where several were read. Nothing is smoothed. Below stand n, the median, quartiles and the share that
never reaches the level; when the run is whole, also how often one group is sooner than another, with 95 % intervals
over bases.

Letters in brackets are cautions; what they say stands below the table.
"""

    def __init__(
        self, host: HostScreen, recipe: Recipe, events: Sequence[Event] = (), folder: Path | None = None
    ) -> None:
        super().__init__()
        self._host = host
        self.recipe = recipe
        self.curves: list[CurveResult] = []
        self.info: dict[str, object] = {}
        self.folder = folder
        """Of the run, once it is on disk to its end."""
        self.ended = folder is not None
        self.choice = Choice()
        self.view = 0
        """Place in the order of views."""
        self.families = across(recipe)
        self._said = ("", "")
        """What stands around the pictures."""
        self._status = "starting" if folder is None else "from disk"
        self._left = ""
        self._time = TimeLeft()
        self._notes: list[str] = []
        self._counted: tuple[object, ...] = ()
        self._counted_at = 0.0
        for event in events:
            self.take(event)

    def compose(self) -> ComposeResult:
        yield Static(id="experiment-head", markup=False)
        with Vertical(id="experiment-body"):
            yield CurvePlot(id="experiment-plot")
            with VerticalScroll(id="experiment-numbers"):
                yield CrowdTable(id="experiment-table")
        yield Static(id="experiment-notes", markup=False)
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.query_one(CurvePlot).can_focus = False
        self.query_one("#experiment-numbers").focus()
        self.set_interval(REFRESH_SECONDS, self._paint)
        if self.folder is None:
            self._host.run_for(self, self.recipe)
        self._paint()

    # What the host passes on

    def take(self, event: Event) -> None:
        """One more event of the run."""
        match event:
            case RunStarted(info):
                self.info = dict(info)
                self._notes = list(info.get("warnings", []))
            case CurveResult():
                self.curves.append(event)
            case Progress(text, done, total):
                self._status = f"{text}: {done} of {total}" if total else text
                self._left = self._time.after(done, total, time.monotonic()) if total else ""
            case Note(text):
                self._notes.append(text)
            case RunEnded(status, why):
                self._status, self._left, self.ended = why or status, "", True
            case _:
                pass

    def kept(self, folder: Path) -> None:
        """The run is whole on disk."""
        self.folder = folder
        total = self.info.get("n_curves")
        whole = "saved" if len(self.curves) == total else f"stopped at {len(self.curves)} of {total}, space goes on:"
        self._status = f"{whole} {folder.name}"

    def failed(self, why: str) -> None:
        """The run ended in an error."""
        self._status, self._left, self.ended = "failed", "", True
        self._notes.append(why)

    # Drawing

    def _paint(self) -> None:
        if not self.is_mounted:
            return
        self._say()
        state = (len(self.curves), self.view, self.choice, self._host.ascii, self.families, self.ended)
        if not self.curves or state == self._counted:
            return
        growing = not self.ended and self._same(state)
        if growing and time.monotonic() - self._counted_at < COUNT_SECONDS:
            return
        self._counted, self._counted_at = state, time.monotonic()
        view, choice, ascii = views()[self.view], self.choice, self._host.ascii
        crowd = Crowd(self.info, tuple(self.curves))
        plot = self.query_one(CurvePlot)
        plot.border_title = view.title(crowd, choice)

        def make() -> Chart | HeatMap | None:
            made = view.make(crowd, choice)
            return None if made is None else replace(made, ascii=ascii)

        plot.show((state,), make)
        self.query_one(CrowdTable).show(crowd, choice.scalar, self.families, self.ended)

    def _say(self) -> None:
        """Bring the lines around the pictures up to date; whatever has not changed is left alone."""
        left = f" · {self._left}" if self._left else ""
        # What changes comes first, where no narrow terminal cuts it off.
        title = f" {printable(self._status)}{left} · {running.title_of(self.recipe)}"
        said = (title, "\n".join(printable(note) for note in self._notes))
        if said != self._said:
            self._said = said
            self.query_one("#experiment-head", Static).update(title)
            notes = self.query_one("#experiment-notes", Static)
            notes.update(said[1])
            notes.display = bool(self._notes)

    def _same(self, state: tuple[object, ...]) -> bool:
        """Whether only the number of curves changed: what the user chose is shown at once."""
        return state[1:] == self._counted[1:]

    # What the user does

    def _look(self, choice: Choice) -> None:
        self.choice = choice
        self._paint()

    def action_next_view(self, by: int) -> None:
        if not self.curves:
            return
        crowd, several = Crowd(self.info, tuple(self.curves)), views()
        for _ in several:
            self.view = (self.view + by) % len(several)
            if several[self.view].applies(crowd):
                break
        self._paint()

    def action_next_scalar(self) -> None:
        at = (SCALARS.index(self.choice.scalar) + 1) % len(SCALARS)
        self._look(replace(self.choice, scalar=SCALARS[at]))

    def action_next_metric(self) -> None:
        metrics = Crowd(self.info, tuple(self.curves[:1])).metrics()
        now = (self.choice.read, self.choice.metric)
        read, metric = metrics[(metrics.index(now) + 1) % len(metrics)] if now in metrics else metrics[0]
        self._look(replace(self.choice, read=read, metric=metric))

    def action_next_group(self) -> None:
        groups = Crowd(self.info, tuple(self.curves)).groups
        self._look(replace(self.choice, group=(self.choice.group + 1) % max(1, len(groups))))

    def action_toggle_across(self) -> None:
        self.families = not self.families
        self._paint()

    def action_toggle_path(self) -> None:
        mode = "straight" if self.recipe.path.mode == "sphere" else "sphere"
        self.rerun(edits.edited(self.recipe, "path", mode=mode, stop="auto"))

    def rerun(self, recipe: Recipe) -> None:
        """Another recipe in place of this one."""
        self.app.switch_screen(ExperimentScreen(self._host, recipe))

    def action_edit(self) -> None:
        running.edit(self, self.recipe, self.rerun)

    def action_pause(self) -> None:
        self._status = running.stop_or_go_on(self, self._host) or self._status
        self._paint()

    def action_export(self) -> None:
        running.export_from(self, self.folder, views()[self.view].name)

    def action_help(self) -> None:
        self.app.push_screen(Help(running.help_for(self)))

    def action_leave(self) -> None:
        self._host.say_goodbye()
        self.dismiss(None)
