"""How strong steering is, in one of several units, as a factor of the vector as it came.

Equal multiples of different vectors are not equal pushes (Conmy & Nanda, GDM progress update #1, 2024), so the length
added and its ratio to the residual's are always told; `kl` asks for equal effects instead. Knows numbers; no models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from engine.errors import DirectionError

Unit = Literal["native", "norm", "fraction", "max-activation", "kl"]
UNITS: Final = get_args(Unit)
MEANINGS: Final[dict[str, str]] = {
    "native": "x its own length",
    "norm": "L2",
    "fraction": "x the residual's length",
    "max-activation": "x the feature's largest activation",
    "kl": "nats on held-out text",
}
"""What a strength of 1 is, by unit."""
SMALLEST_SHARE: Final = 1e-3
LARGEST_SHARE: Final = 100.0
"""Shares of the residual's length between which a KL budget is looked for."""
CLOSE: Final = 0.02
"""A budget is met to this share of it."""
HALVINGS: Final = 24


@dataclass(frozen=True)
class Scale:
    """What the units of a vector are measured with."""

    length: float
    """Of the row with the largest share, as it came."""
    share: float
    """That row's length over the length of the residual that it is added to."""
    activation: float | None = None
    """Factor that makes a feature's vector that of its largest activation; None where it is no feature."""


def factor(strength: float, unit: Unit, scale: Scale, kl_at: Callable[[float], float]) -> float:
    """What the vector is multiplied with.

    Args:
        kl_at: the mean KL that a factor causes, for budgets.

    Raises:
        DirectionError: The unit does not apply, or no factor reaches the budget.
    """
    match unit:
        case "native":
            return strength
        case "norm":
            return strength / scale.length
        case "fraction":
            return strength / scale.share
        case "max-activation":
            if scale.activation is None:
                raise DirectionError(
                    'unit = "max-activation" is for sae-feature directions that fire on the population: use "native", '
                    '"norm", "fraction" or "kl" for others.'
                )
            return strength * scale.activation
        case "kl":
            return budget(strength, scale, kl_at)


def budget(nats: float, scale: Scale, kl_at: Callable[[float], float]) -> float:
    """The factor at which the mean KL is `nats`, or minus it to the other side.

    Doubles from a thousandth of the residual's length until the budget is passed, then halves the interval: the
    smallest crossing of that grid, wherever KL is not monotone. Logits that are not finite count as too much. Where KL
    jumps over the budget, the largest factor below the jump.

    Raises:
        DirectionError: Not even 100 times the residual's length reaches it.
    """
    sign, nats = math.copysign(1.0, nats), abs(nats)
    if nats == 0:
        return 0.0
    low, high = 0.0, SMALLEST_SHARE / scale.share
    while (found := kl_at(sign * high)) < nats:
        low, high = high, 2 * high
        if high * scale.share > LARGEST_SHARE:
            raise DirectionError(
                f"No strength up to {LARGEST_SHARE:g} times the residual's length reaches a KL of {nats:g} nats; the "
                f"largest gives {found:.3g}: ask for a smaller budget."
            )
    if abs(found - nats) <= CLOSE * nats:
        return sign * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = kl_at(sign * middle)
        if abs(found - nats) <= CLOSE * nats:
            return sign * middle
        low, high = (middle, high) if found < nats else (low, middle)
    return sign * low
