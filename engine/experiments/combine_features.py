"""`combine-features`: does a sum of n features act sooner or later than one of them, at the same length?

n directions of one kind at unit length are added and brought to unit length again. If each feature has a threshold of
its own, a mixture of n orthogonal ones has to go sqrt(n) times as far; a response without privileged directions does
not care (Heimersheim & Mendel 2024, discussion: do combinations behave as toy models say, and does it bound the number
of features). Features without an index are drawn among the active ones of the base. Each draw is a sequence of
directions of which a sum of n takes the first n, so that other sizes change none. Table `combined`: a row for each sum.
Table `growth`: for each base and kind, the slope of log threshold against log n, 0.5 for independent thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, Strict, field_validator

from engine.experiments import EXPERIMENTS, Experiment, NoOptions, distinct

if TYPE_CHECKING:
    from engine.drawing import Base
    from engine.laboratory import Laboratory
    from engine.results import Event, Series

TABLE, GROWTH = "combined", "growth"
MOST = 512
"""Directions of one sum at most."""
Sizes = Annotated[tuple[Annotated[int, Field(ge=1, le=MOST)], ...], Strict(False)]


class CombineOptions(NoOptions):
    """How many are added, and how often."""

    sizes: Sizes = Field(
        (1, 2, 4, 8, 16), min_length=2, description="a list of at least two whole numbers from 1 to 512"
    )
    draws: int = Field(16, ge=1, description="a whole number of at least 1: sums of each size and kind")

    once = field_validator("sizes")(distinct)


def _run(lab: Laboratory) -> Iterator[Event]:
    from engine.results import Note, Progress, RowResult
    from engine.thresholds import ordered_thresholds

    options = lab.recipe.options
    assert isinstance(options, CombineOptions)
    kinds = list(dict.fromkeys(spec.kind for spec in lab.recipe.directions))
    sizes_wanted = sorted(options.sizes)
    held, concluded = lab.held.rows.get(TABLE, ()), lab.held.count(GROWTH)
    number = told = 0
    for base_number, base in enumerate(lab.bases()):
        for kind in kinds:
            sequences = _sequences(lab, base, kind, sizes_wanted[-1], options.draws)
            sizes = [n for n in sizes_wanted if n <= len(sequences[0])]
            if len(sizes) < len(sizes_wanted):
                yield Note(
                    f"Base {base_number} has {len(sequences[0])} directions of {kind}: larger sums are left out."
                )
            drawn = [(n, draw, sequences[draw][:n].sum(0)) for n in sizes for draw in range(options.draws)]
            rows = [dict(row) for row in held[number : number + len(drawn)]]
            where = {"base": base_number, "sample": base_number, "kind": kind}
            vectors = [vector for _, _, vector in drawn]
            for at, reached in ordered_thresholds(lab, base, vectors, ["a sum"] * len(drawn), len(rows)):
                n, draw, _ = drawn[at]
                rows.append({**where, "added": n, "draw": draw, "threshold": reached, "censored": reached is None})
                yield RowResult(TABLE, rows[-1])
            number += len(drawn)
            if told >= concluded:
                yield RowResult(GROWTH, {**where, **growth_of(rows)})
            told += 1
            yield Progress("adding", base_number * len(kinds) + kinds.index(kind) + 1, lab.recipe.n_bases * len(kinds))


def _sequences(lab: Laboratory, base: Base, kind: str, longest: int, draws: int) -> list[Series]:
    """Unit directions [n, d_hook] of each draw, of which sums take the first ones.

    Raises:
        RecipeError: Tables of the recipe do not add up to a list of different directions to choose from.
    """
    import numpy as np

    from engine.directions.sae_feature import SaeFeatureSpec
    from engine.drawing import strongest
    from engine.errors import RecipeError
    from engine.randomness import stream

    specs = [spec for spec in lab.recipe.directions if spec.kind == kind]

    def units(spec: Any, indices: range) -> list[Series]:
        drawn = [lab.draw(spec, base, index) for index in indices]
        return [lab.ray(base, d.vector, d.label).u for d in drawn]

    if specs[0].drawn:
        if len(specs) > 1:
            raise RecipeError(f"combine-features takes one table of '{kind}', whose directions are drawn: leave one.")
        return [np.stack(units(specs[0], range(MOST * i, MOST * i + longest))) for i in range(draws)]
    found: list[Series] = []
    for spec in specs:
        many = spec.count
        if isinstance(spec, SaeFeatureSpec) and spec.index is None:
            many = len(strongest(lab.features.activations(base)))
        found += units(spec, range(many))
    pool = np.stack(found)
    if (np.abs(np.triu(pool @ pool.T, 1)) > 1 - 1e-6).any():
        raise RecipeError(f"The recipe's tables of '{kind}' hold the same direction twice: name each once.")
    return [
        pool[stream(lab.seed, f"combine-features/{kind}@{base.kind}", base.index, draw).permutation(len(pool))]
        for draw in range(draws)
    ]


def growth_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Slope of log median threshold against log n, over the sizes of which most reach the level."""
    import numpy as np

    from engine.thresholds import as_number

    sizes = sorted({row["added"] for row in rows})
    medians = [float(np.median([as_number(row["threshold"]) for row in rows if row["added"] == n])) for n in sizes]
    known = [(n, m) for n, m in zip(sizes, medians, strict=True) if np.isfinite(m)]
    slope = None
    if len(known) > 1:
        x, y = np.log(np.array(known)).T
        slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return {
        "slope": slope,
        "smallest": sizes[0] if sizes else 0,
        "of_smallest": medians[0] if sizes and np.isfinite(medians[0]) else None,
        "largest": sizes[-1] if sizes else 0,
        "of_largest": medians[-1] if sizes and np.isfinite(medians[-1]) else None,
    }


EXPERIMENTS.register(
    Experiment(
        name="combine-features",
        summary="threshold of a sum of n features, against sums of other directions",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=({"kind": "sae-feature"}, {"kind": "random-mixture"}, {"kind": "isotropic"}),
        sections={"path": {"mode": "sphere"}},
        options=CombineOptions,
        tables={TABLE: ("added", "threshold"), GROWTH: ("slope", "of_smallest", "of_largest")},
    )
)
