"""`real-other`: toward another real activation, of the population or of a typed prompt's last token.

Heimersheim & Mendel, "Activation plateaus & sensitive directions in GPT2" (LessWrong, 2024).
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from engine.directions import DIRECTIONS, DirectionKind, DirectionSpec
from engine.drawing import Base, Direction, DrawContext, member, nth_other
from engine.randomness import stream


class RealOtherSpec(DirectionSpec):
    """With `prompt`, the one target is the activation of that prompt's last token."""

    prompt: str | None = Field(None, min_length=1, description="a text that is not empty")

    @property
    def drawn(self) -> bool:
        return self.prompt is None

    @property
    def prompts(self) -> tuple[str, ...]:
        return () if self.prompt is None else (self.prompt,)

    @model_validator(mode="before")
    @classmethod
    def _one_per_prompt(cls, values: dict[str, object]) -> dict[str, object]:
        return {"count": 1, **values} if values.get("prompt") is not None else values

    @model_validator(mode="after")
    def _prompt_has_count_one(self) -> RealOtherSpec:
        if self.prompt is not None and self.count != 1:
            raise ValueError(f"a typed prompt gives one direction, so count must be 1; got {self.count}")
        return self


def target_of(spec: RealOtherSpec, context: DrawContext, base: Base, index: int) -> tuple[Base, dict[str, Any]]:
    """The real activation of the index-th draw, and its provenance."""
    if spec.prompt is not None:
        return context.reading_of(spec.prompt), {"prompt": spec.prompt}
    return member_of(context, base, index)


def member_of(context: DrawContext, base: Base, index: int) -> tuple[Base, dict[str, Any]]:
    """The population member of the index-th draw, and its provenance."""
    rng = stream(context.seed, f"direction/real-other@{base.kind}", base.index)
    row = nth_other(context.population, rng, index, base)
    return member(context.population, row), {"population_row": row}


def _draw(spec: RealOtherSpec, context: DrawContext, base: Base, index: int) -> Direction:
    target, detail = target_of(spec, context, base, index)
    label = f"real-other {index}" if spec.prompt is None else f"toward {spec.prompt!r}"
    return Direction("real-other", label, target.vector - base.vector, detail)


DIRECTIONS.register(DirectionKind("real-other", "toward", RealOtherSpec, _draw, "toward another real activation"))
