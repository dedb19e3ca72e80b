"""`random-mixture`: the difference of two covariance-matched draws; the base has no part in it.

The improved baseline of Lee & Heimersheim, "Sensitive directions in GPT-2" (arXiv 2410.12555).
"""

from __future__ import annotations

import numpy as np

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.drawing import Base, Direction, DrawContext
from engine.randomness import stream


def _draw(spec: DirectionSpec, context: DrawContext, base: Base, index: int) -> Direction:
    rng = stream(context.seed, f"direction/random-mixture@{base.kind}", base.index, index)
    first = context.population.covariance_matched(rng)
    second = context.population.covariance_matched(rng)
    return Direction("random-mixture", f"random mixture {index}", (first - second).astype(np.float32))


DIRECTIONS.register(
    DirectionKind("random-mixture", "along", DirectionSpec, _draw, "difference of two covariance-matched draws")
)
