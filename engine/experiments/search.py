"""`search`: turn directions until the output moves as much as it can, and see whether SAE features lie there.

Each direction of the recipe is a start. It is turned by power steps and gradient ascent on
the late-layer response at a fixed place of the path (`engine.ascent`), and then measured as any other. If features are
local optima of sensitivity, what is found should be near decoder vectors, and features themselves should hardly be
improved (Heimersheim & Mendel 2024, next steps; Mack & Turner 2024 search the same way for steering vectors). Table
`ascent`: the score by step. Table `found`: a row for each start, with the vector, which a recipe takes as a direction
of kind `vector`. Table `nearest`: the decoder vectors nearest to each, beside what directions by chance have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, NoOptions, unheld

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.drawing import Base
    from engine.laboratory import Laboratory
    from engine.results import Event

ASCENT, FOUND, NEAREST = "ascent", "found", "nearest"
SHARE = 1 / 3
"""Of the path, where the response is looked at unless the recipe says where: half a typical distance, or 30 degrees."""
SAME = 0.95
"""Cosine from which on two that were found are one."""


class SearchOptions(NoOptions):
    """How far away, how long, and what to compare with."""

    at: Literal["auto"] | float = Field("auto", description="'auto' or a number above 0, in the path's unit")
    steps: int = Field(60, ge=1, le=10_000, description="a whole number from 1 to 10000")
    neighbours: int = Field(
        3, ge=0, description="a whole number of at least 0: SAE features told of each; 0 needs no SAE"
    )


@unheld
def _run(lab: Laboratory) -> Iterator[Event]:
    from engine.errors import RecipeError

    options = lab.recipe.options
    assert isinstance(options, SearchOptions)
    if lab.stop is None:
        raise RecipeError('search needs paths with a common end: path.stop = "auto" or a number.')
    if options.at != "auto" and not 0 < options.at <= lab.stop:
        raise RecipeError(
            f"options.at must lie on the path, above 0 and up to {lab.stop:g}; got {options.at:g}: lower it or raise "
            "path.stop."
        )
    for number, base in enumerate(lab.bases()):
        yield from _climbed(lab, base, number, SHARE * lab.stop if options.at == "auto" else float(options.at))


def _climbed(lab: Laboratory, base: Base, number: int, coordinate: float) -> Iterator[Event]:
    """The rows of one base."""
    import numpy as np

    from engine.ascent import ascend
    from engine.directions.vector import packed
    from engine.results import Progress, RowResult
    from engine.thresholds import in_order

    options = lab.recipe.options
    assert isinstance(options, SearchOptions)
    where = {"base": number, "sample": number}
    drawn = [lab.draw(spec, base, index) for spec, index in lab.direction_order]
    starts = np.stack([lab.ray(base, d.vector, d.label).u for d in drawn])
    u = starts
    for state in ascend(lab, base, starts, coordinate, options.steps):
        u = state.u
        for start, direction in enumerate(drawn):
            yield RowResult(
                ASCENT,
                {
                    **where,
                    "start": start,
                    "kind": direction.kind,
                    "step": state.step,
                    "score": float(state.score[start]),
                    "turned": _angle(starts[start], u[start]),
                    "arrived": bool(state.arrived[start]),
                },
            )
        if state.step == 0:
            first = state.score
        last, arrived = state.score, state.arrived
        yield Progress("climbing", number * options.steps + state.step, lab.recipe.n_bases * options.steps)
    vectors = [*starts.astype(np.float32), *u.astype(np.float32)]
    labels = [*(d.label for d in drawn), *(f"found from {d.label}" for d in drawn)]
    measured = [found for _, found in in_order(lab, base, vectors, labels)]
    for start, direction in enumerate(drawn):
        before, after = measured[start], measured[len(drawn) + start]
        alike = next((i for i in range(start) if float(u[i] @ u[start]) > SAME), None)
        yield RowResult(
            FOUND,
            {
                **where,
                "start": start,
                "kind": direction.kind,
                "label": labels[len(drawn) + start],
                "score": float(last[start]),
                "score_at_start": float(first[start]),
                "arrived": bool(arrived[start]),
                "threshold": after.threshold,
                "threshold_at_start": before.threshold,
                "turned": _angle(starts[start], u[start]),
                "same_as": alike,
                "vector": packed(vectors[len(drawn) + start]),
            },
        )
    if options.neighbours:
        yield from _neighbours(lab, base, u, options.neighbours, where)


def _angle(a: NDArray[Any], b: NDArray[Any]) -> float:
    from engine.paths import angle_between

    return float(angle_between(a, b))


def _neighbours(lab: Laboratory, base: Base, u: NDArray[Any], many: int, where: Mapping[str, int]) -> Iterator[Event]:
    """The features whose decoder vectors lie nearest to each of what was found, by |cosine|.

    On the sphere both are compared without their parts along the base, which turn nothing. `by_chance`: the median of
    the nearest over as many covariance-matched differences, which lie no nearer to features for any reason.
    """
    import numpy as np

    from engine.drawing import unit_rows
    from engine.results import RowResult
    from engine.thresholds import null_vectors

    rows = np.asarray(lab.features.rows(range(lab.features.n_features)), dtype=np.float64)
    activations = lab.features.activations(base)

    def across(vectors: NDArray[Any]) -> NDArray[np.float64]:
        if lab.recipe.path.mode == "straight":
            return unit_rows(vectors)
        x = base.vector.astype(np.float64)
        x = x / np.linalg.norm(x)
        return unit_rows(vectors - (vectors @ x)[:, None] * x)

    decoder = across(rows)
    nulls = across(np.stack(null_vectors(lab, base, "along", 64)).astype(np.float64))
    chance = float(np.median(np.abs(nulls @ decoder.T).max(1)))
    cosines = u @ decoder.T
    for start, row in enumerate(cosines):
        for rank, feature in enumerate(np.argsort(-np.abs(row), kind="stable")[:many]):
            yield RowResult(
                NEAREST,
                {
                    **where,
                    "start": start,
                    "rank": rank + 1,
                    "feature": int(feature),
                    "cosine": float(row[feature]),
                    "activation": float(activations[feature]),
                    "by_chance": chance,
                },
            )


EXPERIMENTS.register(
    Experiment(
        name="search",
        summary="turn directions to where the output moves most; are features there?",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=(
            {"kind": "isotropic", "count": 4},
            {"kind": "random-mixture", "count": 4},
            {"kind": "real-other", "count": 4},
            {"kind": "sae-feature", "count": 4},
        ),
        sections={"path": {"mode": "sphere"}},
        options=SearchOptions,
        tables={
            ASCENT: ("step", "score", "turned"),
            FOUND: ("score", "score_at_start", "threshold", "threshold_at_start", "turned"),
            NEAREST: ("rank", "cosine", "activation", "by_chance"),
        },
        optional_tables=frozenset({NEAREST}),
        needs_sae=lambda options: bool(options.neighbours),
    )
)
