"""`vector`: a vector written into the recipe itself, base64 of little-endian float32.

For directions that come from a notebook or from the library of saved ones: the recipe stays whole without a file
beside it. A steering vector of several hooks or tokens stands in `parts`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from engine.directions import DIRECTIONS, DirectionKind, SingleSpec
from engine.directions.fitting import checked, fitted
from engine.drawing import Base, Direction, DrawContext, Vector
from engine.steering.interchange import VectorFile


def _is_base64(data: str) -> str:
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"data is no base64: {error}") from None
    if len(raw) % 4:
        raise ValueError(f"data holds {len(raw)} bytes, which are no whole float32 numbers")
    return data


Base64 = Annotated[str, AfterValidator(_is_base64)]


class VectorSpec(SingleSpec):
    """The vector and its name; and of a saved one, what it was made for."""

    data: Base64 | None = Field(None, min_length=1, description="base64 of little-endian float32 numbers")
    parts: dict[str, Base64] | None = Field(None, min_length=1, description="a table of such texts by hook name")
    tokens: int = Field(1, ge=1, description="a whole number of at least 1")
    """Rows that each of the parts has, one for each token."""
    label: str = Field("vector", min_length=1, description="a name that is not empty")
    model: str = ""
    weights_sha256: str = ""
    architecture: str = ""

    @model_validator(mode="after")
    def _either(self) -> VectorSpec:
        if (self.data is None) == (self.parts is None):
            raise ValueError("a vector has either data or parts")
        uneven = [hook for hook, text in (self.parts or {}).items() if len(unpacked(text)) % self.tokens]
        if uneven:
            raise ValueError(f"parts.{uneven[0]} cannot be divided into {self.tokens} rows")
        return self


def packed(vector: Vector) -> str:
    """A vector [d_hook] as `data`."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")


def unpacked(data: str) -> Vector:
    """The vector [d_hook] of `data`."""
    return np.frombuffer(base64.b64decode(data), dtype="<f4").astype(np.float32)


def _draw(spec: VectorSpec, context: DrawContext, base: Base, index: int) -> Direction:
    if spec.data is not None:
        return Direction("vector", spec.label, checked(unpacked(spec.data), spec.label, base, context), {})
    assert spec.parts is not None
    rows = {hook: unpacked(text).reshape(spec.tokens, -1) for hook, text in spec.parts.items()}
    vectors = VectorFile(rows, spec.architecture, model=spec.model, weights_sha256=spec.weights_sha256)
    return fitted("vector", vectors, spec.label, base, context, True, {})


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
