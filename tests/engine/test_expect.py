"""Expectations: the grammar, the statistics by hand, and nothing that runs code."""

from __future__ import annotations

import math

import pytest

from engine.aggregates import Aggregate, value_of
from engine.errors import RecipeError
from engine.expect import evaluate, parse_check
from engine.results import Summary


def row(curve: int, base: int, kind: str, threshold: float | None, base_kind: str = "prompt") -> Summary:
    return Summary(
        curve=curve,
        base=base,
        base_kind=base_kind,
        kind=kind,
        label="",
        native_norm=1.0,
        native_angle=1.0,
        threshold=threshold,
        censored=threshold is None,
        max_slope_step=curve,
        plateau_length=None,
        plateau_censored=curve % 2 == 1,
        fisher=0.0,
        final_kl=1.0,
    )


ROWS = [
    row(0, 0, "random", 4.0),
    row(1, 0, "random", 6.0),
    row(2, 0, "random", None),
    row(3, 0, "isotropic", 6.0),
    row(4, 1, "random", 1.0, "real-other"),
    row(5, 1, "isotropic", None, "real-other"),
]


def value(text: str) -> float:
    left = parse_check(f"{text} > 0").left
    assert isinstance(left, Aggregate)
    return value_of(left, ROWS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("median(threshold, 'random')", 5.0),
        ("median(threshold, 'random@prompt')", 6.0),
        ("median(threshold, 'isotropic')", math.inf),
        ("quantile(0.25, threshold, 'random')", 3.25),
        ("mean(max_slope_step, 'random')", 7 / 4),
        # Curve 1 never ends; 0, 2 and 4 cannot be told and are left out.
        ("median(plateau_length, 'random')", math.inf),
        ("median(plateau_length, 'isotropic@prompt')", math.inf),
        ("n('random')", 4),
        ("censored('random')", 0.25),
        # base 0: 4 < 6 wins, 6 = 6 is half, never loses: 1.5 of 3; base 1: 1 < never wins.
        ("win_rate('random', 'isotropic')", (0.5 + 1) / 2),
        ("win_rate('isotropic', 'random')", (0.5 + 0) / 2),
    ],
)
def test_aggregates_by_hand(text: str, expected: float) -> None:
    assert value(text) == pytest.approx(expected)


def test_bootstrap_resamples_bases() -> None:
    low, high = value("ci_low(win_rate('random', 'isotropic'))"), value("ci_high(win_rate('random', 'isotropic'))")
    # Two bases with rates 1/2 and 1: resamples average to 1/2, 3/4 or 1.
    assert (low, high) == (0.5, 1.0)


def test_nothing_to_compare_never_holds() -> None:
    outcome = evaluate(parse_check("median(threshold, 'steering') < 5"), ROWS)
    assert not outcome.holds
    assert not evaluate(parse_check("median(threshold, 'steering') >= 5"), ROWS).holds


def test_a_check_holds_or_fails_with_its_values() -> None:
    outcome = evaluate(parse_check("median(threshold, 'random') < median(threshold, 'isotropic')"), ROWS)
    assert outcome.holds
    assert "5 against inf" in str(outcome)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true') == 0",
        "open('x') == 1",
        "median(threshold, 'random') < 5; n('random') > 1",
        "median(threshold, 'random') < 5 or 1 < 2",
        "median(threshold, 'random')",
        "5 < median(threshold, 'random')",
        "median(nothing, 'random') < 5",
        "median(__class__, 'random') < 5",
        "quantile(2, threshold, 'random') < 5",
        "ci_low(ci_low(n('random'))) > 0",
        "lambda: 0",
        "",
    ],
)
def test_what_is_not_of_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        parse_check(text)


def test_an_interval_of_what_one_base_holds_is_unknown() -> None:
    rows = [row(i, i, "random", float(i + 1), "real-other") for i in range(9)] + [row(9, 9, "random", 4.0)]
    alone = evaluate(parse_check("ci_low(median(threshold, 'random@prompt')) < 99"), rows)
    assert math.isnan(alone.left)
    assert not alone.holds
    many = evaluate(parse_check("ci_high(median(threshold, 'random@real-other')) < 9.5"), rows)
    assert 5 < many.left <= 9


def test_real_activations_in_the_sites_context_have_a_name_of_their_own() -> None:
    rows = [row(0, 0, "random", 1.0, "real-other"), row(1, 1, "random", 2.0, "real-other@site")]
    assert evaluate(parse_check("median(threshold, 'random@real-other@site') == 2"), rows).holds
    assert evaluate(parse_check("median(threshold, 'random@real-other') == 1"), rows).holds
