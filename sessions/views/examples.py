"""`examples`: the mean curve of each group, and three single ones: means of jumps at different places look smooth."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sessions.chart import Chart, Line, Mark
from sessions.crowd import Crowd, series
from sessions.kinds import dimmed
from sessions.views import VIEWS, Choice, View, frame, metric_label
from sessions.views.bands import band_of

EXAMPLES: Final = 3


def _make(crowd: Crowd, choice: Choice) -> Chart | None:
    lines, marks = [], []
    for group in crowd.groups:
        for curve in group.curves[:EXAMPLES]:
            y = series(curve, choice.read, choice.metric)
            lines.append(Line(curve.coordinate, y, dimmed(group.look.rgb)))
            step = curve.summary.max_slope_step
            if step is not None:
                marks.append(Mark(float(curve.coordinate[step]), float(y[step]), "•", group.look.rgb))
        found = band_of(group, choice.read, choice.metric)
        lines.append(Line(found.coordinate, found.mean, group.look.rgb, group.look.letter, thin=True))
    if not lines:
        return None
    return replace(frame(crowd, choice), lines=tuple(lines), marks=tuple(marks))


def _title(crowd: Crowd, choice: Choice) -> str:
    return f"{metric_label(choice.read, choice.metric)}: means (dotted), three examples, • max-slope steps"


VIEWS.register(View("examples", 1, _title, _make, frozenset({"metric"})))
