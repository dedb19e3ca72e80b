"""`token-embedding`: the embedding of one token minus that of another, or minus the mean embedding.

Embeddings share a large common vector, so that one alone mostly is that vector: origins matter (Nanda's mech interp
puzzle 1, 2023).
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from engine.directions import DIRECTIONS, DirectionKind, SingleSpec
from engine.drawing import Base, Direction, DrawContext


class TokenEmbeddingSpec(SingleSpec):
    """Texts of exactly one token each; spaces count."""

    plus: str = Field(min_length=1, description="a text of one token, such as ' king'")
    minus: str | None = Field(None, min_length=1, description="a text of one token, such as ' queen'")


def _draw(spec: TokenEmbeddingSpec, context: DrawContext, base: Base, index: int) -> Direction:
    weights = context.weights
    minus = weights.mean_embedding if spec.minus is None else weights.embedding(spec.minus)
    vector = weights.embedding(spec.plus) - minus
    label = f"token {spec.plus!r} - {'mean' if spec.minus is None else repr(spec.minus)}"
    return Direction("token-embedding", label, vector.astype(np.float32), {"plus": spec.plus, "minus": spec.minus})


DIRECTIONS.register(
    DirectionKind(
        "token-embedding",
        "along",
        TokenEmbeddingSpec,
        _draw,
        "the embedding of one token minus another's",
        example='plus = " girl"\nminus = " boy"',
    )
)
