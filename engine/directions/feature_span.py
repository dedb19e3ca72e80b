"""`feature-span`: a random combination of the SAE features that are active at the base, sum of z_i c_i.

c_i are the features' contributions, z_i standard normal numbers: a direction within the span of what is active, where
`isotropic` has the whole space. For slices around a direction: if a real activation is a sum of features, the
directions along which it can be improved are those of its features (Heimersheim & Mendel 2024, discussion).
"""

from __future__ import annotations

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.drawing import Base, Direction, DrawContext, strongest
from engine.errors import DirectionError
from engine.randomness import stream


def _draw(spec: DirectionSpec, context: DrawContext, base: Base, index: int) -> Direction:
    active = strongest(context.features.activations(base))
    if len(active) < 2:
        raise DirectionError(
            f"{len(active)} SAE features are active at this base, which span nothing to draw from: choose another base."
        )
    rng = stream(context.seed, f"direction/feature-span@{base.kind}", base.index, index)
    vector = rng.standard_normal(len(active)) @ context.features.contributions(base, active)
    return Direction("feature-span", f"feature span {index}", vector.astype("float32"), {"of": len(active)})


DIRECTIONS.register(
    DirectionKind("feature-span", "along", DirectionSpec, _draw, "random combination of the active SAE features", True)
)
