"""Tables that are maps: numbers over places of a plane, one map for each base or triangle of a run.

A new map is an entry of `MAPS`. Knows rows and surfaces; no widgets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sessions.chart import BRIGHT, Mark, Surface
from sessions.digest import number
from sessions.kinds import RGB, look

Rows = Sequence[Mapping[str, Any]]
ANCHORS: Final[tuple[tuple[str, str, RGB], ...]] = (
    ("A", "nearest to A", (86, 180, 233)),
    ("B", "nearest to B", (230, 120, 30)),
    ("C", "nearest to C", (0, 178, 130)),
)


@dataclass(frozen=True)
class Shade:
    """One way to colour a map."""

    column: str
    name: str
    sorts: tuple[tuple[str, str, RGB], ...] = ()
    """Where the column names sorts: their letters are its texts."""
    centre: float | None = None


@dataclass(frozen=True)
class Map:
    """How the rows of a table become a surface."""

    shades: tuple[Shade, ...]
    group: str
    """The column that tells maps of one run apart."""
    place: Callable[[Mapping[str, Any]], tuple[float, float]]
    outline: Callable[[Rows], tuple[tuple[float, float], ...]]
    marks: Callable[[Rows, str], tuple[Mark, ...]]
    """marks(rows, column): of a map that is coloured by a column."""
    named: Callable[[Rows], str]
    """What the map is of."""
    told: tuple[str, ...]
    """Columns told of the place under the cursor."""
    concluded: tuple[str, ...]
    """Columns of the run's other table that are told of a map."""
    x_label: str = ""
    y_label: str = ""
    square: bool = True

    def groups(self, rows: Rows) -> list[Any]:
        """The maps there are, in order."""
        return list(dict.fromkeys(row[self.group] for row in rows))

    def of(self, rows: Rows, group: int) -> list[Mapping[str, Any]]:
        """The rows of one map."""
        wanted = self.groups(rows)
        return [row for row in rows if row[self.group] == wanted[group % len(wanted)]]

    def surface(self, rows: Rows, shade: Shade) -> Surface:
        """The rows of one map as a surface."""
        letters = {letter: float(i) for i, (letter, _, _) in enumerate(shade.sorts)}
        values = [letters.get(row[shade.column], math.nan) if letters else _number(row[shade.column]) for row in rows]
        places = np.array([self.place(row) for row in rows], dtype=float)
        return Surface(
            places[:, 0],
            places[:, 1],
            np.array(values, dtype=float),
            self.outline(rows),
            f"{shade.name}: {self.named(rows)}",
            self.marks(rows, shade.column),
            shade.sorts,
            shade.centre,
            self.square,
            self.x_label,
            self.y_label,
        )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


# The triangle stands on its second and third corner; rows are of weights i, j, k of the first, second and third.
def _in_triangle(row: Mapping[str, Any]) -> tuple[float, float]:
    total = row["i"] + row["j"] + row["k"]
    return (row["k"] - row["j"]) / total / 2, row["i"] / total * math.sqrt(3) / 2


_TIPS: Final = ((0.0, math.sqrt(3) / 2), (-0.5, 0.0), (0.5, 0.0))


def _tips(rows: Rows) -> tuple[tuple[float, float], ...]:
    return _TIPS


def _triangle_marks(rows: Rows, column: str) -> tuple[Mark, ...]:
    kinds = str(rows[0]["sort"]).split()
    found = [Mark(x, y, look(kind).letter, look(kind).rgb) for (x, y), kind in zip(_TIPS, kinds, strict=True)]
    known = [row for row in rows if row[column] is not None]
    if known:
        x, y = _in_triangle(min(known, key=lambda row: float(row[column])))
        found.append(Mark(x, y, "▼", BRIGHT))
    return tuple(found)


