"""A run in a few rows: per kind of direction, how soon its curves jump.

Knows summary rows; the app's table, batch output and Markdown export all show these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np

from engine.aggregates import Aggregate, bootstrap_interval, number_of, quantile, value_of
from engine.directions import DIRECTIONS
from engine.printable import printable
from engine.results import Summary


@dataclass(frozen=True)
class KindDigest:
    """The curves of one direction kind from one kind of base."""

    base_kind: str
    kind: str
    n: int
    threshold: float
    """Median, censored curves counting as +infinity; infinity when most are."""
    threshold_low: float
    """First quartile."""
    threshold_high: float
    """Third quartile."""
    max_slope_step: float
    """Median; NaN where none rises above the noise."""
    plateau_length: float
    """Median, never-ending plateaus counting as +infinity."""
    quadratic_ratio: float
    """Median of threshold over where the Fisher prediction reaches the level."""
    kl_near: float
    """Median KL at 0.2 typical distances, NaN where no path gets there."""
    censored: float
    """Share of curves that never reach the level."""


def digest(rows: Sequence[Summary]) -> list[KindDigest]:
    """One entry per (base kind, direction kind), in order of appearance."""
    groups: dict[tuple[str, str], list[Summary]] = {}
    for row in rows:
        groups.setdefault((row.base_kind, row.kind), []).append(row)
    result = []
    for (base_kind, kind), members in groups.items():
        thresholds = np.array([number_of(m, "threshold") for m in members])
        plateaus = np.array([number_of(m, "plateau_length") for m in members])
        ratios = np.array([number_of(m, "quadratic_ratio") for m in members])
        near = np.array([number_of(m, "kl_near") for m in members])
        steepest = [m.max_slope_step for m in members if m.max_slope_step is not None]
        result.append(
            KindDigest(
                base_kind=base_kind,
                kind=kind,
                n=len(members),
                threshold=quantile(thresholds, 0.5),
                threshold_low=quantile(thresholds, 0.25),
                threshold_high=quantile(thresholds, 0.75),
                max_slope_step=float(np.median(steepest)) if steepest else math.nan,
                plateau_length=quantile(plateaus[~np.isnan(plateaus)], 0.5),
                quadratic_ratio=quantile(ratios[~np.isnan(ratios)], 0.5),
                kl_near=quantile(near[~np.isnan(near)], 0.5),
                censored=sum(m.censored for m in members) / len(members),
            )
        )
    return result


def number(value: float | None, digits: int = 4) -> str:
    """A number for people: `never` for what does not happen."""
    if value is None or math.isinf(value):
        return "never"
    return "-" if math.isnan(value) else f"{value:.{digits}g}"


def digest_lines(rows: Sequence[Summary], unit: str) -> list[str]:
    """The digest as aligned text, header first."""
    table = [
        [
            "base",
            "kind",
            "n",
            f"threshold ({unit})",
            "quartiles",
            "max-slope step",
            "plateau (L2)",
            "KL near",
            "censored",
        ]
    ]
    for d in digest(rows):
        table.append(
            [
                d.base_kind,
                d.kind,
                str(d.n),
                number(d.threshold),
                f"{number(d.threshold_low)} - {number(d.threshold_high)}",
                number(d.max_slope_step),
                number(d.plateau_length),
                number(d.kl_near, 2),
                f"{d.censored:.0%}",
            ]
        )
    return aligned(table)


@dataclass(frozen=True)
class WinRate:
    """How often one kind of direction reaches the level before another from the same base."""

    first: str
    second: str
    n_bases: int
    rate: float
    low: float
    """2.5 % of 1000 bootstrap resamples of the bases."""
    high: float

    def __str__(self) -> str:
        return f"win rate {self.first} before {self.second}: {self.rate:.2f} ({self.low:.2f} to {self.high:.2f}, 95 %)"


PAIRED: Final = 8
"""Of more kinds, pairs would be hundreds of lines."""
CONTROLS: Final = {"toward": "random", "along": "random-mixture"}
"""What a kind of each family is compared with."""


def against_control(rows: Sequence[Summary]) -> dict[str, WinRate]:
    """By kind, how often it is sooner than its family's control from the same base; nothing where there is none."""
    kinds, n_bases = {row.kind for row in rows}, len({row.base for row in rows})
    found = {}
    for kind in kinds:
        control = CONTROLS[DIRECTIONS[kind].family]
        if n_bases > 1 and control in kinds and kind != control:
            rate = Aggregate("win_rate", (kind, control))
            found[kind] = WinRate(kind, control, n_bases, value_of(rate, rows), *bootstrap_interval(rate, rows))
    return found


def win_rates(rows: Sequence[Summary]) -> list[WinRate]:
    """Every pair of kinds within a family, in order of appearance; nothing with fewer than two bases.

    Of many kinds, each against the family's control alone.
    """
    n_bases = len({row.base for row in rows})
    kinds = list(dict.fromkeys(row.kind for row in rows))
    if n_bases < 2:
        return []
    if len(kinds) > PAIRED:
        against = against_control(rows)
        return [against[kind] for kind in kinds if kind in against]
    found = []
    for first, second in combinations(kinds, 2):
        if DIRECTIONS[first].family == DIRECTIONS[second].family:
            rate = Aggregate("win_rate", (first, second))
            found.append(WinRate(first, second, n_bases, value_of(rate, rows), *bootstrap_interval(rate, rows)))
    return found


