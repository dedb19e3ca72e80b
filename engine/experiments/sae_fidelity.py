"""`sae-fidelity`: what the model loses when an SAE's reconstruction stands in for its activations everywhere.

One row per text in the table `splice`. Texts come from `population.prompts`; the SAE is that of the write hook. Delta
CE and the ablated losses are given instead of "loss recovered", which misleads in residual streams (a footnote of the
GDM mechanistic interpretability team's progress update #1, 2024).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, NoOptions, always

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.results import Event

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
    from engine.dictionaries.splice import mean_activation, splice
    from engine.passages import at_once, passages
    from engine.results import Progress, RowResult

    options = lab.recipe.options
    assert isinstance(options, SaeFidelityOptions)
    model, hook = lab.model, lab.where.write
    rows, first = passages(lab, options.texts, options.tokens)
    sae = lab.features
    mean = mean_activation(model, hook, rows, first)
    done = lab.held.count(TABLE)
    several = at_once(lab.model, rows)
    for start in range(0, len(rows), several):
        if start + several <= done:
            continue
        lab.checkpoint()
        with sae.at(model.device):
            texts = splice(model, sae, hook, rows[start : start + several], first, mean)
        for i, text in enumerate(texts, start):
            if i >= done:
                values = {name: getattr(text, name) for name in COLUMNS}
                yield RowResult(TABLE, {"text": i, **values})
        yield Progress("splicing", min(start + several, len(rows)), len(rows))


EXPERIMENTS.register(
    Experiment(
        name="sae-fidelity",
        summary="loss and KL with an SAE in place of the activations",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=({"kind": "sae-error"},),
        has_paths=False,
        options=SaeFidelityOptions,
        tables={TABLE: COLUMNS},
        needs_sae=always,
    )
)
