"""`steering-sae`: a steering vector as an SAE sees it, SAE(x+) - SAE(x-).

The error of the SAE is dropped from both ends (Conmy & Nanda, "Activation Steering with SAEs", GDM mechanistic
interpretability team's progress update #1, 2024). Beside `steering` it shows whether the SAE keeps what matters.
"""

from __future__ import annotations

import numpy as np

from engine.directions import DIRECTIONS, DirectionKind
from engine.directions.steering import SteeringSpec
from engine.drawing import Base, Direction, DrawContext


def _draw(spec: SteeringSpec, context: DrawContext, base: Base, index: int) -> Direction:
    plus, minus = context.reading_of(spec.plus), context.reading_of(spec.minus)
    rebuilt = [end.vector + context.features.error(end) for end in (plus, minus)]
    vector, whole = rebuilt[0] - rebuilt[1], plus.vector.astype(np.float64) - minus.vector
    lengths = np.linalg.norm(vector) * np.linalg.norm(whole)
    detail = {
        "plus": spec.plus,
        "minus": spec.minus,
        "cosine_with_whole": float(vector @ whole / lengths) if lengths > 0 else 0.0,
    }
    return Direction("steering-sae", f"SAE of {spec.plus!r} - {spec.minus!r}", vector.astype(np.float32), detail)


DIRECTIONS.register(
    DirectionKind(
        "steering-sae",
        "along",
        SteeringSpec,
        _draw,
        "a steering vector as the SAE rebuilds it",
        True,
        example='plus = "She was very happy"\nminus = "She was very sad"',
    )
)
