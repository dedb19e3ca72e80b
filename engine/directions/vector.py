"""`vector`: a vector written into the recipe itself, base64 of little-endian float32.

For directions that come from a notebook: the recipe stays whole without a file beside it.
"""

from __future__ import annotations

import base64
import binascii

import numpy as np
from pydantic import Field, field_validator

from engine.directions import DIRECTIONS, DirectionKind, SingleSpec
from engine.directions.file import checked
from engine.drawing import Base, Direction, DrawContext, Vector


class VectorSpec(SingleSpec):
    """The vector and its name."""

    data: str = Field(min_length=1, description="base64 of little-endian float32 numbers")
    label: str = Field("vector", min_length=1, description="a name that is not empty")

    @field_validator("data")
    @classmethod
    def _is_base64(cls, data: str) -> str:
        try:
            raw = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"data is no base64: {error}") from None
        if len(raw) % 4:
            raise ValueError(f"data holds {len(raw)} bytes, which are no whole float32 numbers")
        return data


def packed(vector: Vector) -> str:
    """A vector [d_hook] as `data`."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")


def _draw(spec: VectorSpec, context: DrawContext, base: Base, index: int) -> Direction:
    vector = np.frombuffer(base64.b64decode(spec.data), dtype="<f4")
    return Direction("vector", spec.label, checked(vector, spec.label, base, context), {})


DIRECTIONS.register(
    DirectionKind(
        "vector",
        "along",
        VectorSpec,
        _draw,
        "a vector written into the recipe",
        example='label = "mine"\ndata = "AACAPw=="',
    )
)
