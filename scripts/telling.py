"""How pages of results tell a number, its interval, and whether a claim holds.

Knows statistics; no files.
"""

from __future__ import annotations

import numpy as np

from engine.contrasts import Distance, Measured
from sessions.crowd import Crowd, CurveGroup
from sessions.digest import number
from sessions.separation import brief


def cell(value: float, low: float = np.nan, high: float = np.nan) -> str:
    """A number with its interval, where it has one."""
    return number(value, 3) if np.isnan(low) else f"{number(value, 3)} ({number(low, 3)} to {number(high, 3)})"


def median(group: CurveGroup, column: str, unit: float = 1.0) -> str:
    """The median of a column of a group."""
    found = group.median(column)
    return cell(found.value / unit, found.low / unit, found.high / unit)


def measured(found: Measured | Distance) -> str:
    """A statistic with its interval, or a distance with what chance gives."""
    return brief(found) if isinstance(found, Distance) else cell(found.value, found.low, found.high)


def group_of(crowd: Crowd, name: str) -> CurveGroup:
    """A group by its name."""
    return next(group for group in crowd.groups if group.name == name)


def verdict(claim: str, found: Measured, middle: float) -> str:
    """Whether a number lies above the middle: told only where its interval does not hold it."""
    word = "cannot be told"
    if found.low > middle:
        word = "holds"
    elif found.high < middle:
        word = "the opposite holds"
    return f"- {claim}: **{word}**, {measured(found)} against {middle:.3g}."
