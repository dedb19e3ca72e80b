"""How well groups of curves are told apart, by several numbers each: win rate, AUC and KS, with intervals over bases.

Which classifier separates best is an open question of Heimersheim & Mendel (2024), who used the threshold at 0.5 nats.
Contrasts stay within a family of directions unless asked otherwise. Knows crowds; draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, Final

import numpy as np

from engine.aggregates import wins as wins_of
from engine.contrasts import Distance, Measured, auc, ks
from engine.recipe import Recipe
from sessions.crowd import BY_COLUMN, Crowd, CurveGroup
from sessions.digest import CONTROLS, aligned

COLUMNS: Final = ("threshold_0_1", "threshold", "threshold_1", "max_slope_step", "area")
BASE_COLUMNS: Final = (*COLUMNS, "plateau_length", "kl_near", "quadratic_ratio")
"""What kinds of base are told apart by."""
BASE_CONTROL: Final = "random"
FEW: Final = 4
"""Groups of which every pair is compared; of more, each with its control."""


@dataclass(frozen=True)
class Contrast:
    """Two groups of curves."""

    first: str
    """Labels of the groups."""
    second: str
    across: bool
    """Whether they are of different families, so that their directions were made in different ways."""
    n: tuple[int, int]
    """Curves."""
    n_bases: tuple[int, int]
    wins: Mapping[str, Measured] = field(default_factory=dict)
    """By column, mean over bases of P(first is the more sensitive | same base); none where they share no bases."""
    auc: Mapping[str, Measured] = field(default_factory=dict)
    """By column, P(a curve of the first is the more sensitive by it)."""
    ks: Mapping[str, Distance] = field(default_factory=dict)
    """By column, the largest difference of the distribution functions, and what chance gives."""

    @property
    def win(self) -> Measured | None:
        """Of thresholds."""
        return self.wins.get("threshold")

    def data(self) -> dict[str, Any]:
        """As a JSON-able tree."""
        return asdict(self)


def across(recipe: Recipe) -> bool:
    """Whether a recipe asks for contrasts across families."""
    return bool(getattr(recipe.options, "across", False))


def pairs(crowd: Crowd, families: bool = False) -> list[tuple[CurveGroup, CurveGroup]]:
    """Which groups are compared: kinds of direction from the same bases, and kinds of base with the same directions."""
    found: list[tuple[CurveGroup, CurveGroup]] = []
    for base_kind in dict.fromkeys(g.base_kind for g in crowd.groups):
        groups = [g for g in crowd.groups if g.base_kind == base_kind]
        for family in dict.fromkeys(g.family for g in groups):
            found += _chosen([g for g in groups if g.family == family], "kind", CONTROLS.get(family, ""))
        if families:
            found += [(a, b) for a, b in combinations(groups, 2) if a.family != b.family]
    for kind in dict.fromkeys(g.kind for g in crowd.groups):
        found += _chosen([g for g in crowd.groups if g.kind == kind], "base_kind", BASE_CONTROL)
    return found


def _chosen(groups: Sequence[CurveGroup], by: str, control: str) -> list[tuple[CurveGroup, CurveGroup]]:
    """Every pair of a few groups; of more, each with the control."""
    if len(groups) <= FEW:
        return list(combinations(groups, 2))
    control_group = next((g for g in groups if getattr(g, by) == control), groups[-1])
    return [(g, control_group) for g in groups if g is not control_group]


def contrast(crowd: Crowd, first: CurveGroup, second: CurveGroup) -> Contrast:
    """Compare two groups by everything that applies to them."""
    same_bases = first.base_kind == second.base_kind
    columns = COLUMNS if same_bases else BASE_COLUMNS
    wins, aucs, distances = {}, {}, {}
    for column in columns:
        a, b = first.numbers(column), second.numbers(column)
        if not len(a.values) or not len(b.values):
            continue
        aucs[column] = auc(a, b) if BY_COLUMN[column].sooner_is_less else auc(b, a)
        distances[column] = ks(a, b)
        if same_bases and first.n_bases > 1:
            wins[column] = wins_of(a, b) if BY_COLUMN[column].sooner_is_less else wins_of(b, a)
    return Contrast(
        first.label,
        second.label,
        first.family != second.family,
        (len(first.curves), len(second.curves)),
        (first.n_bases, second.n_bases),
        wins,
        aucs,
        distances,
    )


def contrasts(crowd: Crowd, families: bool = False) -> list[Contrast]:
    """All that `pairs` names."""
    return [contrast(crowd, first, second) for first, second in pairs(crowd, families)]


def contrast_lines(found: Sequence[Contrast]) -> list[str]:
    """As aligned text, header first; nothing of nothing."""
    if not found:
        return []
    columns = list(dict.fromkeys(column for c in found for column in c.auc))
    header = ["AUC: first sooner than second", "curves", "bases", *(BY_COLUMN[column].label for column in columns)]
    table = [header]
    for c in found:
        name = f"{c.first} / {c.second}" + (" (across families)" if c.across else "")
        cells = [brief(c.auc[column]) if column in c.auc else "-" for column in columns]
        table.append([name, f"{c.n[0]}, {c.n[1]}", f"{c.n_bases[0]}, {c.n_bases[1]}", *cells])
    distances = [["KS distance", *header[3:]]]
    for c in found:
        cells = [brief(c.ks[column]) if column in c.ks else "-" for column in columns]
        distances.append([f"{c.first} / {c.second}", *cells])
    return [*aligned(table), *aligned(distances)]


def brief(measured: Measured | Distance) -> str:
    """Value and interval in few cells, or what chance gives."""
    if isinstance(measured, Distance):
        chance = "" if np.isnan(measured.chance) else f" (chance {measured.chance:.2f})"
        return "-" if np.isnan(measured.value) else f"{measured.value:.2f}{chance}"
    if np.isnan(measured.value):
        return "-"
    if np.isnan(measured.low):
        return f"{measured.value:.2f}"
    return f"{measured.value:.2f} ({measured.low:.2f}-{measured.high:.2f})"
