"""`synthetic-baseline`, `-structured`, `-pairwise`, `-cooccurring`: toward activations made of SAE features.

target = decode(f'), b_dec included, f' the activations of a population member with every latent exchanged for another:
one of like firing rate, and rung by rung of like cosines and co-occurrence. After "Evaluating synthetic activations
composed of SAE latents in GPT-2" (LASR Labs 2024); see `engine.dictionaries.synthetic`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.dictionaries.synthetic import RUNGS, WHAT, Rung, exchange
from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.drawing import Base, Direction, DrawContext, member, nth_other
from engine.randomness import stream


def synthetic(
    context: DrawContext, name: str, base: Base, index: int, rung: Rung
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """The index-th synthetic activation [d_hook] of a named stream, and how it was made."""
    # All rungs exchange the latents of the same members, so that they pair up.
    row = nth_other(context.population, stream(context.seed, f"{name}/members", base.index), index, base)
    real = member(context.population, row)
    features = context.features
    activations = features.activations(real)
    rng = stream(context.seed, f"{name}/latents", base.index, index)
    made = exchange(rng, activations, context.firing_rates, features.rows, context.cofiring, rung)
    f = np.zeros((1, features.n_features), np.float32)
    f[0, list(made.latents)] = made.activations
    return features.decode(f, real)[0], {"population_row": row, **made.detail()}


def _draw(rung: Rung, spec: DirectionSpec, context: DrawContext, base: Base, index: int) -> Direction:
    target, detail = synthetic(context, f"direction/synthetic@{base.kind}", base, index, rung)
    kind = f"synthetic-{rung}"
    return Direction(kind, f"{kind} {index}", (target - base.vector).astype(np.float32), detail)


for _rung in RUNGS:
    DIRECTIONS.register(
        DirectionKind(
            f"synthetic-{_rung}", "toward", DirectionSpec, partial(_draw, _rung), f"toward {WHAT[_rung]}", True
        )
    )
