"""`rank-features`: every SAE feature by how soon the output moves along it, from one base, against a null.

For each feature the threshold of its contribution, and an empirical p against `nulls` draws of the same family from the
same base (`random-mixture`): the share of nulls that reach the level at least as soon. p is of one feature; with many
features, the smallest ones are small by chance too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, NoOptions, always

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.results import Event

RANKING, NULLS = "ranking", "nulls"
COLUMNS = ("activation", "share_of_l1", "rate_at_site", "length", "threshold", "p")


class RankOptions(NoOptions):
    """Which features, which way, and how many nulls."""

    which: Literal["active", "all"] = Field("active", description="'active' or 'all'")
    sign: Literal["+", "-"] = Field("+", description="'+' or '-'")
    nulls: int = Field(200, ge=1, description="a whole number of at least 1")


def _run(lab: Laboratory) -> Iterator[Event]:
    import numpy as np

    from engine.drawing import strongest
    from engine.results import Progress, RowResult
    from engine.thresholds import empirical_p, null_vectors, ordered_thresholds

    options = lab.recipe.options
    assert isinstance(options, RankOptions)
    base = next(lab.bases())
    sae = lab.features
    activations = sae.activations(base)
    features = strongest(activations)
    if options.which == "all":
        features += [int(i) for i in np.flatnonzero(activations == 0)]
    done = lab.held.count(RANKING)
    total = options.nulls + len(features)
    if done >= len(features):
        return
    nulls = [row["threshold"] for row in lab.held.rows.get(NULLS, ())]
    drawn = null_vectors(lab, base, "along", options.nulls)
    for number, reached in ordered_thresholds(lab, base, drawn, ["a null"] * len(drawn), len(nulls)):
        yield RowResult(NULLS, {"null": number, "threshold": reached, "censored": reached is None})
        nulls.append(reached)
        yield Progress("drawing nulls", len(nulls), total)
    l1 = float(np.abs(activations).sum()) or 1.0
    rates = lab.firing_rates
    vectors = sae.contributions(base, features) * (-1 if options.sign == "-" else 1)
    labels = [f"feature {i}" for i in features]
    for number, reached in ordered_thresholds(lab, base, list(vectors), labels, done):
        feature = features[number]
        yield RowResult(
            RANKING,
            {
                "feature": feature,
                "sign": options.sign,
                "activation": float(activations[feature]),
                "share_of_l1": float(abs(activations[feature])) / l1,
                "rate_at_site": float(rates[feature]),
                "length": float(np.linalg.norm(vectors[number])),
                "threshold": reached,
                "censored": reached is None,
                "p": empirical_p(reached, nulls),
            },
        )
        yield Progress("ranking", options.nulls + number + 1, total)


EXPERIMENTS.register(
    Experiment(
        name="rank-features",
        summary="every SAE feature by its threshold from one base, with p against 200 nulls",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=({"kind": "sae-feature"},),
        options=RankOptions,
        tables={RANKING: COLUMNS, NULLS: ("threshold",)},
        needs_sae=always,
    )
)
