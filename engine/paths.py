"""How a vector travels along a direction: straight lines and great circles.

Works in the basis of the write hook, in float64. Knows vectors only.

Straight: x' = x + a u, u = d/|d|, a = L2 distance. Sphere: x' = |x| (cos t x/|x| + sin t d_perp/|d_perp|), d_perp the
part of d orthogonal to x, t in degrees from the raw origin of the basis (Heimersheim & Mendel 2024, both modes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from engine.errors import DirectionError
from engine.results import Series

RELATIVE_ZERO = 1e-6
"""A direction shorter than this share of the vectors it was made from is rounding, not a direction (float32: 6e-8)."""


@dataclass(frozen=True)
class Ray:
    """A path from x, ready to be evaluated at any coordinate."""

    mode: Literal["straight", "sphere"]
    x: Series
    u: Series
    """Unit direction: of d for straight, of its part orthogonal to x for sphere."""
    native_norm: float
    native_angle: float

    @property
    def unit(self) -> str:
        """Name of the coordinate's unit."""
        return "L2" if self.mode == "straight" else "degrees"

    @property
    def native(self) -> float:
        """The coordinate at which the path is at, or on the ray of, x + d."""
        return self.native_norm if self.mode == "straight" else self.native_angle

    def weights(self, coordinate: ArrayLike) -> tuple[Series, Series]:
        """x' - x as weights of x and of u at each coordinate: [k] each."""
        a = np.asarray(coordinate, dtype=np.float64)
        if self.mode == "straight":
            return np.zeros_like(a), a
        t = np.radians(a)
        # cos t - 1 written as -2 sin^2(t/2), which keeps its digits near zero.
        return np.asarray(-2 * np.sin(t / 2) ** 2), np.asarray(np.sin(t) * np.linalg.norm(self.x))

    def offsets(self, coordinate: ArrayLike) -> Series:
        """x' - x at each coordinate: [k, d_hook]."""
        of_x, of_u = self.weights(coordinate)
        return np.asarray(of_x[:, None] * self.x + of_u[:, None] * self.u)

    def distance(self, coordinate: ArrayLike) -> Series:
        """|x' - x| at each coordinate."""
        return np.asarray(np.linalg.norm(self.offsets(coordinate), axis=1))

    def angle(self, coordinate: ArrayLike) -> Series:
        """Angle between x' and x in degrees at each coordinate."""
        return angle_between(self.x, self.x + self.offsets(coordinate))

    @property
    def tangent(self) -> Series:
        """dx'/da at a = 0: [d_hook], per unit of the coordinate."""
        return self.u if self.mode == "straight" else self.u * np.linalg.norm(self.x) * np.pi / 180


def angle_between(x: Series, others: Series) -> Series:
    """Angles in degrees between x and each row of others, accurate for small angles.

    Uses 2 atan2(|a - b|, |a + b|) of the unit vectors (Kahan); 90 where one of them has no length.
    """
    norms = np.linalg.norm(others, axis=-1, keepdims=True)
    a = x / max(float(np.linalg.norm(x)), np.finfo(np.float64).tiny)
    b = others / np.maximum(norms, np.finfo(np.float64).tiny)
    difference, total = np.linalg.norm(b - a, axis=-1), np.linalg.norm(b + a, axis=-1)
    return np.asarray(np.degrees(2 * np.arctan2(difference, total)))


def make_ray(mode: Literal["straight", "sphere"], base: np.ndarray, direction: np.ndarray, label: str = "") -> Ray:
    """A ray from base along direction, both [d_hook].

    Raises:
        DirectionError: The direction has no length, or for a sphere none orthogonal to the base.
    """
    x, d = base.astype(np.float64), direction.astype(np.float64)
    if not np.isfinite(d).all():
        raise DirectionError(f"Direction {label or 'given'} is not finite: it holds NaN or infinity.")
    norm, scale = float(np.linalg.norm(d)), float(np.linalg.norm(x))
    if norm <= RELATIVE_ZERO * max(scale, 1e-12):
        raise DirectionError(
            f"Direction {label or 'given'} has no length (|d| = {norm:.3g}): its two ends are the same vector. "
            "Choose two that differ."
        )
    native_angle = float(angle_between(x, x + d))
    if mode == "straight":
        return Ray(mode, x, d / norm, norm, native_angle)
    if scale == 0:
        raise DirectionError("A sphere path needs a base of some length; this base is zero. Use mode = 'straight'.")
    across = d - (d @ x) / (x @ x) * x
    across_norm = float(np.linalg.norm(across))
    if across_norm <= RELATIVE_ZERO * norm:
        raise DirectionError(
            f"Direction {label or 'given'} is parallel to the base, so it turns nothing: use mode = 'straight'."
        )
    return Ray(mode, x, across / across_norm, norm, native_angle)


def grid(stop: float, steps: int) -> Series:
    """Coordinates of steps 0 to `steps`: [steps + 1]; step 0 is the unperturbed point."""
    return np.asarray(stop * np.arange(steps + 1) / steps)
