"""`sae-error-isotropic`, `-random`, `-mixture`, `-norm`: controls as long as the SAE's error at the base.

*isotropic* is the epsilon-random control of Gurnee, "SAE reconstruction errors are (empirically) pathological" (2024);
*random* points to a covariance-matched draw; *mixture* is the difference of two, after which errors no longer stood out
(Lee & Heimersheim, arXiv 2410.12555); *norm* only changes the base's own length, the way the SAE does. Their native
length is that of the error, so that `path.stop = "native"` compares them at equal length.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec, SingleSpec
from engine.drawing import Base, Direction, DrawContext, isotropic
from engine.randomness import stream


def _control(how: str, context: DrawContext, base: Base, index: int, error: NDArray[np.float64]) -> NDArray[np.float64]:
    rng = stream(context.seed, f"direction/sae-error-{how}@{base.kind}", base.index, index)
    x = base.vector.astype(np.float64)
    if how == "isotropic":
        return isotropic(rng, len(x), context.centred)
    if how == "random":
        return context.population.covariance_matched(rng) - x
    if how == "mixture":
        return context.population.covariance_matched(rng) - context.population.covariance_matched(rng)
    return x if np.linalg.norm(x + error) >= np.linalg.norm(x) else -x


def _draw(how: str, spec: DirectionSpec, context: DrawContext, base: Base, index: int) -> Direction:
    error = context.features.error(base)
    vector = _control(how, context, base, index, error)
    vector = vector * (np.linalg.norm(error) / np.linalg.norm(vector))
    name = f"sae-error-{how}"
    return Direction(name, f"{name} {index}", vector.astype(np.float32), {"length": float(np.linalg.norm(error))})


for _how, _what, _spec in (
    ("isotropic", "isotropic", DirectionSpec),
    ("random", "toward a covariance-matched draw", DirectionSpec),
    ("mixture", "a covariance-matched mixture", DirectionSpec),
    ("norm", "only the base's norm", SingleSpec),
):
    DIRECTIONS.register(
        DirectionKind(
            f"sae-error-{_how}", "along", _spec, partial(_draw, _how), f"as long as the SAE's error: {_what}", True
        )
    )
