"""`bands`: the median curve of each group, with its quartiles."""

from __future__ import annotations

from dataclasses import replace

from engine.bands import Band, band
from sessions.chart import Chart, Fill, Line
from sessions.crowd import Crowd, CurveGroup, series
from sessions.views import VIEWS, Choice, View, frame, metric_label


def band_of(group: CurveGroup, read: str, metric: str) -> Band:
    """Quantiles of one metric over a group's curves."""
    return band([c.coordinate for c in group.curves], [series(c, read, metric) for c in group.curves])


def _make(crowd: Crowd, choice: Choice) -> Chart | None:
    lines, fills = [], []
    for group in crowd.groups:
        found = band_of(group, choice.read, choice.metric)
        low, high = found.quantiles[1], found.quantiles[3]
        fills.append(Fill(found.coordinate, low, high, group.look.rgb))
        lines += [Line(found.coordinate, side, group.look.rgb, thin=True) for side in (low, high)]
        lines.append(Line(found.coordinate, found.median, group.look.rgb, group.look.letter))
    if not lines:
        return None
    is_kl = choice.metric == "kl"
    return replace(
        frame(crowd, choice),
        lines=tuple(lines),
        bands=tuple(fills),
        levels=(crowd.level,) if is_kl else (),
        floor=(crowd.info.get("noise_floor") or {}).get("kl") if is_kl else None,
    )


def _title(crowd: Crowd, choice: Choice) -> str:
    return f"{metric_label(choice.read, choice.metric)}: medians and quartiles"


VIEWS.register(View("bands", 0, _title, _make, frozenset({"metric"})))
