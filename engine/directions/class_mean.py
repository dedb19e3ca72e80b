"""`class-mean`: mean activation of one list of prompts minus that of another, at their last tokens.

The simplest probe direction, which needs no fitting (as in the athletes' probes of Nanda et al., "Fact Finding", 2023).
Projecting it out does not remove what noisy classes share: report it as a direction, not as the only one.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, Strict

from engine.directions import DIRECTIONS, DirectionKind, SingleSpec
from engine.drawing import Base, Direction, DrawContext

Prompts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Strict(False)]


class ClassMeanSpec(SingleSpec):
    """Two lists of prompts."""

    plus: Prompts = Field(min_length=1, description="a list of prompts that are not empty")
    minus: Prompts = Field(min_length=1, description="a list of prompts that are not empty")

    @property
    def prompts(self) -> tuple[str, ...]:
        return (*self.plus, *self.minus)


def _draw(spec: ClassMeanSpec, context: DrawContext, base: Base, index: int) -> Direction:
    ends = [
        np.stack([context.reading_of(p).vector for p in side]).astype(np.float64) for side in (spec.plus, spec.minus)
    ]
    vector = ends[0].mean(0) - ends[1].mean(0)
    # How far the classes lie apart along the direction, in standard deviations within a class.
    along = [end @ vector / max(np.linalg.norm(vector), 1e-30) for end in ends]
    spread = float(np.sqrt(np.mean([a.var() for a in along])))
    detail = {
        "plus": list(spec.plus),
        "minus": list(spec.minus),
        "separation": float(np.linalg.norm(vector)) / spread if spread > 0 else None,
    }
    label = f"class means, {len(spec.plus)} - {len(spec.minus)} prompts"
    return Direction("class-mean", label, vector.astype(np.float32), detail)


DIRECTIONS.register(
    DirectionKind(
        "class-mean",
        "along",
        ClassMeanSpec,
        _draw,
        "mean activation of some prompts minus that of others",
        example='plus = ["She was happy", "He was glad"]\nminus = ["She was sad", "He was upset"]',
    )
)