CONDITIONS: Final = (
    "label", "strength", "input", "what", "of", "mode", "frozen", "at", "kind", "other", "turned", "added", "hook",
    "sae_id", "replaced", "control", "sort", "layer",
)  # fmt: skip
"""Columns that may say what was done: rows that differ in them are not averaged together."""
INDICES: Final = ("k", "low", "high", "step", "stride")
"""Columns whose mean says nothing."""
PLACES: Final = ("mixed", "u", "v", "turned")
"""Columns that say where, whose mean says nothing."""
SKEWED: Final = ("p", "p_plus", "p_plus_quadratic", "best_over_centre")
"""Columns of which a few values, or a bound that some are at, would make the mean."""
UNSEEN: Final = ("vector", "token_ids")
"""Columns for recipes and programs rather than for eyes."""
ROWS_SHOWN: Final = 6
WHOLE: Final = 64
"""Rows of a table of results, which is shown whole."""
SHORT: Final = 36
"""Longer texts stand on lines of their own."""
CELL: Final = 110


def table_lines(name: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table as text: what all rows share, the first rows, and the mean of every number with its interval."""
    # A table that has one row of each sort is a result in itself.
    sorts = {tuple(row[c] for c in CONDITIONS if c in row) for row in rows}
    most = WHOLE if len(sorts) == len(rows) else ROWS_SHOWN
    lines = [f"{name}, {len(rows)} rows" + (f", the first {most}:" if len(rows) > most else ":")]
    shared = [c for c in rows[0] if len(rows) > 1 and all(row[c] == rows[0][c] for row in rows)]
    if shared:
        lines.append("all: " + ", ".join(f"{column} {_cell(rows[0][column])}" for column in shared))
    varying = [c for c in rows[0] if c not in (*shared, *UNSEEN)]
    texts = [c for c in varying if any(len(str(row[c])) > SHORT for row in rows if isinstance(row[c], str))]
    short = [c for c in varying if c not in texts]
    header, *table = aligned([short, *([_cell(row[c]) for c in short] for row in rows[:most])])
    lines.append(header)
    for line, row in zip(table, rows, strict=False):
        lines += [line, *(f"    {column}: {_cell(row[column])}" for column in texts)]
    if any(c in rows[0] for c in INDICES) or (len(sorts) == len(rows) and len(rows) > 1):
        return lines  # a curve or histogram: means over its points say nothing
    # A column that tells every row apart is a name, not a condition.
    conditions = [c for c in CONDITIONS if c in rows[0] and 2 * len({row[c] for row in rows}) <= len(rows)]
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[c] for c in conditions), []).append(row)
    means = {condition: _means(name, list(rows[0]), members) for condition, members in groups.items()}
    if len(groups) == 1:
        lines += [f"{what}: {value}" for found in means.values() for what, value in found.items()]
    elif columns := list(dict.fromkeys(what for found in means.values() for what in found)):
        told = [
            [*map(_cell, condition), *(found.get(c) or _constant(groups[condition], c) for c in columns)]
            for condition, found in means.items()
        ]
        lines += ["by condition, 95 % in brackets:", *aligned([[*conditions, *columns], *told])]
    return [*lines, *splice_lines(rows)]


def splice_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What splicing an SAE in costs, on the scale of ablations; nothing for a table of something else."""
    names = ("ce_clean", "ce_spliced", "ce_zero", "ce_mean")
    if not rows or any(n not in rows[0] for n in names):
        return []
    weights = np.array([float(row["tokens"]) for row in rows])
    clean, spliced, zero, mean = (float(np.average([row[n] for row in rows], weights=weights)) for n in names)
    recovered = [(ablated - spliced) / (ablated - clean) if ablated > clean else math.nan for ablated in (zero, mean)]
    return [
        f"cross-entropy, nats a token: clean {clean:.4g}, spliced {spliced:.4g} ({spliced - clean:+.3g}), zero "
        f"ablation {zero:.4g}, mean ablation {mean:.4g}",
        f"loss recovered: {recovered[0]:.1%} of zero ablation, {recovered[1]:.1%} of mean ablation; where ablating "
        "breaks the model altogether nearly everything is recovered, so judge by the difference in nats",
    ]


def _means(name: str, header: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The mean of every numeric column that varies, with its interval where there are samples to draw from."""
    found = {}
    if "threshold" in header and "censored" in header:
        censored = sum(bool(row["censored"]) for row in rows) / len(rows)
        found["median threshold"] = _measured(Aggregate("median", ("threshold", f"table:{name}")), name, rows)
        found["never"] = f"{censored:.0%}"
    for column in header:
        if column in ("threshold", "censored", *PLACES):
            continue
        numeric = all(isinstance(row[column], float | bool) for row in rows)
        if numeric and any(row[column] != rows[0][column] for row in rows):
            average = "median" if column in SKEWED else "mean"
            found[f"{average} {column}"] = _measured(Aggregate(average, (column, f"table:{name}")), name, rows)
    return found


def _constant(rows: Sequence[Mapping[str, Any]], what: str) -> str:
    """What all rows have of a column that has a mean elsewhere."""
    value = rows[0].get(what.partition(" ")[2])
    return number(float(value)) if isinstance(value, float | bool) else "-"


def _measured(aggregate: Aggregate, name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    low, high = bootstrap_interval(aggregate, (), {name: rows})
    middle = number(value_of(aggregate, (), {name: rows}))
    return middle if math.isnan(low) else f"{middle} ({number(low)} to {number(high)})"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        value = ", ".join(_cell(v) if isinstance(v, float) else repr(v) for v in value)
    text = " ".join(printable(str(value)).split())
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of text, each column as wide as its widest cell."""
    shown = [[printable(cell) for cell in row] for row in table]
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in shown]
