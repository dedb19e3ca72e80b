"""Rows of a run's tables as cells of a widget, and their order.

Knows values; no widgets of its own.
"""

from __future__ import annotations

from typing import Any, Final

from rich.text import Text

from engine.printable import printable
from sessions.digest import number

CELL: Final = 34


def in_order(rows: list[dict[str, Any]], by: tuple[str, bool] | None) -> list[dict[str, Any]]:
    """Rows sorted by a column, downwards where it is true; what never happens comes last, whichever way."""
    if by is None or not all(by[0] in row for row in rows):
        return rows
    column, down = by
    known = [r for r in rows if r[column] is not None]
    texts = any(isinstance(r[column], str) for r in known)
    known.sort(key=lambda r: str(r[column]) if texts else r[column], reverse=down)
    return [*known, *[r for r in rows if r[column] is None]]


def cell(name: str, value: Any) -> Text:
    """A value of a column as text."""
    if value is None:
        return Text("never" if name.endswith("threshold") else "-", style="dim", justify="right")
    if isinstance(value, bool):
        return Text("yes" if value else "no", style="" if value else "dim")
    if isinstance(value, int | float):
        return Text(number(value) if isinstance(value, float) else str(value), justify="right")
    text = printable(str(value)).replace("\n", "⏎")
    return Text(text if len(text) <= CELL else text[: CELL - 1] + "…")
