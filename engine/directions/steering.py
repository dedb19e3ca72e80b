"""`steering`: activation of one prompt minus that of another.

Activation addition: Turner et al., "Activation Addition: Steering Language Models Without Optimization"
(arXiv 2308.10248). `align = "last"` takes last tokens; `align = "tokens"` the mean difference over all tokens of two
prompts that are equally long, token by token.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from engine.directions import DIRECTIONS, DirectionKind, SingleSpec
from engine.drawing import Base, Direction, DrawContext
from engine.errors import DirectionError


class SteeringSpec(SingleSpec):
    """Both prompts are read at the write hook."""

    plus: str = Field(min_length=1, description="a prompt that is not empty")
    minus: str = Field(min_length=1, description="a prompt that is not empty")

    @property
    def prompts(self) -> tuple[str, ...]:
        return self.plus, self.minus


class AlignedSpec(SteeringSpec):
    """Which tokens are compared."""

    align: Literal["last", "tokens"] = Field("last", description="'last' or 'tokens'")


def _draw(spec: AlignedSpec, context: DrawContext, base: Base, index: int) -> Direction:
    if spec.align == "last":
        vector = context.reading_of(spec.plus).vector - context.reading_of(spec.minus).vector
    else:
        plus, minus = context.readings_of(spec.plus), context.readings_of(spec.minus)
        if len(plus) != len(minus):
            raise DirectionError(
                f"Prompts that are compared token by token must be equally long, but {spec.plus!r} has {len(plus)} "
                f'tokens and {spec.minus!r} has {len(minus)}: pad the shorter one with spaces, or use align = "last".'
            )
        vector = (plus - minus).mean(0, dtype=np.float64).astype(np.float32)
    label = f"{spec.plus!r} - {spec.minus!r}"
    return Direction("steering", label, vector, {"plus": spec.plus, "minus": spec.minus, "align": spec.align})


DIRECTIONS.register(
    DirectionKind(
        "steering",
        "along",
        AlignedSpec,
        _draw,
        "activation of one prompt minus another's",
        example='plus = "She was very happy"\nminus = "She was very sad"',
    )
)
