"""Small multiples: several charts to one scale, laid out in as many columns as have room.

Knows charts; draws none itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sessions.chart import Chart, Drawable

NARROWEST: Final = 17
LOWEST: Final = 6
"""Cells below which a chart shows no shape."""
SHAPE: Final = 2.5
"""Columns to a row that read best."""


@dataclass(frozen=True)
class Panels:
    """Charts and what each is of."""

    parts: tuple[tuple[str, Chart], ...]

    @property
    def title(self) -> str:
        """What the axes show."""
        return self.parts[0][1].title


Shown = Drawable | Panels
"""Everything that a plot on a screen can show."""


@dataclass(frozen=True)
class Grid:
    """Where panels go."""

    columns: int
    rows: int
    width: int
    """Of each, in cells."""
    height: int
    """Of each, its title line included."""

    @classmethod
    def of(cls, n: int, width: int, height: int) -> Grid:
        """All of them where there is room, in the shape that reads best; else as many as fit."""
        most = max(1, width // NARROWEST)
        deepest = max(1, height // LOWEST)
        grids = []
        for columns in range(1, min(n, most) + 1):
            rows = min(deepest, -(-n // columns))
            grids.append(cls(columns, rows, width // columns, height // rows))
        return max(grids, key=lambda g: (min(n, g.columns * g.rows), min(g.width / SHAPE, g.height)))


def left_out(parts: Sequence[object], grid: Grid) -> int:
    """Panels without room."""
    return max(0, len(parts) - grid.columns * grid.rows)
