"""Directions, one kind per file, in two families.

*Toward* directions are a target minus the base; *along* directions are vectors in their own right. A module of
this package registers its kind, or the variants of one formula, in `DIRECTIONS`; nothing else has to change.
Torch-free: what a kind needs of a model it asks of the draw context.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict

from engine.drawing import MOST, Base, Direction, DrawContext
from engine.registry import Registry


class DirectionSpec(BaseModel):
    """A `[[directions]]` table: its kind, how many, and what only this kind knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: str
    count: int = Field(16, ge=1, le=MOST, description="a whole number from 1 to 1,000,000")
    project_out: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Strict(False)] = Field(
        (), description="a list of SAE feature indices from 0"
    )
    """Features whose decoder rows the direction is made orthogonal to (Conmy & Nanda, GDM progress update #1, 2024)."""

    @property
    def drawn(self) -> bool:
        """Whether directions come from a random stream, so that a second table of the kind goes on drawing."""
        return True

    @property
    def prompts(self) -> tuple[str, ...]:
        """Texts that the model is fed for it."""
        return ()

    @property
    def within(self) -> tuple[DirectionSpec, ...]:
        """Directions that it is made of."""
        return ()


class SingleSpec(DirectionSpec):
    """A kind that its options determine, so that there is one of it."""

    count: int = Field(1, ge=1, le=1, description="1, since the options determine this direction")

    @property
    def drawn(self) -> bool:
        return False


@dataclass(frozen=True)
class DirectionKind:
    """What the registry holds."""

    name: str
    family: Literal["toward", "along"]
    spec: type[DirectionSpec]
    draw: Callable[[Any, DrawContext, Base, int], Direction]
    """draw(spec, context, base, index): the index-th direction of this kind from this base."""
    summary: str
    """One line for lists and help."""
    needs_sae: bool = False
    example: str = ""
    """TOML of options that it cannot go without, to start from."""


DIRECTIONS: Registry[DirectionKind] = Registry("direction kind", __name__)


def needs_sae(spec: DirectionSpec) -> bool:
    """Whether a direction asks anything of an SAE."""
    return bool(spec.project_out) or DIRECTIONS[spec.kind].needs_sae or any(map(needs_sae, spec.within))
