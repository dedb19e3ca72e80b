"""`real-mixture`: the difference of two members of the population; the base has no part in it."""

from __future__ import annotations

import numpy as np

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.drawing import Base, Direction, DrawContext, nth_other
from engine.randomness import stream


def _draw(spec: DirectionSpec, context: DrawContext, base: Base, index: int) -> Direction:
    def rng() -> np.random.Generator:
        return stream(context.seed, f"direction/real-mixture@{base.kind}", base.index)

    # Consecutive pairs of one permutation, so that no member serves twice.
    plus = nth_other(context.population, rng(), 2 * index, base)
    minus = nth_other(context.population, rng(), 2 * index + 1, base)
    vectors = context.population.vectors
    return Direction(
        "real-mixture", f"real mixture {index}", vectors[plus] - vectors[minus], {"plus_row": plus, "minus_row": minus}
    )


DIRECTIONS.register(DirectionKind("real-mixture", "along", DirectionSpec, _draw, "difference of two real activations"))
