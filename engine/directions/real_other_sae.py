"""`real-other-sae`: toward what an SAE makes of another real activation, SAE(x_other) - x.

The rung between synthetic activations, which are made of SAE features too, and real ones: the same members as
`real-other`, with the right features in the right company and without the SAE's error.
"""

from __future__ import annotations

import numpy as np

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.directions.real_other import member_of
from engine.drawing import Base, Direction, DrawContext


def _draw(spec: DirectionSpec, context: DrawContext, base: Base, index: int) -> Direction:
    real, detail = member_of(context, base, index)
    target = real.vector.astype(np.float64) + context.features.error(real)
    return Direction("real-other-sae", f"real-other-sae {index}", (target - base.vector).astype(np.float32), detail)


DIRECTIONS.register(
    DirectionKind("real-other-sae", "toward", DirectionSpec, _draw, "toward what the SAE makes of a real one", True)
)
