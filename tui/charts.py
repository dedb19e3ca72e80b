"""From a picture to a chart: which lines, marks and levels the main plot shows.

Knows pictures, axes and looks; does not know plotext or widgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.results import CurveResult, Series, Sketch
from sessions.chart import BRIGHT, DIM, GREY, Chart, Line, Mark
from sessions.kinds import dimmed, look
from tui.axes import converted, coordinates, label, median_curve, own
from tui.panels import Panels
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

BEYOND = 1.5
"""Where predicted KL is the axis, it ends this much behind the last threshold: the rest of a parabola is empty."""


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
    axis: str = ""
    """Name of the x axis; the path's own unit where there is none."""
    split: bool = False
    """A small plot for each kind, or each run that is laid over, in place of one for all."""


@dataclass(frozen=True)
class Behind:
    """Another run, whose medians are seen behind the curves."""

    picture: Picture
    letter: str
    name: str
    folder: Path | None = None
    """Of its run, where it is whole on disk."""


def chart(picture: Picture, view: View, behind: Sequence[Behind] = ()) -> Chart | Panels:
    """The chart of a picture, the medians of other runs behind it; small multiples where the view asks for them."""
    if view.split and len(panels := _split(picture, view, behind)) > 1:
        return Panels(panels)
    return one_chart(picture, view, behind)


