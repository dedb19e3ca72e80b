"""`fake-feature`: a member of an arbitrary decomposition of the base into as many parts as it has features.

Rows of F = Q C, C the contributions [k, d] of the k active SAE features and Q a random rotation that leaves the vector
of ones alone: Q = 11'/k + B R B', B an orthonormal basis of what is orthogonal to ones, R uniform over rotations. The
parts add up to the same vector, and their squared lengths to the same sum, but no part is a feature: the control that
StefanHex asks for (shortform on SAE features and model features, 2024).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.drawing import Base, Direction, DrawContext, strongest
from engine.errors import DirectionError
from engine.randomness import stream


def rotation(rng: np.random.Generator, k: int) -> NDArray[np.float64]:
    """A random orthogonal matrix [k, k] whose columns and rows sum to one."""
    ones = np.ones((k, 1)) / np.sqrt(k)
    # A basis of the whole space that begins with ones; the sign of QR is of no matter.
    basis = np.linalg.qr(np.hstack([ones, np.eye(k)[:, 1:]]))[0][:, 1:]
    # Uniform only once the signs of R's diagonal are taken out of Q (Mezzadri 2007).
    q, r = np.linalg.qr(rng.standard_normal((k - 1, k - 1)))
    return np.asarray(ones @ ones.T + basis @ (q * np.sign(np.diag(r))) @ basis.T)


def _draw(spec: DirectionSpec, context: DrawContext, base: Base, index: int) -> Direction:
    activations = context.features.activations(base)
    active = strongest(activations)
    if index >= len(active) or len(active) < 2:
        raise DirectionError(
            f"Asked for {index + 1} fake features, but {len(active)} SAE features are active at this base: lower the "
            "count."
        )
    contributions = context.features.contributions(base, active)
    fakes = rotation(stream(context.seed, f"direction/fake-feature@{base.kind}", base.index), len(active))
    vector = fakes[index] @ contributions
    return Direction("fake-feature", f"fake feature {index}", vector.astype(np.float32), {"of": len(active)})


DIRECTIONS.register(
    DirectionKind("fake-feature", "along", DirectionSpec, _draw, "part of an arbitrary decomposition of the base", True)
)
