"""`mixtures`: two directions mixed at every angle, and the exponent of the superellipse on which their mixtures break.

Directions of one kind are taken in pairs, in the order of the recipe. Each mixture cos t u1 + sin t u2 has a threshold;
p is fitted to those (Ferreira da Silva & Heimersheim, "Evidence for feature-specific error correction in LLMs", arXiv
2606.24964: p above 2 for contrastive and SAE directions, about 2 for random and principal ones). How is this module's
own: `p` is fitted to the even part of the response, in which the cross term of a quadratic one cancels, so that it is 2
for any quadratic response. `p_plus` is fitted to mixtures of the directions as they are, not of their opposites; there
a cross term alone can give anything, and `p_plus_quadratic` says what the curvature at the base would give. Table
`mixtures`: a row for each mixture. Table `exponents`: one for each pair and base. Table `pairs`: medians over bases.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, NoOptions

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.results import Event

TABLE, EXPONENTS, PAIRS = "mixtures", "exponents", "pairs"


class MixturesOptions(NoOptions):
    """How many mixtures."""

    angles: int = Field(8, ge=2, le=90, description="a whole number from 2 to 90: steps of a quadrant")


def _run(lab: Laboratory) -> Iterator[Event]:
    import numpy as np

    from engine.results import Progress, RowResult
    from engine.thresholds import in_order

    steps = int(lab.recipe.options.model_dump()["angles"])
    angles = np.arange(4 * steps) * 90 / steps
    pairs = pairs_of(lab)
    total = lab.recipe.n_bases * len(pairs) * len(angles)
    held, exponents = lab.held.rows.get(TABLE, ()), [dict(row) for row in lab.held.rows.get(EXPONENTS, ())]
    number = told = 0
    for base_number, base in enumerate(lab.bases()):
        for kind, place, both in pairs:
            rows = [dict(row) for row in held[number : number + len(angles)]]
            where = {"base": base_number, "sample": base_number, "kind": kind, "pair": place}
            if len(rows) < len(angles):
                drawn = [lab.draw(spec, base, index) for spec, index in both]
                u1, u2 = (lab.ray(base, d.vector, d.label).u for d in drawn)
                labels = {"first": drawn[0].label, "second": drawn[1].label, "cosine": float(u1 @ u2)}
                vectors = [np.cos(t) * u1 + np.sin(t) * u2 for t in np.radians(angles)]
                for at, found in in_order(lab, base, vectors, ["a mixture"] * len(vectors), len(rows)):
                    row = {
                        **where,
                        **labels,
                        "mixed": float(angles[at]),
                        "threshold": found.threshold,
                        "censored": found.threshold is None,
                        "fisher": found.fisher,
                    }
                    rows.append(row)
                    yield RowResult(TABLE, row)
            number += len(angles)
            if told >= len(exponents):
                row = {**where, **exponent_of(rows, lab.recipe.metrics.level, float(lab.stop or 0))}
                exponents.append(row)
                yield RowResult(EXPONENTS, row)
            told += 1
            yield Progress("mixing", number, total)
    for row in list(_by_pair(exponents))[lab.held.count(PAIRS) :]:
        yield RowResult(PAIRS, row)


def pairs_of(lab: Laboratory) -> list[tuple[str, int, tuple[Any, Any]]]:
    """The kind, the number within it and the two (spec, index) of every pair.

    Raises:
        RecipeError: A kind has an odd number of directions.
    """
    from engine.errors import RecipeError

    by_kind: dict[str, list[Any]] = {}
    for spec, index in lab.recipe_order:
        by_kind.setdefault(spec.kind, []).append((spec, index))
    for kind, found in by_kind.items():
        if len(found) % 2:
            raise RecipeError(
                f"mixtures takes directions of a kind in pairs, but the recipe has {len(found)} of '{kind}': give it "
                "an even count."
            )
    return [
        (kind, at, (first, second))
        for kind, found in by_kind.items()
        for at, (first, second) in enumerate(zip(found[::2], found[1::2], strict=True))
    ]


def exponent_of(rows: Sequence[Mapping[str, Any]], level: float, stop: float) -> dict[str, Any]:
    """p of the mixtures of one pair from one base."""
    import numpy as np

    from engine.superellipse import contour, even, fit
    from engine.thresholds import as_number

    angle = np.array([row["mixed"] for row in rows])
    radius = np.array([as_number(row["threshold"]) for row in rows])
    fisher = np.maximum([row["fisher"] for row in rows], 1e-30)
    cosine = float(rows[0]["cosine"])
    measured = contour(angle, radius, cosine, stop)
    predicted = contour(angle, np.sqrt(2 * level / fisher), cosine, np.inf)
    whole = fit(even(measured))
    return {
        "first": rows[0]["first"],
        "second": rows[0]["second"],
        "cosine": cosine,
        "p": _known(whole.p),
        "p_plus": _known(fit(measured).p),
        "p_plus_quadratic": _known(fit(predicted).p),
        "residual": _known(whole.residual),
        "never": float(np.isinf(radius).mean()),
        "first_threshold": rows[0]["threshold"],
        "second_threshold": rows[len(rows) // 4]["threshold"],
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _by_pair(exponents: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Medians over bases of each pair, and of all pairs of a kind (`pair` -1, each base counting once)."""
    import numpy as np

    from engine.contrasts import median_of

    for kind in dict.fromkeys(row["kind"] for row in exponents):
        mine = [row for row in exponents if row["kind"] == kind]
        numbers = sorted({row["pair"] for row in mine})
        for pair in [*numbers, -1]:
            values: dict[str, Any] = {"kind": kind, "pair": pair, "what": "all pairs" if pair < 0 else f"pair {pair}"}
            chosen = mine if pair < 0 else [row for row in mine if row["pair"] == pair]
            for name in ("p", "p_plus", "p_plus_quadratic"):
                of_base: dict[int, list[float]] = {}
                for row in chosen:
                    if row[name] is not None:
                        of_base.setdefault(row["base"], []).append(row[name])
                found = median_of(np.array([float(np.median(ps)) for ps in of_base.values()]))
                values |= {
                    name: _known(found.value),
                    f"{name}_low": _known(found.low),
                    f"{name}_high": _known(found.high),
                }
                if name == "p":
                    values["n"] = len(of_base)
            yield values


_PS = tuple(f"{name}{end}" for name in ("p", "p_plus", "p_plus_quadratic") for end in ("", "_low", "_high"))
EXPERIMENTS.register(
    Experiment(
        name="mixtures",
        summary="two directions mixed at every angle: on which superellipse do they act?",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=(
            {"kind": "sae-feature", "count": 6},
            {"kind": "random-mixture", "count": 6},
            {"kind": "isotropic", "count": 6},
            {"kind": "principal-component", "count": 6},
        ),
        sections={"path": {"mode": "sphere"}},
        options=MixturesOptions,
        tables={
            TABLE: ("mixed", "threshold", "fisher", "cosine"),
            EXPONENTS: ("p", "p_plus", "p_plus_quadratic", "residual", "cosine", "first_threshold", "second_threshold"),
            PAIRS: _PS,
        },
    )
)
