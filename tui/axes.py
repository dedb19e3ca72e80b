"""What the main plot's x axis counts in: distances, shares, angles, native lengths, or nats that a parabola predicts.

One entry of `AXES` each; all are of values that every curve carries, so another axis computes nothing. Knows results;
no widgets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.results import CurveResult, Series, Sketch, Summary
from tui.picture import Picture


@dataclass(frozen=True)
class Axis:
    """One unit of the x axis."""

    name: str
    label: str
    sign: str
    """Behind a number in this unit."""
    along: Callable[[Picture, CurveResult], Series | None]
    """x at every step of a curve, never falling; None where the curve has none."""
    title: str = ""
    """Short, as the head of a column."""
    squared: bool = False
    """Whether x goes with the square of the path, so that its root is what is linear between steps."""


def _share(picture: Picture, curve: CurveResult) -> Series | None:
    typical = picture.typical_distance
    return curve.distance / typical if typical else None


def _native(picture: Picture, curve: CurveResult) -> Series | None:
    s = curve.summary
    if picture.unit == "L2":
        return curve.distance / s.native_norm if s.native_norm > 0 else None
    return curve.angle / s.native_angle if s.native_angle > 0 else None


def _predicted(picture: Picture, curve: CurveResult) -> Series:
    # t'Ft a^2/2 rises with a; a running maximum keeps rounding near zero from turning it back.
    return np.maximum.accumulate(curve.kl_quadratic)


AXES: Final = {
    axis.name: axis
    for axis in (
        Axis("L2", "L2 distance", " L2", lambda _, c: c.distance, "L2"),
        Axis("typical", "share of the typical distance", " typical", _share, "typical"),
        Axis("angle", "angle, degrees", "°", lambda _, c: c.angle, "°"),
        Axis("native", "multiples of the direction's own length (a feature's: its activation)", "x", _native, "native"),
        Axis("predicted", "predicted KL (Fisher), nats", " predicted", _predicted, "predicted", squared=True),
    )
}
"""By name, in the order of the key that goes through them."""


def own(picture: Picture) -> str:
    """The axis that the path was stepped in."""
    return "L2" if picture.unit == "L2" else "angle"


def axis_of(picture: Picture, name: str) -> Axis:
    """The axis by name; the path's own where none is chosen."""
    return AXES[name or own(picture)]


def after(picture: Picture, name: str) -> str:
    """The next axis; nothing where that is the path's own."""
    names = list(AXES)
    following = names[(names.index(name or own(picture)) + 1) % len(names)]
    return "" if following == own(picture) else following


def coordinates(picture: Picture, curve: CurveResult | Sketch, name: str) -> Series | None:
    """x at every step; None where the curve has none, as one that is still being measured on most axes."""
    if isinstance(curve, CurveResult):
        return axis_of(picture, name).along(picture, curve)
    if name in ("", own(picture)):
        return curve.coordinate
    if name == "typical" and picture.unit == "L2" and picture.typical_distance:
        return curve.coordinate / picture.typical_distance
    return None


def converted(picture: Picture, curve: CurveResult, at: float | None, name: str) -> float | None:
    """A place along the path on another axis, linear between steps (its root is, where x is a square); None where
    there is none."""
    x = coordinates(picture, curve, name)
    if at is None or x is None:
        return None
    if axis_of(picture, name).squared:
        return float(np.interp(at, curve.coordinate, np.sqrt(x))) ** 2
    return float(np.interp(at, curve.coordinate, x))


def summaries(picture: Picture, name: str) -> tuple[Summary, ...]:
    """A row per curve that has a place on this axis, with the threshold there."""
    if name in ("", own(picture)):
        return picture.summaries
    return tuple(
        replace(c.summary, threshold=converted(picture, c, c.summary.threshold, name))
        for c in picture.curves
        if coordinates(picture, c, name) is not None
    )


def label(picture: Picture, name: str) -> str:
    """What the axis counts, in words."""
    if name == "native" and picture.unit == "degrees":
        return "multiples of the angle to the direction's own end"
    return axis_of(picture, name).label


def median_curve(xs: Sequence[Series], ys: Sequence[Series]) -> tuple[Series, Series]:
    """The median over curves of y at each x, on as much of the axis as all of them have."""
    if all(np.array_equal(x, xs[0]) for x in xs):
        return xs[0], np.median(ys, axis=0)
    grid = np.linspace(0.0, min(float(x[-1]) for x in xs), max(len(x) for x in xs))
    return grid, np.median([np.interp(grid, x, y) for x, y in zip(xs, ys, strict=True)], axis=0)
