"""The exponent p of a superellipse on which mixtures of two directions break: (|a|/A)^p + (|b|/B)^p = 1.

a and b are how much of either direction there is, A and B where each breaks alone. p = 2 is an ellipse; above 2 the
pure directions break sooner than an ellipse through their mixtures would have it (Ferreira da Silva & Heimersheim,
"Evidence for feature-specific error correction in LLMs", arXiv 2606.24964). Knows numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = 0.25, 32.0
"""Exponents that are looked at; p = 1 is a diamond, p = infinity a square."""
GRID: Final = 200
NAN: Final = float("nan")


@dataclass(frozen=True)
class Fit:
    """An exponent."""

    p: float
    """NaN where a pure direction never breaks."""
    residual: float
    """Root mean square of log(measured / fitted size)."""


@dataclass(frozen=True, eq=False)
class Contour:
    """Where mixtures cos t u1 + sin t u2 break."""

    angle: NDArray[np.float64]
    """Mixing angle of each, degrees: [n]."""
    size: NDArray[np.float64]
    """What multiple of the mixture, before it is brought to unit length, breaks [n]; infinite where none does."""
    least: NDArray[np.float64]
    """What is known of it at least: the size itself, or how far was looked [n]."""


def contour(angle: NDArray[np.float64], radius: NDArray[np.float64], cosine: float, stop: float) -> Contour:
    """From the distances at which mixtures of unit length break.

    Args:
        angle: mixing angles, degrees [n].
        radius: of each, infinite where it never breaks [n].
        cosine: of the two directions.
        stop: how far was looked.
    """
    t = np.radians(angle)
    length = np.sqrt(1 + 2 * np.cos(t) * np.sin(t) * cosine)
    return Contour(angle, radius / length, np.minimum(radius, stop) / length)


def even(whole: Contour) -> Contour:
    """One quadrant, in which every size is that of its mirror images in all four: the root of the mean of 1 / size^2.

    A quadratic response with a cross term, which tilts the ellipse, looks like p above 2 in one quadrant and below 2 in
    the next; 1 / size^2 is then the response itself, and its mean over mirror images has no cross term: p is 2 exactly.
    Where one of the mirror images never breaks, the size is known to be this at least.
    """
    angles = np.unique(np.round(_folded(whole.angle), 9))
    sizes, least = [], []
    for t in angles:
        mine = np.isclose(_folded(whole.angle), t)
        least.append(float(np.mean(whole.least[mine] ** -2.0) ** -0.5))
        sizes.append(least[-1] if np.isfinite(whole.size[mine]).all() else np.inf)
    return Contour(angles, np.array(sizes), np.array(least))


def _folded(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles brought into the first quadrant by the mirrors a -> -a and b -> -b."""
    half = np.asarray(angle) % 180
    return np.asarray(np.minimum(half, 180 - half))


def fit(part: Contour) -> Fit:
    """The exponent that fits the mixtures between 0 and 90 degrees best: least squares of log size, A and B measured.

    Mixtures that never break count only where the fit says that they would have.
    """
    first, second = (part.size[np.isclose(part.angle, t)] for t in (0.0, 90.0))
    inside = (part.angle > 1e-6) & (part.angle < 90 - 1e-6)
    if not (len(first) and len(second) and np.isfinite(first[0]) and np.isfinite(second[0]) and inside.any()):
        return Fit(NAN, NAN)
    t = np.radians(part.angle[inside])
    shares = np.stack([np.cos(t) / first[0], np.sin(t) / second[0]])
    larger, smaller = shares.max(0), shares.min(0)
    known, log_size = np.isfinite(part.size[inside]), np.log(part.least[inside])

    def loss(p: float) -> float:
        # The superellipse is met at (share_a^p + share_b^p)^(-1/p), written so that no power overflows.
        error = log_size + np.log(larger) + np.log1p((smaller / larger) ** p) / p
        return float((np.where(known, error, np.maximum(error, 0.0)) ** 2).mean())

    grid = np.geomspace(LEAST, MOST, GRID)
    best = int(np.argmin([loss(float(p)) for p in grid]))
    low, high = np.log(grid[max(0, best - 1)]), np.log(grid[min(GRID - 1, best + 1)])
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(float(np.exp(left))) < loss(float(np.exp(right))):
            high = right
        else:
            low = left
    p = float(np.exp((low + high) / 2))
    return Fit(p, float(np.sqrt(loss(p))))
