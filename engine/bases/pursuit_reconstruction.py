"""`pursuit-reconstruction`: a real activation rebuilt from k SAE features found without the encoder.

b_dec plus a non-negative sum of decoder rows by gradient pursuit: "inference-time optimisation" of Smith (GDM
mechanistic interpretability team's progress update #1, 2024).
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from engine.bases import BASES, BaseKind, RebuiltSpec, rebuilt_of, scaled
from engine.drawing import Base, DrawContext


class PursuitSpec(RebuiltSpec):
    """How many features."""

    k: int = Field(32, ge=1, description="a whole number of at least 1")


def _draw(spec: PursuitSpec, context: DrawContext, index: int) -> Base:
    real, host = rebuilt_of(spec, context, index)
    vector, used, unexplained = context.features.reconstruct(real, spec.k)
    label = f"{real.label} from {used} features"
    detail = {"features": used, "unexplained": unexplained}
    name = "pursuit-reconstruction"
    return replace(host, kind=name, label=label, vector=scaled(vector, spec, context), detail=detail)


BASES.register(
    BaseKind("pursuit-reconstruction", PursuitSpec, _draw, "a real activation from k features, without encoder", True)
)
