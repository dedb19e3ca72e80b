"""`sae-feature`: along a feature of a sparse autoencoder, by its decoder or its encoder vector.

The decoder vector is the feature's contribution to the reconstruction, decode(f) - decode(f with f_i = 0), with
all normalisation the SAE applies, so that its length is the natural length of "ablate" and "double".
Encoder and decoder differ (median cosine about 0.5 in GDM's replication, 2024): which is used is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.drawing import MOST, Base, Direction, DrawContext, Features, strongest
from engine.errors import DirectionError


class SaeFeatureSpec(DirectionSpec):
    """With `index`, that feature; without, the `count` most active features at the base."""

    count: int = Field(1, ge=1, le=MOST, description="a whole number from 1 to 1,000,000")
    index: int | None = Field(None, ge=0, description="a feature index from 0")
    sign: Literal["+", "-"] = Field("+", description="'+' or '-'")
    vector: Literal["decoder", "encoder"] = Field("decoder", description="'decoder' or 'encoder'")

    @property
    def drawn(self) -> bool:
        return False  # an index, or ranks from the most active

    @model_validator(mode="after")
    def _index_has_count_one(self) -> SaeFeatureSpec:
        if self.index is not None and self.count != 1:
            raise ValueError(f"a feature index gives one direction, so count must be 1; got {self.count}")
        return self


def checked_features(features: Features, wanted: Sequence[int]) -> list[int]:
    """The indices, all of which the SAE has.

    Raises:
        DirectionError: It lacks one.
    """
    for feature in wanted:
        if feature >= features.n_features:
            raise DirectionError(
                f"SAE feature {feature} does not exist: this SAE has {features.n_features} features, "
                f"use 0 to {features.n_features - 1}."
            )
    return list(wanted)


def _draw(spec: SaeFeatureSpec, context: DrawContext, base: Base, index: int) -> Direction:
    features = context.features
    activations = features.activations(base)
    if spec.index is None:
        active = strongest(activations)
        if index >= len(active):
            raise DirectionError(
                f"Asked for the {index + 1} most active SAE features, but {len(active)} are active at this base: "
                "lower the count or name a feature with index."
            )
        feature = active[index]
    else:
        feature = checked_features(features, [spec.index])[0]
    total = float(np.abs(activations).sum())
    decoder = spec.vector == "decoder"
    vector = features.contribution(base, feature) if decoder else features.encoder(feature)
    activation = float(activations[feature])
    label = f"{'-' if spec.sign == '-' else ''}#{feature}{' encoder' if spec.vector == 'encoder' else ''}"
    if activation == 0:
        label += " (off)"
    detail = {
        "feature": feature,
        "sign": spec.sign,
        "vector": spec.vector,
        "activation": activation,
        "share_of_l1": abs(activation) / total if total > 0 else 0.0,
    }
    signed = -vector if spec.sign == "-" else vector
    return Direction("sae-feature", label, signed.astype(np.float32), detail)


DIRECTIONS.register(
    DirectionKind("sae-feature", "along", SaeFeatureSpec, _draw, "along an SAE feature's decoder or encoder", True)
)
