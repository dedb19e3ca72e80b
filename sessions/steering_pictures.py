"""Pictures of steering: success against damage, a point for each strength of each vector.

Knows rows of points and plotting values; no widgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from engine.steering.pareto import COSTS, frontier, measured
from sessions.chart import BRIGHT, GREY, Chart, Line, Mark
from sessions.kinds import RGB

Rows = Sequence[Mapping[str, Any]]
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
COLOURS: Final[tuple[RGB, ...]] = (
    (204, 121, 167), (0, 178, 130), (230, 120, 30), (86, 180, 233), (240, 190, 60), (150, 100, 220), (213, 94, 94),
)  # fmt: skip
NAME: Final = 44
"""Longer labels are cut in a legend."""
EMPTY: Final = 0.05
"""Share of the width that is left free at the right."""


def letter_of(number: int) -> str:
    """What a vector's points are drawn with."""
    return LETTERS[number % len(LETTERS)]


def colour_of(number: int) -> RGB:
    """The colour that goes with it."""
    return COLOURS[number % len(COLOURS)]


def pareto(points: Rows, cost: str = "delta_ce", chosen: Mapping[str, Any] | None = None) -> Chart:
    """Success against a cost; strengths of a vector joined in order, the frontier a bright line, no steering an o.

    Args:
        cost: one of `COSTS`.
        chosen: a point that is marked.
    """
    known = measured(points)
    steered = [point for point in known if point["number"] is not None]
    plain = next((point for point in known if point["number"] is None), None)
    lines, marks, legend = [], [], []
    for number in dict.fromkeys(int(point["number"]) for point in steered):
        own = sorted((p for p in steered if p["number"] == number), key=lambda p: p["strength"])
        rgb, letter = colour_of(number), letter_of(number)
        x, y = (np.array([float(p[name]) for p in own]) for name in (cost, "success"))
        lines.append(Line(x, y, rgb, thin=True))
        marks += [Mark(a, b, letter, rgb) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        legend.append((letter, str(own[0]["label"])[:NAME], rgb))
    best = frontier(known, cost)
    if len(best) > 1:
        x, y = (np.array([float(p[name]) for p in best]) for name in (cost, "success"))
        lines.append(Line(x, y, BRIGHT))
    if plain is not None:
        marks.append(Mark(float(plain[cost]), float(plain["success"]), "o", GREY))
    if chosen is not None and chosen["success"] is not None and chosen[cost] is not None:
        marks.append(Mark(float(chosen[cost]), float(chosen["success"]), "◆", BRIGHT))
    costs = [float(p[cost]) for p in known] or [0.0]
    low, high = min(0.0, *costs), max(1e-3, *costs)
    return Chart(
        tuple(lines),
        tuple(marks),
        x_start=low,
        x_stop=high + EMPTY * (high - low),
        y_start=0.0,
        y_stop=1.0,
        levels=() if plain is None else (float(plain["success"]),),
        x_label=COSTS[cost],
        y_label="success",
        legend=tuple(legend),
    )


def by_loss(rows: Rows) -> Chart:
    """Against the loss added."""
    return pareto(rows)


def by_kl(rows: Rows, tables: Mapping[str, Rows]) -> Chart:
    """Against KL, where points side by side changed the model as much."""
    return pareto(tables.get("points", ()), "kl")
