"""What the steering screen says in words: vectors, the numbers of a point, completions side by side.

Knows rows of a run; no widgets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.printable import printable
from engine.recipe import Recipe
from engine.steering.wording import plain
from sessions.digest import number
from sessions.steering_pictures import letter_of

Row = Mapping[str, Any]
NARROWEST: Final = 12


def listed(vectors: Mapping[int, Sequence[Row]], selected: int | None, width: int) -> Text:
    """Letter and label of each vector on a line, the selected one marked."""
    text, width = Text(), max(NARROWEST, width)
    for i, rows in vectors.items():
        label = f"{'▸' if i == selected else ' '}{letter_of(i)} {printable(str(rows[0]['label']))}"
        line = label if len(label) <= width else f"{label[: width - 1]}…"
        text.append(f"{line}\n", "bold" if i == selected else "")
    return text


def placed(rows: Sequence[Row]) -> str:
    """What kind of vector it is, and where it is added."""
    hooks = ", ".join(dict.fromkeys(str(row["hook"]) for row in rows))
    at = ", ".join(str(row["at"]) for row in rows if row["hook"] == rows[0]["hook"])
    return f"{rows[0]['kind']} at {hooks}, token {at}"


def drawn_how(recipe: Recipe) -> str:
    """How completions are drawn."""
    o = recipe.data()["options"]
    penalty = f", frequency penalty {o['frequency_penalty']:g}" if o["frequency_penalty"] else ""
    return f"temperature {o['temperature']:g}, top-p {o['top_p']:g}{penalty}, {o['tokens']} tokens, seed {recipe.seed}"


def point_lines(point: Row | None, points: Sequence[Row]) -> list[str]:
    """The numbers of a point, for people; nothing of one that is not measured."""
    if point is None:
        return []
    if point["success"] is None or point["delta_ce"] is None:
        return ["no numbers: see the notes below"]
    plainly = next((p for p in points if p["number"] is None), None)
    was = "" if plainly is None or plainly["success"] is None else f", {plainly['success']:.0%} without"
    after = "" if point["kl_prompts"] is None else f", {number(point['kl_prompts'], 3)} after prompts"
    form = f"{number(point['distinct_2'], 2)} distinct-2, {number(point['repetition'], 2)} repeated 4-grams"
    if plainly is not None:
        form += f"; {number(plainly['distinct_2'], 2)}, {number(plainly['repetition'], 2)} without"
    return [
        f"adds {number(point['added_norm'])}, {point['share_of_norm']:.0%} of |x|",
        f"success {point['success']:.0%} ({point['success_low']:.0%} to {point['success_high']:.0%}){was}",
        f"loss {number(point['ce_steered'])}, {point['delta_ce']:+.3g} nats ({point['counted']} tokens of a text)",
        f"KL {number(point['kl'], 3)} on text{after}",
        form,
    ]


def side_by_side(head: str, pairs: Sequence[tuple[str, str]], hit: re.Pattern[str]) -> RenderableType:
    """Completions without and with, hits underlined."""
    shown = Table.grid(padding=(0, 1))
    for _ in range(3):
        shown.add_column()
    for i, (before, after) in enumerate(pairs, 1):
        if before:
            shown.add_row(Text(str(i), "dim"), Text("as is", "dim", no_wrap=True), _marked(before, hit))
        count = Text("" if before else str(i), "dim")
        shown.add_row(count, Text("with it", "bold", no_wrap=True), _marked(after, hit))
    return Group(Text(printable(head), "dim"), shown)


def _marked(written: str, hit: re.Pattern[str]) -> Text:
    line = Text(plain(" ".join(printable(written).split())))
    line.highlight_regex(hit, "bold underline")
    return line
