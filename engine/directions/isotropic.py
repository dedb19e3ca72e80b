"""`isotropic`: a centred normal vector. The naive contrast: much less sensitive, and no fair baseline.

Real activations vary in few directions; an isotropic one lies mostly outside them (Heimersheim & Mendel 2024).
"""

from __future__ import annotations

import numpy as np

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.drawing import Base, Direction, DrawContext, isotropic
from engine.randomness import stream


def _draw(spec: DirectionSpec, context: DrawContext, base: Base, index: int) -> Direction:
    rng = stream(context.seed, f"direction/isotropic@{base.kind}", base.index, index)
    vector = isotropic(rng, len(base.vector), context.centred)
    return Direction("isotropic", f"isotropic {index}", vector.astype(np.float32))


DIRECTIONS.register(
    DirectionKind("isotropic", "along", DirectionSpec, _draw, "centred normal vector (naive, not a fair baseline)")
)
