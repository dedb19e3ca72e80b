"""`steering`: completions with each direction added, beside the same completions without it.

One row per completion in the table `rollouts`. The direction is added at the site's position and every later one,
`strength` times its native length (Turner et al., arXiv 2308.10248, steer with multiples of the raw difference). Both
texts of a row draw the same random numbers. A hit is a text that holds one of `words` as a whole word, letter case
aside; a low count of hits proves nothing, as no list of words is complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, Strict

from engine.experiments import EXPERIMENTS, Experiment, Names, NoOptions

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.results import Event

TABLE = "rollouts"
SAMPLES_AT_ONCE = 16
"""A run can be stopped between two such blocks."""
Strengths = Annotated[tuple[Annotated[float, Strict(False)], ...], Strict(False)]


class SteeringOptions(NoOptions):
    """How hard to steer and what to write."""

    strengths: Strengths = Field((1.0,), min_length=1, description="a list of multiples of the native length")
    samples: int = Field(8, ge=1, description="a whole number of at least 1")
    tokens: int = Field(40, ge=1, description="a whole number of at least 1")
    temperature: float = Field(0.7, ge=0, description="a finite number of at least 0; 0 takes the likeliest token")
    words: Names = Field((), description="a list of words that are not empty")


def _run(lab: Laboratory) -> Iterator[Event]:
    import numpy as np

    from engine.results import Progress, RowResult
    from engine.steering.rollouts import Sampling, rollouts

    options = lab.recipe.options
    assert isinstance(options, SteeringOptions)
    model, where = lab.model, lab.where
    sampling = Sampling(options.tokens, options.temperature, lab.seed)
    hit = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in options.words) or r"(?!)", re.IGNORECASE)

    def write(vector: np.ndarray | None, which: range) -> list[str]:
        lab.checkpoint()
        drawn = rollouts(model, where.token_ids, which, sampling, where.write, vector, where.position, lab.checkpoint)
        return [str(model.tokenizer.decode(tokens)) for tokens in drawn]

    norm = float(np.linalg.norm(lab.site.vector.astype(np.float64)))
    blocks = [
        range(start, min(start + SAMPLES_AT_ONCE, options.samples))
        for start in range(0, options.samples, SAMPLES_AT_ONCE)
    ]
    plain: dict[range, list[str]] = {}
    total = len(lab.direction_order) * len(options.strengths) * options.samples
    number, done = 0, lab.held.count(TABLE)
    for (spec, index), strength in product(lab.direction_order, options.strengths):
        direction = lab.draw(spec, lab.site, index)
        added = strength * direction.vector.astype(np.float64)
        length = float(np.linalg.norm(added))
        for block in blocks:
            if number + len(block) <= done:
                number += len(block)
                continue
            if block not in plain:
                plain[block] = write(None, block)
            for sample, before, after in zip(block, plain[block], write(added, block), strict=True):
                hits = bool(hit.search(before)), bool(hit.search(after))
                if number >= done:
                    yield RowResult(
                        TABLE,
                        {
                            "kind": direction.kind,
                            "label": direction.label,
                            "strength": strength,
                            "added_norm": length,
                            "share_of_norm": length / norm,
                            "sample": sample,
                            "unsteered": before,
                            "steered": after,
                            "unsteered_hit": hits[0],
                            "steered_hit": hits[1],
                            "hit_change": float(hits[1]) - float(hits[0]),
                        },
                    )
                number += 1
            yield Progress("writing", number, total)


EXPERIMENTS.register(
    Experiment(
        name="steering",
        summary="what the model writes with each direction added, and without",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=({"kind": "steering", "plus": "She was very happy", "minus": "She was very sad"},),
        has_paths=False,
        options=SteeringOptions,
        tables={
            TABLE: ("strength", "added_norm", "share_of_norm", "unsteered_hit", "steered_hit", "hit_change"),
        },
    )
)
