"""`decompose`: bases, or directions from them, as sums of SAE features by the encoder and by gradient pursuit.

Table `parts`, a row for each k: the k-th feature of either reading, and the fraction of the squared length that k of
them explain, beside a random dictionary of the same size. Table `scatter`, with `options.feature`: that feature's
encoder activation and pursuit weight on members of the population, which agree where it is strong and hardly where it
is weak (Smith, GDM mechanistic interpretability team's progress update #1, 2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, NoOptions, always, unheld

if TYPE_CHECKING:
    from engine.drawing import Base, Direction
    from engine.laboratory import Laboratory
    from engine.results import Event

PARTS, SCATTER = "parts", "scatter"


class DecomposeOptions(NoOptions):
    """What is taken apart, into how many."""

    of: Literal["directions", "base"] = Field("directions", description="'directions' or 'base'")
    k: int = Field(32, ge=1, description="a whole number of at least 1")
    feature: int | None = Field(None, ge=0, description="a feature index from 0")
    members: int = Field(200, ge=2, description="a whole number of at least 2: how many the scatter shows")


@unheld
def _run(lab: Laboratory) -> Iterator[Event]:
    from engine.dictionaries.decompose import decompose
    from engine.results import Note, RowResult

    options = lab.recipe.options
    assert isinstance(options, DecomposeOptions)
    for base in lab.bases():
        for direction in _wanted(lab, base):
            lab.checkpoint()
            what = base.label if direction is None else direction.label
            vector = None if direction is None else direction.vector
            found = decompose(lab.features, base, vector, options.k, lab.seed)
            for row in found.rows:
                yield RowResult(PARTS, {"base": base.label, "of": what, **row})
            if lab.recipe.n_bases == 1:
                yield Note(
                    f"{what}: {found.turned_on} features {'active' if direction is None else 'turned on'}"
                    + (f" and {found.turned_off} off along it, by the encoder." if direction is not None else ".")
                )
    if options.feature is not None:
        yield from _scatter(lab, options.feature, options.k, options.members)


def _wanted(lab: Laboratory, base: Base) -> Sequence[Direction | None]:
    """What is taken apart at a base; None is the base itself."""
    options = lab.recipe.options
    assert isinstance(options, DecomposeOptions)
    return [None] if options.of == "base" else [lab.draw(spec, base, i) for spec, i in lab.direction_order]


def _scatter(lab: Laboratory, feature: int, k: int, members: int) -> Iterator[Event]:
    from engine.dictionaries.pursuit import pursue
    from engine.directions.sae_feature import checked_features
    from engine.drawing import member
    from engine.results import RowResult

    checked_features(lab.features, [feature])
    for row in range(min(members, len(lab.population.vectors))):
        lab.checkpoint()
        real = member(lab.population, row)
        codes = pursue(real.vector - lab.features.bias(real), lab.features.atoms(real), k)
        weights = dict(zip(codes[-1].support, codes[-1].weights, strict=True)) if codes else {}
        encoder = float(lab.features.activations(real)[feature])
        values = {"member": row, "feature": feature, "encoder": encoder, "pursuit": float(weights.get(feature, 0.0))}
        yield RowResult(SCATTER, values)


EXPERIMENTS.register(
    Experiment(
        name="decompose",
        summary="bases or directions as sums of SAE features, by encoder and by gradient pursuit",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=({"kind": "real-other", "count": 4},),
        has_paths=False,
        optional_tables=frozenset({SCATTER}),
        options=DecomposeOptions,
        tables={
            PARTS: (
                "k",
                "change",
                "plus",
                "minus",
                "encoder_explained",
                "weight",
                "pursuit_explained",
                "random_explained",
            ),
            SCATTER: ("encoder", "pursuit"),
        },
        needs_sae=always,
    )
)
