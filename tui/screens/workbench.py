"""The SAE workbench: features of the chosen token or of a search, a card of each, and what can be done with them.

Features ticked here are directions of the main screen. Knows its host and questions; computes nothing.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static

from engine.printable import printable
from engine.protocol import Answer
from engine.questions.features import ActiveFeatures, Card, Feature, FeatureCard, FeatureList, FindFeatures
from engine.questions.watch import Watched, WatchFeatures
from engine.worker import OVERTAKEN
from tui import edits
from tui.help import help_of
from tui.screens.dialogs import EditText, Help, Reading
from tui.screens.feature_card import FeatureDialog, card_text
from tui.screens.running import unused
from tui.screens.tables import TablesScreen
from tui.screens.taking import to_clipboard
from tui.widgets.keybar import KeyBar

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen

CARD_SECONDS: Final = 0.12
"""A cursor that moves on asks for no card."""
COLUMNS: Final = ("", "feature", "active", "L1", "rate", "norm", "e·d", "", "raises")
LISTED: Final = ("feature", "activation", "share_of_l1", "rate", "decoder_norm", "encoder_cosine", "raises")
"""Columns of the exported list."""
TOKEN: Final = 10
"""Cells of an output token in the list; the card has the whole of it."""
SPLICED_TEXTS: Final = 64
NULLS: Final = 200


class Workbench(Screen[None]):
    """Features of the SAE at the main screen's site."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "back", id="sae.back", tooltip="Clear the search, or go back to the curves"),
        Binding("slash", "search", "search", id="sae.search", tooltip="By number, or by an output token"),
        Binding(
            "enter,space", "tick", "direction", id="sae.tick", tooltip="Add this feature as a direction, or clear it"
        ),
        Binding("w", "watch", "watch", id="sae.watch", tooltip="Put it on the watch list, or take it off"),
        Binding("W", "watched", "watched", show=False, id="sae.watched", tooltip="The watch list on several prompts"),
        Binding("i", "card", "card", show=False, id="sae.card", tooltip="The card by itself, for a small terminal"),
        Binding("question_mark,f1", "help", "help", id="sae.help", tooltip="What the columns and keys mean"),
        Binding("n", "neighbour", "nearest", show=False, id="sae.nearest", tooltip="Go to its nearest neighbour"),
        Binding("d", "decompose", "decompose", id="sae.decompose", tooltip="The base by encoder and by pursuit"),
        Binding("x", "explain", "explain", id="sae.explain", tooltip="This feature by other features"),
        Binding("r", "rank(False)", "rank", id="sae.rank", tooltip="Active features by threshold, against 200 nulls"),
        Binding("R", "rank(True)", "rank all", show=False, id="sae.rank-all", tooltip="All features by threshold"),
        Binding(
            "g", "geometry", "geometry", id="sae.geometry", tooltip="Decoder cosines, L0 on random inputs, readers"
        ),
        Binding("l", "splice", "loss", id="sae.loss", tooltip="Loss with the SAE in place of the activations"),
        Binding("e", "export", "export", show=False, id="sae.export", tooltip="This list as CSV, into this directory"),
        Binding("y", "copy", "copy id", show=False, id="sae.copy", tooltip="Copy Neuronpedia's URL, or the number"),
    ]
    HELP = """\
## SAE workbench

One row per feature active at the chosen token: activation, share of L1, rate (how often it fires), norm of its
decoder row, e·d (cosine of encoder and decoder), and the output token it raises most by the direct path. *dense*
features fire on more than half of all tokens, *rare* ones on fewer than one in 10,000, *dead* ones never.
"""
    place: ClassVar[str] = "features"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 (an instance variable upstream)

    def __init__(self, host: ProbeScreen) -> None:
        super().__init__()
        self._host = host
        self.features = FeatureList("", ())
        self._found = ""
        """What was searched for; empty for the active ones."""
        self._problem = ""
        self.card: Card | None = None
        """Of the feature under the cursor, or the last one that was."""
        self._moving: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="sae-head", markup=False)
        yield Input(placeholder="a feature's number, or an output token", id="sae-search", compact=True)
        with Horizontal(id="sae-body"):
            yield DataTable(id="sae-list", cursor_type="row")
            with VerticalScroll(id="sae-card"):
                yield Static(id="sae-card-text")
        yield KeyBar()

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        for i, name in enumerate(COLUMNS):
            table.add_column(name, key=f"{i}")
        table.focus()
        self._host.ask(ActiveFeatures(), self._on_list)
        self._head("looking for active features ...")

    @property
    def _is_there(self) -> bool:
        """Whether it is still on the screen: answers may come after it was left."""
        return self.is_attached and bool(self.query("#sae-card-text")) and bool(self.query(DataTable))

    def _head(self, text: str) -> None:
        site = self._host.picture.site or self._host.drawn.site
        place = f"at {site['tokens'][site['position']]!r}" if site else f"at {self._host.recipe.site.write}"
        self.query_one("#sae-head", Static).update(f" SAE {printable(place)} · {printable(text)}")

    def _on_list(self, answer: Answer) -> None:
        if not self._is_there or answer.problem == OVERTAKEN:
            return
        self._problem = answer.problem
        if answer.problem:
            self._head(answer.problem)
            return
        self.features = answer.found
        self._fill(at=0)

    def _fill(self, at: int | None = None) -> None:
        table, ticked, watched = (
            self.query_one(DataTable),
            edits.ticked_features(self._host.recipe),
            self._host.watchlist.features,
        )
        at = table.cursor_row if at is None else at
        table.clear()
        for f in self.features.rows:
            table.add_row(*_row(f, f.index in ticked, f.index in watched), key=str(f.index))
        what = f"features that raise {self._found!r} most" if self._found else "features active here"
        if self._found.strip().isdigit():
            what = f"feature {self._found.strip()}"
        else:
            what = f"{len(self.features.rows)} {what}"
        self._head(f"{what} · {self.features.n_features:,} in {self.features.sae}")
        if self.features.rows:
            table.move_cursor(row=min(at, len(self.features.rows) - 1))

    @property
    def selected(self) -> Feature | None:
        """The feature under the cursor."""
        at = self.query_one(DataTable).cursor_row
        return self.features.rows[at] if 0 <= at < len(self.features.rows) else None

    @on(DataTable.RowHighlighted)
    def _on_moved(self) -> None:
        if self._moving is not None:
            self._moving.stop()
        self._moving = self.set_timer(CARD_SECONDS, self._want_card)

    def _want_card(self) -> None:
        if self.selected is not None:
            self._host.ask(FeatureCard(self.selected.index), self._on_card)

    def _on_card(self, answer: Answer) -> None:
        if self._is_there and not answer.problem:
            self.card = answer.found
            self.query_one("#sae-card-text", Static).update(card_text(answer.found))

    # What the user does

    @on(Input.Submitted, "#sae-search")
    def _on_search(self, event: Input.Submitted) -> None:
        self._found = event.value
        self._host.ask(FindFeatures(event.value) if event.value.strip() else ActiveFeatures(), self._on_list)
        self.query_one(DataTable).focus()

    def action_search(self) -> None:
        self.query_one("#sae-search").focus()

    def action_leave(self) -> None:
        if self._found or (self._problem and self.features.rows):
            self._found = ""
            self.query_one("#sae-search", Input).value = ""
            self._host.ask(ActiveFeatures(), self._on_list)
            self.query_one(DataTable).focus()
        elif self.query_one("#sae-search").has_focus:
            self.query_one(DataTable).focus()
        else:
            self.dismiss(None)

    @on(DataTable.RowSelected)
    def _on_chosen(self) -> None:
        self.action_tick()

    def action_tick(self) -> None:
        feature = self.selected
        if feature is not None:
            self._host.change(lambda r: edits.toggled_feature(r, feature.index))
            self._fill()

    def action_neighbour(self) -> None:
        if self.selected is not None:
            self._host.ask(FeatureCard(self.selected.index), self._go_to_nearest)

    def _go_to_nearest(self, answer: Answer) -> None:
        if self._is_there and answer.found is not None and answer.found.neighbours:
            self._found = str(answer.found.neighbours[0][0])
            self.query_one("#sae-search", Input).value = self._found
            self._host.ask(FindFeatures(self._found), self._on_list)

    def action_card(self) -> None:
        if self.selected is not None:
            self._host.answer_in(FeatureDialog(), FeatureCard(self.selected.index))

    def action_help(self) -> None:
        self.app.push_screen(Help(help_of(self)))

    def action_watch(self) -> None:
        if self.selected is not None:
            index = self.selected.index
            self._host.watchlist.toggle(index)
            self._fill()

    def action_watched(self) -> None:
        watched = tuple(self._host.watchlist.features)
        if not watched:
            self.notify("Nothing is watched yet: w puts the feature under the cursor on the list.", markup=False)
            return

        def use(text: str | None) -> None:
            if text is None:
                return
            self._host.watchlist.look_at([line for line in text.splitlines() if line.strip()])
            self._host.answer_in(WatchDialog(), WatchFeatures(watched, tuple(self._host.watchlist.prompts)))

        note = "one prompt a line, read at its last token; the prompt of the main screen comes first by itself"
        start = "\n".join(self._host.watchlist.prompts)
        self.app.push_screen(EditText("watch on these prompts", start, lambda text: None, note), use)

    def action_export(self) -> None:
        file = unused(Path.cwd() / "dirscope-features.csv")
        try:
            with file.open("w", newline="", encoding="utf-8") as handle:
                writer = csv.writer(handle)
                writer.writerow(LISTED)
                for f in self.features.rows:
                    raised = f.raised[0] if f.raised else ""
                    writer.writerow([f.index, f.activation, f.share_of_l1, f.rate, f.length, f.encoder_cosine, raised])
        except OSError as error:
            self.notify(f"Cannot write {file} ({error.strerror or error}).", severity="error", markup=False)
        else:
            self.notify(str(file), title="exported", markup=False)

    def action_copy(self) -> None:
        if self.selected is not None:
            card = self.card
            url = card.neuronpedia if card is not None and card.feature.index == self.selected.index else ""
            to_clipboard(self.app, url or str(self.selected.index), "copied")

    def _run(self, experiment: str, title: str, first: tuple[str, str] | None = None, **options: Any) -> None:
        recipe = edits.with_experiment(self._host.recipe, experiment, options)
        self.app.push_screen(TablesScreen(self._host, recipe, title=title, first=first))

    def action_decompose(self) -> None:
        chosen: dict[str, Any] = {} if self.selected is None else {"feature": self.selected.index}
        self._run("decompose", "the base as a sum of features", of="base", **chosen)

    def action_explain(self) -> None:
        if self.selected is not None:
            self._run("explain-feature", f"feature {self.selected.index} by others", feature=self.selected.index)

    def action_rank(self, everything: bool) -> None:
        which = "all" if everything else "active"
        first = ("ranking", "threshold")
        self._run("rank-features", f"{which} features by threshold", first, which=which, nulls=NULLS)

    def action_geometry(self) -> None:
        self._run("sae-geometry", "how decoder rows lie, and who reads the directions ticked")

    def action_splice(self) -> None:
        self._run("sae-fidelity", "loss with the SAE in place of the activations", texts=SPLICED_TEXTS)


