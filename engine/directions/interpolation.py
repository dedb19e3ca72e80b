"""`interpolation`: toward a mixture of up to three targets, sum of w_i t_i, minus the base.

Targets are mixed before the base is subtracted, as in the triangle maps of Heimersheim & Mendel, "Activation plateaus &
sensitive directions in GPT2" (LessWrong, 2024): mixing directions instead would give other ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.directions.real_other import RealOtherSpec, target_of
from engine.drawing import Base, Direction, DrawContext
from engine.randomness import stream

MOST = 3
"""Corners."""


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
        (Target(), Target(kind="random")), min_length=1, max_length=MOST, description="a list of 1 to 3 tables"
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


def corners(
    spec: InterpolationSpec, context: DrawContext, base: Base, index: int
) -> list[tuple[NDArray[np.float64], dict[str, Any]]]:
    """The targets of the index-th draw [d_hook] and where they come from."""
    found = []
    reals = sum(t.prompt is None and t.kind == "real-other" for t in spec.targets)
    placed = 0
    for corner, target in enumerate(spec.targets):
        # A place of its own in the stream for every corner of every draw; members of the population, which are few, are
        # drawn on from where the corner before stopped, so that none serves twice in a table.
        number = index * MOST + corner
        if target.kind == "real-other" and target.prompt is None:
            number, placed = index * reals + placed, placed + 1
        if target.kind == "random":
            rng = stream(context.seed, f"direction/interpolation@{base.kind}", base.index, number)
            vector, detail = context.population.covariance_matched(rng), {"random": number}
        else:
            real = RealOtherSpec(kind="real-other", prompt=target.prompt)
            other, detail = target_of(real, context, base, number)
            vector = other.vector.astype(np.float64)
        found.append((vector, {"kind": target.kind, **detail}))
    return found


def mixed(found: Sequence[NDArray[np.float64]], weights: Sequence[float]) -> NDArray[np.float64]:
    """sum of w_i t_i with weights divided by their sum: [d_hook]."""
    total = sum(weights)
    mixture = np.zeros_like(found[0])
    for vector, weight in zip(found, weights, strict=True):
        mixture += weight / total * vector
    return mixture


def _draw(spec: InterpolationSpec, context: DrawContext, base: Base, index: int) -> Direction:
    weights = [t.weight for t in spec.targets]
    found = corners(spec, context, base, index)
    vector = mixed([corner for corner, _ in found], weights) - base.vector
    detail = [{**d, "weight": w / sum(weights)} for (_, d), w in zip(found, weights, strict=True)]
    return Direction("interpolation", f"interpolation {index}", vector.astype(np.float32), {"targets": detail})


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