def _box(x: str, y: str) -> Callable[[Rows], tuple[tuple[float, float], ...]]:
    def outline(rows: Rows) -> tuple[tuple[float, float], ...]:
        left, right = (f(float(row[x]) for row in rows) for f in (min, max))
        low, high = (f(float(row[y]) for row in rows) for f in (min, max))
        return (left, low), (right, low), (right, high), (left, high)

    return outline


def _anchors(rows: Rows, column: str) -> tuple[Mark, ...]:
    """The base is at 0, 0 and B straight to the right of it by definition."""
    row = rows[0]
    at = {"A": (0.0, 0.0), "B": (row["b_u"], 0.0), "C": (row["c_u"], row["c_v"])}
    return tuple(Mark(float(u), float(v), letter, BRIGHT) for letter, (u, v) in at.items())


MAPS: Final[Mapping[str, Map]] = {
    "triangle": Map(
        (Shade("threshold", "threshold"), Shade("distance", "distance of the mixture from the base")),
        "triangle",
        _in_triangle,
        _tips,
        _triangle_marks,
        lambda rows: f"mixtures of {rows[0]['corners']}; ▼ least, R real, r random",
        ("threshold", "distance", "i", "j", "k"),
        ("lowest", "corner_0", "corner_1", "corner_2", "first_is_lowest", "first_is_local"),
    ),
    "plane": Map(
        (
            Shade("nearest", "whose output is nearest", ANCHORS),
            Shade("kl_0", "KL from A, nats"),
            Shade("kl_1", "KL from B, nats"),
            Shade("kl_2", "KL from C, nats"),
            Shade("l2_0", "L2 from A at the last read hook"),
        ),
        "base",
        lambda row: (float(row["u"]), float(row["v"])),
        _box("u", "v"),
        _anchors,
        lambda rows: "the plane through A, the base, and B and C",
        ("u", "v", "kl_0", "kl_1", "kl_2", "l2_0"),
        ("anchor", "what", "flat_share", "own_share"),
        "L2 from A toward B",
        "L2 across",
    ),
    "interaction": Map(
        (
            Shade("kl_excess", "KL beyond what each push does alone, nats", centre=0.0),
            Shade("stream_share", "residual stream beyond the sum of both, share"),
            Shade("log_prob_excess", "log-probability of the base's token beyond the sum", centre=0.0),
            Shade("kl_quadratic_excess", "what the curvature at the base makes of both, nats", centre=0.0),
            Shade("kl", "KL of both pushes, nats"),
        ),
        "base",
        lambda row: (float(row["alpha"]), float(row["beta"])),
        _box("alpha", "beta"),
        lambda rows, column: (),
        lambda rows: f"{rows[0]['first']} across, {rows[0]['second']} upwards",
        ("alpha", "beta", "kl", "kl_excess", "kl_quadratic_excess", "log_prob_excess", "stream_share"),
        ("kl_excess", "stream_share", "and_share", "or_share"),
        "L2 along the first",
        "L2 along the second",
    ),
}


def concluded_of(name: str, row: Mapping[str, Any]) -> list[str]:
    """A row of the run's other table in lines."""
    return [f"{_named(column):<16} {_told(column, row[column])}" for column in MAPS[name].concluded]


def _named(column: str) -> str:
    """A column for people: anchors by the letters that the map has."""
    metric, _, anchor = column.partition("_")
    if metric in ("kl", "l2") and anchor.isdigit():
        return f"{metric.upper()} from {'ABC'[int(anchor)]}"
    return column.replace("_", " ")


def told_of(name: str, row: Mapping[str, Any]) -> list[str]:
    """The place under the cursor in lines: its numbers, and its next tokens where there are some."""
    lines = [f"{_named(column):<16} {_told(column, row[column])}" for column in MAPS[name].told]
    if "tokens" in row:
        lines += ["", "next token"]
        lines += [f"{p:6.1%}  {t!r}" for t, p in zip(row["tokens"], row["probabilities"], strict=True)]
    return lines


def _told(column: str, value: Any) -> str:
    if value is None:
        return "never" if column in ("threshold", "lowest", "corner_0", "corner_1", "corner_2") else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)
