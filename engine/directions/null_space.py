"""`null-space`, `causal-space`: what the matrix behind the write hook maps to nothing, and what it does not.

At `mlp.hook_post` W_out maps d_mlp dimensions to d_model, and three quarters of them to nothing (Conmy, "open source
replication of Anthropic's dictionary learning", 2023). Moving along such a direction cannot matter: the one direction
whose effect is known, zero. The two kinds split the same random vectors, so that curves pair up.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.drawing import Base, Direction, DrawContext, isotropic
from engine.randomness import stream


class NullSpaceSpec(DirectionSpec):
    """Which random vector is split."""

    of: Literal["isotropic", "random-mixture"] = Field("isotropic", description="'isotropic' or 'random-mixture'")


def _draw(part: str, spec: NullSpaceSpec, context: DrawContext, base: Base, index: int) -> Direction:
    rng = stream(context.seed, f"direction/null-space@{base.kind}", base.index, index)
    if spec.of == "isotropic":
        z = isotropic(rng, len(base.vector), context.centred)
    else:
        z = context.population.covariance_matched(rng) - context.population.covariance_matched(rng)
    null = context.weights.onto_null_space(z)
    vector = null if part == "null" else z - null
    share = float(np.linalg.norm(vector) / np.linalg.norm(z))
    return Direction(f"{part}-space", f"{part} space {index}", vector.astype(np.float32), {"share_of_length": share})


for _part, _what in (
    ("null", "what the next matrix maps to nothing: a true zero"),
    ("causal", "what it can tell apart"),
):
    DIRECTIONS.register(DirectionKind(f"{_part}-space", "along", NullSpaceSpec, partial(_draw, _part), _what))
