"""A surface cut into cells: which known place each cell is drawn like, and which cells lie within the outline.

Knows numbers; draws nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sessions.chart import Surface

CELLS_AT_ONCE: Final = 1024


@dataclass(frozen=True, eq=False)
class Raster:
    """Cells [rows, columns], the topmost row first."""

    x: NDArray[np.float64]
    """Middle of each column."""
    y: NDArray[np.float64]
    """Middle of each row."""
    nearest: NDArray[np.int64]
    """The known place that each cell is like."""
    inside: NDArray[np.bool_]

    def cell_of(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of a place."""
        return int(np.abs(self.y - y).argmin()), int(np.abs(self.x - x).argmin())


def extent(surface: Surface) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of the outline."""
    corners = np.array(surface.outline, dtype=float)
    (left, bottom), (right, top) = corners.min(0), corners.max(0)
    return float(left), float(right), float(bottom), float(top)


def raster(surface: Surface, columns: int, rows: int) -> Raster:
    """The surface in so many cells."""
    left, right, bottom, top = extent(surface)
    wide, tall = max(right - left, 1e-12), max(top - bottom, 1e-12)
    x = left + (np.arange(columns) + 0.5) * wide / columns
    y = top - (np.arange(rows) + 0.5) * tall / rows
    cells = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    # Where a unit upwards is not as long as one across, near is told by shares of the picture.
    scale = np.ones(2) if surface.square else np.array([1 / wide, 1 / tall])
    known = np.stack([surface.x, surface.y], axis=1) * scale
    nearest = np.zeros(len(cells), dtype=np.int64)
    for start in range(0, len(cells), CELLS_AT_ONCE):
        some = cells[start : start + CELLS_AT_ONCE] * scale
        nearest[start : start + CELLS_AT_ONCE] = ((some[:, None] - known[None]) ** 2).sum(-1).argmin(1)
    inside = within(cells, np.array(surface.outline, dtype=float), wide / columns / 2)
    return Raster(x, y, nearest.reshape(rows, columns), inside.reshape(rows, columns))


def within(places: NDArray[np.float64], corners: NDArray[np.float64], slack: float) -> NDArray[np.bool_]:
    """Whether each place [n, 2] lies within a convex outline [k, 2], or at most so far outside."""
    inside = np.ones(len(places), dtype=bool)
    middle = corners.mean(0)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        normal = np.array([-(b - a)[1], (b - a)[0]]) / max(float(np.linalg.norm(b - a)), 1e-12)
        side = np.sign((middle - a) @ normal)
        inside &= side * ((places - a) @ normal) >= -slack
    return inside
