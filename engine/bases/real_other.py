"""`real-other`: another real activation, in its own context or written into the prompt's.

`host = "site"` separates what the vector is from what surrounds it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from engine.bases import BASES, BaseKind, MadeSpec, scaled
from engine.drawing import Base, DrawContext, nth_other
from engine.errors import DirectionError
from engine.randomness import stream


class RealOtherSpec(MadeSpec):
    """Drawn from the population without replacement."""

    host: Literal["own", "site"] = Field("own", description="'own' or 'site'")


def _draw(spec: RealOtherSpec, context: DrawContext, index: int) -> Base:
    if spec.host == "own" and context.population.index != context.position:
        raise DirectionError(
            "At the BOS position there are no other real activations in contexts of their own, since every text has "
            'the same one there: use host = "site" or another position.'
        )
    rng = stream(context.seed, "base/real-other")
    row = nth_other(context.population, rng, index, context.site)
    host = context.population.token_ids[row] if spec.host == "own" else context.site.token_ids
    return replace(
        context.site,
        kind="real-other",
        index=index,
        label=f"real-other {index}",
        vector=scaled(context.population.vectors[row], spec, context),
        token_ids=tuple(int(t) for t in host),
        mean=float(context.population.means[row]) if spec.host == "own" else context.site.mean,
        population_row=row,
    )


BASES.register(BaseKind("real-other", RealOtherSpec, _draw, "another real activation"))
