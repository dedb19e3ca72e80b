"""`real-other`: another real activation, in its own context or written into the prompt's.

`host = "site"` separates what the vector is from what surrounds it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from engine.bases import BASES, BaseKind, MadeSpec, real_member, scaled
from engine.drawing import Base, DrawContext


class RealOtherSpec(MadeSpec):
    """Drawn from the population without replacement."""

    host: Literal["own", "site"] = Field("own", description="'own' or 'site'")


def _draw(spec: RealOtherSpec, context: DrawContext, index: int) -> Base:
    real, host = real_member(context, index, spec.host)
    label = f"real-other {index}"
    return replace(host, kind="real-other", label=label, vector=scaled(real.vector, spec, context))


BASES.register(BaseKind("real-other", RealOtherSpec, _draw, "another real activation"))
