"""`explain-feature`: one SAE feature as a sparse sum of others, and how sensitive the model is to it and to its parts.

If few other decoder rows explain a feature, it may be a composite that the SAE's sparsity penalty favoured; if the
model is more sensitive to the feature than to its parts, it treats it as one thing (StefanHex, shortform on SAE
features and model features, 2024). Table `explained`: share explained by 1, 2, ... others, beside a random
dictionary. Table `sensitivity`: thresholds of the feature, of each part, and of the sum of parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, NoOptions, always, unheld

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.results import Event

EXPLAINED, SENSITIVITY = "explained", "sensitivity"


class ExplainOptions(NoOptions):
    """Which feature, by how many others."""

    feature: int | None = Field(None, ge=0, description="a feature index from 0; the most active one without")
    k: int = Field(8, ge=1, description="a whole number of at least 1")
    signed: bool = Field(False, description="true or false: whether others may be taken away")


@unheld
def _run(lab: Laboratory) -> Iterator[Event]:
    import numpy as np

    from engine.dictionaries.decompose import explain_feature, random_dictionary
    from engine.dictionaries.pursuit import pursue
    from engine.directions.sae_feature import checked_features
    from engine.results import RowResult
    from engine.thresholds import thresholds

    options = lab.recipe.options
    assert isinstance(options, ExplainOptions)
    sae, base = lab.features, next(lab.bases())
    activations = sae.activations(base)
    feature = int(np.abs(activations).argmax()) if options.feature is None else options.feature
    checked_features(sae, [feature])
    atoms = sae.atoms(base)
    row = atoms.atoms([feature])[0]
    codes = explain_feature(sae, base, feature, options.k, options.signed)
    chance = pursue(row, random_dictionary(atoms, lab.seed), options.k, signed=options.signed)
    for k, code in enumerate(codes, start=1):
        yield RowResult(
            EXPLAINED,
            {
                "feature": feature,
                "k": k,
                "joined": code.support[-1],
                "weight": float(codes[-1].weights[k - 1]),
                "cosine": float(row @ atoms.atoms([code.support[-1]])[0])
                / float(np.linalg.norm(row) * atoms.lengths[code.support[-1]]),
                "explained": 1 - code.unexplained,
                "random_explained": 1 - chance[k - 1].unexplained if k <= len(chance) else None,
            },
        )
    vectors = [row]
    rows: list[dict[str, Any]] = [{"what": "feature", "feature": feature, "weight": 1.0}]
    if codes:
        parts = atoms.atoms(codes[-1].support)
        for other, weight, part in zip(codes[-1].support, codes[-1].weights, parts, strict=True):
            if weight != 0:
                vectors.append(part * np.sign(weight))
                rows.append({"what": "part", "feature": int(other), "weight": float(weight)})
        vectors.append(codes[-1].weights @ parts)
        rows.append({"what": "sum of parts", "feature": feature, "weight": 1.0})
    labels = [f"{r['what']} {r['feature']}" for r in rows]
    for place, reached in thresholds(lab, base, vectors, labels):
        activation = float(activations[int(rows[place]["feature"])])
        on = {"activation": activation, "threshold": reached, "censored": reached is None}
        yield RowResult(SENSITIVITY, {**rows[place], **on})


EXPERIMENTS.register(
    Experiment(
        name="explain-feature",
        summary="one SAE feature as a sum of others, and the sensitivity of the whole beside its parts",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=({"kind": "sae-feature"},),
        options=ExplainOptions,
        tables={
            EXPLAINED: ("k", "weight", "cosine", "explained", "random_explained"),
            SENSITIVITY: ("weight", "activation", "threshold"),
        },
        needs_sae=always,
    )
)
