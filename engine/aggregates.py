"""Values of aggregates over the summary of a run and its tables, with bootstrap intervals over bases.

A selector names a direction kind, `direction kind @ base kind`, `table:NAME` or `table:NAME[column=text, ...]`.
Censored thresholds count as +infinity, ties of a win rate as one half. Knows summary and table rows; no torch, no
files.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.contrasts import Distance, Group, Measured, auc, ks, rates_by_base
from engine.randomness import stream
from engine.results import Summary

CONTRASTS: Final[dict[str, Callable[[Group, Group], Measured | Distance]]] = {"auc": auc, "ks": ks}
BOOTSTRAP_RESAMPLES: Final = 1000
REAL: Final = "real"
REAL_KINDS: Final = frozenset({"prompt", "real-other"})
"""Kinds of base that `@real` stands for: real activations in their own text."""
Tables = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows of an experiment's tables, by table."""


@dataclass(frozen=True)
class Aggregate:
    """A parsed aggregate: its function and its arguments, in the order of the grammar."""

    function: str
    arguments: tuple[Any, ...]


MEAN: Final = Aggregate("mean", ())


def value_of(aggregate: Aggregate, rows: Sequence[Summary], tables: Tables | None = None) -> float:
    """The value of an aggregate; NaN where there is nothing to aggregate."""
    match aggregate.function, aggregate.arguments:
        case "win_rate", (first, second):
            return win_rate(rows, first, second)
        case ("auc" | "ks") as name, (column, first, second):
            return CONTRASTS[name](group(rows, column, first), group(rows, column, second)).value
        case ("ci_low" | "ci_high") as side, (inner,):
            low, high = bootstrap_interval(inner, rows, tables)
            return low if side == "ci_low" else high
    if table_of(aggregate.arguments[-1]) is not None and not _is_known(aggregate.arguments[-1], tables or {}):
        return math.nan
    return _reduce(aggregate, _values(aggregate, rows, tables or {}))


def _values(aggregate: Aggregate, rows: Sequence[Summary], tables: Tables) -> np.ndarray:
    """The numbers that an aggregate of single rows is taken over."""
    selector = aggregate.arguments[-1]
    table = table_of(selector)
    if aggregate.function in ("n", "censored"):
        chosen = select(rows, selector) if table is None else chosen_rows(selector, tables)
        return np.array([float(getattr(r, "censored", 0)) for r in chosen])
    column = aggregate.arguments[-2]
    if table is None:
        numbers = np.array([number_of(r, column) for r in select(rows, selector)])
        return np.asarray(numbers[~np.isnan(numbers)])
    found = (_cell(row, column) for row in chosen_rows(selector, tables))
    return np.array([v for v in found if v is not None])


def _cell(row: Mapping[str, Any], column: str) -> float | None:
    """A number of a table's row; a threshold that is never reached comes after everything, as in curves."""
    value = row.get(column)
    never = row.get("censored") or (row.get(column.replace("threshold", "never")) or 0) >= 0.5
    if value is None and column.endswith("threshold") and never:
        return math.inf
    return None if value is None else float(value)


def _reduce(aggregate: Aggregate, values: np.ndarray) -> float:
    match aggregate.function:
        case "n":
            return float(len(values))
        case "mean" | "censored":
            return float(np.mean(values)) if len(values) else math.nan
        case "median":
            return quantile(values, 0.5)
        case "quantile":
            return quantile(values, aggregate.arguments[0])
    raise AssertionError(aggregate)


def table_of(selector: str) -> str | None:
    """The table that a selector names; None for one of curves."""
    return selector.removeprefix("table:").partition("[")[0] if selector.startswith("table:") else None


def conditions_of(selector: str) -> dict[str, str]:
    """What `table:NAME[column=text, ...]` asks of its rows."""
    inside = selector.partition("[")[2].removesuffix("]")
    pairs = (part.partition("=") for part in inside.split(",") if part.strip())
    return {column.strip(): text.strip() for column, _, text in pairs}


def chosen_rows(selector: str, tables: Tables) -> list[Mapping[str, Any]]:
    """The rows that a selector of a table names."""
    wanted = conditions_of(selector)
    rows = tables.get(table_of(selector) or "", ())
    return [row for row in rows if all(_is(row.get(column), text) for column, text in wanted.items())]


