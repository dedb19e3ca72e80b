"""`sae-reconstruction`: what an SAE makes of a real activation, SAE(x), in that activation's context.

Of the prompt, or with `of = "real-other"` of members of the population: the rung between synthetic activations and real
ones.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.bases import BASES, BaseKind, RebuiltSpec, rebuilt_of, scaled
from engine.drawing import Base, DrawContext


def _draw(spec: RebuiltSpec, context: DrawContext, index: int) -> Base:
    real, host = rebuilt_of(spec, context, index)
    vector = real.vector.astype(np.float64) + context.features.error(real)
    name = "sae-reconstruction"
    label = f"SAE of {real.label}"
    return replace(host, kind=name, label=label, vector=scaled(vector, spec, context))


BASES.register(BaseKind("sae-reconstruction", RebuiltSpec, _draw, "a real activation as the SAE rebuilds it", True))
