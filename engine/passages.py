"""Equally long rows of tokens from a run's texts, to be fed whole and judged by loss.

Knows laboratories and texts; not what is done with the rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.dictionaries.splice import cut
from engine.errors import RecipeError
from engine.laboratory import Laboratory

TEXTS_AT_ONCE: Final = 16
LOGITS_AT_ONCE: Final = 50_000_000
"""Bounds the texts of one pass by the memory of their logits, of which there are a few copies in float64."""


def passages(lab: Laboratory, n: int, tokens: int) -> tuple[NDArray[np.int64], int]:
    """Up to n rows of as many tokens [n, pos], BOS included where there is one, and the first position to replace.

    The first token stays whatever it is: its residual has an odd norm in most models, and would outweigh the others.

    Raises:
        RecipeError: No text is as long.
    """
    width = min(tokens, lab.model.context)
    bos = lab.model.bos if lab.where.bos else None
    rows = cut(lab.texts(width), bos, width)[:n]
    if not len(rows):
        raise RecipeError(
            f"None of the texts of '{lab.recipe.population.prompts}' has {width} tokens: lower options.tokens or use "
            "other population.prompts."
        )
    return rows, 1


def at_once(lab: Laboratory, rows: NDArray[np.int64]) -> int:
    """How many rows are fed together."""
    return max(1, min(TEXTS_AT_ONCE, int(LOGITS_AT_ONCE // (rows.shape[1] * lab.model.d_vocab))))
