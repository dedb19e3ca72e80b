"""Lattices that maps are measured on, in an order that refines: every level halves the spacing of the one before.

Knows whole numbers; no vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

COARSEST: Final = 8
"""Spacing of the first level at most."""


@dataclass(frozen=True)
class Place:
    """A lattice point."""

    at: tuple[int, ...]
    stride: int
    """Spacing of the level that it belongs to."""


def refined(points: Iterable[tuple[int, ...]], coarsest: int) -> list[Place]:
    """Points in the order in which they are measured: those whose coordinates a stride divides first, largest first.

    Args:
        points: the whole lattice.
        coarsest: a power of two, the first stride.
    """
    left, found, stride = list(points), list[Place](), coarsest
    while left:
        found += [Place(p, stride) for p in left if all(c % stride == 0 for c in p)]
        left = [p for p in left if any(c % stride for c in p)]
        stride //= 2
    return found


def ternary(resolution: int) -> list[Place]:
    """Weights (i, j, k) with i + j + k = resolution."""
    points = ((i, j, resolution - i - j) for i in range(resolution + 1) for j in range(resolution + 1 - i))
    return refined(points, _spacing(resolution))


def square(resolution: int) -> list[Place]:
    """Indices (i, j) from 0 to resolution each."""
    return refined(((i, j) for i in range(resolution + 1) for j in range(resolution + 1)), _spacing(resolution))


def _spacing(resolution: int) -> int:
    """The largest power of two that divides it, so that every level reaches the edges."""
    return min(COARSEST, resolution & -resolution)


def neighbours(at: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    """Weights one step away on a ternary lattice, some of which lie outside of it."""
    for more, less in ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)):
        moved = list(at)
        moved[more] += 1
        moved[less] -= 1
        yield moved[0], moved[1], moved[2]
