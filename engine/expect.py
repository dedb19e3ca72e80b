"""Expectations: `AGG CMP AGG|number` over the summary of a run, parsed and never evaluated as code.

    AGG := median(column, 'sel') | mean(column, 'sel') | quantile(q, column, 'sel') | n('sel') | censored('sel')
         | win_rate('sel', 'sel') | auc(column, 'sel', 'sel') | ks(column, 'sel', 'sel') | ci_low(AGG) | ci_high(AGG)
    CMP := < | <= | > | >= | == | !=
    sel := direction kind, or direction kind @ base kind (real-other@site for real activations written into the site's
           prompt), or table:NAME for the rows of an experiment's table, or table:NAME[column=text, ...] for those of
           them that have these texts

Censored thresholds count as +infinity, ties of a win rate as one half. `ci_low` and `ci_high` are the 2.5 and
97.5 percentiles over 1000 bootstrap resamples of the bases, or of the rows of a table. `auc` is P(a curve of the first
has less than one of the second), `ks` the largest difference of their distribution functions. Knows summary and
table rows; no torch, no files.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from engine.aggregates import CONTRASTS, Aggregate, Tables, conditions_of, table_of, value_of
from engine.errors import RecipeError, did_you_mean
from engine.results import SUMMARY_NUMBERS, Summary

_TOKEN = re.compile(
    r"\s*(?:(<=|>=|==|!=|<|>)|([A-Za-z_][A-Za-z_0-9]*)|(-?\d+\.?\d*(?:[eE][+-]?\d+)?)|(['\"])(.*?)\4|([(),]))"
)
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_ARGUMENTS: Final = {
    "median": ("column", "kind"),
    "mean": ("column", "kind"),
    "quantile": ("number", "column", "kind"),
    "n": ("kind",),
    "censored": ("kind",),
    "win_rate": ("kind", "kind"),
    "auc": ("column", "kind", "kind"),
    "ks": ("column", "kind", "kind"),
    "ci_low": ("aggregate",),
    "ci_high": ("aggregate",),
}


@dataclass(frozen=True)
class Check:
    """A parsed expectation."""

    text: str
    left: Aggregate
    compare: str
    right: Aggregate | float


@dataclass(frozen=True)
class Outcome:
    """What a check came to; `left` and `right` are the values compared."""

    check: str
    holds: bool
    left: float
    right: float

    def __str__(self) -> str:
        word = "holds" if self.holds else "FAILS"
        if math.isnan(self.left) or math.isnan(self.right):
            return f"{word}: {self.check} (it cannot be told: no such rows, or none with a number)"
        return f"{word}: {self.check} ({self.left:.4g} against {self.right:.4g})"


class _Parser:
    def __init__(self, text: str, tables: Mapping[str, Sequence[str]]) -> None:
        self.text = text
        self.tables = tables
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                self.fail(f"cannot read '{text[at:].strip()}'")
            names = ("compare", "name", "number", "", "string", "mark")
            kind, value = next((n, v) for n, v in zip(names, match.groups(), strict=True) if v is not None and n != "")
            self.tokens.append((kind, value))
            at = match.end()
        self.at = 0

    def fail(self, why: str) -> NoReturn:
        raise RecipeError(
            f'Expectation "{self.text}": {why}; the form is AGG CMP AGG or number, '
            "such as median(threshold, 'random') < median(threshold, 'isotropic')."
        )

    def take(self, kind: str, value: str | None = None) -> str:
        if self.at >= len(self.tokens):
            self.fail(f"ends where {value or kind} should come")
        got_kind, got = self.tokens[self.at]
        if got_kind != kind or (value is not None and got != value):
            self.fail(f"'{got}' stands where {value or 'a ' + kind} should")
        self.at += 1
        return got

    def aggregate(self) -> Aggregate:
        function = self.take("name")
        if function not in _ARGUMENTS:
            self.fail(f"unknown function '{function}'{did_you_mean(function, _ARGUMENTS)}".rstrip("."))
        self.take("mark", "(")
        arguments: list[Any] = []
        for i, wanted in enumerate(_ARGUMENTS[function]):
            if i:
                self.take("mark", ",")
            arguments.append(self.argument(wanted))
        self.take("mark", ")")
        self.check_columns(function, arguments)
        return Aggregate(function, tuple(arguments))

    def check_columns(self, function: str, arguments: Sequence[Any]) -> None:
        """Refuse a table or a column that this run will not have."""
        for wanted, argument in zip(_ARGUMENTS[function], arguments, strict=True):
            if wanted != "kind":
                continue
            columns: Sequence[str] = SUMMARY_NUMBERS
            table = table_of(argument)
            if table is None and self.tables:
                self.fail(f"this experiment yields no curves; its tables: {', '.join(self.tables)}")
            if table is not None:
                if table not in self.tables or function in ("censored", "win_rate", *CONTRASTS):
                    self.fail(
                        f"there is no {function} of table '{table}'; tables here: {', '.join(self.tables) or 'none'}"
                    )
                columns = self.tables[table]
                if "[" in argument and (not argument.endswith("]") or not all(conditions_of(argument).values())):
                    self.fail(f"'{argument}' asks of rows in another way than [column=text, column=text]")
            column = arguments[_ARGUMENTS[function].index("column")] if "column" in _ARGUMENTS[function] else None
            if column is not None and column not in columns:
                self.fail(f"unknown column '{column}'{did_you_mean(column, columns)}".rstrip("."))

    def argument(self, wanted: str) -> Any:
        if wanted == "column":
            return self.take("name")
        if wanted == "kind":
            return self.take("string")
        if wanted == "number":
            number = float(self.take("number"))
            if not 0 <= number <= 1:
                self.fail(f"a quantile lies between 0 and 1; got {number:g}")
            return number
        inner = self.aggregate()
        if inner.function.startswith("ci_"):
            self.fail("an interval of an interval has no meaning")
        if inner.function == "ks":
            self.fail("a Kolmogorov-Smirnov distance has no interval, since like groups differ by chance: use auc")
        return inner


def parse_check(text: str, tables: Mapping[str, Sequence[str]] | None = None) -> Check:
    """Parse one expectation.

    Args:
        text: in the grammar above.
        tables: the numeric columns of the tables that the experiment writes.

    Raises:
        RecipeError: It is not of the grammar, or names what the run will not have.
    """
    parser = _Parser(text, tables or {})
    left = parser.aggregate()
    compare = parser.take("compare")
    right: Aggregate | float
    if parser.at < len(parser.tokens) and parser.tokens[parser.at][0] == "number":
        right = float(parser.take("number"))
    else:
        right = parser.aggregate()
    if parser.at < len(parser.tokens):
        parser.fail(f"'{parser.tokens[parser.at][1]}' is left over")
    return Check(text, left, compare, right)


def evaluate(check: Check, rows: Sequence[Summary], tables: Tables | None = None) -> Outcome:
    """Whether the check holds for these summary rows and tables; NaN on either side never holds."""
    left = value_of(check.left, rows, tables)
    right = value_of(check.right, rows, tables) if isinstance(check.right, Aggregate) else check.right
    holds = not (math.isnan(left) or math.isnan(right)) and _COMPARE[check.compare](left, right)
    return Outcome(check.text, holds, left, right)
