"""`layers`: how much of a push has arrived at every later layer, along the path: a map of medians over one group."""

from __future__ import annotations

import numpy as np

from sessions.chart import HeatMap
from sessions.crowd import Crowd, CurveGroup
from sessions.views import METRIC_LABELS, VIEWS, Choice, View
from sessions.views.bands import band_of


def outputs(crowd: Crowd) -> list[str]:
    """Reads of the residual stream, in the order of the layers."""
    return [read for read in crowd.reads if read.endswith(("hook_resid_post", "hook_resid_pre", "hook_resid_mid"))]


def _shown(crowd: Crowd, choice: Choice) -> tuple[CurveGroup, str]:
    metric = "flips" if choice.metric == "flips" else "size"
    return crowd.groups[choice.group % len(crowd.groups)], metric


def _make(crowd: Crowd, choice: Choice) -> HeatMap | None:
    reads = outputs(crowd)
    if len(reads) < 2 or not crowd.groups:
        return None
    group, metric = _shown(crowd, choice)
    if metric == "flips":
        reads = [read for read in crowd.reads if read.endswith("hook_post")] or reads
    maps = [np.stack([band_of(g, read, metric).median[1:] for read in reads]) for g in crowd.groups]
    values = maps[choice.group % len(maps)]
    finite = np.concatenate([m[np.isfinite(m)] for m in maps])
    return HeatMap(
        x=band_of(group, reads[0], metric).coordinate[1:],
        rows=tuple(read.removeprefix("blocks.") for read in reads),
        values=values,
        low=float(finite.min()) if len(finite) else None,
        high=float(finite.max()) if len(finite) else None,
        label=f"{METRIC_LABELS[metric]}, median of {len(group.curves)} curves of {group.label}",
        x_label=crowd.x_label,
    )


def _title(crowd: Crowd, choice: Choice) -> str:
    if not crowd.groups:
        return "layers"
    group, metric = _shown(crowd, choice)
    return f"{METRIC_LABELS[metric]} at every layer: {group.label}"


VIEWS.register(View("layers", 5, _title, _make, frozenset({"group", "metric"}), lambda crowd: len(outputs(crowd)) > 1))
