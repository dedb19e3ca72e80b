"""Thresholds of many directions from one base, without keeping their curves: for rankings, nulls and tables.

The same sweeps as curves, so that a threshold here is that of the curve. Knows the laboratory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.curves import threshold
from engine.directions import DIRECTIONS
from engine.drawing import Base
from engine.errors import RecipeError
from engine.laboratory import Laboratory
from engine.paths import grid
from engine.sweep import Start, Sweep, Swept

AT_ONCE: Final = 32
"""Directions of one sweep; between two of them a run can be stopped."""


def thresholds(
    lab: Laboratory, base: Base, vectors: Sequence[NDArray[Any]], labels: Sequence[str]
) -> Iterator[tuple[int, float | None]]:
    """Which direction, and where KL along it first reaches the recipe's level; None where it never does.

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
                yield some[place], threshold(coordinates[place], kl, lab.recipe.metrics.level)
        lab.layout = sweep.layout


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
