"""Thresholds of many directions from one base, without keeping their curves: for rankings, nulls and tables.

The same sweeps as curves, so that a threshold here is that of the curve. Knows the laboratory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.curves import threshold
from engine.directions import DIRECTIONS
from engine.drawing import Base, Vector
from engine.errors import RecipeError
from engine.laboratory import Laboratory
from engine.paths import grid
from engine.sweep import Start, Sweep, Swept

AT_ONCE: Final = 32
"""Directions of one sweep; between two of them a run can be stopped."""


@dataclass(frozen=True)
class Reached:
    """Of one direction: where the output has changed, and how fast it begins to."""

    threshold: float | None
    """Where KL first reaches the recipe's level, in the path's unit; None where it never does."""
    fisher: float
    """t'Ft at the base, nats per unit squared."""


def measured(
    lab: Laboratory, base: Base, vectors: Sequence[NDArray[Any]], labels: Sequence[str]
) -> Iterator[tuple[int, Reached]]:
    """Which direction, and what was found along it, as it is done.

    Raises:
        DirectionError: A direction has no length.
        RecipeError: Paths end at lengths of their own.
    """
    if lab.stop is None:
        raise RecipeError(
            'path.stop = "native" ends every direction at its own length, so that their thresholds do not compare: use '
            '"auto" or a number.'
        )
    hosts = lab.hosts_of([base])
    row = lab.base_row(base, hosts.raw[0])
    for start in range(0, len(vectors), AT_ONCE):
        lab.checkpoint()
        some = range(start, min(start + AT_ONCE, len(vectors)))
        rays = [lab.ray(base, np.asarray(vectors[i], dtype=np.float32), labels[i]) for i in some]
        coordinates = [grid(lab.stop, lab.recipe.path.steps)] * len(rays)
        sweep = Sweep(
            forward=lab.forward,
            hosts=hosts,
            starts=[Start(row, rays, coordinates)],
            layout=lab.layout,
            book=lab.workshop.layouts,
        )
        for swept in sweep.run():
            if not isinstance(swept, Swept):
                continue
            for place in swept.directions:
                kl = sweep.measured.values["logits"]["kl"][0, place]
                reached = threshold(coordinates[place], kl, lab.recipe.metrics.level)
                yield some[place], Reached(reached, float(sweep.measured.fisher[0, place]))
        lab.layout = sweep.layout


def thresholds(
    lab: Laboratory, base: Base, vectors: Sequence[NDArray[Any]], labels: Sequence[str]
) -> Iterator[tuple[int, float | None]]:
    """The thresholds alone."""
    return ((place, found.threshold) for place, found in measured(lab, base, vectors, labels))


@dataclass(frozen=True)
class Block:
    """Directions from one base that are measured together."""

    base: Base
    vectors: tuple[Vector, ...]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, base: Base, vectors: Sequence[NDArray[Any]], labels: Sequence[str]) -> Block:
        """As the sweep takes them."""
        return cls(base, tuple(np.asarray(vector, dtype=np.float32) for vector in vectors), tuple(labels))


def measured_block(lab: Laboratory, block: Block) -> list[Reached]:
    """What was measured along each direction of a block, in order."""
    found = measured(lab, block.base, block.vectors, block.labels)
    return [reached for _, reached in sorted(found, key=lambda pair: pair[0])]


def in_order(
    lab: Laboratory, base: Base, vectors: Sequence[NDArray[Any]], labels: Sequence[str], done: int = 0
) -> Iterator[tuple[int, Reached]]:
    """What was measured, in order and without the first `done`.

    Blocks begin where they would in a whole run, so that each direction is measured in the same company, here or by
    colleagues.
    """
    starts = range(done // AT_ONCE * AT_ONCE, len(vectors), AT_ONCE)
    blocks = (Block.of(base, vectors[start : start + AT_ONCE], labels[start : start + AT_ONCE]) for start in starts)
    found = (
        (measured_block(lab, block) for block in blocks) if lab.colleagues is None else lab.colleagues.measured(blocks)
    )
    for start, some in zip(starts, found, strict=True):
        for place, reached in enumerate(some, start):
            if place >= done:
                yield place, reached


def ordered_thresholds(
    lab: Laboratory, base: Base, vectors: Sequence[NDArray[Any]], labels: Sequence[str], done: int = 0
) -> Iterator[tuple[int, float | None]]:
    """The same, thresholds alone."""
    return ((place, found.threshold) for place, found in in_order(lab, base, vectors, labels, done))


NULL_KINDS: Final = {"along": "random-mixture", "toward": "random"}
"""The null of each family: covariance-matched draws, made the way the family is made."""
BEYOND: Final = 1_000_000
"""Draws from here on serve as nulls: a curve is never its own null."""


def null_vectors(lab: Laboratory, base: Base, family: str, n: int) -> list[NDArray[Any]]:
    """Directions of a family's null from a base [n, d_hook], none of which a recipe with that kind draws."""
    spec = DIRECTIONS[NULL_KINDS[family]].spec(kind=NULL_KINDS[family], count=n)
    return [lab.draw(spec, base, BEYOND + i).vector for i in range(n)]


def as_number(found: float | None) -> float:
    """A threshold to compare: what never happens comes after everything."""
    return np.inf if found is None else found


def empirical_p(observed: float | None, nulls: Iterable[float | None]) -> float:
    """Share of nulls that reach the level at least as soon, the observed one among them: (1 + #{null <= it}) / (1 + n).

    The smallest value is 1 / (1 + n), since n draws cannot show that something is rarer (Phipson & Smyth 2010). A
    direction that never reaches the level ties with nulls that never do.
    """
    sooner = [as_number(null) <= as_number(observed) for null in nulls]
    return (1 + sum(sooner)) / (1 + len(sooner))
