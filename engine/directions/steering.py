"""`steering`: last-token activation of one prompt minus that of another.

Activation addition: Turner et al., "Activation Addition: Steering Language Models Without Optimization"
(arXiv 2308.10248), here with last tokens rather than aligned positions.
"""

from __future__ import annotations

from pydantic import Field

from engine.directions import DIRECTIONS, DirectionKind, SingleSpec
from engine.drawing import Base, Direction, DrawContext


class SteeringSpec(SingleSpec):
    """Both prompts are read at their last token, at the write hook."""

    plus: str = Field(min_length=1, description="a prompt that is not empty")
    minus: str = Field(min_length=1, description="a prompt that is not empty")


def _draw(spec: SteeringSpec, context: DrawContext, base: Base, index: int) -> Direction:
    vector = context.activation_of(spec.plus) - context.activation_of(spec.minus)
    label = f"{spec.plus!r} - {spec.minus!r}"
    return Direction("steering", label, vector, {"plus": spec.plus, "minus": spec.minus})


DIRECTIONS.register(DirectionKind("steering", "along", SteeringSpec, _draw, "activation of one prompt minus another's"))
