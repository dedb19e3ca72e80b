"""`mlp-neuron`: what one MLP neuron writes to the residual stream, or the direction that it reads.

*out* is the neuron's row of W_out; *in* and *gate* are its column of the matrix that reads the stream, with the gain of
the norm before it, so that a move along it is what raises the neuron most.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from engine.directions import DIRECTIONS, DirectionKind, SingleSpec
from engine.drawing import Base, Direction, DrawContext


class MlpNeuronSpec(SingleSpec):
    """Which neuron, and which of its weights."""

    layer: int = Field(ge=0, description="a whole number of at least 0")
    index: int = Field(ge=0, description="a neuron's index from 0")
    side: Literal["out", "in", "gate"] = Field("out", description="'out', 'in' or 'gate'")


def _draw(spec: MlpNeuronSpec, context: DrawContext, base: Base, index: int) -> Direction:
    vector = context.weights.neuron(spec.layer, spec.index, spec.side)
    label = f"L{spec.layer}N{spec.index} {spec.side}"
    detail = {"layer": spec.layer, "neuron": spec.index, "side": spec.side}
    return Direction("mlp-neuron", label, vector.astype(np.float32), detail)


DIRECTIONS.register(
    DirectionKind(
        "mlp-neuron",
        "along",
        MlpNeuronSpec,
        _draw,
        "what an MLP neuron writes or reads",
        example='layer = 1\nindex = 0\nside = "out"',
    )
)
