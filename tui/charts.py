"""From a picture to a chart: which lines, marks and levels the main plot shows.

Knows pictures and looks; does not know plotext or widgets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.results import CurveResult, Series, Sketch
from sessions.chart import BRIGHT, DIM, GREY, Chart, Line, Mark
from sessions.kinds import dimmed, look
from tui.picture import Picture

LABELS = {
    "kl": "KL(base || perturbed), nats",
    "l2": "L2 at the last read hook",
    "cosine": "cosine at the last read hook",
    "share": "KL, share of its end",
}

FEW_POINTS = 10
"""Fewer are not joined by a line: it would look flat where nothing was measured."""

MOST = 256
"""Of more curves, as in the replay of an experiment, some are drawn: more could not be told apart, and take long."""

BESIDE = {"trained": "t", "reinitialised": "u"}
"""Letters of the medians behind the curves, by the weights they are of; no kind of direction has them."""


@dataclass(frozen=True)
class View:
    """How a picture is looked at."""

    metric: str = "kl"
    step: int = 0
    """The cursor."""
    curve: int = 0
    """Place of the selected curve in the picture."""
    zoomed: bool = False
    """Only up to three times the threshold level."""
    ascii: bool = False


def chart(picture: Picture, view: View, beside: Picture | None = None) -> Chart:
    """The chart of a picture, the medians of another one behind it."""
    every = -(-len(picture.curves) // MOST)
    curves, sketches = picture.curves[:: max(1, every)], list(picture.sketches.values())
    shown: list[CurveResult | Sketch] = [*curves, *sketches]
    stop = picture.info.get("path", {}).get("stop")
    ends = [float(c.coordinate[-1]) for c in shown]
    x_stop = float(stop or max(ends, default=1.0))
    level = float(picture.info.get("level", 0.5))
    typical = picture.typical_distance
    lines: list[Line] = []
    marks: list[Mark] = []
    if view.metric in ("kl", "share"):
        lines.extend(_quadratics(picture, x_stop, view.metric))
    if beside is not None and beside.unit == picture.unit:
        lines.extend(_medians(beside, view.metric, typical))
    for curve in curves:
        style = look(curve.summary.kind)
        series = picture.series(curve, view.metric)
        place = _letter_x(curve.coordinate, series, view.metric)
        lines.append(Line(curve.coordinate, series, style.rgb, style.letter, place))
    for sketch in sketches:
        style, series = look(sketch.kind), picture.series(sketch, view.metric)
        place = _letter_x(sketch.coordinate, series, view.metric)
        few = len(sketch.coordinate) < FEW_POINTS
        lines.append(Line(sketch.coordinate, series, style.rgb, style.letter, place, points=few))
    y_start, y_stop = 0.0, None
    if view.metric == "cosine":
        y_start = min((float(picture.series(c, "cosine").min()) for c in shown), default=0.0)
        y_stop = 1.0
    if view.metric == "kl" and view.zoomed:
        y_stop = 3 * level
    for curve in curves:
        style, summary = look(curve.summary.kind), curve.summary
        native = summary.native_norm if picture.unit == "L2" else summary.native_angle
        marks.append(Mark(native, y_start, "+" if view.ascii else "▴", style.rgb))
        if view.metric == "kl" and summary.threshold is not None:
            marks.append(Mark(summary.threshold, level, "o" if view.ascii else "●", style.rgb))
    some = f", one in {every} of {len(picture.curves)} curves" if every > 1 else ""
    verticals = []
    if typical is not None and picture.unit == "L2":
        verticals.append((typical, DIM))
    if 0 <= view.curve < len(picture.curves):
        selected = picture.curves[view.curve]
        step = min(view.step, len(selected.coordinate) - 1)
        x, y = float(selected.coordinate[step]), float(picture.series(selected, view.metric)[step])
        verticals.append((x, GREY))
        marks.append(Mark(x, y, "X" if view.ascii else "◆", BRIGHT))
    return Chart(
        lines=tuple(lines),
        marks=tuple(marks),
        x_stop=x_stop,
        y_start=y_start,
        y_stop=y_stop,
        levels=(level,) if view.metric == "kl" else (),
        floor=picture.noise_floor if view.metric == "kl" else None,
        verticals=tuple(verticals),
        x_label=f"{'L2 distance' if picture.unit == 'L2' else 'angle, degrees'}{some}",
        ascii=view.ascii,
    )


def _medians(beside: Picture, metric: str, typical: float | None) -> list[Line]:
    """The median curve of each kind of another run, at equal shares of the typical distance.

    An untrained model's activations are far shorter, so that equal distances would compare nothing.
    """
    scale = 1.0
    if beside.unit == "L2" and typical and beside.typical_distance:
        scale = typical / beside.typical_distance
    by_kind: dict[tuple[str, str], list[CurveResult]] = {}
    for curve in beside.curves:
        by_kind.setdefault((curve.summary.base_kind, curve.summary.kind), []).append(curve)
    letter = BESIDE[beside.info["model"]["weights"]]
    lines = []
    for (_, kind), curves in by_kind.items():
        if all(np.array_equal(c.coordinate, curves[0].coordinate) for c in curves):
            x, y = curves[0].coordinate * scale, np.median([beside.series(c, metric) for c in curves], axis=0)
            lines.append(Line(x, y, dimmed(look(kind).rgb), letter, _letter_x(x, y, metric)))
    return lines


def _letter_x(x: Series, y: Series, metric: str) -> float | None:
    """Where a curve's letter goes: at its end, but shares all end at 1 and have theirs where they are half."""
    return float(x[int(np.argmax(y >= 0.5))]) if metric == "share" else None


def _quadratics(picture: Picture, x_stop: float, metric: str) -> list[Line]:
    """The median quadratic prediction of each kind: what any smooth model would do near the base."""
    by_kind: dict[str, list[float]] = {}
    for curve in picture.curves:
        end = float(curve.kl[-1]) if metric == "share" else 1.0
        if end > 0:
            by_kind.setdefault(curve.summary.kind, []).append(curve.summary.fisher / end)
    x = np.linspace(0, x_stop, 60)
    return [Line(x, x**2 / 2 * float(np.median(f)), look(kind).rgb, thin=True) for kind, f in by_kind.items()]