def one_chart(picture: Picture, view: View, behind: Sequence[Behind] = ()) -> Chart:
    """All curves on one chart."""
    every = -(-len(picture.curves) // MOST)
    curves = picture.curves[:: max(1, every)]
    known: list[CurveResult | Sketch] = [*curves, *picture.sketches.values()]
    shown = [(curve, x) for curve in known if (x := coordinates(picture, curve, view.axis)) is not None]
    x_stop = _x_stop(picture, view, shown)
    level = float(picture.info.get("level", 0.5))
    lines: list[Line] = []
    marks: list[Mark] = []
    if view.metric in ("kl", "share"):
        lines.extend(_quadratics(picture, x_stop, view))
    for other in behind:
        lines.extend(_medians(other, view, view.axis or own(picture), x_stop))
    y_start, y_stop = 0.0, None
    if view.metric == "cosine":
        y_start = min((float(picture.series(c, "cosine").min()) for c, _ in shown), default=0.0)
        y_stop = 1.0
    if view.metric == "kl" and view.zoomed:
        y_stop = 3 * level
    for curve, x in shown:
        whole = isinstance(curve, CurveResult)
        kind = curve.summary.kind if isinstance(curve, CurveResult) else curve.kind
        style, series = look(kind), picture.series(curve, view.metric)
        few = not whole and len(x) < FEW_POINTS
        lines.append(Line(x, series, style.rgb, style.letter, _letter_x(x, series, view.metric), points=few))
    for curve in curves:
        marks.extend(_marks(picture, curve, view, y_start, level))
    some = f", one in {every} of {len(picture.curves)} curves" if every > 1 else ""
    verticals = []
    typical = _typical(picture, view)
    if typical is not None:
        verticals.append((typical, DIM))
    if 0 <= view.curve < len(picture.curves):
        selected = picture.curves[view.curve]
        x_selected = coordinates(picture, selected, view.axis)
        if x_selected is not None:
            step = min(view.step, len(x_selected) - 1)
            at, y = float(x_selected[step]), float(picture.series(selected, view.metric)[step])
            verticals.append((at, GREY))
            marks.append(Mark(at, y, "X" if view.ascii else "◆", BRIGHT))
    return Chart(
        lines=tuple(lines),
        marks=tuple(marks),
        x_stop=x_stop,
        y_start=y_start,
        y_stop=y_stop,
        levels=(level,) if view.metric == "kl" else (),
        floor=picture.noise_floor if view.metric == "kl" else None,
        verticals=tuple(verticals),
        x_label=f"{label(picture, view.axis)}{some}",
        ascii=view.ascii,
    )


def _split(picture: Picture, view: View, behind: Sequence[Behind]) -> tuple[tuple[str, Chart], ...]:
    """A chart for each run where some are laid over, else for each kind; all to the same scale."""
    parts: list[tuple[str, Chart]] = []
    if behind:
        parts.append(("this run", one_chart(picture, view)))
        for other in behind:
            same = replace(view, curve=-1, axis=view.axis or own(picture))  # whatever its own path was
            parts.append((f"{other.letter}: {other.name}", one_chart(other.picture, same)))
    else:
        kinds = dict.fromkeys(c.summary.kind for c in picture.curves)
        chosen = picture.curves[view.curve] if 0 <= view.curve < len(picture.curves) else None
        for kind in kinds:
            of_kind = tuple(c for c in picture.curves if c.summary.kind == kind)
            at = next((i for i, c in enumerate(of_kind) if c is chosen), -1)
            alone = replace(picture, curves=of_kind, sketches={})
            parts.append((f"{look(kind).letter} {kind}", one_chart(alone, replace(view, curve=at))))
    x_stop = max((c.x_stop for _, c in parts), default=1.0)
    heights = [float(np.max(line.y)) for _, c in parts for line in c.lines if not line.thin and len(line.y)]
    lowest = min((c.y_start for _, c in parts), default=0.0)
    top = next((c.y_stop for _, c in parts if c.y_stop is not None), max(heights, default=1.0) * 1.05 or 1.0)
    return tuple((name, replace(c, x_stop=x_stop, y_start=lowest, y_stop=top)) for name, c in parts)


def _x_stop(picture: Picture, view: View, shown: Sequence[tuple[CurveResult | Sketch, Series]]) -> float:
    ends = max((float(x[-1]) for _, x in shown), default=1.0)
    if view.axis in ("", own(picture)):
        return float(picture.info.get("path", {}).get("stop") or ends)
    if view.axis == "predicted":
        reached = [converted(picture, c, c.summary.threshold, view.axis) for c in picture.curves]
        return min(ends, BEYOND * max((r for r in reached if r is not None), default=ends)) or 1.0
    return ends or 1.0


def _marks(picture: Picture, curve: CurveResult, view: View, bottom: float, level: float) -> list[Mark]:
    """The native length of a curve and its threshold."""
    style, summary = look(curve.summary.kind), curve.summary
    native = summary.native_norm if picture.unit == "L2" else summary.native_angle
    marks = []
    if native <= float(curve.coordinate[-1]):
        at = converted(picture, curve, native, view.axis)
        if at is not None:
            # Of an SAE feature: as far as its contribution goes is twice it, and the other way none of it.
            features = {"+": "2", "-": "0"} if curve.detail.get("vector") == "decoder" else {}
            usual = "+" if view.ascii else "▴"
            marks.append(Mark(at, bottom, features.get(str(curve.detail.get("sign")), usual), style.rgb))
    crossed = converted(picture, curve, summary.threshold, view.axis)
    if view.metric == "kl" and crossed is not None:
        marks.append(Mark(crossed, level, "o" if view.ascii else "●", style.rgb))
    return marks


def _typical(picture: Picture, view: View) -> float | None:
    """Where the typical distance between two real activations lies on the axis."""
    name = view.axis or own(picture)
    return {"typical": 1.0, "L2": picture.typical_distance}.get(name)


def _medians(other: Behind, view: View, axis: str, x_stop: float) -> list[Line]:
    """The median curve of each kind of another run, as far as the axis goes."""
    by_kind: dict[tuple[str, str], list[tuple[Series, Series]]] = {}
    for curve in other.picture.curves:
        x = coordinates(other.picture, curve, axis)
        if x is not None:
            found = by_kind.setdefault((curve.summary.base_kind, curve.summary.kind), [])
            found.append((x, other.picture.series(curve, view.metric)))
    lines = []
    for (_, kind), pairs in by_kind.items():
        x, y = median_curve([x for x, _ in pairs], [y for _, y in pairs])
        inside = x <= x_stop * (1 + 1e-9)  # its path may be longer, and its letter is to be seen
        x, y = x[inside], y[inside]
        lines.append(Line(x, y, dimmed(look(kind).rgb), other.letter, _letter_x(x, y, view.metric)))
    return lines


def _letter_x(x: Series, y: Series, metric: str) -> float | None:
    """Where a curve's letter goes: at its end, but shares all end at 1 and have theirs where they are half."""
    return float(x[int(np.argmax(y >= 0.5))]) if metric == "share" else None


def _quadratics(picture: Picture, x_stop: float, view: View) -> list[Line]:
    """The median quadratic prediction of each kind: what any smooth model would do near the base."""
    by_kind: dict[str, list[tuple[float, CurveResult]]] = {}
    for curve in picture.curves:
        end = float(curve.kl[-1]) if view.metric == "share" else 1.0
        if end > 0:
            by_kind.setdefault(curve.summary.kind, []).append((end, curve))
    lines = []
    for kind, found in by_kind.items():
        if view.axis in ("", own(picture)):
            x = np.linspace(0, x_stop, 60)
            y = x**2 / 2 * float(np.median([curve.summary.fisher / end for end, curve in found]))
        else:
            pairs = [(coordinates(picture, curve, view.axis), curve.kl_quadratic / end) for end, curve in found]
            known = [(along, values) for along, values in pairs if along is not None]
            if not known:
                continue
            x, y = median_curve([along for along, _ in known], [values for _, values in known])
        lines.append(Line(x, y, look(kind).rgb, thin=True))
    return lines
