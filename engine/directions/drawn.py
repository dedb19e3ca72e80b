"""Drawing a direction of any kind, without the features that its table projects out.

Projecting a feature out of a steering vector is how Conmy & Nanda take away what padding brought in ("Activation
Steering with SAEs", GDM mechanistic interpretability team's progress update #1, 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.directions import DIRECTIONS, DirectionSpec
from engine.directions.sae_feature import checked_features
from engine.drawing import Base, Direction, DrawContext, without
from engine.errors import DirectionError

NOTHING: Final = 1e-6
"""Share of its length below which what is left of a vector is rounding (float32: 6e-8)."""


def draw_direction(spec: DirectionSpec, context: DrawContext, base: Base, index: int) -> Direction:
    """One direction from one base.

    Raises:
        DirectionError: It cannot be drawn, or nothing is left of it.
    """
    return projected(DIRECTIONS[spec.kind].draw(spec, context, base, index), spec.project_out, context)


def projected(direction: Direction, features: Sequence[int], context: DrawContext) -> Direction:
    """A direction without some features of the write hook's SAE.

    Raises:
        DirectionError: There is no such feature, or nothing is left.
    """
    if not features:
        return direction
    rows = context.features.rows(checked_features(context.features, features))
    vector = without(direction.vector, rows)
    by_hook = direction.rows and {
        hook: np.array([without(row, rows) for row in held], np.float32) for hook, held in direction.rows.items()
    }
    before: Mapping[str, NDArray[Any]] = direction.rows or {"": direction.vector[None]}
    after: Mapping[str, NDArray[Any]] = by_hook or {"": vector[None]}
    # Rows may cancel in their mean and still be there one by one.
    sizes = [_longest(before), _longest(after)]
    if sizes[1] <= NOTHING * sizes[0]:
        raise DirectionError(
            f"Nothing is left of {direction.label} without features {list(features)}: project out fewer."
        )
    return replace(
        direction,
        label=f"{direction.label} without {', '.join(f'#{i}' for i in features)}",
        vector=vector.astype(np.float32),
        detail={**direction.detail, "project_out": list(features), "share_left": sizes[1] / sizes[0]},
        rows=by_hook,
    )


def _longest(rows: Mapping[str, NDArray[Any]]) -> float:
    return max(float(np.linalg.norm(held.astype(np.float64), axis=1).max()) for held in rows.values())
