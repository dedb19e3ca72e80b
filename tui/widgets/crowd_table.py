"""Groups of curves in numbers, and how well they are told apart: computed in a thread of its own.

Shows a crowd; knows nothing of runs and screens.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import numpy as np
from rich.text import Text
from textual.app import RenderResult
from textual.message import Message
from textual.widget import Widget

from engine.aggregates import quantile
from sessions.cautions import cautions, footnotes, letters
from sessions.crowd import Crowd, Scalar
from sessions.digest import number
from sessions.separation import brief, contrasts

_COUNTER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dirscope-statistics")


class CrowdTable(Widget):
    """The newest crowd it was given."""

    class Counted(Message):
        """The table is made, off the event loop."""

        def __init__(self, text: Text) -> None:
            super().__init__()
            self.text = text

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._text = Text("numbers come with the first curves", style="dim")
        self._counting: Future[None] | None = None
        self._next: tuple[Crowd, Scalar, bool, bool] | None = None

    def show(self, crowd: Crowd, scalar: Scalar, families: bool, whole: bool) -> None:
        """Show a crowd as soon as the one before is done.

        Args:
            crowd: the curves so far.
            scalar: which number is shown of each group.
            families: whether kinds of different families are compared.
            whole: whether no curves follow, so that contrasts with their intervals are worth computing.
        """
        self._next = (crowd, scalar, families, whole)
        self._count()

    def _count(self) -> None:
        if self._counting is not None or self._next is None or not self.is_mounted:
            return
        wanted, self._next = self._next, None

        def work() -> None:
            try:
                text = table(*wanted)
            except Exception as error:
                # An exception here would vanish with the thread.
                text = Text(f"cannot count these curves: {type(error).__name__}: {error}")
            self.post_message(self.Counted(text))

        self._counting = _COUNTER.submit(work)

    def on_crowd_table_counted(self, message: Counted) -> None:
        message.stop()
        self._counting = None
        self._text = message.text
        self.refresh(layout=True)
        self._count()

    def render(self) -> RenderResult:
        return self._text


def table(crowd: Crowd, scalar: Scalar, families: bool, whole: bool) -> Text:
    """Groups with their cautions, then contrasts, then what the letters say."""
    text = Text(no_wrap=True)
    unit = "°" if crowd.unit == "degrees" and scalar.unit == "path" else ""
    wide = max([12, len(scalar.label) + 2, *(len(group.label) + 8 for group in crowd.groups)])
    text.append(f"{f'{scalar.label}{unit}':<{wide}}"[:wide], style="bold")
    text.append(f"{'n':>6}{'bases':>7}{'median':>9}  {'quartiles':<16}{'never':>6}\n", style="dim")
    found = [cautions(crowd.info, group.summaries) for group in crowd.groups]
    for group, notes in zip(crowd.groups, found, strict=True):
        values = group.numbers(scalar.column).values
        low, middle, high = (number(quantile(values, q), 3) for q in (0.25, 0.5, 0.75))
        never = f"{np.isinf(values).mean():.0%}" if len(values) else "-"
        text.append(f"{group.look.letter} ", style=f"bold {group.look.style}")
        text.append(f"{group.label:<{wide - 8}.{wide - 8}}")
        text.append(f"{letters(notes):<6}", style="yellow")
        quartiles = f"{low} to {high}"
        text.append(f"{len(group.curves):>6}{group.n_bases:>7}{middle:>9}  {quartiles:<16}{never:>6}\n")
    if whole:
        text.append_text(_contrasts(crowd, scalar, families))
    for note in footnotes(found):
        text.append(f"{note}\n", style="yellow")
    return text


def _contrasts(crowd: Crowd, scalar: Scalar, families: bool) -> Text:
    found = contrasts(crowd, families)
    text = Text()
    if not found:
        return text
    wide = max(20, *(len(f"{c.first} / {c.second}") + 5 for c in found))
    head = f"{'which is sooner':<{wide}}{'win rate':<20}{'AUC':<20}KS (chance)"
    text.append(head + "\n", style="dim")
    for c in found:
        name = f"{c.first} / {c.second}{' [x]' if c.across else ''}"
        cells = [brief(side[scalar.column]) if scalar.column in side else "-" for side in (c.wins, c.auc, c.ks)]
        text.append(f"{name:<{wide}}{cells[0]:<20}{cells[1]:<20}{cells[2].replace('chance ', '')}\n")
    if any(c.across for c in found):
        text.append("[x] across families: such directions are made in different ways\n", style="yellow")
    return text
