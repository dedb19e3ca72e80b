"""`layers`: how much sooner one kind of direction acts than another, written before each block.

Table `layers`, a row for each hook and base. The control of every claim about sensitive directions: written late, with
little left to compute behind it, the difference should be gone (Heimersheim & Mendel 2024 and comments: "12th layer").
Thresholds are in typical distances of the hook itself, since activations grow from layer to layer; on the sphere, in
degrees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from engine.experiments import EXPERIMENTS, Experiment, Names, NoOptions

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.results import CurveResult, Event

TABLE = "layers"


class LayersOptions(NoOptions):
    """Where to write and what to compare."""

    hooks: Names = Field(
        (), description="a list of hook point names; all blocks' inputs and the last one's output by default"
    )
    first: str = Field("real-other", description="a kind of direction that the recipe has")
    second: str = Field("random", description="a kind of direction that the recipe has")

    @model_validator(mode="after")
    def _two(self) -> LayersOptions:
        if self.first == self.second:
            raise ValueError(f"first and second must be two kinds of direction; got {self.first!r} twice")
        return self


def _run(lab: Laboratory) -> Iterator[Event]:
    from engine.elsewhere import at, curves_by_base, moved
    from engine.errors import RecipeError
    from engine.hooks import default_read
    from engine.results import Progress, RowResult

    options = lab.recipe.options
    assert isinstance(options, LayersOptions)
    kinds = {spec.kind for spec in lab.recipe.directions}
    for kind in (options.first, options.second):
        if kind not in kinds:
            raise RecipeError(
                f"options compares '{options.first}' with '{options.second}', but the recipe's directions are "
                f"{', '.join(sorted(kinds))}: name two of them."
            )
    n_layers = lab.model.n_layers
    hooks = options.hooks or (*(f"blocks.{i}.hook_resid_pre" for i in range(n_layers)), default_read(n_layers))
    # All of them are looked up first, so that a wrong name is said before anything is computed.
    places = [at(lab, moved(lab.recipe, site={"write": hook})) for hook in hooks]
    done, total = lab.held.count(TABLE), lab.recipe.n_bases * len(hooks)
    number = 0
    for hook, place in zip(hooks, places, strict=True):
        first = max(0, min(lab.recipe.n_bases, done - number))
        number += first
        if first == lab.recipe.n_bases:
            continue
        there = at(lab, place.recipe, first)
        for found in curves_by_base(there):
            if not isinstance(found, tuple):
                yield found
                continue
            base, curves = found
            values = _compared(curves, options.first, options.second, there)
            where = {"hook": hook, "layer": there.where.write.layer, "base": base, "sample": base}
            yield RowResult(TABLE, {**where, **values})
            number += 1
            yield Progress(f"measuring at {hook}", number, total)


def _compared(curves: list[CurveResult], first: str, second: str, there: Laboratory) -> dict[str, Any]:
    import numpy as np

    from engine.aggregates import quantile, win_rate

    rows, typical = [curve.summary for curve in curves], there.population.typical_distance
    straight = there.recipe.path.mode == "straight"
    scale = typical if straight else 1.0
    found: dict[str, Any] = {
        "first": first,
        "second": second,
        "win_rate": win_rate(rows, first, second),
        "typical_distance": typical,
        "unit": "typical distances" if straight else "degrees",
        "base_entropy": rows[0].base_entropy,
    }
    for side, kind in (("first", first), ("second", second)):
        reached = np.array([np.inf if r.threshold is None else r.threshold / scale for r in rows if r.kind == kind])
        middle = quantile(reached, 0.5)
        found[f"{side}_threshold"] = float(middle) if np.isfinite(middle) else None
        found[f"{side}_never"] = float(np.isinf(reached).mean())
    return found


EXPERIMENTS.register(
    Experiment(
        name="layers",
        summary="how much sooner real-other acts than random, written at every layer",
        run=_run,
        default_bases=({"kind": "real-other", "count": 32},),
        default_directions=({"kind": "real-other", "count": 4}, {"kind": "random", "count": 4}),
        options=LayersOptions,
        tables={
            TABLE: (
                "layer",
                "win_rate",
                "first_threshold",
                "second_threshold",
                "first_never",
                "second_never",
                "typical_distance",
                "base_entropy",
            )
        },
    )
)
