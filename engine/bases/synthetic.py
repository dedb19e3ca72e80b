"""`synthetic-baseline`, `synthetic-structured`: activations made of SAE features, in the prompt's context.

The same formulas as the directions of these names: "Evaluating synthetic activations composed of SAE latents in GPT-2"
(LASR Labs 2024).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from engine.bases import BASES, BaseKind, MadeSpec, scaled
from engine.directions.synthetic import synthetic
from engine.drawing import Base, DrawContext


def _draw(structured: bool, spec: MadeSpec, context: DrawContext, index: int) -> Base:
    vector, detail = synthetic(context, "base/synthetic", context.site, index, structured)
    kind = "synthetic-structured" if structured else "synthetic-baseline"
    scaled_vector = scaled(vector, spec, context)
    return replace(context.site, kind=kind, index=index, label=f"{kind} {index}", vector=scaled_vector, detail=detail)


for _name, _structured, _what in (
    ("synthetic-baseline", False, "a bag of SAE latents of like frequency and activation"),
    ("synthetic-structured", True, "the same with cosines to the strongest latent kept"),
):
    BASES.register(BaseKind(_name, MadeSpec, partial(_draw, _structured), _what, True))
