"""Running a laboratory's experiment to its end in tests."""

from __future__ import annotations

from engine.laboratory import Laboratory
from engine.results import BaseResult, CurveResult, RowResult

Tables = dict[str, list[dict]]


def outcome(lab: Laboratory) -> tuple[list[CurveResult], list[BaseResult], Tables]:
    """Curves in order of number, bases, and rows by table."""
    curves, bases, rows = [], [], {}
    for event in lab.experiment.run(lab):
        if isinstance(event, CurveResult):
            curves.append(event)
        elif isinstance(event, BaseResult):
            bases.append(event)
        elif isinstance(event, RowResult):
            rows.setdefault(event.table, []).append(dict(event.values))
    return sorted(curves, key=lambda c: c.summary.curve), bases, rows
