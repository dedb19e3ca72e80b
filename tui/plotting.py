"""The only module that knows plotext: a chart of curves as styled text.

plotext keeps one global figure, so `draw` runs in one thread at a time (see `CurvePlot`). It gets finite numbers
only, since 5.3 raises on infinities, and its size is set rather than taken from the terminal.
"""

from __future__ import annotations

import math

import numpy as np
import plotext
from rich.text import Text

from sessions.chart import DIM, GREY, Chart, HeatMap, Line, Mark, Surface
from sessions.kinds import RGB
from tui.heat import draw_heat
from tui.panels import Grid, Panels, Shown, left_out
from tui.surface import draw_surface


def draw(chart: Shown, width: int, height: int) -> Text:
    """The chart as text of exactly `width` x `height` cells, or a word where there is no room for one."""
    if isinstance(chart, Panels):
        return _draw_panels(chart, width, height)
    if isinstance(chart, HeatMap):
        return draw_heat(chart, width, height)
    if isinstance(chart, Surface):
        return draw_surface(chart, width, height)
    if width < 16 or height < 5:
        return Text("(too small to plot)"[: max(width, 0)], style="dim")
    plotext.clear_figure()
    plotext.limit_size(False, False)
    plotext.plotsize(width, height)
    plotext.theme("clear")
    plotext.xaxes(True, False)  # no frame: its rows and columns are worth more as curve
    plotext.yaxes(True, False)
    bottom, top = _limits(chart)
    plotext.xlim(chart.x_start, chart.x_stop)
    plotext.ylim(bottom, top)
    for level in chart.levels:
        if bottom <= level <= top:
            plotext.hline(level, GREY)
    if chart.floor is not None and bottom <= chart.floor <= top:
        plotext.hline(chart.floor, DIM)
        plotext.text("noise", x=chart.x_stop, y=chart.floor, color=DIM, alignment="right")
    for place, rgb in chart.verticals:
        if chart.x_start <= place <= chart.x_stop:
            plotext.vline(place, rgb)
    _scatter(chart, bottom, top)
    for line in chart.lines:
        x, y = ([], []) if line.points else _finite(line, bottom, top, width * 2)
        if x and line.thin:
            x, y = _dotted(x, y, width)
            plotext.scatter(x, y, marker="." if chart.ascii else "·", color=line.rgb)
        elif x:
            plotext.plot(x, y, marker=line.letter or "*" if chart.ascii else "braille", color=line.rgb)
    for mark in _ends(chart, bottom, top):
        plotext.text(mark.character, x=mark.x, y=mark.y, color=mark.rgb, alignment="center")
    alike: dict[tuple[str, RGB], list[Mark]] = {}
    for mark in chart.marks:
        if chart.x_start <= mark.x <= chart.x_stop and bottom <= mark.y <= top:
            alike.setdefault((mark.character, mark.rgb), []).append(mark)
    for (character, rgb), marks in alike.items():
        plotext.scatter([m.x for m in marks], [m.y for m in marks], marker=character, color=rgb)
    if chart.x_ticks:
        plotext.xticks([place for place, _ in chart.x_ticks], [name for _, name in chart.x_ticks])
    if chart.x_label and height >= 14:
        plotext.xlabel(chart.x_label)
    return Text.from_ansi(plotext.build().rstrip("\n"), no_wrap=True, end="")


def _draw_panels(panels: Panels, width: int, height: int) -> Text:
    """Charts beside and below each other, each under its name."""
    grid = Grid.of(len(panels.parts), width, height)
    hidden = left_out(panels.parts, grid)
    shown = panels.parts[: grid.columns * grid.rows]
    text = Text(no_wrap=True, end="")
    for first in range(0, len(shown), grid.columns):
        row = shown[first : first + grid.columns]
        columns = []
        for name, chart in row:
            head = Text(f" {name}", style="bold")
            if hidden and name == shown[-1][0]:
                head.append(f"  ({hidden} more: no room)", style="not bold dim")
            columns.append([head, *draw(chart, grid.width, grid.height - 1).split("\n")])
        for i in range(grid.height):
            for lines in columns:
                line = lines[i] if i < len(lines) else Text()
                line.truncate(grid.width, pad=True)
                text.append_text(line)
            text.append("\n")
    text.right_crop(1)
    return text


def _scatter(chart: Chart, bottom: float, top: float) -> None:
    """All points of a colour together, since plotext's time goes by the number of series."""
    together: dict[RGB, tuple[list[float], list[float]]] = {}
    for line in chart.lines:
        if line.points:
            x, y = _finite(line, bottom, top, len(line.x))
            xs, ys = together.setdefault(line.rgb, ([], []))
            xs += x
            ys += y
    for rgb, (xs, ys) in together.items():
        if xs:
            plotext.scatter(xs, ys, marker="*" if chart.ascii else "•", color=rgb)


def _limits(chart: Chart) -> tuple[float, float]:
    if chart.y_stop is not None:
        return chart.y_start, chart.y_stop
    values = np.concatenate([np.asarray(line.y, dtype=float) for line in chart.lines if not line.thin] or [np.zeros(1)])
    values = values[np.isfinite(values)]
    low = min(chart.y_start, float(values.min())) if len(values) else chart.y_start
    high = float(values.max()) if len(values) else 1.0
    return low, high * 1.05 if high > low else low + 1.0


def _finite(line: Line, bottom: float, top: float, most: int) -> tuple[list[float], list[float]]:
    """The part of a line inside the chart, at most `most` points; a line that leaves the top is cut there."""
    x, y = np.asarray(line.x, dtype=float), np.asarray(line.y, dtype=float)
    keep = np.isfinite(x) & np.isfinite(y) & (y >= bottom)
    x, y = x[keep], y[keep]
    over = np.flatnonzero(y > top)
    if len(over):
        first = int(over[0])
        if first == 0:
            return [], []
        share = (top - y[first - 1]) / (y[first] - y[first - 1])
        cut = x[first - 1] + share * (x[first] - x[first - 1])
        x, y = np.append(x[:first], cut), np.append(y[:first], top)
    if len(x) > most:
        pick = np.linspace(0, len(x) - 1, most).round().astype(int)
        x, y = x[pick], y[pick]
    return x.tolist(), y.tolist()


def _dotted(x: list[float], y: list[float], width: int) -> tuple[list[float], list[float]]:
    """A line of few points with more between them, so that dots join up."""
    if len(x) >= width // 2:
        return x, y
    places = np.unique(np.concatenate([np.linspace(x[0], x[-1], width // 2), x]))
    return places.tolist(), np.interp(places, x, y).tolist()


def _ends(chart: Chart, bottom: float, top: float) -> list[Mark]:
    """A letter on the highest, middle and lowest line of each letter, so that bands can be told apart."""
    ends: dict[str, list[Mark]] = {}
    for line in chart.lines:
        x, y = _finite(line, bottom, top, 10_000)
        if line.letter and x:
            at = x[-1] if line.letter_x is None else line.letter_x
            ends.setdefault(line.letter, []).append(Mark(at, float(np.interp(at, x, y)), line.letter, line.rgb))
    chosen: list[Mark] = []
    for marks in ends.values():
        ordered = sorted(marks, key=lambda m: (m.y, -m.x))
        chosen.extend({(m.x, m.y): m for m in (ordered[0], ordered[len(ordered) // 2], ordered[-1])}.values())
    return [m for m in chosen if math.isfinite(m.y)]
