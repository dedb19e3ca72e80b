"""Experiments that yield tables: their rows, going on with them, and expectations over them."""

from __future__ import annotations

import math

import pytest

from engine.aggregates import Aggregate, bootstrap_interval, value_of
from engine.errors import RecipeError
from engine.expect import evaluate, parse_check
from engine.laboratory import Laboratory
from engine.models import Model
from engine.protocol import Held
from engine.recipe import parse_recipe
from engine.results import RowResult
from engine.workshop import Workshop

FIDELITY = {
    "experiment": "sae-fidelity",
    "site": {"prompt": "One day"},
    "population": {"prompts": "bundled-evaluation"},
    "options": {"texts": 20, "tokens": 32},
}


def rows_of(model: Model, recipe: dict, held: dict[str, int] | None = None) -> list[RowResult]:
    lab = Laboratory(
        model, parse_recipe(recipe), Workshop(), Held(rows={table: [{}] * n for table, n in (held or {}).items()})
    )
    assert lab.n_curves == 0
    return [e for e in lab.experiment.run(lab) if isinstance(e, RowResult)]


def test_rows_that_are_held_are_not_computed_again(embedded: Model) -> None:
    whole = rows_of(embedded, FIDELITY)
    assert [row.table for row in whole] == ["splice"] * 20
    for held in (1, 7, 20):
        rest = rows_of(embedded, FIDELITY, {"splice": held})
        assert [row.values for row in rest] == [row.values for row in whole[held:]]


def test_tables_can_be_expected_of() -> None:
    tables = {"splice": [{"delta_ce": v, "text": 0} for v in (0.1, 0.2, 0.6)]}
    columns = {"splice": ("delta_ce",)}

    def value(text: str) -> float:
        return evaluate(parse_check(f"{text} < 1", columns), (), tables).left

    assert value("mean(delta_ce, 'table:splice')") == pytest.approx(0.3)
    assert value("median(delta_ce, 'table:splice')") == pytest.approx(0.2)
    assert value("quantile(0.25, delta_ce, 'table:splice')") == pytest.approx(0.15)
    assert value("n('table:splice')") == 3
    low, high = bootstrap_interval(Aggregate("mean", ("delta_ce", "table:splice")), (), tables)
    # Of 27 equally likely resamples, the smallest and largest means have a chance of 1/27 each, above 2.5 %.
    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.6))
    assert math.isnan(value_of(Aggregate("mean", ("delta_ce", "table:splice")), (), {}))
    # Rows that share their random numbers are one draw, however often they stand there.
    again = {"splice": [{**row, "sample": i} for _ in range(5) for i, row in enumerate(tables["splice"])]}
    assert bootstrap_interval(Aggregate("mean", ("delta_ce", "table:splice")), (), again) == (
        pytest.approx(0.1), pytest.approx(0.6)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("mean(delta_ce, 'table:splic') < 1", "tables here: splice"),
        ("mean(delta, 'table:splice') < 1", "unknown column 'delta'"),
        ("mean(threshold, 'table:splice') < 1", "unknown column 'threshold'"),
        ("win_rate('table:splice', 'random') < 1", "no win_rate of table 'splice'"),
        ("censored('table:splice') < 1", "no censored of table 'splice'"),
    ],
)
def test_expectations_of_what_a_run_will_not_have_are_refused(check: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse_check(check, {"splice": ("delta_ce",)})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strengths": []}, "options.strengths"),
        ({"strengths": [1.0, 1]}, "each entry may stand once"),
        ({"strengths": [float("nan")]}, "options.strengths"),
        ({"unit": "norms"}, "options.unit"),
        ({"at": []}, "options.at"),
        ({"top_p": 0.0}, "options.top_p"),
        ({"words": [""]}, "options.words"),
        ({"samples": 0}, "options.samples"),
        ({"temperature": -1.0}, "options.temperature"),
        ({"wordz": ["a"]}, "did you mean 'words'"),
    ],
)
def test_options_are_refused_by_name(options: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse_recipe({"experiment": "steering", "site": {"prompt": "One day"}, "options": options})


def test_texts_too_short_for_a_row_are_refused(embedded: Model, tmp_path) -> None:
    (tmp_path / "t.txt").write_text("One day.")
    with pytest.raises(RecipeError, match=r"has 32 tokens: ask for shorter ones"):
        rows_of(embedded, {**FIDELITY, "population": {"prompts": str(tmp_path / "t.txt")}})
