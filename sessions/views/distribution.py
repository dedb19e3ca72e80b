"""`histogram` and `cdf`: how one number is distributed within each group.

Curves that never reach the level are counted in n and lie beyond the axis: a histogram's bars and a CDF's end then add
up to less than 1.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sessions.chart import Chart, Line
from sessions.crowd import Crowd, CurveGroup
from sessions.views import VIEWS, Choice, View

BINS: Final = 24
STEPS_PER_BIN: Final = 5
"""Of max-slope steps (LASR Labs 2024)."""


def bins_of(crowd: Crowd, column: str) -> NDArray[np.float64] | None:
    """Common edges of all groups' bins; None where no number is finite."""
    numbers = np.concatenate([g.numbers(column).values for g in crowd.groups] or [np.zeros(0)])
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return None
    if column == "max_slope_step":
        return np.arange(0.0, finite.max() + 2 * STEPS_PER_BIN, STEPS_PER_BIN)
    low, high = min(0.0, float(finite.min())), float(finite.max())
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def _legend(crowd: Crowd, column: str) -> tuple[tuple[str, str, tuple[int, int, int]], ...]:
    found = []
    for group in crowd.groups:
        values = group.numbers(column).values
        never = f", never {np.isinf(values).mean():.0%}" if len(values) and np.isinf(values).any() else ""
        found.append((group.look.letter, f"{group.label} (n = {len(values)}{never})", group.look.rgb))
    return tuple(found)


def _histogram(crowd: Crowd, choice: Choice) -> Chart | None:
    edges = bins_of(crowd, choice.scalar.column)
    if edges is None:
        return None
    lines = []
    for group in crowd.groups:
        values = group.numbers(choice.scalar.column).values
        shares = np.histogram(values[np.isfinite(values)], edges)[0] / max(1, len(values))
        peak = float((edges[:-1] + edges[1:])[int(shares.argmax())] / 2)
        # Steps rather than a line between middles: nothing is smoothed.
        x, y = np.repeat(edges, 2)[1:-1], np.repeat(shares, 2)
        lines.append(Line(x, y, group.look.rgb, group.look.letter, letter_x=peak))
    return Chart(
        tuple(lines),
        x_start=float(edges[0]),
        x_stop=float(edges[-1]),
        x_label=_axis(crowd, choice),
        y_label="share of curves",
        legend=_legend(crowd, choice.scalar.column),
    )


def _cdf(crowd: Crowd, choice: Choice) -> Chart | None:
    edges = bins_of(crowd, choice.scalar.column)
    if edges is None:
        return None
    lines = [
        line
        for group in crowd.groups
        if (line := _distribution(group, choice.scalar.column, float(edges[0]), float(edges[-1]))) is not None
    ]
    return Chart(
        tuple(lines),
        x_start=float(edges[0]),
        x_stop=float(edges[-1]),
        y_stop=1.0,
        levels=(0.5,),
        x_label=_axis(crowd, choice),
        y_label="share of curves at or below",
        legend=_legend(crowd, choice.scalar.column),
    )


def _distribution(group: CurveGroup, column: str, start: float, stop: float) -> Line | None:
    values = np.sort(group.numbers(column).values)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    shares = np.arange(1, len(finite) + 1) / len(values)
    x = np.concatenate([[start], np.repeat(finite, 2), [stop]])
    y = np.concatenate([[0.0, 0.0], np.repeat(shares, 2)])
    middle = float(finite[min(len(finite) - 1, len(values) // 2)])
    return Line(x, y, group.look.rgb, group.look.letter, letter_x=middle)


def _axis(crowd: Crowd, choice: Choice) -> str:
    unit = crowd.x_label if choice.scalar.unit == "path" else choice.scalar.unit
    return f"{choice.scalar.label}{', ' + unit if unit else ''}"


VIEWS.register(
    View("histogram", 2, lambda crowd, choice: f"histogram: {choice.scalar.label}", _histogram, frozenset({"scalar"}))
)
VIEWS.register(View("cdf", 3, lambda crowd, choice: f"cumulative: {choice.scalar.label}", _cdf, frozenset({"scalar"})))
