"""`prompt`: the activation of the typed prompt at the chosen position, in its own context."""

from __future__ import annotations

from pydantic import Field

from engine.bases import BASES, BaseKind, BaseSpec
from engine.drawing import Base, DrawContext


class PromptSpec(BaseSpec):
    """There is one prompt."""

    count: int = Field(1, ge=1, le=1, description="1, since there is one prompt")


def _draw(spec: PromptSpec, context: DrawContext, index: int) -> Base:
    return context.site


BASES.register(BaseKind("prompt", PromptSpec, _draw, "the prompt at the chosen token"))
