"""From the values measured along one ray to the curve that is recorded: its scalars and its next tokens.

Knows a laboratory's recipe, population and noise floor; computes no forward pass.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.curves import (
    NEAR_SHARE,
    area,
    max_slope_step,
    plateau_length,
    quadratic_ratio,
    threshold,
    value_at,
)
from engine.drawing import Base, Direction
from engine.laboratory import Laboratory
from engine.paths import Ray
from engine.results import CurveResult, Series, Summary, TokenTable


def curve_result(
    lab: Laboratory,
    *,
    curve: int,
    number: int,
    base: Base,
    direction: Direction,
    ray: Ray,
    coordinate: Series,
    values: dict[str, dict[str, Series]],
    fisher: float,
    entropy: float,
    tokens: tuple[NDArray[np.int32], NDArray[np.float64]] | None,
) -> CurveResult:
    """One whole curve. What lies below the run's noise floor is no result, and left out of the scalars.

    Args:
        curve: its number in the run.
        number: of the base.
        values: values[read][metric] [steps + 1]; the quadratic prediction is added to them.
        fisher: t'Ft at the base.
        entropy: of the base run's next-token distribution, nats.
        tokens: ids and probabilities [steps + 1, ranks] of the next tokens.
    """
    level = lab.recipe.metrics.level
    quadratic = coordinate**2 / 2 * fisher
    values["logits"]["kl_quadratic"] = quadratic
    last_read = lab.where.reads[-1].name
    kl, l2 = values["logits"]["kl"], values[last_read]["l2"]
    distance, typical = ray.distance(coordinate), lab.population.typical_distance
    reached = threshold(coordinate, kl, level)
    noise = lab.noise.l2[last_read] if lab.noise is not None else 0.0
    plateau = plateau_length(distance, l2, typical, noise)
    final = float(kl[-1])
    end: float | None = final if math.isfinite(final) else None
    steepest: int | None = max_slope_step(l2) if np.isfinite(l2).all() else None
    near = value_at(distance, kl, NEAR_SHARE * typical)
    if lab.noise is not None:
        near = None if near is None or near <= lab.noise.kl else near
        end = None if final <= lab.noise.kl else end
        steepest = steepest if (l2[1:] - l2[:-1]).max() > noise else None
    mean_kl = area(coordinate, kl)
    summary = Summary(
        curve=curve,
        base=number,
        base_kind=base.kind_and_host(lab.where.token_ids),
        kind=direction.kind,
        label=direction.label,
        native_norm=ray.native_norm,
        native_angle=ray.native_angle,
        threshold=reached,
        # Where values are missing, whether the level is ever reached cannot be told.
        censored=reached is None and bool(np.isfinite(kl).all()),
        max_slope_step=steepest,
        plateau_length=plateau if math.isfinite(plateau) else None,
        plateau_censored=math.isinf(plateau),
        fisher=fisher,
        final_kl=end,
        kl_near=near,
        quadratic_near=value_at(distance, quadratic, NEAR_SHARE * typical),
        quadratic_ratio=quadratic_ratio(reached, fisher, level),
        near_share=near / end if near is not None and end else None,
        threshold_0_1=threshold(coordinate, kl, 0.1),
        threshold_1=threshold(coordinate, kl, 1.0),
        area=mean_kl if math.isfinite(mean_kl) else None,
        base_entropy=entropy,
    )
    return CurveResult(
        summary=summary,
        direction=direction.vector,
        detail=direction.detail,
        coordinate=coordinate,
        distance=distance,
        angle=ray.angle(coordinate),
        values=values,
        tokens=None if tokens is None else _token_table(lab, *tokens),
    )


def _token_table(lab: Laboratory, ids: NDArray[np.int32], probabilities: NDArray[np.float64]) -> TokenTable:
    strings = {int(i): lab.workshop.token_string(lab.model, int(i)) for i in np.unique(ids)}
    return TokenTable(ids.copy(), probabilities.copy(), strings)
