"""A blind test: curves without names, a tag for each, and the score once all are tagged.

Shows the events of one run; knows nothing of what is real until the seal is opened by the answer.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType

from engine.errors import DirscopeError
from engine.experiments.blind_test import ITEMS
from engine.recipe import Recipe
from engine.results import Event, RowResult
from sessions.blind import Verdict, answer, verdict_of
from sessions.chart import Drawable
from sessions.digest import number
from sessions.mechanism_pictures import items
from tui.messages import CursorMoved
from tui.screens.beside import READ_ON, BesideScreen
from tui.screens.guest import RUN_KEYS
from tui.screens.host import HostScreen

METRICS: Final = ("kl", "l2", "cosine")


class BlindScreen(BesideScreen):
    """One test."""

    HELP = """\
## Blind test

Half of the curves go along SAE features that are active at this token, half along directions made up to match them in
length and in angle to the base. Which is which is sealed in the run. **up / down** choose a curve, **r** tags it as
real, **f** as made up (fake), **enter**, twice, answers once all are tagged: one answer, which is kept with the run.
Beside your score stands what rules that look at one number of each curve would have had, and how likely the score is
by chance.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "tag(True)", "real", id="blind.real", tooltip="Tag the chosen curve as a real feature"),
        Binding("f", "tag(False)", "made up", id="blind.fake", tooltip="Tag the chosen curve as made up"),
        Binding("m", "next_metric", "metric", id="blind.metric", tooltip="KL, L2 or cosine"),
        Binding("enter", "answer", "answer", id="blind.answer", tooltip="Open the seal: your tags are the answer"),
        *RUN_KEYS,
        *READ_ON,
    ]

    def __init__(
        self, host: HostScreen | None, recipe: Recipe, events: tuple[Event, ...] = (), folder: Path | None = None
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self.names: list[str] = []
        self.tags: dict[str, bool] = {}
        self.chosen = 0
        self.metric = 0
        self.verdict: Verdict | None = None
        self._drawn: tuple[object, ...] = ()
        self._sure = False
        """Whether the next enter answers."""
        self._leaving = False
        """Whether the next key to leave does, tags and all."""
        super().__init__(host, recipe, events, folder)
        if folder is not None:
            self._recall(folder)

    def _recall(self, folder: Path) -> None:
        try:
            self.verdict = verdict_of(folder)
        except DirscopeError as error:
            self.notes.append(str(error))
        if self.verdict is not None:
            self.tags = {item.name: item.said_real for item in self.verdict.items}

    @property
    def picture(self) -> str:
        return ITEMS

    def result(self, event: Event) -> None:
        if isinstance(event, RowResult) and event.table == ITEMS:
            row = dict(event.values)
            self.rows.append(row)
            if row["item"] not in self.names:
                self.names.append(str(row["item"]))

    def paint(self) -> None:
        state = (len(self.rows), self.chosen, self.metric, tuple(self.tags.items()), self.verdict, self._sure)
        if not self.rows or state == self._drawn:
            return
        self._drawn = state
        chosen, ascii = self.names[self.chosen], self.ascii

        def make() -> Drawable:
            return replace(self._drawing(chosen), ascii=ascii)

        self.plot.show((state,), make)
        self.tell(self._told())

    @property
    def chart(self) -> Drawable | None:
        return self._drawing(self.names[self.chosen]) if self.names else None

    @property
    def table(self) -> str:
        return ITEMS

    def _drawing(self, chosen: str) -> Drawable:
        truth = None if self.verdict is None else {item.name: item.real for item in self.verdict.items}
        return items(list(self.rows), METRICS[self.metric], chosen, truth, self.recipe.metrics.level)

    def _told(self) -> Text:
        """What is to be done or what came out first, then a line for each item: the column may be short."""
        text = Text()
        left = len(self.names) - len(self.tags)
        if self.verdict is not None:
            text.append(f"{self.verdict.lines()[0]}\n", style="bold")
        elif self._sure:
            text.append("enter again opens the seal\n", style="bold")
        else:
            text.append(f"{left} to tag: r real, f made up\n" if left else "enter answers\n", style="dim")
        first = {str(row["item"]): row for row in reversed(self.rows)}
        labels = {} if self.verdict is None else {item.name: item for item in self.verdict.items}
        for place, name in enumerate(self.names):
            said = {True: "real", False: "made up", None: "?"}[self.tags.get(name)]
            line = f"{'>' if place == self.chosen else ' '}{name} {said:<8}"
            if name in labels:
                item = labels[name]
                line += f"{'right' if item.right else 'WRONG'} {item.label.replace('made up to match', 'like')}"
            else:
                threshold = first[name]["threshold"]
                line += "never" if threshold is None else number(threshold)
            text.append(line + "\n", style="bold" if place == self.chosen else "")
        if self.verdict is None:
            text.append(f"\nnumbers: where KL is {self.recipe.metrics.level:g}", style="dim")
        else:
            text.append("\ntaking the soonest for real, by\n")
            for rule in self.verdict.rules:
                text.append(f"{rule.name}: {rule.right:g} right, AUC {rule.auc:.2f}\n")
        return text

    @on(CursorMoved)
    def _on_cursor(self, message: CursorMoved) -> None:
        if self.names:
            self.chosen = (self.chosen + (message.curves or (message.steps > 0) - (message.steps < 0))) % len(
                self.names
            )
            self.paint()

    def action_tag(self, real: bool) -> None:
        if not self.names or self.verdict is not None:
            return
        self.tags[self.names[self.chosen]] = real
        self._sure = self._leaving = False
        untagged = [i for i, name in enumerate(self.names) if name not in self.tags]
        # On to the next one without a tag.
        self.chosen = next((i for i in untagged if i > self.chosen), untagged[0] if untagged else self.chosen)
        self.paint()

    def action_next_metric(self) -> None:
        self.metric = (self.metric + 1) % len(METRICS)
        self.paint()

    def action_answer(self) -> None:
        if self.verdict is not None:
            return
        if self.folder is None or len(self.tags) < len(self.names) or not self.names:
            left = len(self.names) - len(self.tags)
            why = f"{left} curves are not tagged yet: r is real, f is made up." if left else "It is not whole yet."
            self.notify(why, severity="warning", markup=False)
            return
        if not self._sure:
            self._sure = True
            self.paint()
            return
        try:
            self.verdict = answer(self.folder, [name for name, real in self.tags.items() if real])
        except DirscopeError as error:
            self.notify(str(error), severity="error", timeout=10, markup=False)
            self._recall(self.folder)
        self.paint()

    def action_leave(self) -> None:
        if self.tags and self.verdict is None and not self._leaving:
            self._leaving = True
            self.notify("Tags that are not answered are forgotten: once more to leave.", severity="warning")
            return
        super().action_leave()
