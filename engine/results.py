"""What comes out of a run: frozen values that cross from the engine to whoever stores or draws them.

Numpy only. Knows no files and no terminals. Arrays along a curve are aligned: entry k is step k, and step 0 is the
unperturbed run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from engine.drawing import Vector

Series = NDArray[np.float64]

SUMMARY_NUMBERS: Final = (
    "threshold",
    "max_slope_step",
    "plateau_length",
    "native_norm",
    "native_angle",
    "fisher",
    "final_kl",
    "kl_near",
    "quadratic_near",
    "quadratic_ratio",
    "near_share",
    "threshold_0_1",
    "threshold_1",
    "area",
    "base_entropy",
)
"""Columns of the summary that an expectation may aggregate."""


@dataclass(frozen=True)
class Summary:
    """The scalars of one curve."""

    curve: int
    base: int
    base_kind: str
    kind: str
    """Kind of the direction."""
    label: str
    native_norm: float
    """|d| before normalising."""
    native_angle: float
    """Angle between x and x + d, degrees."""
    threshold: float | None
    """Where KL first reaches the level, in the path's unit; None when it never does."""
    censored: bool
    max_slope_step: int | None
    """Smallest k that maximises l2[k] - l2[k-1] at the last read hook; None where no step rises above the noise."""
    plateau_length: float | None
    """First L2 distance at which l2 exceeds 1.1 x the line fitted below 0.1 typical distances; None when never or
    when it cannot be told."""
    plateau_censored: bool
    """Whether the plateau never ends on this path; false with no length: the grid is too coarse to tell."""
    fisher: float
    """t'Ft at the base, t the path's tangent per unit: nats per unit squared; KL is about a^2/2 of it near zero."""
    final_kl: float | None
    """KL at the end of the path; None below the noise floor."""
    kl_near: float | None = None
    """KL at 0.2 typical distances from the base, linear between steps; None when the path ends before."""
    quadratic_near: float | None = None
    """The Fisher prediction at the same place."""
    quadratic_ratio: float | None = None
    """Threshold over where the Fisher prediction reaches the level. Below 1, KL grows faster than its curvature at the
    base, as where a plateau ends in a jump. At 1 it is a parabola, above 1 it saturates. None without either."""
    near_share: float | None = None
    """`kl_near` over `final_kl`: how flat the start is, whatever the scale. A parabola has 0.018 where the path ends at
    1.5 typical distances."""
    threshold_0_1: float | None = None
    """The threshold at 0.1 nats, whatever the recipe's level; None when never."""
    threshold_1: float | None = None
    """The same at 1 nat."""
    area: float | None = None
    """Mean of KL over the path, nats: trapezoids over the coordinate, divided by its length."""
    base_entropy: float | None = None
    """Entropy of the base run's next-token distribution, nats: near zero, nothing can move it but a rare token."""


@dataclass(frozen=True)
class TokenTable:
    """The most probable next tokens along a curve, most probable first."""

    ids: NDArray[np.int32]
    """[steps + 1, ranks]"""
    probabilities: Series
    """[steps + 1, ranks]"""
    strings: Mapping[int, str]
    """Text of every id in the table."""


@dataclass(frozen=True)
class RunStarted:
    """What `auto` resolved to and everything the numbers depend on; a JSON-able tree."""

    info: Mapping[str, Any]


@dataclass(frozen=True)
class BaseResult:
    """A base, as used."""

    base: int
    kind: str
    label: str
    vector: Vector
    token_ids: tuple[int, ...]
    position: int
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CurveResult:
    """One curve: a base, a direction, and everything measured along it."""

    summary: Summary
    direction: Vector
    """d before normalising and orthogonalising."""
    detail: Mapping[str, Any]
    coordinate: Series
    """The path's own unit: L2 distance or degrees."""
    distance: Series
    """|x' - x|"""
    angle: Series
    """Angle between x' and x, degrees."""
    values: Mapping[str, Mapping[str, Series]]
    """values[read][metric]; read is `logits` or a hook name."""
    tokens: TokenTable | None = None

    @property
    def kl(self) -> Series:
        """KL(base run || perturbed run), nats."""
        return self.values["logits"]["kl"]

    @property
    def kl_quadratic(self) -> Series:
        """The Fisher prediction of KL at the base, nats."""
        return self.values["logits"]["kl_quadratic"]


@dataclass(frozen=True)
class Sketch:
    """A curve that is still being measured, at the steps that are done; never stored, as the whole curve will be."""

    curve: int
    base_kind: str
    kind: str
    label: str
    coordinate: Series
    values: Mapping[str, Mapping[str, Series]]
    """values[read][metric], as in the curve."""

    @property
    def kl(self) -> Series:
        """KL(base run || perturbed run), nats."""
        return self.values["logits"]["kl"]


@dataclass(frozen=True)
class Sketches:
    """The curves of a shard after a pass over all of them."""

    curves: tuple[Sketch, ...]


@dataclass(frozen=True)
class RowResult:
    """One row of a table that is not a ray."""

    table: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Draft:
    """Rows of a table that are still being written; never stored, as the whole rows will be."""

    table: str
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Note:
    """Something the reader of a run should know."""

    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True)
class Progress:
    """How far a run is; never stored."""

    text: str
    done: int = 0
    total: int = 0
    steps_per_second: float | None = None


@dataclass(frozen=True)
class RunEnded:
    """The last event of a run."""

    status: Literal["done", "stopped", "failed"]
    why: str = ""
    peak_bytes: int | None = None
    """The most memory the worker's device held, or the worker itself on a CPU."""


Event = RunStarted | BaseResult | Sketches | CurveResult | RowResult | Draft | Note | Progress | RunEnded
