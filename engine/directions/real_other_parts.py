"""`real-other-on`, `real-other-off`: the features that another real activation turns on, or off, by themselves.

A direction toward a real activation adds some SAE features and dampens others (a footnote of Heimersheim & Mendel,
"Activation plateaus & sensitive directions in GPT2", LessWrong 2024). With f = encode(target) - encode(base), *on* is
the sum of max(f_i, 0) D_i and *off* that of min(f_i, 0) D_i, D_i what one unit of feature i adds. The targets are those
of `real-other` with the same seed, so that curves pair up; what the SAE does not explain is in neither half.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from engine.directions import DIRECTIONS, DirectionKind
from engine.directions.real_other import RealOtherSpec, target_of
from engine.drawing import Base, Direction, DrawContext
from engine.errors import DirectionError


def _draw(part: str, spec: RealOtherSpec, context: DrawContext, base: Base, index: int) -> Direction:
    target, detail = target_of(spec, context, base, index)
    change = context.features.activations(target) - context.features.activations(base)
    kept = np.maximum(change, 0) if part == "on" else np.minimum(change, 0)
    features = np.flatnonzero(kept)
    if not len(features):
        raise DirectionError(
            f"From this base to {target.label} no SAE feature turns {part}: choose another target or the other half."
        )
    whole = target.vector.astype(np.float64) - base.vector
    vector = kept[features] @ context.features.units(base, [int(i) for i in features])
    detail = {
        **detail,
        "features": len(features),
        "share_of_length": float(np.linalg.norm(vector) / np.linalg.norm(whole)),
        "cosine_with_whole": float(vector @ whole / np.linalg.norm(vector) / np.linalg.norm(whole)),
    }
    name = f"real-other-{part}"
    label = f"{part} toward {spec.prompt!r}" if spec.prompt is not None else f"{name} {index}"
    return Direction(name, label, vector.astype(np.float32), detail)


for _part, _what in (("on", "turns on"), ("off", "turns off")):
    DIRECTIONS.register(
        DirectionKind(
            f"real-other-{_part}",
            "toward",
            RealOtherSpec,
            partial(_draw, _part),
            f"the SAE features that another real activation {_what}",
            True,
        )
    )
