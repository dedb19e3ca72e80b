"""Experiments that yield tables: their rows, going on with them, and expectations over them."""

from __future__ import annotations

import math

import numpy as np
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

STEERING = {
    "experiment": "steering",
    "site": {"prompt": "One day, a boy named Tim went to the park. He", "write": "blocks.3.hook_resid_pre"},
    "population": {"n": 60},
    "directions": [
        {"kind": "steering", "plus": "She was very sad", "minus": "She was very happy"},
        {"kind": "isotropic", "count": 1},
    ],
    "options": {"strengths": [0.0, 3], "samples": 3, "tokens": 12, "words": ["ball", "dog"]},
}
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


@pytest.mark.parametrize(("recipe", "table", "n"), [(STEERING, "rollouts", 12), (FIDELITY, "splice", 20)])
def test_rows_that_are_held_are_not_computed_again(embedded: Model, recipe: dict, table: str, n: int) -> None:
    whole = rows_of(embedded, recipe)
    assert [row.table for row in whole] == [table] * n
    for held in (1, 7, n):
        rest = rows_of(embedded, recipe, {table: held})
        assert [row.values for row in rest] == [row.values for row in whole[held:]]


def test_steering_rows_pair_texts_and_find_words(embedded: Model) -> None:
    rows = [row.values for row in rows_of(embedded, STEERING)]
    lab = Laboratory(embedded, parse_recipe(STEERING), Workshop())
    difference = lab.reading_of("She was very sad").vector - lab.reading_of("She was very happy").vector
    length = float(np.linalg.norm(difference.astype(np.float64)))
    for row in rows:
        assert row["unsteered"] == rows[row["sample"]]["unsteered"]
        for side in ("unsteered", "steered"):
            words = row[side].lower().replace(",", " ").replace(".", " ").split()
            assert row[f"{side}_hit"] == bool({"ball", "dog"} & set(words))
        assert row["hit_change"] == row["steered_hit"] - row["unsteered_hit"]
        if row["strength"] == 0:
            assert row["steered"] == row["unsteered"]
        elif row["kind"] == "steering":
            assert row["added_norm"] == pytest.approx(3 * length, rel=1e-5)
            assert row["steered"] != row["unsteered"]
    assert {row["kind"] for row in rows[:6]} == {"steering"}
    assert {row["kind"] for row in rows[6:]} == {"isotropic"}


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
        ({"samples": 0}, "options.samples"),
        ({"temperature": -1.0}, "options.temperature"),
        ({"wordz": ["a"]}, "did you mean 'words'"),
    ],
)
def test_options_are_refused_by_name(options: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse_recipe({**STEERING, "options": options})


def test_texts_too_short_for_a_row_are_refused(embedded: Model, tmp_path) -> None:
    (tmp_path / "t.txt").write_text("One day.")
    with pytest.raises(RecipeError, match=r"has 32 tokens: lower options\.tokens"):
        rows_of(embedded, {**FIDELITY, "population": {"prompts": str(tmp_path / "t.txt")}})
