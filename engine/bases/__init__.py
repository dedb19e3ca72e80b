"""Base positions, one kind per file: where a ray starts and which context it is written into.

A module of this package registers one kind in `BASES`; nothing else has to change. Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.drawing import MOST, Base, DrawContext, Vector, member, nth_other
from engine.errors import DirectionError
from engine.randomness import stream
from engine.registry import Registry


class BaseSpec(BaseModel):
    """A `[[bases]]` table: its kind, how many, and what only this kind knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: str
    count: int = Field(1, ge=1, le=MOST, description="a whole number from 1 to 1,000,000")


class MadeSpec(BaseSpec):
    """A vector that is not the prompt's own."""

    norm: Literal["own", "matched"] = Field("own", description="'own' or 'matched'")
    """`matched` rescales the vector to the norm of the prompt's own activation."""


class RebuiltSpec(MadeSpec):
    """A vector made from a real one: the prompt's own, or members of the population."""

    of: Literal["prompt", "real-other"] = Field("prompt", description="'prompt' or 'real-other'")
    host: Literal["own", "site"] = Field("own", description="'own' or 'site'")

    @model_validator(mode="after")
    def _one_prompt(self) -> RebuiltSpec:
        if self.of == "prompt" and self.count != 1:
            raise ValueError(
                f"there is one prompt to rebuild, so count must be 1 (or of = 'real-other'); got {self.count}"
            )
        return self


@dataclass(frozen=True)
class BaseKind:
    """What the registry holds."""

    name: str
    spec: type[BaseSpec]
    draw: Callable[[Any, DrawContext, int], Base]
    """draw(spec, context, index): the index-th base of this kind."""
    summary: str
    needs_sae: bool = False


BASES: Registry[BaseKind] = Registry("base kind", __name__)


def real_member(context: DrawContext, index: int, host: str) -> tuple[Base, Base]:
    """The index-th real activation in its own context, and in the one it is to be written into.

    Raises:
        DirectionError: Members have no contexts of their own at this position, or there are too few.
    """
    if host == "own" and context.population.index != context.position:
        raise DirectionError(
            "At the BOS position there are no other real activations in contexts of their own, since every text has "
            'the same one there: use host = "site" or another position.'
        )
    row = nth_other(context.population, stream(context.seed, "base/real-other"), index, context.site)
    real = replace(member(context.population, row), index=index)
    return real, replace(context.site, index=index, population_row=row) if host == "site" else real


def rebuilt_of(spec: RebuiltSpec, context: DrawContext, index: int) -> tuple[Base, Base]:
    """What a rebuilt base is made from, and the context it is written into."""
    if spec.of == "prompt":
        return context.site, context.site
    return real_member(context, index, spec.host)


def scaled(vector: np.ndarray, spec: MadeSpec, context: DrawContext) -> Vector:
    """The vector in float32, at its own norm or at the site's."""
    if spec.norm == "matched":
        vector = vector * (np.linalg.norm(context.site.vector) / np.linalg.norm(vector))
    return np.asarray(vector, dtype=np.float32)
