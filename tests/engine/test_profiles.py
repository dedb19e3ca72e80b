"""The recipes of published work: what they ask for, and that they run where a model and an SAE of that shape stand in.

The originals need the Hub. A network with GPT-2 small's blocks (12, learned positions, LayerNorm, GELU), narrower and
with random weights, and exact SAEs saved as sae-lens directories take their places.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from sae_lens import StandardSAE, StandardSAEConfig
from safetensors.torch import save_file
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from engine.embedded import MODEL_DIR
from engine.errors import LoadError, RecipeError
from engine.hub_texts import dataset_tokens
from engine.laboratory import Laboratory
from engine.models import Model, load_model
from engine.recipe import ModelSection
from engine.results import CurveResult, RowResult
from engine.workshop import Workshop
from sessions.batch import builtin_names, find_recipe

PROFILES = ("gpt2-plateaus", "gpt2-sae-error", "gpt2-sensitive", "gpt2-synthetic")
WIDTH = 48
DATASET = "apollo-research/Skylion007-openwebtext-tokenizer-gpt2"


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model directory, and a directory of SAEs by hook."""
    place = tmp_path_factory.mktemp("gpt2")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = GPT2Config(
            vocab_size=4096, n_embd=WIDTH, n_layer=12, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=0,
            initializer_range=0.2,
        )  # fmt: skip
        GPT2LMHeadModel(config).save_pretrained(place / "model")
    AutoTokenizer.from_pretrained(MODEL_DIR).save_pretrained(place / "model")
    for layer in (1, 3, 6, 9, 11):
        name = f"blocks.{layer}.hook_resid_pre"
        sae = StandardSAE(StandardSAEConfig(d_in=WIDTH, d_sae=2 * WIDTH, apply_b_dec_to_input=False))
        eye = torch.eye(WIDTH)
        folder = place / "saes" / name
        folder.mkdir(parents=True)
        tensors = {
            "W_enc": torch.cat([eye, -eye], dim=1),
            "W_dec": torch.cat([eye, -eye]),
            "b_enc": torch.full((2 * WIDTH,), -0.02),  # so that something is left to be an error
            "b_dec": torch.zeros(WIDTH),
        }
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "sae_weights.safetensors")
        cfg = sae.cfg.to_dict()
        cfg["metadata"] = {**cfg.get("metadata", {}), "hook_name": name}
        (folder / "cfg.json").write_text(json.dumps(cfg))
    return place / "model", place / "saes"


def test_the_profiles_are_what_was_published() -> None:
    assert set(PROFILES) <= set(builtin_names())
    for name in PROFILES:
        recipe = find_recipe(name, ())
        assert recipe.model.name == "gpt2"
        assert recipe.site.bos is False
        assert recipe.site.write == "blocks.1.hook_resid_pre"
        assert recipe.population.prompts == DATASET
        assert recipe.sae.release == "gpt2-small-res-jb"
        assert (recipe.path.mode, recipe.path.steps, recipe.path.stop) == ("straight", 100, 50.0)
        assert recipe.expect, "a published figure to hold it against"
    kinds = [spec.kind for spec in find_recipe("gpt2-synthetic", ()).directions]
    assert kinds == ["real-other", "random", "synthetic-baseline", "synthetic-structured"]
    assert find_recipe("gpt2-synthetic", ()).bases[0].count == 1000


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_runs_from_end_to_end_on_a_model_of_that_shape(name: str, stand_ins: tuple[Path, Path]) -> None:
    model_dir, saes = stand_ins
    before = find_recipe(name, ())
    smaller = [f"bases.{i}.count=3" for i in range(len(before.data()["bases"]))]
    if name == "gpt2-synthetic":
        smaller = ['bases=[{kind="real-other", count=3}]']
    if name == "gpt2-sae-error":
        smaller += ["options.texts=2", "options.tokens=20"]
    recipe = find_recipe(
        name,
        [f"model.name={model_dir}", f"sae.release={saes}", "population.prompts=bundled", "population.n=120", *smaller],
    )
    model = load_model(ModelSection(name=str(model_dir), device="cpu"))
    lab = Laboratory(model, recipe, Workshop())
    events = list(lab.experiment.run(lab))
    curves = [e for e in events if isinstance(e, CurveResult)]
    rows = [e for e in events if isinstance(e, RowResult)]
    if name == "gpt2-sae-error":
        hooks = {row.values["hook"] for row in rows if row.table == "ratios"}
        assert hooks == {f"blocks.{i}.hook_resid_pre" for i in (1, 3, 6, 9, 11)}
        assert len([r for r in rows if r.table == "substitution"]) == 15
    else:
        assert (
            len(curves) == lab.n_curves == sum(s.count for s in recipe.bases) * sum(s.count for s in recipe.directions)
        )
        assert {c.coordinate[-1] for c in curves} == {50.0}


