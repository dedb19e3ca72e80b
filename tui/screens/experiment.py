"""An experiment of many curves, filling as it computes: bands, distributions, maps and numbers of groups.

Shows the events of one run; knows its host, which has it computed. Also shows such a run from disk.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget

from engine.recipe import Recipe
from engine.results import CurveResult, Event
from sessions.chart import Drawable
from sessions.crowd import SCALARS, Crowd
from sessions.separation import across
from sessions.views import Choice, views
from tui import edits
from tui.screens.guest import RUN_KEYS, GuestScreen
from tui.screens.host import HostScreen
from tui.widgets.crowd_table import CrowdTable
from tui.widgets.curve_plot import CurvePlot

COUNT_SECONDS: Final = 1.0
"""Numbers of growing groups are computed again at most this often."""


class ExperimentScreen(GuestScreen):
    """Curves of one run, by group."""

    BINDINGS: ClassVar[list[BindingType]] = [
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
        *RUN_KEYS,
    ]
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
        self, host: HostScreen | None, recipe: Recipe, events: tuple[Event, ...] = (), folder: Path | None = None
    ) -> None:
        self.curves: list[CurveResult] = []
        self.choice = Choice()
        self.view = 0
        """Place in the order of views."""
        self.families = across(recipe)
        self._counted: tuple[object, ...] = ()
        self._counted_at = 0.0
        super().__init__(host, recipe, events, folder)

    def body(self) -> ComposeResult:
        yield CurvePlot(id="experiment-plot")
        with VerticalScroll(id="experiment-numbers"):
            yield CrowdTable(id="experiment-table")

    def start_focus(self) -> Widget:
        self.query_one(CurvePlot).can_focus = False
        return self.query_one("#experiment-numbers")

    def result(self, event: Event) -> None:
        if isinstance(event, CurveResult):
            self.curves.append(event)

    @property
    def picture(self) -> str:
        return views()[self.view].name

    def paint(self) -> None:
        state = (len(self.curves), self.view, self.choice, self.ascii, self.families, self.ended)
        if not self.curves or state == self._counted:
            return
        growing = not self.ended and self._same(state)
        if growing and time.monotonic() - self._counted_at < COUNT_SECONDS:
            return
        self._counted, self._counted_at = state, time.monotonic()
        view, choice, ascii = views()[self.view], self.choice, self.ascii
        crowd = Crowd(self.info, tuple(self.curves))
        plot = self.query_one(CurvePlot)
        plot.border_title = view.title(crowd, choice)

        def make() -> Drawable | None:
            made = view.make(crowd, choice)
            return None if made is None else replace(made, ascii=ascii)

        plot.show((state,), make)
        self.query_one(CrowdTable).show(crowd, choice.scalar, self.families, self.ended)

    def _same(self, state: tuple[object, ...]) -> bool:
        """Whether only the number of curves changed: what the user chose is shown at once."""
        return state[1:] == self._counted[1:]

    # What the user does

    def _look(self, choice: Choice) -> None:
        self.choice = choice
        self.paint()

    def action_next_view(self, by: int) -> None:
        if not self.curves:
            return
        crowd, several = Crowd(self.info, tuple(self.curves)), views()
        for _ in several:
            self.view = (self.view + by) % len(several)
            if several[self.view].applies(crowd):
                break
        self.paint()

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
        self.paint()

    def action_toggle_path(self) -> None:
        mode = "straight" if self.recipe.path.mode == "sphere" else "sphere"
        self.rerun(edits.edited(self.recipe, "path", mode=mode, stop="auto"))
