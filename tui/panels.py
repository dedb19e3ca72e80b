"""Small multiples: several charts to one scale, laid out in as many columns as have room.

Knows charts; draws none itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sessions.chart import Chart, Drawable

NARROWEST: Final = 34
LOWEST: Final = 9
"""Cells below which a chart says too little."""


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
        """As many panels as fit, the widest that show most."""
        most = max(1, width // NARROWEST)
        deepest = max(1, height // LOWEST)
        columns = next((c for c in range(1, most + 1) if c * deepest >= n), most)
        rows = min(deepest, -(-n // columns))
        return cls(columns, rows, width // columns, height // rows)


def left_out(parts: Sequence[object], grid: Grid) -> int:
    """Panels without room."""
    return max(0, len(parts) - grid.columns * grid.rows)
