"""`synthetic-baseline`, `synthetic-structured`: toward an activation made of SAE features that are alike real ones.

target = decode(f'), b_dec included, f' the activations of a population member with every latent exchanged for another:
one of like firing rate (baseline), and besides of like cosine to the strongest latent (structured). After "Evaluating
synthetic activations composed of SAE latents in GPT-2" (LASR Labs 2024); see `engine.dictionaries.synthetic`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.dictionaries.synthetic import exchange
from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.drawing import Base, Direction, DrawContext, member, nth_other
from engine.randomness import stream


def synthetic(
    context: DrawContext, name: str, base: Base, index: int, structured: bool
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """The index-th synthetic activation [d_hook] of a named stream, and how it was made."""
    # Both sorts exchange the latents of the same members, so that they pair up.
    row = nth_other(context.population, stream(context.seed, f"{name}/members", base.index), index, base)
    real = member(context.population, row)
    features = context.features
    activations = features.activations(real)
    rng = stream(context.seed, f"{name}/latents", base.index, index)
    made = exchange(rng, activations, context.firing_rates, features.rows, structured)
    f = np.zeros((1, features.n_features), np.float32)
    f[0, list(made.latents)] = made.activations
    return features.decode(f, real)[0], {"population_row": row, **made.detail()}


def _draw(structured: bool, spec: DirectionSpec, context: DrawContext, base: Base, index: int) -> Direction:
    target, detail = synthetic(context, f"direction/synthetic@{base.kind}", base, index, structured)
    kind = "synthetic-structured" if structured else "synthetic-baseline"
    return Direction(kind, f"{kind} {index}", (target - base.vector).astype(np.float32), detail)


for _name, _structured, _what in (
    ("synthetic-baseline", False, "toward a bag of SAE latents of like frequency and activation"),
    ("synthetic-structured", True, "the same with cosines to the strongest latent kept"),
):
    DIRECTIONS.register(DirectionKind(_name, "toward", DirectionSpec, partial(_draw, _structured), _what, True))
