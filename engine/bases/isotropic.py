"""`isotropic`: a centred normal vector of the population's median norm, in the prompt's context."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.bases import BASES, BaseKind, MadeSpec, scaled
from engine.drawing import Base, DrawContext, isotropic
from engine.randomness import stream


def _draw(spec: MadeSpec, context: DrawContext, index: int) -> Base:
    z = isotropic(stream(context.seed, "base/isotropic", index), len(context.site.vector), context.centred)
    norm = np.median(np.linalg.norm(context.population.vectors.astype(np.float64), axis=1))
    vector = scaled(z / np.linalg.norm(z) * norm, spec, context)
    return replace(context.site, kind="isotropic", index=index, label=f"isotropic {index}", vector=vector)


BASES.register(BaseKind("isotropic", MadeSpec, _draw, "a centred normal vector of the median real norm"))
