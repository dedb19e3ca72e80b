"""`steering-sae`: a steering vector as an SAE sees it, SAE(x+) - SAE(x-).

The error of the SAE is dropped from both ends (Conmy & Nanda, "Activation Steering with SAEs", GDM mechanistic
interpretability team's progress update #1, 2024). Beside `steering` it shows whether the SAE keeps what matters.
"""

from __future__ import annotations

import numpy as np

from engine.directions import DIRECTIONS, DirectionKind
from engine.directions.steering import EXAMPLE, SteeringSpec, aligned, contrast, sides
from engine.drawing import Base, Direction, DrawContext


def _draw(spec: SteeringSpec, context: DrawContext, base: Base, index: int) -> Direction:
    ends = sides(spec, context)
    found = contrast(*ends, lambda token: token.vector + context.features.error(token))
    vector, whole = found.mean(0), contrast(*ends).mean(0)
    lengths = np.linalg.norm(vector) * np.linalg.norm(whole)
    cosine = float(vector @ whole / lengths) if lengths > 0 else 0.0
    return aligned("steering-sae", f"SAE of {spec.said}", found, spec, context, {"cosine_with_whole": cosine})


DIRECTIONS.register(
    DirectionKind(
        "steering-sae",
        "along",
        SteeringSpec,
        _draw,
        "a steering vector as the SAE rebuilds it",
        True,
        example=EXAMPLE,
    )
)
