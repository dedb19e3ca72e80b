"""Charts of tables about mixtures: triangles, slices around a direction, pairs and sums of directions.

Knows rows and plotting values; no widgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from engine.contrasts import mean_of
from sessions.chart import BRIGHT, Chart, Line, Mark
from sessions.kinds import RGB, look

Rows = Sequence[Mapping[str, Any]]
SHADES: Final[tuple[RGB, ...]] = ((0, 178, 130), (230, 120, 30), (86, 180, 233), (204, 121, 167), (240, 190, 60))


def column_of(rows: Rows, name: str, never: float = np.nan) -> np.ndarray:
    """A column as numbers."""
    return np.array([never if row.get(name) is None else float(row[name]) for row in rows])


def values_of(rows: Rows, name: str) -> list[Any]:
    """The different values of a column, in order."""
    return list(dict.fromkeys(row[name] for row in rows))


def slices(rows: Rows) -> Chart:
    """Threshold of a centre turned by an angle, as a share of the centre's: medians over slices, a line for each kind.

    At a local optimum of sensitivity the line has its minimum in the middle.
    """
    lines, legend, top, bottom = [], [], 1.0, 1.0
    known = [row for row in rows if row["centre_threshold"] is not None]
    for kind in values_of(known, "kind"):
        mine = [row for row in known if row["kind"] == kind]
        points: dict[float, list[float]] = {0.0: [1.0]}
        for row in mine:
            for side, sign in (("plus", 1), ("minus", -1)):
                value = np.inf if row[side] is None else float(row[side]) / float(row["centre_threshold"])
                points.setdefault(sign * float(row["turned"]), []).append(value)
        x = np.array(sorted(points))
        y = np.array([float(np.median(points[t])) for t in x])
        finite = y[np.isfinite(y)]
        top, bottom = max(top, float(finite.max())), min(bottom, float(finite.min()))
        style = look(str(kind))
        lines.append(Line(x, np.where(np.isfinite(y), y, np.nan), style.rgb, style.letter))
        legend.append((style.letter, str(kind), style.rgb))
    widest = max((abs(t) for line in lines for t in line.x), default=1.0)
    return Chart(
        tuple(lines),
        x_start=-widest,
        x_stop=widest,
        y_start=bottom - 0.1 * (top - bottom) - 1e-3,
        y_stop=top + 0.1 * (top - bottom) + 1e-3,
        levels=(1.0,),
        verticals=((0.0, BRIGHT),),
        x_label="degrees turned toward another direction",
        y_label="threshold over that of the centre, median",
        legend=tuple(legend),
    )


def contours(rows: Rows) -> Chart:
    """How much of either direction the mixtures of each kind's first pair have where they break, from the last base."""
    lines, legend, far = [], [], 1.0
    last = rows[-1]["base"]
    for kind in values_of(rows, "kind"):
        mine = [row for row in rows if row["kind"] == kind and row["base"] == last and row["pair"] == 0]
        if len(mine) < 2:
            continue
        t = np.radians(column_of(mine, "mixed"))
        length = np.sqrt(1 + 2 * np.cos(t) * np.sin(t) * column_of(mine, "cosine"))
        r = column_of(mine, "threshold") / length
        x, y = r * np.cos(t), r * np.sin(t)
        if len(mine) == len({row["mixed"] for row in rows}):
            x, y = np.append(x, x[0]), np.append(y, y[0])
        far = max([far, *np.abs(x[np.isfinite(x)]), *np.abs(y[np.isfinite(y)])])
        style = look(str(kind))
        lines.append(Line(x, y, style.rgb, style.letter, points=True))
        legend.append((style.letter, f"{kind} pair 0", style.rgb))
    return Chart(
        tuple(lines),
        x_start=-far,
        x_stop=far,
        y_start=-far,
        y_stop=far,
        levels=(0.0,),
        verticals=((0.0, (120, 120, 120)),),
        x_label="first direction",
        y_label="second direction: where mixtures break",
        legend=tuple(legend),
    )


