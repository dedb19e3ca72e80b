"""`steering`: activation of one prompt minus that of another, or of lists of prompts, mean minus mean.

Activation addition: Turner et al., "Activation Addition: Steering Language Models Without Optimization"
(arXiv 2308.10248); means over lists: Panickssery et al., "Steering Llama 2 via Contrastive Activation Addition" (arXiv
2312.06681). `align = "last"` takes last tokens. `align = "tokens"` goes token by token from the front: steering can add
one row per token, and a curve goes along their mean. Shorter prompts are padded at the end with `pad`, which brings in
features of its own (Conmy & Nanda, GDM progress update #1, 2024): `project_out` takes them away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, Strict

from engine.directions import DIRECTIONS, DirectionKind, SingleSpec
from engine.drawing import Base, Direction, DrawContext
from engine.errors import DirectionError

Prompt = Annotated[str, Field(min_length=1)]
Prompts = Prompt | Annotated[tuple[Prompt, ...], Strict(False), Field(min_length=1)]
EXAMPLE = 'plus = "She was very happy"\nminus = "She was very sad"'


class SteeringSpec(SingleSpec):
    """All prompts are read at the write hook."""

    plus: Prompts = Field(description="a prompt that is not empty, or a list of such")
    minus: Prompts = Field(description="a prompt that is not empty, or a list of such")
    align: Literal["last", "tokens"] = Field("last", description="'last' or 'tokens'")
    pad: str = Field("", description="the text of one token that shorter prompts are filled up with; empty refuses")

    @property
    def prompts(self) -> tuple[str, ...]:
        return (*listed(self.plus), *listed(self.minus))

    @property
    def said(self) -> str:
        """What it is, for labels."""
        sides = (listed(self.plus), listed(self.minus))
        said = " - ".join(repr(side[0]) if len(side) == 1 else f"mean of {len(side)} prompts" for side in sides)
        return f"{said}, token by token" if self.align == "tokens" else said


def listed(prompts: Prompts) -> tuple[str, ...]:
    """One prompt or several, as several."""
    return (prompts,) if isinstance(prompts, str) else prompts


Side = Sequence[Sequence[Base]]
"""The activations of one side, [prompt][token]."""


def sides(spec: SteeringSpec, context: DrawContext) -> tuple[Side, Side]:
    """The activations that are compared: last tokens, or all of them, padded to one length.

    Raises:
        DirectionError: Prompts to be compared token by token have different lengths, and there is no padding.
    """
    if spec.align == "last":
        plus, minus = ([[context.reading_of(p)] for p in listed(side)] for side in (spec.plus, spec.minus))
        return plus, minus
    found = {prompt: context.tokens_of(prompt) for prompt in spec.prompts}
    longest = max(len(tokens) for tokens in found.values())
    for prompt, tokens in found.items():
        if len(tokens) == longest:
            continue
        if not spec.pad:
            raise DirectionError(
                f"Prompts that are compared token by token must be equally long, but {prompt!r} has {len(tokens)} "
                f'tokens and another {longest}: pad shorter ones with pad = " ", or use align = "last".'
            )
        found[prompt] = context.tokens_of(prompt, longest, spec.pad)
    return [found[p] for p in listed(spec.plus)], [found[p] for p in listed(spec.minus)]


def contrast(
    plus: Side, minus: Side, of: Callable[[Base], NDArray[Any]] = lambda base: base.vector
) -> NDArray[np.float64]:
    """Mean over prompts of something at plus, minus the same at minus, token by token [tokens, size]."""
    means = [
        np.mean([[np.asarray(of(token), dtype=np.float64) for token in prompt] for prompt in side], axis=0)
        for side in (plus, minus)
    ]
    return np.asarray(means[0] - means[1])


def aligned(
    kind: str, label: str, found: NDArray[np.float64], spec: SteeringSpec, context: DrawContext, detail: dict[str, Any]
) -> Direction:
    """A direction of rows [tokens, d_hook]."""
    told = {"plus": spec.plus, "minus": spec.minus, "align": spec.align, **detail}
    vector = found.mean(0).astype(np.float32)
    rows = {context.origin.hook: found.astype(np.float32)} if spec.align == "tokens" else None
    return Direction(kind, label, vector, told, rows, spec.align == "tokens")


def _draw(spec: SteeringSpec, context: DrawContext, base: Base, index: int) -> Direction:
    return aligned("steering", spec.said, contrast(*sides(spec, context)), spec, context, {})


DIRECTIONS.register(
    DirectionKind("steering", "along", SteeringSpec, _draw, "activation of one prompt minus another's", example=EXAMPLE)
)
