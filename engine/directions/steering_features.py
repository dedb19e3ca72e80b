"""`steering-features`: a steering vector from chosen SAE features, each times the difference of its activations.

Sum over (token, feature) pairs of (f(x+) - f(x-)) D. Features of the negative prompt that the positive one lacks take
part with a minus; adding a few of them was found to improve steering drastically (Conmy & Nanda, "Activation Steering
with SAEs", GDM mechanistic interpretability team's progress update #1, 2024). Dense features mostly cancel and can be
left out by `max_rate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, Strict

from engine.directions import DIRECTIONS, DirectionKind
from engine.directions.sae_feature import checked_features
from engine.directions.steering import EXAMPLE, Side, SteeringSpec, aligned, sides
from engine.drawing import Base, Direction, DrawContext
from engine.errors import DirectionError


class SteeringFeaturesSpec(SteeringSpec):
    """With `features`, those; without, the largest contributions of either prompt."""

    features: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Strict(False)] | None = Field(
        None, min_length=1, description="a list of feature indices from 0"
    )
    positive: int = Field(10, ge=0, description="a whole number of at least 0")
    """How many (token, feature) pairs that plus has more of, largest contribution first."""
    negative: int = Field(0, ge=0, description="a whole number of at least 0")
    """How many that minus has and plus has not."""
    max_rate: float = Field(1.0, gt=0, le=1, description="a share of the population above 0, up to 1")
    """Features that fire more often are left out, unless they are named."""


@dataclass(frozen=True)
class Part:
    """What one feature adds to a contrast at one token."""

    token: int
    feature: int
    plus: float
    """Mean activation over the prompts of a side."""
    minus: float
    length: float
    """Of the difference of its contributions."""

    @property
    def change(self) -> float:
        return self.plus - self.minus


def parts(plus: Side, minus: Side, context: DrawContext) -> list[Part]:
    """Everything that differs between the sides as the SAE sees it, largest contribution first."""
    found = []
    for token in range(len(plus[0])):
        means = [_mean([context.features.activations(prompt[token]) for prompt in side]) for side in (plus, minus)]
        changed = np.flatnonzero(means[0] != means[1]).tolist()
        lengths = np.linalg.norm(added(plus, minus, token, changed, context), axis=1)
        for feature, length in zip(changed, lengths.tolist(), strict=True):
            found.append(Part(token, feature, float(means[0][feature]), float(means[1][feature]), length))
    return sorted(found, key=lambda part: -part.length)


def added(plus: Side, minus: Side, token: int, features: Sequence[int], context: DrawContext) -> NDArray[np.float64]:
    """What features contribute to plus, minus what they contribute to minus, at a token [n, d_hook].

    Each activation counts in units of its own residual, which an SAE that normalises at run time scales.
    """

    def contributed(base: Base) -> NDArray[np.float64]:
        activations = context.features.activations(base)[list(features)]
        return np.asarray(activations[:, None] * context.features.units(base, features))

    if not features:
        return np.zeros((0, len(plus[0][0].vector)))
    ends = [_mean([contributed(prompt[token]) for prompt in side]) for side in (plus, minus)]
    return ends[0] - ends[1]


def _mean(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(np.mean(values, axis=0))


def chosen(spec: SteeringFeaturesSpec, plus: Side, minus: Side, context: DrawContext) -> list[Part]:
    """The parts of a contrast that a table asks for.

    Raises:
        DirectionError: None of them differs between the prompts.
    """
    found = parts(plus, minus, context)
    if spec.features is not None:
        wanted = set(checked_features(context.features, spec.features))
        picked = [part for part in found if part.feature in wanted]
    else:
        if spec.max_rate < 1:
            found = [part for part in found if context.firing_rates[part.feature] <= spec.max_rate]
        more = [part for part in found if part.change > 0][: spec.positive]
        less = [part for part in found if part.change < 0 and part.plus == 0][: spec.negative]
        picked = [*more, *less]
    if not picked:
        raise DirectionError(
            f"No feature that is asked for differs between the prompts of {spec.said}: name others, or raise positive "
            "or negative."
        )
    return picked


def _draw(spec: SteeringFeaturesSpec, context: DrawContext, base: Base, index: int) -> Direction:
    plus, minus = sides(spec, context)
    picked = chosen(spec, plus, minus, context)
    found = np.zeros((len(plus[0]), len(base.vector)))
    for token in sorted({part.token for part in picked}):
        here = [part.feature for part in picked if part.token == token]
        found[token] = added(plus, minus, token, here, context).sum(0)
    less = sum(part.change < 0 for part in picked)
    features = list(dict.fromkeys(part.feature for part in picked))
    label = f"{len(picked) - less} features + {less} negative of {spec.said}"
    if spec.features is not None and len(features) <= 3:
        label = f"{' + '.join(f'#{i}' for i in features)} of {spec.said}"
    told = [[part.token, part.feature, part.change] for part in picked]
    return aligned("steering-features", label, found, spec, context, {"features": features, "parts": told})


DIRECTIONS.register(
    DirectionKind(
        "steering-features",
        "along",
        SteeringFeaturesSpec,
        _draw,
        "chosen SAE features of a steering vector",
        True,
        example=f"{EXAMPLE}\npositive = 10\nnegative = 3",
    )
)
