"""`steering`: completions with each direction added, beside the same completions without it.

One row per completion in the table `rollouts`. The direction is added at the site's position and every later one,
`strength` times its native length (Turner et al., arXiv 2308.10248, steer with multiples of the raw difference). Both
texts of a row draw the same random numbers. A hit is a text that holds one of `words`, letter case aside; a low count
of hits proves nothing, as the words are never complete (GDM progress update, 2024).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, Strict

from engine.experiments import EXPERIMENTS, Experiment, NoOptions

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.results import Event

TABLE = "rollouts"
Strengths = Annotated[tuple[Annotated[float, Strict(False)], ...], Strict(False)]
Words = Annotated[tuple[str, ...], Strict(False)]


class SteeringOptions(NoOptions):
    """How hard to steer and what to write."""

    strengths: Strengths = Field((1.0,), min_length=1, description="a list of multiples of the native length")
    samples: int = Field(8, ge=1, description="a whole number of at least 1")
    tokens: int = Field(40, ge=1, description="a whole number of at least 1")
    temperature: float = Field(0.7, ge=0, description="a finite number of at least 0; 0 takes the likeliest token")
    words: Words = Field((), description="a list of words that count as a hit")


def _run(lab: Laboratory) -> Iterator[Event]:
    import numpy as np

    from engine.results import Progress, RowResult
    from engine.steering.rollouts import Sampling, rollouts

    options = lab.recipe.options
    assert isinstance(options, SteeringOptions)
    model, where = lab.model, lab.where
    sampling = Sampling(options.tokens, options.temperature, lab.seed)
    which = range(options.samples)
    hit = re.compile("|".join(rf"\b{re.escape(word)}\b" for word in options.words) or r"(?!)", re.IGNORECASE)

    def write(vector: np.ndarray | None) -> list[str]:
        lab.checkpoint()
        drawn = rollouts(model, where.token_ids, which, sampling, where.write, vector, where.position)
        return [str(model.tokenizer.decode(tokens)) for tokens in drawn]

    norm = float(np.linalg.norm(lab.site.vector.astype(np.float64)))
    plain = write(None)
    total = len(lab.direction_order) * len(options.strengths) * options.samples
    number, done = 0, lab.held.rows.get(TABLE, 0)
    for spec, index in lab.direction_order:
        direction = lab.draw(spec, lab.site, index)
        for strength in options.strengths:
            if number + options.samples <= done:
                number += options.samples
                continue
            added = strength * direction.vector.astype(np.float64)
            length = float(np.linalg.norm(added))
            for sample, (before, after) in enumerate(zip(plain, write(added), strict=True)):
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
                            "unsteered_hit": bool(hit.search(before)),
                            "steered_hit": bool(hit.search(after)),
                            "hit_change": float(bool(hit.search(after))) - float(bool(hit.search(before))),
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
        options=SteeringOptions,
        tables={
            TABLE: ("strength", "added_norm", "share_of_norm", "unsteered_hit", "steered_hit", "hit_change"),
        },
    )
)