def _row(f: Feature, ticked: bool, watched: bool) -> list[Text]:
    style = "" if f.activation else "dim"
    marks = ("▣" if ticked else "▢") + ("◉" if watched else " ")
    raised = printable(f.raised[0]).strip()[:TOKEN] if f.raised else ""
    return [
        Text(marks, style="bold" if ticked else ""),
        Text(f"{f.index}", style=style, justify="right"),
        Text(f"{f.activation:.3g}" if f.activation else "off", style=style, justify="right"),
        Text(f"{f.share_of_l1:.0%}" if f.activation else "", style=style, justify="right"),
        Text(f"{f.rate:.3g}" if f.rate < 1e-3 else f"{f.rate:.1%}", style=style, justify="right"),
        Text(f"{f.length:.2f}", style=style, justify="right"),
        Text(f"{f.encoder_cosine:.2f}", style=style, justify="right"),
        Text(f.mark, style="yellow"),
        Text(raised, style=style),
    ]


class WatchDialog(Reading):
    """The watch list: below each feature, its value on every prompt."""

    WAITING = "encoding ..."

    def head(self) -> Text:
        return Text("watched features\n\n", style="bold")

    def body(self, found: tuple[Watched, ...]) -> Text:
        text = Text("activation, or in brackets the encoder's value before its activation function\n", style="dim")
        for feature in dict.fromkeys(w.feature for w in found):
            text.append(f"\n#{feature}\n", style="not dim bold")
            for w in found:
                if w.feature == feature:
                    text.append(f"{_watched(w):>12}  ", style="not dim bold" if w.activation else "dim")
                    text.append(f"{printable(w.prompt)}\n", style="not dim")
        return text


def _watched(w: Watched) -> str:
    if w.activation:
        return f"{w.activation:.3g}"
    return "off" if w.before is None else f"({w.before:.2g})"
