"""`synthetic-baseline`, `-structured`, `-pairwise`, `-cooccurring`: made of SAE features, in the prompt's context.

The same formulas as the directions of these names: "Evaluating synthetic activations composed of SAE latents in GPT-2"
(LASR Labs 2024).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from engine.bases import BASES, BaseKind, MadeSpec, scaled
from engine.dictionaries.synthetic import RUNGS, WHAT, Rung
from engine.directions.synthetic import synthetic
from engine.drawing import Base, DrawContext


def _draw(rung: Rung, spec: MadeSpec, context: DrawContext, index: int) -> Base:
    vector, detail = synthetic(context, "base/synthetic", context.site, index, rung)
    kind = f"synthetic-{rung}"
    scaled_vector = scaled(vector, spec, context)
    return replace(context.site, kind=kind, index=index, label=f"{kind} {index}", vector=scaled_vector, detail=detail)


for _rung in RUNGS:
    BASES.register(BaseKind(f"synthetic-{_rung}", MadeSpec, partial(_draw, _rung), WHAT[_rung], True))
