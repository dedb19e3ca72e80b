"""`sae-fidelity`: what the model loses when an SAE's reconstruction stands in for its activations everywhere.

One row per text in the table `splice`. Texts come from `population.prompts`; the SAE is that of the write hook. Delta
CE and the ablated losses are given instead of "loss recovered", which misleads in residual streams (a footnote of the
GDM mechanistic interpretability team's progress update #1, 2024).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, NoOptions

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.results import Event

LOGITS_AT_ONCE = 50_000_000
"""Bounds the texts of one pass by the memory of their logits, of which there are a few copies in float64."""
TEXTS_AT_ONCE = 16
TABLE = "splice"
COLUMNS = (
    "tokens",
    "ce_clean",
    "ce_spliced",
    "ce_zero",
    "ce_mean",
    "delta_ce",
    "kl",
    "l0",
    "squared_error",
    "squared_distance",
)


class SaeFidelityOptions(NoOptions):
    """How much text is spliced."""

    texts: int = Field(500, ge=1, description="a whole number of at least 1")
    tokens: int = Field(64, ge=3, description="a whole number of at least 3: tokens of a text, BOS included")


def _run(lab: Laboratory) -> Iterator[Event]:
    from engine.dictionaries.splice import cut, mean_activation, splice
    from engine.errors import RecipeError
    from engine.results import Progress, RowResult

    options = lab.recipe.options
    assert isinstance(options, SaeFidelityOptions)
    model, hook = lab.model, lab.where.write
    width = min(options.tokens, model.context)
    bos = model.bos if lab.where.bos else None
    rows = cut(lab.texts(width), bos, width)[: options.texts]
    if not len(rows):
        raise RecipeError(
            f"None of the texts of '{lab.recipe.population.prompts}' has {width} tokens: lower options.tokens or use "
            "other population.prompts."
        )
    first = 0 if bos is None else 1
    sae = lab.features
    mean = mean_activation(model, hook, rows, first)
    done = lab.held.count(TABLE)
    at_once = max(1, min(TEXTS_AT_ONCE, LOGITS_AT_ONCE // (width * model.d_vocab)))
    for start in range(0, len(rows), at_once):
        if start + at_once <= done:
            continue
        lab.checkpoint()
        with sae.at(model.device):
            texts = splice(model, sae, hook, rows[start : start + at_once], first, mean)
        for i, text in enumerate(texts, start):
            if i >= done:
                values = {name: getattr(text, name) for name in COLUMNS}
                yield RowResult(TABLE, {"text": i, **values})
        yield Progress("splicing", min(start + at_once, len(rows)), len(rows))


EXPERIMENTS.register(
    Experiment(
        name="sae-fidelity",
        summary="loss and KL with an SAE in place of the activations",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=({"kind": "sae-error"},),
        options=SaeFidelityOptions,
        tables={TABLE: COLUMNS},
        needs_sae=True,
    )
)
