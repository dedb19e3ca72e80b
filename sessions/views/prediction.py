"""`prediction`: where the quadratic (Fisher) prediction at the base says that KL reaches the level, and where it does.

A first-order method sees the response at the base only (as attribution patching does; Kramar et al., "AtP*", arXiv
2403.00745): points far below the diagonal jump sooner than it can tell, points above saturate.
"""

from __future__ import annotations

import math

import numpy as np

from sessions.chart import GREY, Chart, Line, Mark
from sessions.crowd import Crowd
from sessions.views import VIEWS, Choice, View, legend_of


def predicted(fisher: float, level: float) -> float:
    """Where a^2/2 u'Fu reaches the level; infinity where there is no curvature."""
    return math.sqrt(2 * level / fisher) if fisher > 0 else math.inf


def _make(crowd: Crowd, choice: Choice) -> Chart | None:
    marks = []
    for group in crowd.groups:
        for summary in group.summaries:
            x = predicted(summary.fisher, crowd.level)
            if summary.threshold is not None and math.isfinite(x):
                marks.append(Mark(x, summary.threshold, group.look.letter, group.look.rgb))
    if not marks:
        return None
    stop = 1.05 * float(np.quantile([mark.x for mark in marks], 0.99))
    top = 1.05 * max(mark.y for mark in marks)
    end = min(stop, top)
    diagonal = np.linspace(0, end, 60)
    same = Line(diagonal, diagonal, GREY, thin=True)
    return Chart(
        (same,),
        tuple(marks),
        x_stop=stop,
        y_stop=top,
        x_label=f"threshold by the quadratic prediction, {crowd.x_label}",
        y_label="threshold",
        legend=legend_of(crowd.groups),
    )


VIEWS.register(View("prediction", 4, lambda crowd, choice: "predicted and measured threshold", _make))
