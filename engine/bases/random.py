"""`random`: a normal draw with the mean and exact sample covariance of real activations, in the prompt's context."""

from __future__ import annotations

from dataclasses import replace

from engine.bases import BASES, BaseKind, MadeSpec, scaled
from engine.drawing import Base, DrawContext
from engine.randomness import stream


def _draw(spec: MadeSpec, context: DrawContext, index: int) -> Base:
    vector = context.population.covariance_matched(stream(context.seed, "base/random", index))
    return replace(
        context.site, kind="random", index=index, label=f"random {index}", vector=scaled(vector, spec, context)
    )


BASES.register(BaseKind("random", MadeSpec, _draw, "a draw with the mean and covariance of real ones"))
