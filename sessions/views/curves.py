"""`curves`: every curve by itself, while there are not too many to be told apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sessions.chart import Chart, Line, Mark
from sessions.crowd import Crowd, series
from sessions.views import VIEWS, Choice, View, frame, metric_label

MOST: Final = 64


def _make(crowd: Crowd, choice: Choice) -> Chart | None:
    if not 0 < len(crowd.curves) <= MOST:
        return None
    is_kl = choice.metric == "kl"
    lines, marks = [], []
    for group in crowd.groups:
        for curve in group.curves:
            y = series(curve, choice.read, choice.metric)
            lines.append(Line(curve.coordinate, y, group.look.rgb, group.look.letter))
            if is_kl and curve.summary.threshold is not None:
                marks.append(Mark(curve.summary.threshold, crowd.level, "●", group.look.rgb))
    levels = (crowd.level,) if is_kl else ()
    return replace(frame(crowd, choice), lines=tuple(lines), marks=tuple(marks), levels=levels)


def _title(crowd: Crowd, choice: Choice) -> str:
    return f"{metric_label(choice.read, choice.metric)}: every curve"


VIEWS.register(View("curves", 6, _title, _make, frozenset({"metric"}), lambda crowd: 0 < len(crowd.curves) <= MOST))
