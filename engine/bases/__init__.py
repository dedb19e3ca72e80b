"""Base positions, one kind per file: where a ray starts and which context it is written into.

A module of this package registers one kind in `BASES`; nothing else has to change. Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.drawing import Base, DrawContext, Vector
from engine.registry import Registry


class BaseSpec(BaseModel):
    """A `[[bases]]` table: its kind, how many, and what only this kind knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: str
    count: int = Field(1, ge=1, description="a whole number of at least 1")


class MadeSpec(BaseSpec):
    """A vector that is not the prompt's own."""

    norm: Literal["own", "matched"] = Field("own", description="'own' or 'matched'")
    """`matched` rescales the vector to the norm of the prompt's own activation."""


@dataclass(frozen=True)
class BaseKind:
    """What the registry holds."""

    name: str
    spec: type[BaseSpec]
    draw: Callable[[Any, DrawContext, int], Base]
    """draw(spec, context, index): the index-th base of this kind."""
    summary: str


BASES: Registry[BaseKind] = Registry("base kind", __name__)


def scaled(vector: np.ndarray, spec: MadeSpec, context: DrawContext) -> Vector:
    """The vector in float32, at its own norm or at the site's."""
    if spec.norm == "matched":
        vector = vector * (np.linalg.norm(context.site.vector) / np.linalg.norm(vector))
    return np.asarray(vector, dtype=np.float32)
