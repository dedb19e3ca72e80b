"""Scalars of a curve: threshold, max-slope step, plateau length.

Numpy only, closed form; knows series, not where they come from.
"""

from __future__ import annotations

import math

import numpy as np

from engine.results import Series

PLATEAU_FIT_SHARE = 0.1
"""Share of the typical distance below which the initial line is fitted."""
PLATEAU_EXCESS = 1.1
NEAR_SHARE = 0.2
"""Share of the typical distance at which real and made-up bases are compared."""


def threshold(coordinate: Series, kl: Series, level: float) -> float | None:
    """Where KL first reaches the level, linear in KL between steps k-1 and k; None when it never does, or when a value
    before is missing.

    Heimersheim & Mendel (2024) use the first distance or angle with KL at or above 0.5.
    """
    above = (kl >= level).nonzero()[0]
    if not len(above):
        return None
    k = int(above[0])
    if not np.isfinite(kl[: k + 1]).all():
        return None
    if k == 0:
        return float(coordinate[0])
    share = (level - kl[k - 1]) / (kl[k] - kl[k - 1])
    return float(coordinate[k - 1] + share * (coordinate[k] - coordinate[k - 1]))


def area(coordinate: Series, kl: Series) -> float:
    """Mean of KL over the path: trapezoids over the coordinate, divided by its length. NaN where a step is missing."""
    widths = np.diff(coordinate)
    return float(widths @ (kl[1:] + kl[:-1]) / 2 / (coordinate[-1] - coordinate[0]))


def value_at(distance: Series, values: Series, where: float) -> float | None:
    """A curve's value at an L2 distance, linear between steps; None when the path never gets there, or when a value
    there is missing."""
    over = (distance >= where).nonzero()[0]
    if not len(over):
        return None
    k = int(over[0])
    if not np.isfinite(values[max(0, k - 1) : k + 1]).all():
        return None
    if k == 0:
        return float(values[0])
    share = (where - distance[k - 1]) / (distance[k] - distance[k - 1])
    return float(values[k - 1] + share * (values[k] - values[k - 1]))


def quadratic_ratio(threshold: float | None, fisher: float, level: float) -> float | None:
    """Threshold over where a^2/2 u'Fu reaches the level; None when either never does."""
    if threshold is None or fisher <= 0:
        return None
    return threshold / math.sqrt(2 * level / fisher)


def max_slope_step(l2: Series) -> int:
    """Smallest k >= 1 that maximises l2[k] - l2[k-1] (LASR Labs 2024, the "blowup" step)."""
    return int((l2[1:] - l2[:-1]).argmax()) + 1


def plateau_length(distance: Series, l2: Series, typical_distance: float, noise: float = 0.0) -> float:
    """First distance where l2 exceeds 1.1 x the through-origin line fitted below 0.1 typical distances.

    Where l2 has a noise floor it must exceed that line by the floor too. Infinity when it never does; NaN when it
    cannot be told, since no step but the first lies below 0.1 typical distances, l2 does not rise to twice the floor
    there, or a value before is missing.
    """
    early = (distance > 0) & (distance < PLATEAU_FIT_SHARE * typical_distance)
    if not early.any() or l2[early].max() < 2 * noise:
        return math.nan
    x, y = distance[early], l2[early]
    slope = (x @ y) / (x @ x)
    over = (l2 > PLATEAU_EXCESS * slope * distance + noise).nonzero()[0]
    seen = l2[: over[0] + 1] if len(over) else l2
    if not np.isfinite(seen).all():
        return math.nan
    return float(distance[over[0]]) if len(over) else math.inf