def _is(value: Any, text: str) -> bool:
    """Whether a cell is what a selector says, numbers as numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value) == float(text)
        except ValueError:
            return False
    return str(value) == text


def _is_known(selector: str, tables: Tables) -> bool:
    """Whether a table has the columns that a selector looks at; one without rows may have."""
    rows = tables.get(table_of(selector) or "", ())
    return not rows or all(column in rows[0] for column in conditions_of(selector))


def select(rows: Sequence[Summary], selector: str) -> list[Summary]:
    """Rows of a direction kind, or of `direction kind@base kind`."""
    kind, at, base_kind = selector.partition("@")
    wanted = REAL_KINDS if base_kind == REAL else {base_kind}
    return [r for r in rows if r.kind == kind and (not at or r.base_kind in wanted)]


def group(rows: Sequence[Summary], column: str, selector: str) -> Group:
    """The numbers of a column in the rows that a selector names."""
    return numbers(select(rows, selector), column)


def numbers(rows: Sequence[Summary], column: str) -> Group:
    """The numbers of a column that are known, and their bases."""
    pairs = [(number_of(row, column), row.base) for row in rows]
    known = [(value, base) for value, base in pairs if not math.isnan(value)]
    return Group(np.array([value for value, _ in known]), np.array([base for _, base in known], dtype=np.int64))


def number_of(row: Summary, column: str) -> float:
    """A summary value: infinity for what never happens on the path, NaN for what cannot be told."""
    value = getattr(row, column)
    if value is not None:
        return float(value)
    never = {
        "threshold": row.censored,
        "plateau_length": row.plateau_censored,
        # Of runs that measured them: the area is there.
        "threshold_0_1": row.area is not None,
        "threshold_1": row.area is not None,
        "quadratic_ratio": row.censored and row.fisher > 0,
    }
    return math.inf if never.get(column, False) else math.nan


def quantile(values: np.ndarray, q: float) -> float:
    """Linear-interpolation quantile that allows +infinity; NaN of nothing."""
    if not len(values):
        return math.nan
    ordered = np.sort(values)
    at = q * (len(ordered) - 1)
    low, high = float(ordered[math.floor(at)]), float(ordered[math.ceil(at)])
    if low == high or math.isinf(low):
        return low
    return high if math.isinf(high) and at > math.floor(at) else low + (high - low) * (at - math.floor(at))


def win_rate(rows: Sequence[Summary], first: str, second: str) -> float:
    """Mean over bases of P(threshold of first < threshold of second | same base)."""
    rates = rates_by_base(group(rows, "threshold", first), group(rows, "threshold", second))
    return float(np.mean(rates)) if len(rates) else math.nan


def wins(first: Group, second: Group) -> Measured:
    """Mean over the bases that both have of P(first < second), with its interval over them."""
    rates = rates_by_base(first, second)
    return Measured(float(np.mean(rates)) if len(rates) else math.nan, *_interval([np.array([r]) for r in rates], MEAN))


def bootstrap_interval(
    aggregate: Aggregate, rows: Sequence[Summary], tables: Tables | None = None
) -> tuple[float, float]:
    """95 % percentile interval over resampled bases, or rows of a table; NaN with fewer than two that count.

    Only bases that hold what is aggregated are drawn from. Rows of a table with the same `sample` stay together: they
    share their random numbers.
    """
    if aggregate.function == "auc":
        column, first, second = aggregate.arguments
        found = auc(group(rows, column, first), group(rows, column, second))
        return found.low, found.high
    if aggregate.function == "win_rate":
        measured = wins(*(group(rows, "threshold", selector) for selector in aggregate.arguments))
        return measured.low, measured.high
    table = table_of(aggregate.arguments[-1])
    groups: dict[Any, list[Any]] = defaultdict(list)
    if table is None:
        for summary in rows:
            groups[summary.base].append(summary)
    else:
        for i, row in enumerate(chosen_rows(aggregate.arguments[-1], tables or {})):
            groups[row.get("sample", i)].append(row)
    by_group = (
        _values(aggregate, g, {}) if table is None else _values(aggregate, (), {table: g}) for g in groups.values()
    )
    return _interval([values for values in by_group if len(values)], aggregate)


def _interval(parts: Sequence[np.ndarray], reduce: Aggregate) -> tuple[float, float]:
    """Of an aggregate over the numbers of resampled bases."""
    if len(parts) < 2:
        return math.nan, math.nan
    rng = stream(0, "bootstrap")
    draws = (rng.integers(0, len(parts), len(parts)) for _ in range(BOOTSTRAP_RESAMPLES))
    values = np.array([_reduce(reduce, np.concatenate([parts[i] for i in draw])) for draw in draws])
    return quantile(values, 0.025), quantile(values, 0.975)
