"""`principal-component`: a principal component of the population, as long as one standard deviation along it.

Real activations vary most along the first ones, which makes them a control that is neither random nor a feature.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.drawing import MOST, Base, Direction, DrawContext
from engine.errors import DirectionError


class PrincipalComponentSpec(DirectionSpec):
    """With `index`, that component; without, the first `count`."""

    count: int = Field(1, ge=1, le=MOST, description="a whole number from 1 to 1,000,000")
    index: int | None = Field(None, ge=0, description="a component from 0, the one of largest variance")

    @property
    def drawn(self) -> bool:
        return False

    @model_validator(mode="after")
    def _index_has_count_one(self) -> PrincipalComponentSpec:
        if self.index is not None and self.count != 1:
            raise ValueError(f"an index gives one direction, so count must be 1; got {self.count}")
        return self


def _draw(spec: PrincipalComponentSpec, context: DrawContext, base: Base, index: int) -> Direction:
    rows, deviations = context.population.components
    # The last ones of a centred basis, or of few windows, are rounding.
    n = int((deviations > 1e-5 * deviations[0]).sum())
    wanted = index if spec.index is None else spec.index
    if wanted >= n:
        raise DirectionError(f"There is no principal component {wanted}: the population varies in {n}, 0 to {n - 1}.")
    variance = deviations**2
    detail = {"component": wanted, "share_of_variance": float(variance[wanted] / variance.sum())}
    vector = rows[wanted] * deviations[wanted]
    return Direction("principal-component", f"component {wanted}", vector.astype(np.float32), detail)


DIRECTIONS.register(
    DirectionKind(
        "principal-component", "along", PrincipalComponentSpec, _draw, "a principal component of real activations"
    )
)
