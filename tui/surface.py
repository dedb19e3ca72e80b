"""A surface as styled text: each cell a shade, a sign or a letter, so that nothing is told by colour alone.

Knows rich; no widgets.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from rich.text import Text

from sessions.chart import Surface
from sessions.kinds import RGB
from sessions.raster import extent, raster
from tui.heat import ASCII_SHADES, HIGH, LOW, SHADES

TALL: Final = 2.0
"""A cell is about twice as tall as wide."""
ABOVE: Final = ((90, 60, 30), (250, 170, 60))
BELOW: Final = ((30, 60, 90), (70, 180, 250))
NEVER: Final = "-"


def draw_surface(surface: Surface, width: int, height: int) -> Text:
    """The surface as text of at most `width` x `height` cells, or a word where there is no room for one."""
    room = height - 2
    if width < 16 or room < 4:
        return Text("(too small for a map)"[: max(width, 0)], style="dim")
    left, right, bottom, top = extent(surface)
    wide, tall = max(right - left, 1e-12), max(top - bottom, 1e-12)
    columns, rows = width, room
    if surface.square:
        scale = min(width / wide, TALL * room / tall)
        columns, rows = max(2, round(wide * scale)), max(2, round(tall * scale / TALL))
    cells, painter = raster(surface, columns, rows), _Painter(surface)
    letters = {cells.cell_of(m.x, m.y): (m.character, m.rgb) for m in surface.marks}
    at = None if surface.cursor is None else cells.cell_of(*surface.cursor)
    text = Text(no_wrap=True, end="")
    pad = " " * max(0, (width - columns) // 2)
    for row in range(rows):
        text.append(pad)
        for column in range(columns):
            shade = (
                painter.cell(surface.values[cells.nearest[row, column]]) if cells.inside[row, column] else (" ", None)
            )
            character, rgb = letters.get((row, column), shade)
            if surface.ascii and not character.isascii():
                character = "v"
            style = "" if rgb is None else f"#{rgb[0]:02x}{rgb[1]:02x}{rgb[2]:02x}"
            if (row, column) in letters:
                style = f"bold {style}"
            if (row, column) == at:
                style = f"{style} reverse".strip()
            text.append(character, style=style)
        text.append("\n")
    text.append(painter.legend()[:width] + "\n", style="dim")
    across = f"{surface.x_label}: {left:.3g} to {right:.3g}; upwards {surface.y_label}: {bottom:.3g} to {top:.3g}"
    text.append((across if surface.x_label else "")[:width], style="dim")
    return text


class _Painter:
    """What a number looks like."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self._shades = ASCII_SHADES if surface.ascii else SHADES
        finite = surface.values[np.isfinite(surface.values)]
        self._low, self._high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        self._never = len(finite) < len(surface.values)
        if surface.centre is not None:
            self._far = max(self._high - surface.centre, surface.centre - self._low, 1e-12)

    def cell(self, value: float) -> tuple[str, RGB | None]:
        if not np.isfinite(value):
            return NEVER, (120, 120, 120)
        surface = self._surface
        if surface.sorts:
            letter, _, rgb = surface.sorts[int(value)]
            return letter.lower(), rgb
        if surface.centre is not None:
            away = (value - surface.centre) / self._far
            if abs(away) < 0.02:
                return " ", None
            # A side has signs of its own: colours are not everywhere.
            signs = "·+#" if away > 0 else "·o="
            low, high = ABOVE if away > 0 else BELOW
            return signs[min(2, int(abs(away) * 3))], _between(low, high, abs(away))
        share = (value - self._low) / (self._high - self._low) if self._high > self._low else 0.5
        shade = self._shades[1 + min(len(self._shades) - 2, int(share * (len(self._shades) - 1)))]
        return shade, _between(LOW, HIGH, share)

    def legend(self) -> str:
        surface, never = self._surface, f"; {NEVER} never" if self._never else ""
        if surface.sorts:
            return ", ".join(f"{letter.lower()} {name}" for letter, name, _ in surface.sorts) + never
        if surface.centre is not None:
            return f"+ # above {surface.centre:g}, up to {self._high:.3g}; o = below, down to {self._low:.3g}{never}"
        return f"{self._shades[1]} {self._low:.3g} to {self._shades[-1]} {self._high:.3g}{never}"


def _between(low: RGB, high: RGB, share: float) -> RGB:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    return red, green, blue
