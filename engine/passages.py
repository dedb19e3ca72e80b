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
from engine.models import Model

TEXTS_AT_ONCE: Final = 16
LOGITS_AT_ONCE: Final = 50_000_000
"""Bounds the texts of one pass by the memory of their logits, of which there are a few copies in float64."""


def passages(lab: Laboratory, n: int, tokens: int) -> tuple[NDArray[np.int64], int]:
    """Up to n rows of as many tokens [n, pos], BOS included where there is one, and the first position to replace.

    The first token stays whatever it is: its residual has an odd norm in most models, and would outweigh the others.

    Raises:
        RecipeError: No text is as long.
    """
    return np.concatenate(_pieces(lab, tokens, None))[:n], 1


def _pieces(lab: Laboratory, tokens: int, source: str | None) -> list[NDArray[np.int64]]:
    """The rows [n, pos] of each text of a source."""
    width = min(tokens, lab.model.context)
    bos = lab.model.bos if lab.where.bos else None
    pieces = [cut([text], bos, width) for text in lab.texts(width, source)]
    if not any(len(rows) for rows in pieces):
        raise RecipeError(
            f"None of the texts of '{source or lab.recipe.population.prompts}' has {width} tokens: ask for shorter "
            "ones, or use other texts."
        )
    return pieces


def spread(lab: Laboratory, n: int, tokens: int, source: str) -> tuple[NDArray[np.int64], int]:
    """Up to n rows of a source [n, pos], of as many texts as there are, and how many texts those are.

    Raises:
        RecipeError: No text is as long.
    """
    pieces = _pieces(lab, tokens, source)
    # The first row of every text, then the second of each that has one.
    order = sorted(((k, number) for number, rows in enumerate(pieces) for k in range(len(rows))))[:n]
    return np.stack([pieces[number][k] for k, number in order]), len({number for _, number in order})


def at_once(model: Model, rows: NDArray[np.int64]) -> int:
    """How many rows are fed together."""
    return max(1, min(TEXTS_AT_ONCE, int(LOGITS_AT_ONCE // (rows.shape[1] * model.d_vocab))))