def test_without_the_hub_a_profile_says_so_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LoadError) as caught:
        load_model(ModelSection(name="gpt2", device="cpu"))
    assert "\n" not in str(caught.value)


def test_tokenised_datasets_are_read_once_and_kept(embedded: Model, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    rows = [[5, 6, 7, 8] * 4, [9, 10, 11] * 5]
    (source / "train.jsonl").write_text("\n".join(json.dumps({"input_ids": row}) for row in rows))
    said: list[str] = []
    first = dataset_tokens(str(source), embedded, tmp_path / "cache", said.append)
    assert [row.tolist() for row in first] == rows
    (source / "train.jsonl").unlink()
    again = dataset_tokens(str(source), embedded, tmp_path / "cache", said.append)
    assert [row.tolist() for row in again] == rows
    assert len(said) == 1, "the second time nothing is read"


def test_datasets_of_other_tokens_and_of_other_columns_are_refused(embedded: Model, tmp_path: Path) -> None:
    for name, row, message in (
        ("tokens", {"input_ids": [1, 50256]}, "tokenised for another model"),
        ("columns", {"content": "a text"}, "neither a column 'text' nor 'input_ids'"),
        ("empty", {"input_ids": []}, "holds no texts"),
    ):
        source = tmp_path / name
        source.mkdir()
        (source / "train.jsonl").write_text(json.dumps(row))
        with pytest.raises(RecipeError, match=message):
            dataset_tokens(str(source), embedded, None, lambda text: None)
    with pytest.raises(LoadError, match="a text file works without"):
        dataset_tokens("nobody/nothing", embedded, None, lambda text: None)


def test_datasets_of_texts_are_tokenised(embedded: Model, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"text": " Once upon a time "}))
    rows = dataset_tokens(str(tmp_path), embedded, None, lambda text: None)
    assert embedded.tokenizer.decode(rows[0]) == "Once upon a time"


@pytest.mark.parametrize("name", ["gpt2-xl-anger", "gpt2-xl-wedding"])
def test_the_steering_presets_run_on_a_model_of_that_depth(name: str, tmp_path: Path) -> None:
    published = find_recipe(name, ())
    assert published.model.name == "gpt2-xl"
    assert published.site.write == "blocks.20.hook_resid_pre"
    sampling = published.data()["options"]
    assert (sampling["temperature"], sampling["top_p"], sampling["frequency_penalty"]) == (1.0, 0.3, 1.0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        shape = {"vocab_size": 4096, "n_embd": 16, "n_layer": 22, "n_head": 2, "n_positions": 64}
        GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(MODEL_DIR).save_pretrained(tmp_path)
    small = [
        "options.held_out=bundled-evaluation",
        "options.samples=2",
        "options.tokens=4",
        "options.texts=2",
        "options.text_tokens=40",
        "population.n=40",
    ]
    recipe = find_recipe(name, [f"model.name={tmp_path}", *small, "options.strengths=[2.0, 4.0]"])
    model = load_model(ModelSection(name=str(tmp_path), device="cpu"))
    lab = Laboratory(model, recipe, Workshop())
    rows: dict[str, list] = {}
    for event in lab.experiment.run(lab):
        if isinstance(event, RowResult):
            rows.setdefault(event.table, []).append(event.values)
    spec = published.data()["directions"][0]
    longer = max(len(model.tokenizer.encode(spec[side], add_special_tokens=False)) for side in ("plus", "minus"))
    # One row for each token from the first behind the BOS on, where nothing differs.
    assert [row["at"] for row in rows["vectors"]] == [str(1 + i) for i in range(longer)]
    assert len(rows["points"]) == 3
    assert rows["points"][2]["added_norm"] == pytest.approx(2 * rows["points"][1]["added_norm"])
    assert rows["points"][1]["counted"] == 40 - 1 - max(2, longer) - 1
