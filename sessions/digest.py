"""A run in a few rows: per kind of direction, how soon its curves jump.

Knows summary rows; the app's table, batch output and Markdown export all show these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.expect import number_of, quantile
from engine.results import Summary


@dataclass(frozen=True)
class KindDigest:
    """The curves of one direction kind from one kind of base."""

    base_kind: str
    kind: str
    n: int
    threshold: float
    """Median, censored curves counting as +infinity; infinity when most are."""
    threshold_low: float
    """First quartile."""
    threshold_high: float
    """Third quartile."""
    max_slope_step: float
    """Median."""
    plateau_length: float
    """Median, never-ending plateaus counting as +infinity."""
    censored: float
    """Share of curves that never reach the level."""


def digest(rows: Sequence[Summary]) -> list[KindDigest]:
    """One entry per (base kind, direction kind), in order of appearance."""
    groups: dict[tuple[str, str], list[Summary]] = {}
    for row in rows:
        groups.setdefault((row.base_kind, row.kind), []).append(row)
    result = []
    for (base_kind, kind), members in groups.items():
        thresholds = np.array([number_of(m, "threshold") for m in members])
        plateaus = np.array([number_of(m, "plateau_length") for m in members])
        result.append(
            KindDigest(
                base_kind=base_kind,
                kind=kind,
                n=len(members),
                threshold=quantile(thresholds, 0.5),
                threshold_low=quantile(thresholds, 0.25),
                threshold_high=quantile(thresholds, 0.75),
                max_slope_step=float(np.median([m.max_slope_step for m in members])),
                plateau_length=quantile(plateaus[~np.isnan(plateaus)], 0.5),
                censored=sum(m.censored for m in members) / len(members),
            )
        )
    return result


def number(value: float | None, digits: int = 4) -> str:
    """A number for people: `never` for what does not happen."""
    if value is None or math.isinf(value):
        return "never"
    return "-" if math.isnan(value) else f"{value:.{digits}g}"


def digest_lines(rows: Sequence[Summary], unit: str) -> list[str]:
    """The digest as aligned text, header first."""
    table = [["base", "kind", "n", f"threshold ({unit})", "quartiles", "max-slope step", "plateau (L2)", "censored"]]
    for d in digest(rows):
        table.append(
            [
                d.base_kind,
                d.kind,
                str(d.n),
                number(d.threshold),
                f"{number(d.threshold_low)} - {number(d.threshold_high)}",
                number(d.max_slope_step),
                number(d.plateau_length),
                f"{d.censored:.0%}",
            ]
        )
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
