"""Success against damage: which points no other one beats, and the best one within a budget.

Knows rows of points; no models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

COSTS: Final = {"delta_ce": "loss added on held-out text, nats a token", "kl": "KL on held-out text, nats a token"}
"""Columns that a point's damage may be measured by, and what they are."""
Point = Mapping[str, Any]


def measured(points: Sequence[Point]) -> list[Point]:
    """Those that have numbers: steering that breaks the model has none."""
    return [point for point in points if point["success"] is not None and point["delta_ce"] is not None]


def frontier(points: Sequence[Point], cost: str = "delta_ce") -> list[Point]:
    """The points that no other has both at least the success of and at most the cost of, cheapest first.

    With the point without steering among them, nothing that does worse than that is on it.
    """
    best: list[Point] = []
    for point in sorted(measured(points), key=lambda p: (p[cost], -p["success"])):
        if not best or point["success"] > best[-1]["success"]:
            best.append(point)
    return best


def best_within(points: Sequence[Point], budget: float, cost: str = "delta_ce") -> Point | None:
    """The most successful point whose cost is within a budget, the cheapest of equals; None where there is none."""
    within = [point for point in measured(points) if point[cost] <= budget]
    return min(within, key=lambda p: (-p["success"], p[cost]), default=None)
