"""A dialog of the steering screen: the features of a contrast to tick.

Knows widgets and answers; what is made of them is known to whoever asked.
"""

from __future__ import annotations

from typing import ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Label, Static

from engine.printable import printable
from engine.protocol import Answer
from engine.questions.steered import PairFeature
from tui.screens.dialogs import BACK

COLUMNS: Final = ("", "token", "feature", "plus", "minus", "length", "rate", "", "raises")


class TickFeatures(ModalScreen[frozenset[int] | None]):
    """The features of a contrast, largest difference first, to tick; gives their numbers."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *BACK,
        Binding("space", "tick", "tick", show=False),
        Binding("enter", "done", "done", show=False, priority=True),
    ]

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self._rows: tuple[PairFeature, ...] = ()
        self._problem = "encoding both prompts ..."
        self.ticked: set[int] = set()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog tall"):
            yield Label(self._title, classes="dialog-title")
            yield DataTable(id="ticks", cursor_type="row")
            yield Static(self._problem, id="refusal", markup=False)
            yield Label("space tick   enter done   esc back", classes="dialog-hint")

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        for i, name in enumerate(COLUMNS):
            table.add_column(name, key=str(i))
        table.focus()
        self._show()

    def fill(self, answer: Answer) -> None:
        """Show what came; it may come before the dialog is on the screen or after it has left."""
        self._rows, self._problem = answer.found or (), answer.problem
        if self.is_attached and self.query(DataTable):  # it may have been left meanwhile
            self._show()

    def _show(self) -> None:
        table = self.query_one(DataTable)
        at = table.cursor_row
        table.clear()
        for row in self._rows:
            table.add_row(*_cells(row, row.feature in self.ticked))
        if self._rows:
            table.move_cursor(row=min(at, len(self._rows) - 1))
        refusal = self.query_one("#refusal", Static)
        refusal.update(self._problem)
        refusal.display = bool(self._problem)

    def action_tick(self) -> None:
        at = self.query_one(DataTable).cursor_row
        if 0 <= at < len(self._rows):
            self.ticked ^= {self._rows[at].feature}
            self._show()

    def action_done(self) -> None:
        if self._rows:
            self.dismiss(frozenset(self.ticked))


def _cells(row: PairFeature, ticked: bool) -> list[Text]:
    raised = " ".join(printable(token) for token in row.raised)
    numbers = (f"{row.plus:.3g}", f"{row.minus:.3g}", f"{row.length:.3g}", f"{row.rate:.1%}")
    told = [Text(number, justify="right") for number in numbers]
    return [
        Text("▣" if ticked else "▢"),
        Text(printable(row.text)),
        Text(f"#{row.feature}"),
        *told,
        Text(row.mark),
        Text(raised),
    ]
