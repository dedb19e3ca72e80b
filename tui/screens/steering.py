"""The steering lab: vectors, strengths, what the model writes with them, and success against damage, as they come.

Shows the events of one run; knows its host, which has it computed and turns the knob between recorded strengths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

from rich.console import RenderableType
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from engine.errors import DirscopeError
from engine.protocol import Answer
from engine.questions.steered import SteeredTexts, TurnedTo
from engine.recipe import Recipe
from engine.results import Draft, Event, RowResult
from engine.steering.pareto import COSTS, frontier
from engine.steering.strength import MEANINGS
from engine.steering.wording import Vocabulary
from engine.worker import OVERTAKEN
from sessions.chart import Drawable
from sessions.digest import number
from sessions.steering_pictures import pareto
from tui import steer_edits
from tui.messages import CursorMoved
from tui.screens import composing
from tui.screens.dialogs import EditText
from tui.screens.guest import RUN_KEYS, GuestScreen
from tui.screens.host import HostScreen
from tui.screens.tables import TablesScreen
from tui.steering_text import drawn_how, listed, placed, point_lines, side_by_side
from tui.widgets.curve_plot import CurvePlot

TURNING_SECONDS: Final = 0.25
"""A knob that is still being turned asks for nothing."""
Row = Mapping[str, Any]


class SteeringScreen(GuestScreen):
    """A sweep of vectors and strengths."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (96, "-wide")]  # noqa: RUF012 (an instance variable upstream)
    HELP = """\
## Steering

Each letter is a vector at one strength: how many completions hold a word of the vocabulary, against what the vector
costs on held-out text. The bright line is the frontier, which no other point beats; o is the model as it is. **Up and
down** choose a vector, **left and right** one of the run's strengths; its numbers stand beside the plot, its
completions below, each with the same random numbers as the one without. Words of the vocabulary are underlined. **+
and -** turn the strength to values that the run has not: four completions are written at once, and **enter** keeps that
strength in a new run. A vocabulary misses successes and can be satisfied by nonsense: read the texts, and the damage.
"""
    place: ClassVar[str] = "steering"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "turn(1)", "stronger", id="steer.up", tooltip="Turn the strength up, and write"),
        Binding("minus", "turn(-1)", "weaker", show=False, id="steer.down", tooltip="Turn the strength down"),
        Binding("enter", "keep", "keep", show=False, id="steer.keep", tooltip="A new run that has this strength too"),
        Binding("x", "axis", "axis", id="steer.axis", tooltip="Damage as loss added, or as KL"),
        Binding("a", "compose", "add", id="steer.add", tooltip="Compose a vector, or take a saved one"),
        Binding("d", "drop", "drop", show=False, id="steer.drop", tooltip="Drop this vector: a new run without it"),
        Binding("w", "words", "words", id="steer.words", tooltip="Edit the vocabulary that tells success"),
        Binding("s", "save", "save", id="steer.save", tooltip="Keep this vector in the library"),
        Binding("n", "numbers", "numbers", show=False, id="steer.numbers", tooltip="All rows, as tables"),
        Binding("tab", "panel", "texts", id="steer.panel", tooltip="On a small terminal: plot or texts", priority=True),
        Binding("left", "move(-1, 0)", "weaker", show=False, id="steer.left"),
        Binding("right", "move(1, 0)", "stronger", show=False, id="steer.right"),
        Binding("up", "move(0, -1)", "vector", show=False, id="steer.before"),
        Binding("down", "move(0, 1)", "vector", show=False, id="steer.after"),
        Binding("pagedown", "read_on(5)", "texts down", show=False, id="steer.read-on", tooltip="Scroll the texts"),
        Binding("pageup", "read_on(-5)", "texts up", show=False, id="steer.read-back"),
        *RUN_KEYS,
    ]

    def __init__(
        self, host: HostScreen | None, recipe: Recipe, events: tuple[Event, ...] = (), folder: Path | None = None
    ) -> None:
        self.events: list[RowResult] = []
        self.vectors: dict[int, list[Row]] = {}
        """By number: a row for each hook and token."""
        self.points: list[Row] = []
        self.texts: dict[tuple[int, float], list[Row]] = {}
        """Completions by vector and strength."""
        self.draft: tuple[Row, ...] = ()
        """Completions that are being written."""
        self.chosen: tuple[int, float] | None = None
        """Vector and strength of the run that are looked at."""
        self.turned: float | None = None
        """A strength that the run has not."""
        self.written: SteeredTexts | None = None
        """What was written there."""
        self.problem = ""
        self.cost = "delta_ce"
        self.before: SteeringScreen | None = None
        """The run that this one is a change of."""
        self._followed = True
        """Whether the newest point is shown, while they come."""
        self._hit = Vocabulary(getattr(recipe.options, "words", ())).pattern
        self._drawn: tuple[object, ...] = ()
        self._asking = 0
        self._width = 0
        """Cells of a line beside the plot."""
        vectors, strengths = (
            sum(spec.count for spec in recipe.directions),
            len(getattr(recipe.options, "strengths", ())),
        )
        model = recipe.model.name.rstrip("/").rsplit("/", 1)[-1]
        title = f"steering · {model} · {recipe.site.write} · {vectors} vectors x {strengths} strengths"
        super().__init__(host, recipe, events, folder, title)
        self._followed = folder is None

    def body(self) -> ComposeResult:
        with Container(id="steer"):
            yield CurvePlot(id="steer-plot", titled=True)
            with VerticalScroll(id="steer-told", can_focus=False):
                yield Static(id="steer-numbers", markup=False)
        with VerticalScroll(id="steer-texts", can_focus=False):
            yield Static(id="steer-written", markup=False)

    def start_focus(self) -> Widget:
        return self.query_one(CurvePlot)

    # Results

    def result(self, event: Event) -> None:
        if isinstance(event, Draft):
            self.draft = event.rows
        if not isinstance(event, RowResult):
            return
        self.events.append(event)
        row = event.values
        match event.table:
            case "vectors":
                self.vectors.setdefault(int(row["number"]), []).append(row)
            case "rollouts":
                self.draft = ()
                self.texts.setdefault((int(row["number"]), float(row["strength"])), []).append(row)
            case "points":
                self.points.append(row)

    @property
    def strengths(self) -> list[float]:
        """Of the chosen vector, in order, as far as they are measured."""
        number = self.chosen[0] if self.chosen else 0
        return sorted(float(p["strength"]) for p in self.points if p["number"] == number)

    @property
    def point(self) -> Row | None:
        """The measured point that is looked at."""
        found = (p for p in self.points if (p["number"], p["strength"]) == self.chosen)
        return next(found, None)

    @property
    def picture(self) -> str:
        return "points" if self.cost == "delta_ce" else "frontier"

    @property
    def chart(self) -> Drawable | None:
        return pareto(self.points, self.cost, self.point) if self.points else None

    @property
    def table(self) -> str:
        return "points"

    # Drawing

    def paint(self) -> None:
        if self._followed and not self.ended and self.points and self.points[-1]["number"] is not None:
            self.chosen = int(self.points[-1]["number"]), float(self.points[-1]["strength"])
        if self.chosen is None and self.vectors:
            self.chosen = 0, float(getattr(self.recipe.options, "strengths", (1.0,))[0])
        self._width = self.query_one("#steer-numbers").content_size.width
        looked_at = (self.chosen, self.turned, self.written, self.problem, self.cost)
        state = (len(self.events), self.draft, looked_at, self.ascii, self.ended, self._width)
        if state == self._drawn:
            return
        self._drawn = state
        points, cost, chosen, ascii = list(self.points), self.cost, self.point, self.ascii

        def make() -> Drawable | None:
            return replace(pareto(points, cost, chosen), ascii=ascii) if points else None

        self.query_one(CurvePlot).show((len(points), cost, self.chosen, ascii), make)
        self.query_one("#steer-numbers", Static).update(self._told())
        self.query_one("#steer-written", Static).update(self._written())

    def _told(self) -> Text:
        """The numbers of what is looked at, the vectors, and how the chosen one is added."""
        selected = self.chosen[0] if self.chosen else None
        unit = MEANINGS[getattr(self.recipe.options, "unit", "native")]
        point, text = self.point, Text()
        if self.turned is not None:
            text.append(f"strength {self.turned:.4g} {unit}\n", "bold").append("not in the run: enter keeps it\n")
            if self.problem:
                text.append(f"{self.problem}\n", "bold")
            elif self.written is None:
                text.append("writing ...\n")
            else:
                text.append(f"adds {number(self.written.added_norm)}, {self.written.share_of_norm:.0%} of |x|\n")
        elif self.chosen is not None:
            text.append(f"strength {number(self.chosen[1])} {unit}\n", "bold")
            text.append("".join(f"{line}\n" for line in point_lines(point, self.points)))
            if point in frontier(self.points, self.cost):
                text.append("on the frontier\n")
        text.append_text(listed(self.vectors, selected, self._width))
        if selected is not None and selected in self.vectors:
            text.append(f"{placed(self.vectors[selected])}\n", "dim")
        return text

    def _written(self) -> RenderableType:
        """Completions with and without."""
        if self.turned is not None:
            pairs = self.written.pairs if self.written is not None else ()
        else:
            draft = self.draft if self._followed and not self.ended else ()
            rows = draft or (self.texts.get(self.chosen, []) if self.chosen else [])
            pairs = tuple((str(row.get("unsteered", "")), str(row["steered"])) for row in rows)
        return side_by_side(f"{self.recipe.site.prompt} ...  {drawn_how(self.recipe)}", pairs, self._hit)

    # What the user does

    def _look(self, number: int, strength: float) -> None:
        self._followed, self.turned, self.written, self.problem = False, None, None, ""
        self.chosen = number, strength
        self.paint()

    @on(CursorMoved)
    def _on_cursor(self, message: CursorMoved) -> None:
        self.action_move(message.steps, message.curves)

    def action_move(self, steps: int, curves: int) -> None:
        """To another strength of the run, or another vector; the plot's keys, also where it is hidden."""
        if self.chosen is None:
            return
        number, strength = self.chosen
        if curves:
            have = [i for i in self.vectors if any(p["number"] == i for p in self.points)]
            if number not in have:
                return
            number = have[(have.index(number) + (1 if curves > 0 else -1)) % len(have)]
            mine = [float(p["strength"]) for p in self.points if p["number"] == number]
            self._look(number, min(mine, key=lambda s: abs(s - strength)))
            return
        strengths, here = self.strengths, self.turned if self.turned is not None else strength
        beyond = [s for s in strengths if (s > here if steps > 0 else s < here)]
        if beyond:
            self._look(number, beyond[0] if steps > 0 else beyond[-1])

    def action_turn(self, by: int) -> None:
        if self.chosen is None:
            return
        now = self.turned if self.turned is not None else self.chosen[1]
        self._followed, self.written, self.problem = False, None, ""
        self.turned = steer_edits.turned(now, by, self.strengths)
        self._asking += 1
        asked = self._asking
        self.set_timer(TURNING_SECONDS, lambda: self._ask(asked))
        self.paint()

    def _ask(self, asked: int) -> None:
        if asked != self._asking or self.turned is None or self.chosen is None or self.host is None:
            return

        def use(answer: Answer) -> None:
            if asked != self._asking or answer.problem == OVERTAKEN:
                return
            self.written, self.problem = answer.found, answer.problem
            if self.is_attached and self.query(CurvePlot):  # it may have been left meanwhile
                self.paint()

        self.host.ask(TurnedTo(self.chosen[0], self.turned), use, self.recipe)

    def action_keep(self) -> None:
        strength = self.turned
        if strength is None:
            self.notify("Turn the strength with + and - first: what the run has is kept already.", severity="warning")
            return
        self.become(lambda recipe: steer_edits.with_strength(recipe, strength))

    def failed(self, why: str) -> None:
        """A run that was refused before its first point gives way to the one it came from."""
        super().failed(why)
        if self.before is not None and not self.points and self.host is not None and self.is_current:
            back = self.before.again()
            back.notes.append(why)
            self.app.switch_screen(back)

    def twin(self, events: tuple[Event, ...]) -> SteeringScreen:
        """A screen of the same run that has these events."""
        screen = SteeringScreen(self.host, self.recipe, events, self.folder)
        screen.chosen, screen.cost = self.chosen, self.cost
        return screen

    def rerun(self, recipe: Recipe) -> None:
        if self.host is not None:
            screen = SteeringScreen(self.host, recipe)
            screen.before, screen.cost = self, self.cost
            self.before = None  # one step back is enough: a chain would hold every run of the day
            self.app.switch_screen(screen)

    def become(self, edit: Callable[[Recipe], Recipe]) -> None:
        """Run a changed recipe in place of this one, whose run is kept."""
        try:
            new = edit(self.recipe)
        except DirscopeError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        if new != self.recipe:
            self.rerun(new)

    @property
    def selected_table(self) -> int:
        """Which of the recipe's tables the chosen vector is of."""
        tables = steer_edits.tables_by_number(self.recipe)
        return tables[self.chosen[0]] if self.chosen else 0

    def action_compose(self) -> None:
        composing.compose(self)

    def action_drop(self) -> None:
        self.become(lambda recipe: steer_edits.without_vector(recipe, self.selected_table))

    def action_words(self) -> None:
        def use(text: str | None) -> None:
            if text is not None:
                self.become(lambda recipe: steer_edits.with_words(recipe, text))

        words = "\n".join(getattr(self.recipe.options, "words", ()))
        note = "one word or phrase on each line; a completion with any of them, as whole words, is a success"
        check = lambda text: steer_edits.with_words(self.recipe, text)  # noqa: E731
        self.app.push_screen(EditText("vocabulary", words, check, note, tall=True), use)

    def action_save(self) -> None:
        composing.save(self)

    def action_axis(self) -> None:
        costs = list(COSTS)
        self.cost = costs[(costs.index(self.cost) + 1) % len(costs)]
        self.paint()

    def action_panel(self) -> None:
        """On a small terminal, where not both have room."""
        self.toggle_class("-texts")

    def action_read_on(self, lines: int) -> None:
        self.query_one("#steer-texts").scroll_relative(y=lines, animate=False)

    def action_numbers(self) -> None:
        self.app.push_screen(TablesScreen.beside(self, self.events))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a host nothing can be computed or added."""
        return self.host is not None or action not in ("edit", "pause", "turn", "keep", "compose", "drop", "words")
