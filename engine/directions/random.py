"""`random`: toward a normal draw with the mean and exact sample covariance of real activations.

The baseline of Heimersheim & Mendel, "Activation plateaus & sensitive directions in GPT2" (LessWrong, 2024).
"""

from __future__ import annotations

import numpy as np

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.drawing import Base, Direction, DrawContext
from engine.randomness import stream


def _draw(spec: DirectionSpec, context: DrawContext, base: Base, index: int) -> Direction:
    rng = stream(context.seed, f"direction/random@{base.kind}", base.index, index)
    target = context.population.covariance_matched(rng)
    return Direction("random", f"random {index}", (target - base.vector).astype(np.float32))


DIRECTIONS.register(
    DirectionKind("random", "toward", DirectionSpec, _draw, "toward a draw with the mean and covariance of real ones")
)