def pairs(rows: Rows) -> Chart:
    """p of each pair with its interval over bases; 2 is an ellipse."""
    kinds = values_of(rows, "kind")
    lines, marks, legend, ticks = [], [], [], []
    shown = [row for row in rows if row["p"] is not None]
    for place, row in enumerate(shown):
        style = look(str(row["kind"]))
        if row["p_low"] is not None:
            lines.append(Line(np.array([place, place], float), np.array([row["p_low"], row["p_high"]]), style.rgb))
        marks.append(Mark(float(place), float(row["p"]), style.letter, style.rgb))
        ticks.append((float(place), "all" if row["pair"] < 0 else str(row["pair"])))
    highs = [float(row["p_high"] or row["p"]) for row in shown]
    lows = [float(row["p_low"] or row["p"]) for row in shown]
    legend = [(look(str(kind)).letter, str(kind), look(str(kind)).rgb) for kind in kinds]
    return Chart(
        tuple(lines),
        tuple(marks),
        x_start=-0.5,
        x_stop=max(1, len(shown)) - 0.5,
        y_start=min([1.5, *lows]) - 0.1,
        y_stop=max([2.5, *highs]) + 0.1,
        levels=(2.0,),
        x_ticks=tuple(ticks),
        x_label="pair of each kind",
        y_label="p, median and 95 % over bases",
        legend=tuple(legend),
    )


def combined(rows: Rows) -> Chart:
    """Median threshold against the number of directions added, on logarithmic axes."""
    lines, legend, ticks = [], [], sorted({int(row["added"]) for row in rows})
    low, high = np.inf, -np.inf
    for kind in values_of(rows, "kind"):
        style, x, y = look(str(kind)), [], []
        for n in ticks:
            mine = column_of([r for r in rows if r["kind"] == kind and r["added"] == n], "threshold", np.inf)
            if len(mine) and np.isfinite(np.median(mine)):
                x.append(np.log2(n))
                y.append(np.log2(np.median(mine)))
        if x:
            low, high = min(low, *y), max(high, *y)
            lines.append(Line(np.array(x), np.array(y), style.rgb, style.letter))
            legend.append((style.letter, str(kind), style.rgb))
    return Chart(
        tuple(lines),
        x_stop=float(np.log2(max([2, *ticks]))) * 1.03,
        y_start=float(low) - 0.1 if lines else 0.0,
        y_stop=float(high) + 0.1 if lines else 1.0,
        x_ticks=tuple((float(np.log2(n)), str(n)) for n in ticks),
        x_label="directions added",
        y_label="log2 of the median threshold",
        legend=tuple(legend),
    )


def minima(rows: Rows) -> Chart:
    """The smallest threshold of each triangle against that of its first corner; on the line it is the corner."""
    lines, marks, legend = [], [], []
    sorts = values_of(rows, "sort")
    known = [row for row in rows if row["lowest"] is not None and row["corner_0"] is not None]
    ends = [float(row[c]) for row in known for c in ("lowest", "corner_0")] or [0.0, 1.0]
    low, high = min(ends) * 0.97, max(ends) * 1.03
    lines.append(Line(np.array([low, high]), np.array([low, high]), (120, 120, 120), thin=True))
    for place, sort in enumerate(sorts):
        letter, rgb = look(str(sort).split()[0]).letter, SHADES[place % len(SHADES)]
        legend.append((letter, f"triangles of {sort}", rgb))
        marks += [
            Mark(float(row["corner_0"]), float(row["lowest"]), letter, rgb) for row in known if row["sort"] == sort
        ]
    return Chart(
        tuple(lines),
        tuple(marks),
        x_start=low,
        x_stop=high,
        y_start=low,
        y_stop=high,
        x_label="threshold at the first corner",
        y_label="smallest threshold of the triangle",
        legend=tuple(legend),
    )


def optima(rows: Rows) -> Chart:
    """Share of slices in which a centre is better than both sides, with its interval over bases, at the least turn."""
    turned = min(float(row["turned"]) for row in rows)
    mine = [row for row in rows if row["turned"] == turned]
    lines, marks, legend, others = [], [], [], values_of(mine, "other")
    kinds = values_of(mine, "kind")
    for i, kind in enumerate(kinds):
        style = look(str(kind))
        legend.append((style.letter, str(kind), style.rgb))
        for place, other in enumerate(others):
            chosen = [row for row in mine if row["kind"] == kind and row["other"] == other]
            by_base = [
                float(np.mean([row["both_worse"] for row in chosen if row["base"] == b]))
                for b in values_of(chosen, "base")
            ]
            found, x = mean_of(np.array(by_base)), place + 0.14 * (i - (len(kinds) - 1) / 2)
            if np.isfinite(found.low):
                lines.append(Line(np.array([x, x]), np.array([found.low, found.high]), style.rgb))
            marks.append(Mark(float(x), found.value, style.letter, style.rgb))
    return Chart(
        tuple(lines),
        tuple(marks),
        x_start=-0.5,
        x_stop=len(others) - 0.5,
        y_stop=1.02,
        x_ticks=tuple((float(i), str(other)) for i, other in enumerate(others)),
        x_label=f"turned {turned:g} degrees toward",
        y_label="share of slices where the centre is the optimum",
        legend=tuple(legend),
    )
