"""What a chart consists of, whoever draws it: lines, bands, points, levels; or a map of numbers by colour.

Frozen values; knows no terminal and no drawing library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.results import Series
from sessions.kinds import RGB

GREY: RGB = (120, 120, 120)
DIM: RGB = (95, 95, 95)
BRIGHT: RGB = (235, 235, 235)


@dataclass(frozen=True)
class Line:
    """One curve."""

    x: Series
    y: Series
    rgb: RGB
    letter: str = ""
    """Drawn at the curve's end, or at `letter_x`."""
    letter_x: float | None = None
    thin: bool = False
    """Dots rather than a line."""
    points: bool = False
    """The few points that there are: what lies between them is not known yet."""


@dataclass(frozen=True)
class Fill:
    """What lies between two curves, as between quartiles."""

    x: Series
    low: Series
    high: Series
    rgb: RGB


@dataclass(frozen=True)
class Mark:
    """A point with a character of its own."""

    x: float
    y: float
    character: str
    rgb: RGB


@dataclass(frozen=True)
class Chart:
    """Everything on one chart."""

    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = ()
    x_start: float = 0.0
    x_stop: float = 1.0
    y_start: float = 0.0
    y_stop: float | None = None
    """None: as high as the lines go."""
    levels: tuple[float, ...] = ()
    """Horizontal lines."""
    floor: float | None = None
    """Below this nothing is a result: a horizontal line that says so."""
    verticals: tuple[tuple[float, RGB], ...] = ()
    x_label: str = ""
    y_label: str = ""
    bands: tuple[Fill, ...] = ()
    x_ticks: tuple[tuple[float, str], ...] = ()
    """Places on the axis and their names, where it has no numbers of its own."""
    legend: tuple[tuple[str, str, RGB], ...] = ()
    """Letter, name and colour of what is drawn."""
    ascii: bool = False

    @property
    def title(self) -> str:
        """What the axes show, and by which letters."""
        names = ", ".join(f"{letter} {name}" for letter, name, _ in self.legend)
        axes = f"{self.y_label} against {self.x_label}" if self.y_label else self.x_label
        return f"{axes}: {names}" if names else axes


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Numbers by place and row, as of layers along a path."""

    x: Series
    """[columns]"""
    rows: tuple[str, ...]
    """Names, the lowest first."""
    values: NDArray[np.float64]
    """[rows, columns], NaN where there is none."""
    label: str
    """Of the numbers."""
    low: float | None = None
    """What the weakest shade stands for, where several maps share a scale; their own extremes without."""
    high: float | None = None
    x_label: str = ""
    ascii: bool = False

    @property
    def title(self) -> str:
        """What is shown."""
        return self.label


@dataclass(frozen=True, eq=False)
class Surface:
    """Numbers, or sorts, at places of a plane: each place of the plane is drawn like the nearest one that is known."""

    x: Series
    """[n]"""
    y: Series
    """[n], upwards."""
    values: NDArray[np.float64]
    """[n], NaN where a number is never reached; indices into `sorts` where there are some."""
    outline: tuple[tuple[float, float], ...]
    """Corners of the convex region that is drawn."""
    label: str
    """Of the numbers."""
    marks: tuple[Mark, ...] = ()
    sorts: tuple[tuple[str, str, RGB], ...] = ()
    """Letter, name and colour of each sort, where values tell sorts apart and not numbers."""
    centre: float | None = None
    """A number with a meaning of its own, as 0 where above and below mean two things: shades tell the distance from it,
    colours the side."""
    square: bool = True
    """Whether a unit is as long upwards as across."""
    x_label: str = ""
    y_label: str = ""
    cursor: tuple[float, float] | None = None
    ascii: bool = False

    @property
    def title(self) -> str:
        """What is shown."""
        return self.label

    def nearest(self, x: float, y: float) -> int:
        """Which of the places lies nearest."""
        return int(((self.x - x) ** 2 + (self.y - y) ** 2).argmin())


Drawable = Chart | HeatMap | Surface
"""Everything that can be drawn."""
