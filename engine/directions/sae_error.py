"""`sae-error`: what an SAE gets wrong at the base, SAE(x) - x.

Pushing along it was found to hurt far more than an isotropic direction of the same length (Gurnee, "SAE
reconstruction errors are (empirically) pathological", 2024), and no longer so against covariance-matched mixtures (Lee
& Heimersheim, arXiv 2410.12555): compare it with `random-mixture`. Its native length is that of the error itself.
"""

from __future__ import annotations

import numpy as np

from engine.directions import DIRECTIONS, DirectionKind, SingleSpec
from engine.drawing import Base, Direction, DrawContext


def _draw(spec: SingleSpec, context: DrawContext, base: Base, index: int) -> Direction:
    error = context.features.error(base)
    share = float(np.linalg.norm(error) / np.linalg.norm(base.vector.astype(np.float64)))
    return Direction("sae-error", "SAE error", error.astype(np.float32), {"share_of_norm": share})


DIRECTIONS.register(DirectionKind("sae-error", "along", SingleSpec, _draw, "what the SAE gets wrong here", True))
