"""A map of numbers as styled text: a shade and a colour for each cell, names at the left, the axis below.

Shades tell the numbers without colour. Knows rich; no widgets.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from rich.text import Text

from sessions.chart import HeatMap

SHADES: Final = " ·░▒▓█"
ASCII_SHADES: Final = " .:=#@"
LOW: Final = (40, 70, 120)
HIGH: Final = (250, 200, 80)


def draw_heat(heat: HeatMap, width: int, height: int) -> Text:
    """The map as text of at most `width` x `height` cells, or a word where there is no room for one."""
    label = max((len(name) for name in heat.rows), default=0)
    columns = width - label - 2
    if columns < 10 or height < len(heat.rows) + 3:
        label = min(label, 8)
        columns = width - label - 2
    if columns < 10 or height < 5:
        return Text("(too small for a map)"[: max(width, 0)], style="dim")
    finite = heat.values[np.isfinite(heat.values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    low, high = low if heat.low is None else heat.low, high if heat.high is None else heat.high
    places = np.linspace(0, heat.values.shape[1] - 1, columns).round().astype(int)
    # As many lines as fit, each row as tall as the others; where there is no room rows are left out evenly.
    room = height - 3
    tall = max(1, min(3, room // max(1, len(heat.rows))))
    shown = np.unique(np.linspace(0, len(heat.rows) - 1, min(len(heat.rows), room)).round().astype(int))
    shades = ASCII_SHADES if heat.ascii else SHADES
    text = Text(no_wrap=True, end="")
    for row in shown[::-1]:
        for line in range(tall):
            name = heat.rows[row][-label:] if line == tall // 2 else ""
            text.append(f"{name:>{label}} ", style="dim")
            for value in heat.values[row, places]:
                _cell(text, value, low, high, shades)
            text.append("\n")
    start, middle, stop = (f"{heat.x[i]:.3g}" for i in (places[0], places[len(places) // 2], places[-1]))
    half = columns // 2
    axis = f"{start:<{half}}{middle:<{columns - half - len(stop)}}{stop}"
    text.append(f"{'':>{label}} {axis[:columns]}\n", style="dim")
    scale = f"{shades[1]} {low:.3g} to {shades[-1]} {high:.3g}: {heat.label}; across: {heat.x_label}"
    text.append(scale[:width], style="dim")
    return text


def _cell(text: Text, value: float, low: float, high: float, shades: str) -> None:
    if not np.isfinite(value):
        text.append(" ")
        return
    share = (value - low) / (high - low) if high > low else 0.5
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(LOW, HIGH, strict=True))
    shade = shades[1 + min(len(shades) - 2, int(share * (len(shades) - 1)))]
    text.append(shade, style=f"#{red:02x}{green:02x}{blue:02x}")
