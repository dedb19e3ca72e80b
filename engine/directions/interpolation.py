"""`interpolation`: toward a mixture of up to three targets, sum of w_i t_i, minus the base.

Targets are mixed before the base is subtracted, as in the triangle maps of Heimersheim & Mendel, "Activation plateaus &
sensitive directions in GPT2" (LessWrong, 2024): mixing directions instead would give other ones.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.directions.real_other import RealOtherSpec, target_of
from engine.drawing import Base, Direction, DrawContext
from engine.randomness import stream


class Target(BaseModel):
    """One corner."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: Literal["random", "real-other"] = Field("real-other", description="'random' or 'real-other'")
    prompt: str | None = Field(None, min_length=1, description="a text that is not empty")
    weight: float = Field(1.0, ge=0, le=1e6, strict=False, description="a number from 0 to 1000000")

    @model_validator(mode="after")
    def _prompts_are_real(self) -> Target:
        if self.prompt is not None and self.kind != "real-other":
            raise ValueError("a typed prompt is a real-other target")
        return self


class InterpolationSpec(DirectionSpec):
    """Weights are divided by their sum."""

    targets: Annotated[tuple[Target, ...], Strict(False)] = Field(
        (Target(), Target(kind="random")), min_length=1, max_length=3, description="a list of 1 to 3 tables"
    )

    @property
    def drawn(self) -> bool:
        return any(t.prompt is None for t in self.targets)

    @property
    def prompts(self) -> tuple[str, ...]:
        return tuple(t.prompt for t in self.targets if t.prompt is not None)

    @model_validator(mode="before")
    @classmethod
    def _one_without_draws(cls, values: dict[str, object]) -> dict[str, object]:
        targets = values.get("targets")
        typed = isinstance(targets, list | tuple) and all(isinstance(t, dict) and "prompt" in t for t in targets)
        return {"count": 1, **values} if typed else values

    @model_validator(mode="after")
    def _weighs_something(self) -> InterpolationSpec:
        if sum(t.weight for t in self.targets) <= 0:
            raise ValueError("the weights of the targets must not all be 0")
        if not self.drawn and self.count != 1:
            raise ValueError(f"typed prompts give one direction, so count must be 1; got {self.count}")
        return self


def _draw(spec: InterpolationSpec, context: DrawContext, base: Base, index: int) -> Direction:
    total = sum(t.weight for t in spec.targets)
    mixed = np.zeros(len(base.vector))
    corners = []
    of_kind = Counter(t.kind for t in spec.targets if t.prompt is None)
    placed = Counter[str]()
    for target in spec.targets:
        # Each corner draws on from where the one before it stopped, so that no member serves twice.
        number = index * of_kind[target.kind] + placed[target.kind]
        placed[target.kind] += target.prompt is None
        if target.kind == "random":
            rng = stream(context.seed, f"direction/interpolation@{base.kind}", base.index, number)
            vector, detail = context.population.covariance_matched(rng), {"random": number}
        else:
            real = RealOtherSpec(kind="real-other", prompt=target.prompt)
            found, detail = target_of(real, context, base, number)
            vector = found.vector.astype(np.float64)
        mixed += target.weight / total * vector
        corners.append({"kind": target.kind, "weight": target.weight / total, **detail})
    label = f"interpolation {index}"
    return Direction("interpolation", label, (mixed - base.vector).astype(np.float32), {"targets": corners})


DIRECTIONS.register(
    DirectionKind(
        "interpolation",
        "toward",
        InterpolationSpec,
        _draw,
        "toward a mixture of up to three targets",
        example='targets = [{ kind = "real-other" }, { kind = "random", weight = 2.0 }]',
    )
)
