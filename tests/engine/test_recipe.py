"""Recipes: defaults, round trips, and one clear sentence for each way to be wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from engine.errors import RecipeError
from engine.recipe import parse_recipe, parse_toml, read_recipe, with_overrides

PROMPT = {"site": {"prompt": "a"}}


def test_only_the_prompt_is_required() -> None:
    recipe = parse_recipe(PROMPT)
    assert recipe.experiment == "probe"
    assert recipe.model.name == "embedded"
    assert recipe.site.write == "blocks.1.hook_resid_pre"
    assert [(d.kind, d.count) for d in recipe.directions] == [("random", 8), ("real-other", 8), ("isotropic", 8)]
    assert [b.kind for b in recipe.bases] == ["prompt"]
    assert (recipe.path.steps, recipe.path.stop, recipe.metrics.level) == (100, "auto", 0.5)


def test_a_recipe_survives_being_written_and_read() -> None:
    recipe = parse_recipe(
        {
            "site": {"prompt": 'quotes " and\nlines', "bos": False, "read": ["blocks.5.hook_resid_post"]},
            "bases": [{"kind": "prompt"}, {"kind": "random", "count": 3, "norm": "matched"}],
            "directions": [{"kind": "steering", "plus": "a", "minus": "b"}, {"kind": "sae-feature", "index": 7}],
            "path": {"mode": "sphere", "stop": 45.5},
            "expect": [{"check": "n('steering') == 1"}],
        }
    )
    assert parse_recipe(tomllib.loads(recipe.toml())) == recipe
    assert "[[directions]]" in recipe.toml()


def test_where_it_is_computed_is_no_part_of_what_is_computed() -> None:
    here, there = parse_recipe(PROMPT), parse_recipe({**PROMPT, "cluster": {"cpus": 2, "actors": 3}})
    assert "cluster" not in here.data()
    assert here != there
    assert here.computed == there.computed
    assert parse_recipe(parse_toml(there.toml(), "text")) == there
    assert there.cluster is not None
    assert (there.cluster.threads, there.cluster.gpus) == (2, None)


def test_auto_stays_where_the_user_left_it() -> None:
    text = parse_recipe(PROMPT).toml()
    assert 'stop = "auto"' in text
    assert 'bos = "auto"' in text


def test_what_is_no_table_is_no_recipe() -> None:
    with pytest.raises(RecipeError, match="must be a table"):
        parse_recipe(-0.0)  # type: ignore[arg-type]


def test_base_is_shorthand_for_one() -> None:
    assert parse_recipe({**PROMPT, "base": {"kind": "isotropic"}}).bases[0].kind == "isotropic"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, ["lacks site.prompt"]),
        ({"site": {"prompt": ""}}, ["site.prompt", "not empty"]),
        ({"site": {"promt": "a"}}, ["site.promt", "did you mean 'prompt'"]),
        ({**PROMPT, "modle": {}}, ["'modle'", "did you mean 'model'"]),
        ({**PROMPT, "path": {"steps": 0}}, ["path.steps", "from 1", "got 0"]),
        ({**PROMPT, "path": {"steps": -3}}, ["path.steps", "got -3"]),
        ({**PROMPT, "path": {"steps": 2.5}}, ["path.steps", "got 2.5"]),
        ({**PROMPT, "path": {"steps": "9"}}, ["path.steps", "got '9'"]),
        ({**PROMPT, "path": {"stop": float("nan")}}, ["path.stop", "finite", "nan"]),
        ({**PROMPT, "path": {"stop": float("inf")}}, ["path.stop", "finite", "inf"]),
        ({**PROMPT, "path": {"mode": "sphere", "stop": 200.0}}, ["180"]),
        ({**PROMPT, "metrics": {"level": 0}}, ["metrics.level", "above 0"]),
        ({**PROMPT, "directions": [{"kind": "rndom"}]}, ["direction kind 'rndom'", "did you mean 'random'"]),
        ({**PROMPT, "directions": [{"kind": "random", "count": 0}]}, ["directions.0.count", "from 1"]),
        ({**PROMPT, "directions": [{"kind": "random", "cuont": 1}]}, ["directions.0.cuont", "did you mean 'count'"]),
        ({**PROMPT, "directions": []}, ["at least one"]),
        ({**PROMPT, "directions": [{"count": 1}]}, ["directions.0 needs a kind"]),
        ({**PROMPT, "directions": [{"kind": "steering", "plus": "a"}]}, ["directions.0.minus"]),
        ({**PROMPT, "bases": [{"kind": "promt"}]}, ["base kind 'promt'", "did you mean 'prompt'"]),
        ({**PROMPT, "experiment": "prob"}, ["experiment 'prob'", "did you mean 'probe'"]),
        ({**PROMPT, "options": {"x": 1}}, ["options.x"]),
        ({**PROMPT, "model": {"device": "gpu"}}, ["model.device", "cuda", "'gpu'"]),
        ({**PROMPT, "seed": True}, ["seed", "True"]),
        ({**PROMPT, "expect": [{"check": "median(threshold)"}]}, ["median(threshold)"]),
        ({**PROMPT, "cluster": {"gpu": 1}}, ["cluster.gpu", "did you mean 'gpus'"]),
        ({**PROMPT, "cluster": {"cpus": 0}}, ["cluster.cpus", "above 0", "got 0"]),
        ({**PROMPT, "cluster": {"gpus": 1.5}}, ["cluster.gpus", "whole numbers", "1.5"]),
        ({**PROMPT, "cluster": {"actors": 0}}, ["cluster.actors", "at least 1"]),
    ],
)
def test_what_is_wrong_is_named(data: dict, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(data)
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("site: prompt")
    with pytest.raises(RecipeError, match=r"r\.toml is not TOML"):
        read_recipe(tmp_path / "r.toml")


def test_nan_written_in_toml_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"metrics\.level"):
        parse_recipe(parse_toml('[site]\nprompt = "a"\n[metrics]\nlevel = nan', "text"))


def test_overrides_take_toml_values_strings_and_list_items() -> None:
    data = {**PROMPT, "directions": [{"kind": "random"}, {"kind": "isotropic"}]}
    recipe = parse_recipe(
        with_overrides(data, ["directions.1.count=4", "site.prompt=two words", "path.steps=7", "model.device='cpu'"])
    )
    assert recipe.directions[1].count == 4
    assert (recipe.site.prompt, recipe.path.steps, recipe.model.device) == ("two words", 7, "cpu")
    assert data["directions"][1] == {"kind": "isotropic"}


@pytest.mark.parametrize("override", ["nothing", "directions.5.count=1", "directions.x=1", "site.prompt.deep=1"])
def test_overrides_that_lead_nowhere_are_refused(override: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        with_overrides({**PROMPT, "directions": [{"kind": "random"}]}, [override])
