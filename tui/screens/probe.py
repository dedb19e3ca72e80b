"""The main screen: prompt, tokens, directions, live curves, tables. Live, opened from disk, or replayed.

Owns the recipe, the picture and the view; every change of the recipe starts a run that replaces the one before.
Knows the bridge and the widgets; computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from engine.directions import DIRECTIONS
from engine.errors import DirscopeError
from engine.protocol import Answer
from engine.questions.features import ActiveFeatures, FeatureList
from engine.recipe import Recipe
from engine.results import CurveResult, Event, RunStarted, Sketches
from engine.worker import OVERTAKEN
from sessions.catalogue import Session
from tui import edits
from tui.actions import ACTIONS
from tui.bridge import Bridge
from tui.charts import Behind, View
from tui.history import History
from tui.messages import (
    CountChanged,
    CursorMoved,
    EngineDied,
    FeatureAsked,
    FeatureToggled,
    KindToggled,
    MoreKindsWanted,
    OptionsWanted,
    PositionPicked,
    PromptTyped,
    RunEvents,
    RunFailed,
    RunKept,
)
from tui.pace import Pace
from tui.picture import Picture
from tui.player import Player
from tui.screens import asking, first_steps, menus, replaying, showing
from tui.screens.changing import Step
from tui.screens.host import HostScreen
from tui.screens.painting import paint
from tui.watchlist import WatchList
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.direction_list import DirectionList
from tui.widgets.keybar import KeyBar
from tui.widgets.lines import Lines
from tui.widgets.prompt_input import PromptInput
from tui.widgets.tables import KindTable, NextTokens
from tui.widgets.token_strip import TokenStrip

REDRAW_SECONDS: Final = 1 / 8


class ProbeScreen(HostScreen):
    """Curves of one recipe.

    Args:
        recipe: what to show first.
        bridge: to the worker; None for a replay, which needs none.
        session: where runs are kept.
        player: recorded events to play instead of computing.
        opened: a run folder to show before anything is computed.
    """

    BINDINGS: ClassVar[list[BindingType]] = [a.binding for a in ACTIONS.values()]
    AUTO_FOCUS = "#tokens"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 (an instance variable upstream)
    VERTICAL_BREAKPOINTS = [(0, "-short"), (22, "-low"), (32, "-tall")]  # noqa: RUF012

    def __init__(
        self,
        recipe: Recipe,
        bridge: Bridge | None,
        session: Session | None,
        player: Player | None = None,
        opened: Path | None = None,
    ) -> None:
        super().__init__(recipe, bridge, session)
        self.player = player
        self.opened = opened
        self.picture = Picture()
        """Of the current run."""
        self.drawn = Picture()
        """The last picture that had curves: shown until the next one has some, so that nothing flickers."""
        self.beside: Picture | None = None
        """The same recipe with the other weights, to be seen behind the curves."""
        self.shapes_only = False
        """Whether the untrained twin, not the user, picked metric and axis."""
        self.pins: tuple[Behind, ...] = ()
        """Runs laid over by the user."""
        self.history: History[Step] = History()
        self.whole_runs: dict[str, Path] = {}
        """Where runs of this screen are on disk, by their recipe."""
        self.view = View()
        self.features = FeatureList("", ())
        self.thrown: list[str] = []
        """Sessions that were thrown away here, by their names in the trash."""
        self.watchlist = WatchList(session)
        self.folder: Path | None = opened
        """Of the run on the screen, once it is whole on disk."""
        self.problem = ""
        self.said: str | Text = ""
        """What stands below the tokens."""
        self.site_is_current = True
        """Whether the picture's site is that of the recipe; false from a change until its run has started."""
        self.cursor_moved = False
        self._goes_on = False
        """Whether the next run goes on with the curves that are there."""
        self._pace = Pace(self, REDRAW_SECONDS, lambda: paint(self))
        self.playing: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Lines(id="status")
        with Horizontal(id="prompt-line"):
            yield Label("prompt")
            yield PromptInput(self.recipe.site.prompt, id="prompt", compact=True, select_on_focus=False)
        yield TokenStrip(id="tokens")
        yield Static(id="site", markup=False)
        yield Lines(id="hint")
        with Horizontal(id="upper"):
            yield DirectionList(id="directions")
            yield CurvePlot(id="plot")
        with Horizontal(id="lower"):
            yield KindTable(id="kinds")
            yield NextTokens(id="next")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#directions").border_title = "directions"
        self.query_one("#kinds").border_title = "kinds"
        self.query_one("#next").border_title = "next token"
        self.query_one(DirectionList).show(self.recipe, self.features)
        self._pace.now()
        if self.player is not None:
            self.query_one("#prompt", Input).disabled = True
            replaying.play(self)
        elif self.opened is not None:
            showing.show_stored(self, self.opened)
        else:
            self.start_run()

    def on_resize(self) -> None:
        self.mark_stale()

    # Running

    def start_run(self) -> None:
        """Compute the recipe as it stands, ending what runs."""
        if self.bridge is None or self.session is None:
            return
        self.problem = ""
        self.folder = None
        self._goes_on = self._overtaken = False
        self.site_is_current = False
        self.picture = replace(self.picture, ended=False, status="starting", done=0, total=0)
        self.run_id = self.bridge.run(self.recipe, self.session)
        self.mark_stale(patient=True)

    def go_on(self) -> None:
        """Compute what is missing of a run that something else ended."""
        if self.bridge is None or self.session is None or self.folder is None or not self.picture.done:
            self.start_run()
        elif self.picture.done < self.picture.total:
            self.picture = replace(self.picture, ended=False, status="going on")
            self.run_id = self.bridge.run(self.recipe, self.session, keep=True, stopped=self.folder)
            self._goes_on, self.folder = True, None
            self.mark_stale()

    def change(self, edit: Callable[[Recipe], Recipe]) -> None:
        """Change the recipe and run it; a change that gives no valid recipe is refused with a sentence."""
        if self.player is not None:
            self.complain("This is a replay: enter goes on live from here, where everything can be changed.")
            return
        try:
            recipe = edit(self.recipe)
        except DirscopeError as error:
            self.complain(str(error))
            return
        if recipe == self.recipe:
            return
        self.history.did(self.step)
        self.recipe = recipe
        self.beside = None
        self.query_one(DirectionList).show(recipe, self.features)
        self.start_run()

    @property
    def ascii(self) -> bool:
        return self.view.ascii

    @property
    def is_computing(self) -> bool:
        return not self.picture.ended

    def mark_stale(self, patient: bool = False) -> None:
        """Something changed that is drawn; `patient` where more will follow at once."""
        self._pace.want(patient)

    def complain(self, text: str) -> None:
        """Show an error where it stays until the next run."""
        self.problem = text
        self.mark_stale()

    def take(self, event: Event) -> None:
        """One more event of the run on the screen."""
        if isinstance(event, RunStarted) and self._goes_on:
            self.picture = replace(self.picture, info=event.info, status="measuring")
        else:
            self.picture = self.picture.after(event)
        if isinstance(event, RunStarted):
            self._goes_on = False
            self.problem = ""
            self.site_is_current = True
            showing.warn_of_sae(self, event.info)
            if self.player is None and self.bridge is not None:
                self.ask(ActiveFeatures(), self._on_features)
        if isinstance(event, CurveResult) and len(self.picture.curves) == 1 and not self.cursor_moved:
            self.view = replace(self.view, curve=0, step=self.picture.first_jump(event))
        if self.picture.curves or self.picture.sketches:
            self.drawn = self.picture
        self.mark_stale(patient=not isinstance(event, CurveResult | Sketches))

    @on(RunEvents)
    def _on_run_events(self, message: RunEvents) -> None:
        if message.run_id == self.run_id:
            for event in message.events:
                self.take(event)

    @on(RunKept)
    def _on_run_kept(self, message: RunKept) -> None:
        if message.run_id == self.run_id:
            self.folder = message.folder
            if not self.picture.ended:
                self.picture = replace(self.picture, ended=True, status="stopped", sketches={})
            if self.picture.done == self.picture.total:
                self.whole_runs[self.recipe.toml()] = message.folder
            self.mark_stale()

    @on(RunFailed)
    def _on_run_failed(self, message: RunFailed) -> None:
        if message.run_id == self.run_id:
            self.picture = Picture(ended=True, status="failed")
            self.complain(message.text)

    @on(EngineDied)
    def _on_engine_died(self, message: EngineDied) -> None:
        if not self.picture.ended and not message.goes_on:  # what was whole before stays so
            self.picture = replace(self.picture, ended=True, status="failed")
        self.complain(message.text)
        self.notify(message.text, title=message.title, severity="error", timeout=10, markup=False)

    def _on_features(self, answer: Answer) -> None:
        if answer.problem == OVERTAKEN:
            return  # the newer run will ask for its own
        self.features = answer.found or FeatureList("", (), problem=answer.problem)
        self.query_one(DirectionList).show(self.recipe, self.features)

    @on(FeatureAsked)
    def _on_feature_asked(self, message: FeatureAsked) -> None:
        asking.show_feature(self, message.feature)

    # What the user does

    @on(PromptTyped)
    def _on_prompt(self, message: PromptTyped) -> None:
        if message.text:
            if message.text != self.recipe.site.prompt and self.player is None:
                self.change(lambda r: edits.with_prompt(r, message.text))
        elif not message.done:
            self.complain("The prompt is empty: type at least one token.")
        else:
            self.query_one("#prompt", Input).value = self.recipe.site.prompt
            self.complain("The prompt was empty: the one before stays.")
        if message.done:
            self.query_one("#tokens").focus()

    @on(PositionPicked)
    def _on_position(self, message: PositionPicked) -> None:
        first_steps.followed(self, "left")
        self.change(lambda r: edits.edited(r, "site", position=message.position, read_position=None))

    @on(KindToggled)
    def _on_kind(self, message: KindToggled) -> None:
        if DIRECTIONS[message.kind].example and not edits.count_of(self.recipe, message.kind):
            menus.ask_options(self, message.kind)
        else:
            self.change(lambda r: edits.toggled_kind(r, message.kind))

    @on(OptionsWanted)
    def _on_options(self, message: OptionsWanted) -> None:
        menus.ask_options(self, message.kind)

    @on(MoreKindsWanted)
    def _on_more_kinds(self) -> None:
        menus.pick_kind(self)

    @on(CountChanged)
    def _on_count(self, message: CountChanged) -> None:
        self.change(lambda r: edits.with_count(r, message.kind, message.change))

    @on(FeatureToggled)
    def _on_feature(self, message: FeatureToggled) -> None:
        self.change(lambda r: edits.toggled_feature(r, message.feature))

    @on(CursorMoved)
    def _on_cursor(self, message: CursorMoved) -> None:
        curves = self.drawn.curves
        if curves:
            self.cursor_moved = True
            curve = (self.view.curve + message.curves) % len(curves)
            step = max(0, min(len(curves[curve].coordinate) - 1, self.view.step + message.steps))
            self.view = replace(self.view, curve=curve, step=step)
            self._pace.now()

    def focus_on(self, name: str) -> None:
        """Go to a panel."""
        # At once, not by a message: the next key may be here already.
        self.set_focus(self.query_one(f"#{name}", Widget))

    @property
    def step(self) -> Step:
        """What undo comes back to."""
        return Step(self.recipe, self.view, self.beside)

    def look(self, view: View) -> None:
        """Look at the same picture otherwise; moving the cursor is no change that undo takes back."""
        if replace(view, curve=0, step=0) != replace(self.view, curve=0, step=0):
            self.history.did(self.step)
        self.view = view
        self._pace.now()

    @property
    def n_layers(self) -> int:
        """Layers of the model; 0 before it is known."""
        info = self.picture.info or self.drawn.info
        return int(info.get("model", {}).get("n_layers", 0))

    def whole_run(self, what_for: str) -> Path | None:
        """The folder of the run on the screen; None, with a sentence, while it is not whole."""
        if self.folder is None:
            self.complain(f"This run is not whole yet: it can be {what_for} once it is saved.")
        return self.folder

    def drop_run(self) -> None:
        """What runs is of no interest any more."""
        if self.bridge is not None:
            self.bridge.cancel(self.run_id)
        self.run_id = 0

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A replay has no model: what needs one is not on offer; and in a text, keys are letters."""
        chosen = ACTIONS.get(str(parameters[0])) if action == "do" and parameters else None
        if chosen is None:
            return True
        if chosen.at_once and isinstance(self.focused, Input):
            return False
        return self.player is None or chosen.when != "live"

    def action_do(self, id: str) -> None:
        """Do what an action of `ACTIONS` says."""
        if self.picture.status != "failed":
            self.problem = ""  # what was wrong with another key
            self.mark_stale(patient=True)
        first_steps.followed(self, id)
        ACTIONS[id].do(self)
