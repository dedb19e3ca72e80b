"""`triangle`: how far one has to turn toward each mixture of three targets until the output changes.

Every `interpolation` of `[[directions]]` with three targets is a triangle, each of its draws another one. Targets are
mixed before the base is subtracted; the threshold of each mixture is the colour. If real activations are local optima
of sensitivity, the corner of a real one has the smallest angle; with three random corners none is special (Heimersheim
& Mendel, "Activation plateaus & sensitive directions in GPT2", 2024, third experiment). Table `triangle`: a row for
each mixture, coarse ones first. Table `minima`: a row for each triangle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, NoOptions

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.results import Event

TABLE, MINIMA = "triangle", "minima"


class TriangleOptions(NoOptions):
    """How fine."""

    resolution: int = Field(16, ge=2, le=128, description="a whole number from 2 to 128: steps along an edge")


def _run(lab: Laboratory) -> Iterator[Event]:
    import numpy as np

    from engine.directions.interpolation import InterpolationSpec, corners, mixed
    from engine.errors import RecipeError
    from engine.maps import ternary
    from engine.results import Progress, RowResult
    from engine.thresholds import ordered_thresholds

    specs = [spec for spec in lab.recipe.directions if isinstance(spec, InterpolationSpec) and len(spec.targets) == 3]
    if len(specs) < len(lab.recipe.directions):
        raise RecipeError(
            "triangle needs directions with three corners, and not all of the recipe's have: use "
            '[[directions]] kind = "interpolation" with three targets.'
        )
    if any(spec.project_out or {target.weight for target in spec.targets} != {1.0} for spec in specs):
        raise RecipeError(
            "A triangle has every weight of its targets, and whole ones: leave weight and project_out out."
        )
    places = ternary(lab.recipe.options.model_dump()["resolution"])
    concluded = lab.held.count(MINIMA)
    total, number = lab.recipe.n_bases * len(lab.direction_order) * len(places), 0
    held = lab.held.rows.get(TABLE, ())
    triangle = 0
    for base_number, base in enumerate(lab.bases()):
        for spec, index in lab.direction_order:
            rows = [dict(row) for row in held[number : number + len(places)]]
            found = corners(spec, lab, base, index)
            names = [detail.get("prompt") or detail["kind"] for _, detail in found]
            where = {
                "triangle": triangle,
                "base": base_number,
                "corners": ", ".join(map(str, names)),
                "sort": " ".join(str(detail["kind"]) for _, detail in found),
            }
            if len(rows) < len(places):
                targets = [vector for vector, _ in found]
                vectors = [mixed(targets, place.at) - base.vector for place in places]
                labels = [f"toward the mixture {place.at}" for place in places]
                for at, reached in ordered_thresholds(lab, base, vectors, labels, len(rows)):
                    place = places[at]
                    i, j, k = place.at
                    row = {
                        **where,
                        "i": i,
                        "j": j,
                        "k": k,
                        "stride": place.stride,
                        "distance": float(np.linalg.norm(vectors[at])),
                        "threshold": reached,
                        "censored": reached is None,
                    }
                    rows.append(row)
                    yield RowResult(TABLE, row)
                    yield Progress("measuring", number + len(rows), total)
            number += len(places)
            if triangle >= concluded:
                sample = base_number if lab.recipe.n_bases > 1 else triangle
                yield RowResult(MINIMA, {**where, "sample": sample, **minimum_of(rows)})
            triangle += 1


def minimum_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Where the smallest threshold of one triangle lies, and whether its first corner is a minimum.

    Mixtures that never reach the level count as +infinity. `first_is_lowest`: 1 where the first corner is the smallest
    of all, shared equally among ties. `first_is_local`: whether no neighbour of the first corner on the lattice lies
    lower.
    """
    import numpy as np

    from engine.maps import neighbours
    from engine.thresholds import as_number

    reached = {(row["i"], row["j"], row["k"]): as_number(row["threshold"]) for row in rows}
    resolution = max(map(max, reached))
    tips = [(resolution, 0, 0), (0, resolution, 0), (0, 0, resolution)]
    lowest = min(reached.values())
    tied = [at for at, value in reached.items() if value == lowest]
    first = reached[tips[0]]
    around = [reached[at] for at in neighbours(tips[0]) if at in reached]
    i, j, k = tied[0]
    return {
        "i": i,
        "j": j,
        "k": k,
        "lowest": lowest if np.isfinite(lowest) else None,
        **{f"corner_{c}": reached[tip] if np.isfinite(reached[tip]) else None for c, tip in enumerate(tips)},
        "first_is_lowest": float(tips[0] in tied) / len(tied),
        "a_corner_is_lowest": float(sum(tip in tied for tip in tips)) / len(tied),
        "first_is_lowest_corner": float(first == min(reached[t] for t in tips))
        / sum(reached[t] == min(reached[t] for t in tips) for t in tips),
        "first_is_local": bool(np.isfinite(first) and first <= min(around)),
    }


_RANDOM = {"kind": "random"}
EXPERIMENTS.register(
    Experiment(
        name="triangle",
        summary="threshold toward every mixture of three targets: is a real one best?",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=(
            {"kind": "interpolation", "count": 1, "targets": [{"kind": "real-other"}, _RANDOM, _RANDOM]},
            {"kind": "interpolation", "count": 1, "targets": [_RANDOM, _RANDOM, _RANDOM]},
        ),
        sections={"path": {"mode": "sphere"}},
        options=TriangleOptions,
        tables={
            TABLE: ("i", "j", "k", "distance", "threshold"),
            MINIMA: (
                "lowest",
                "corner_0",
                "corner_1",
                "corner_2",
                "first_is_lowest",
                "a_corner_is_lowest",
                "first_is_lowest_corner",
                "first_is_local",
            ),
        },
    )
)
