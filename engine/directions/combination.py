"""`combination`: SAE features added up with weights, sum of w_i D_i.

D_i is what one unit of activation of feature i adds to the reconstruction; weights are activations, and negative ones
take away. Composing a vector from a few features is how Conmy & Nanda edit steering vectors ("Activation Steering with
SAEs", GDM mechanistic interpretability team's progress update #1, 2024).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict, model_validator

from engine.directions import DIRECTIONS, DirectionKind, SingleSpec
from engine.directions.sae_feature import checked_features
from engine.drawing import Base, Direction, DrawContext

Features = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Strict(False)]
Weights = Annotated[tuple[Annotated[float, Strict(False)], ...], Strict(False)]


class CombinationSpec(SingleSpec):
    """Without `weights`, every feature has its activation at the base, or 1 where it is off."""

    features: Features = Field(min_length=1, description="a list of feature indices from 0")
    weights: Weights | None = Field(None, description="a list of finite numbers, one for each feature")

    @model_validator(mode="after")
    def _as_many(self) -> CombinationSpec:
        if self.weights is not None and len(self.weights) != len(self.features):
            raise ValueError(f"{len(self.features)} features need as many weights; got {len(self.weights)}")
        if len(set(self.features)) != len(self.features):
            raise ValueError("each feature may be named once")
        return self


def _draw(spec: CombinationSpec, context: DrawContext, base: Base, index: int) -> Direction:
    features = checked_features(context.features, spec.features)
    activations = context.features.activations(base)
    weights = spec.weights or tuple(float(activations[i]) or 1.0 for i in features)
    vector = weights @ context.features.units(base, features)
    label = " + ".join(f"{w:.3g} #{i}" for w, i in zip(weights, features, strict=True))
    return Direction(
        "combination", label, vector.astype("float32"), {"features": list(features), "weights": list(weights)}
    )


DIRECTIONS.register(
    DirectionKind(
        "combination",
        "along",
        CombinationSpec,
        _draw,
        "SAE features added up with weights",
        True,
        example="features = [12, 40]\nweights = [3.0, -1.5]",
    )
)
