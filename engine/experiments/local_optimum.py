"""`local-optimum`: is a direction more sensitive than itself mixed with something else?

Each direction of the recipe is a centre d; each draw of `options.others` spans with it a plane, a slice, in which it is
turned by `options.angles` to both sides: d cos t + g sin t, g the part of the draw that is orthogonal to d (and to the
base on the sphere). If SAE features are the model's own, they should be local optima: 0.99 of a feature with some of
another direction is less sensitive than the feature (Heimersheim & Mendel, "Activation plateaus & sensitive directions
in GPT2", 2024). A direction that is no optimum can be improved in nearly every slice, since either side will do; so the
centres to compare with are directions that mean nothing. Table `slices`: a row for each slice and angle. Table
`optima`: shares of slices for each base, centre and kind of draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, Strict, field_validator

from engine.directions import DIRECTIONS, SingleSpec
from engine.experiments import EXPERIMENTS, Experiment, Names, NoOptions, distinct

if TYPE_CHECKING:
    from engine.drawing import Base
    from engine.laboratory import Laboratory
    from engine.results import Event, Series

SLICES, OPTIMA = "slices", "optima"
ROUNDING = 1e-5
"""Thresholds closer than this share are one: rounding in float32 moves them by some 1e-6."""
Angles = Annotated[tuple[Annotated[float, Field(gt=0, lt=90), Strict(False)], ...], Strict(False)]


class LocalOptimumOptions(NoOptions):
    """With what each direction is mixed, and how much."""

    others: Names = Field(
        ("isotropic", "random-mixture", "feature-span"), min_length=1, description="a list of kinds of direction"
    )
    draws: int = Field(16, ge=1, description="a whole number of at least 1: slices of each kind")
    angles: Angles = Field((8.1, 30.0), min_length=1, description="a list of degrees between 0 and 90")
    """cos 8.1 degrees = 0.99."""

    once = field_validator("others", "angles")(distinct)

    @field_validator("others")
    @classmethod
    def _many(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            kind = DIRECTIONS[name]
            if kind.example or issubclass(kind.spec, SingleSpec):
                raise ValueError(
                    f"'{name}' is one direction or needs options of its own, so that no slices are drawn of it"
                )
        return names


def _run(lab: Laboratory) -> Iterator[Event]:
    from engine.results import Progress, RowResult
    from engine.thresholds import ordered_thresholds

    options = lab.recipe.options
    assert isinstance(options, LocalOptimumOptions)
    sides = [side * angle for angle in options.angles for side in (1, -1)]
    each = len(options.others) * options.draws * len(options.angles)
    total = lab.recipe.n_bases * len(lab.direction_order) * each
    held, concluded = lab.held.rows.get(SLICES, ()), lab.held.count(OPTIMA)
    number = told = 0
    for base_number, base in enumerate(lab.bases()):
        for spec, index in lab.direction_order:
            centre = lab.draw(spec, base, index)
            rows = [dict(row) for row in held[number : number + each]]
            where = {"base": base_number, "sample": base_number, "centre": centre.label, "kind": centre.kind}
            if len(rows) < each:
                middle = lab.ray(base, centre.vector, centre.label).u
                drawn = [g for kind in options.others for g in _slices(lab, base, middle, kind, options.draws)]
                vectors, labels = [middle], [centre.label]
                for other in drawn:
                    vectors += [_turned(middle, other, side) for side in sides]
                    labels += [f"{centre.label} turned"] * len(sides)
                reached = [rows[0]["centre_threshold"]] if rows else []
                reached += [row[side] for row in rows for side in ("plus", "minus")]
                for at, threshold in ordered_thresholds(lab, base, vectors, labels, len(reached)):
                    reached.append(threshold)
                    if at == 0 or at % 2:  # the slice lacks its other side
                        continue
                    slice_number, angle = divmod(at // 2 - 1, len(options.angles))
                    kind, draw = divmod(slice_number, options.draws)
                    values = _slice(reached[0], reached[at - 1], threshold)
                    row = {
                        **where,
                        "other": options.others[kind],
                        "draw": draw,
                        "turned": options.angles[angle],
                        **values,
                    }
                    rows.append(row)
                    yield RowResult(SLICES, row)
                    if len(rows) % 16 == 0:
                        yield Progress("measuring slices", number + len(rows), total)
            number += each
            for name in options.others:
                for turned in options.angles:
                    if told >= concluded:
                        mine = [row for row in rows if row["other"] == name and row["turned"] == turned]
                        yield RowResult(OPTIMA, {**where, "other": name, "turned": turned, **shares(mine)})
                    told += 1
            yield Progress("measuring slices", number, total)


def _slices(lab: Laboratory, base: Base, middle: Series, kind: str, draws: int) -> Iterator[Series]:
    """Unit directions [d_hook], orthogonal to a unit direction, of so many draws of a kind."""
    import numpy as np

    spec = DIRECTIONS[kind].spec(kind=kind, count=draws)
    # Behind those that the recipe draws of the kind, which are centres.
    index = sum(s.count for s in lab.recipe.directions if s.kind == kind) if spec.drawn else 0
    found = 0
    while found < draws:
        drawn = lab.draw(spec, base, index)
        index += 1
        other = lab.ray(base, drawn.vector, drawn.label).u
        across = other - (other @ middle) * middle
        length = float(np.linalg.norm(across))
        if length > 1e-3:  # of a list of features, one may be the centre itself
            found += 1
            yield np.asarray(across / length)


def _turned(middle: Series, other: Series, degrees: float) -> Series:
    import numpy as np

    t = np.radians(degrees)
    return np.asarray(np.cos(t) * middle + np.sin(t) * other)


def _slice(centre: float | None, plus: float | None, minus: float | None) -> dict[str, Any]:
    """The thresholds of one slice, and what they say; ones that are never reached count as +infinity."""
    from engine.thresholds import as_number

    at = as_number(centre)
    found = [as_number(side) for side in (plus, minus)]
    sides = [at if centre is not None and abs(side - at) <= ROUNDING * at else side for side in found]
    return {
        "centre_threshold": centre,
        "plus": plus,
        "minus": minus,
        "improves": float(min(sides) < at),
        "both_worse": float(min(sides) > at),
        "better_sides": sum(float(side < at) + 0.5 * float(side == at) for side in sides) / 2,
        "best_over_centre": None if centre is None or min(sides) == float("inf") else min(sides) / centre,
    }


def shares(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of slices that share a centre: in how many it can be improved, and in how many it is the optimum."""
    import numpy as np

    known = [row["best_over_centre"] for row in rows if row["best_over_centre"] is not None]
    return {
        "n": len(rows),
        "improves": float(np.mean([row["improves"] for row in rows])),
        "both_worse": float(np.mean([row["both_worse"] for row in rows])),
        "better_sides": float(np.mean([row["better_sides"] for row in rows])),
        "best_over_centre": float(np.median(known)) if known else None,
    }


_SHARES = ("improves", "both_worse", "better_sides", "best_over_centre")
EXPERIMENTS.register(
    Experiment(
        name="local-optimum",
        summary="is a direction more sensitive than itself mixed with others?",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=(
            {"kind": "sae-feature", "count": 4},
            {"kind": "real-other", "count": 4},
            {"kind": "random", "count": 4},
            {"kind": "random-mixture", "count": 4},
        ),
        sections={"path": {"mode": "sphere"}},
        options=LocalOptimumOptions,
        needs_sae=lambda options: any(DIRECTIONS[name].needs_sae for name in options.others),
        tables={SLICES: ("turned", "centre_threshold", "plus", "minus", *_SHARES), OPTIMA: ("turned", "n", *_SHARES)},
    )
)
