"""The simple stories about plateaus, in numbers: what a push does on the way, by group and distance.

How much of it has arrived at each later block, the share of neurons that flipped, the norm before the unembedding, the
margin of the most probable token (comments on Heimersheim & Mendel 2024). Knows crowds; draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.bands import Band
from sessions.crowd import Crowd, CurveGroup
from sessions.digest import number
from sessions.views.bands import band_of
from sessions.views.layers import outputs

SHARES: Final = (0.2, 0.5, 1.0)
"""Of the typical distance; on the sphere, of 60 degrees."""
SPHERE: Final = 60.0


@dataclass(frozen=True)
class Told:
    """Medians, and quartiles in brackets, of one group at one distance."""

    group: str
    share: float
    cells: tuple[str, ...]


def columns(crowd: Crowd) -> list[str]:
    """What the cells of `stories` are."""
    names = [f"L2 at {read.removeprefix('blocks.')} / push" for read in outputs(crowd)]
    return [*names, *(name for name, _ in _others(crowd))]


def stories(crowd: Crowd) -> list[Told]:
    """One entry for each group and distance; nothing where one layer was read."""
    if len(outputs(crowd)) < 2:
        return []
    scale = crowd.typical or SPHERE
    found = []
    for group in crowd.groups:
        bands = [band_of(group, read, "size") for read in outputs(crowd)]
        bands += [make(group) for _, make in _others(crowd)]
        for share in SHARES:
            if share * scale <= crowd.stop:
                found.append(Told(group.label, share, tuple(_cell(band, share * scale) for band in bands)))
    return found


def _others(crowd: Crowd) -> list[tuple[str, Callable[[CurveGroup], Band]]]:
    """What was measured beside L2: its name, and its band."""
    measured = set(crowd.metrics())
    last = crowd.reads[-1]
    found: list[tuple[str, Callable[[CurveGroup], Band]]] = []
    for read in (read for read in crowd.reads if read.endswith("hook_post") and (read, "flips") in measured):
        found.append((f"flips at {read.removeprefix('blocks.').partition('.')[0]}", _band(read, "flips")))
    if (last, "norm") in measured:
        found.append(("norm", _band(last, "norm")))
    if ("logits", "margin") in measured:
        found.append(("margin, nats", _band("logits", "margin")))
    return found


def _band(read: str, metric: str) -> Callable[[CurveGroup], Band]:
    return lambda group: band_of(group, read, metric)


def _cell(band: Band, place: float) -> str:
    known = np.isfinite(band.median)
    low, middle, high = (np.interp(place, band.coordinate[known], q[known]) for q in band.quantiles[1:4])
    return f"{number(float(middle), 3)} ({number(float(low), 3)} to {number(float(high), 3)})"
