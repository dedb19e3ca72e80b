"""Loading: what is found, what is refused and how it is said."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.dictionaries.gate import fit
from engine.dictionaries.loading import load_sae
from engine.embedded import MODEL_DIR, SAES_DIR
from engine.errors import LoadError, PromptError, SaeError
from engine.hooks import parse_hook
from engine.models import Model, load_model
from engine.recipe import ModelSection, SaeSection, parse_recipe
from engine.site import resolve_site


def test_weights_hash_is_that_of_the_file(embedded: Model) -> None:
    assert embedded.weights_sha256 == hashlib.sha256((MODEL_DIR / "model.safetensors").read_bytes()).hexdigest()


def test_checkpoints_stored_in_bfloat16_are_run_in_float32(embedded: Model) -> None:
    from safetensors import safe_open

    with safe_open(MODEL_DIR / "model.safetensors", "pt") as file:
        assert file.get_tensor(next(iter(file.keys()))).dtype == torch.bfloat16
    assert {p.dtype for p in embedded.network.parameters()} == {torch.float32}


def test_bos_is_put_once_and_never_doubled(embedded: Model) -> None:
    ids = embedded.encode("One day", "auto")
    assert ids[0] == embedded.bos
    assert ids.count(embedded.bos) == 1
    assert embedded.encode("<|endoftext|>One day", "auto") == ids
    assert embedded.encode("One day", False) == ids[1:]


def test_prompts_that_do_not_fit_are_refused(embedded: Model) -> None:
    with pytest.raises(PromptError, match="context of 256"):
        embedded.encode("word " * 300, "auto")
    with pytest.raises(PromptError, match="empty"):
        embedded.encode("", "auto")


@pytest.mark.parametrize(("position", "resolved"), [(-1, 3), (0, 0), (2, 2), (-4, 0)])
def test_positions_count_from_either_end(embedded: Model, position: int, resolved: int) -> None:
    recipe = parse_recipe({"site": {"prompt": "One day a", "position": position}})
    assert resolve_site(recipe, embedded).position == resolved


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ({"position": 4}, "4 tokens, use -4 to 3"),
        ({"position": -5}, "use -4 to 3"),
        ({"position": 2, "read_position": 1}, "comes before the write position"),
        ({"write": "blocks.1.hook_resid_pree"}, "did you mean 'blocks.1.hook_resid_pre'"),
        ({"write": "blocks.6.hook_resid_pre"}, "6 layers: use 0 to 5"),
        ({"write": "blocks.3.hook_resid_pre", "read": ["blocks.1.hook_resid_post"]}, "comes before the write hook"),
        ({"read": ["blocks.5.hook_resid_post", "blocks.5.hook_resid_post"]}, "names a hook twice"),
        ({"write": "blocks.5.hook_resid_post", "position": 1, "read_position": 2}, "moves information between tokens"),
    ],
)
def test_sites_that_do_not_exist_are_refused(embedded: Model, site: dict, words: str) -> None:
    with pytest.raises(Exception, match=words.replace(".", r"\.")) as caught:
        resolve_site(parse_recipe({"site": {"prompt": "One day a", **site}}), embedded)
    assert getattr(caught.value, "exit_code", None) == 2


def test_hub_ids_fail_offline_with_one_sentence() -> None:
    with pytest.raises(LoadError) as caught:
        load_model(ModelSection(name="gpt2"))
    assert "not in the Hugging Face cache and the Hub cannot be reached" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hub_ids_work_from_a_filled_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache layout of huggingface_hub, filled by hand with the bundled model's files."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--little"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file in MODEL_DIR.iterdir():
        shutil.copy(file, snapshot / file.name)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    import huggingface_hub.constants

    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(huggingface_hub.constants, name, str(tmp_path / "hub"), raising=False)
    import transformers.utils.hub

    for name in ("TRANSFORMERS_CACHE", "HF_HUB_CACHE"):
        if hasattr(transformers.utils.hub, name):
            monkeypatch.setattr(transformers.utils.hub, name, str(tmp_path / "hub"))
    model = load_model(ModelSection(name="someone/little", device="cpu"))
    assert model.revision == commit
    assert model.n_layers == 6


@pytest.mark.parametrize(("name", "words"), [("/no/such/dir", "no directory"), ("./x", "no directory")])
def test_directories_that_are_no_models_are_refused(name: str, words: str) -> None:
    with pytest.raises(LoadError, match=words):
        load_model(ModelSection(name=name))


def test_a_directory_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no config\.json"):
        load_model(ModelSection(name=str(tmp_path)))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    shutil.copytree(MODEL_DIR, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(LoadError, match="Cannot load a model from"):
        load_model(ModelSection(name=str(tmp_path / "m")))


def test_devices_that_are_not_here_are_refused() -> None:
    with pytest.raises(LoadError, match="Use cpu"):
        load_model(ModelSection(device="cuda:99"))


def test_reinitialised_weights_are_seeded_and_untrained(embedded: Model) -> None:
    section = ModelSection(weights="reinitialised", device="cpu")
    one, again, other = load_model(section, seed=1), load_model(section, seed=1), load_model(section, seed=2)
    assert one.weights_sha256 == again.weights_sha256 != other.weights_sha256
    text = embedded.tensor(
        [embedded.encode("Once upon a time, there was a little girl who had a big red ball.", "auto")]
    )
    losses = [float(m.network(input_ids=text, labels=text).loss) for m in (embedded, one)]
    # Training must have taught it something: an untrained model sits at ln(vocabulary).
    assert losses[1] == pytest.approx(math.log(embedded.d_vocab), rel=0.1)
    assert losses[0] < 0.6 * losses[1]


@pytest.mark.parametrize(("processing", "raw"), [({"center_writing_weights": True}, False), ({}, True)])
def test_saes_are_fed_in_the_basis_they_were_trained_in(
    embedded: Model, tmp_path: Path, processing: dict, raw: bool
) -> None:
    """TopK encoding by hand from the stored tensors: of the centred residual, or of the model's own."""
    from safetensors.torch import load_file

    from engine.laboratory import Laboratory
    from engine.workshop import Workshop

    folder = tmp_path / "sae"
    shutil.copytree(SAES_DIR / "blocks.1.hook_resid_pre", folder)
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"]["model_from_pretrained_kwargs"] = processing
    (folder / "cfg.json").write_text(json.dumps(config))
    recipe = parse_recipe(
        {
            "site": {"prompt": "One day a cat sat"},
            "population": {"n": 200},
            "sae": {"release": str(folder)},
            "bases": [{"kind": "prompt"}, {"kind": "real-other", "count": 2}],
        }
    )
    lab = Laboratory(embedded, recipe, Workshop())
    w = load_file(folder / "sae_weights.safetensors")
    for base in lab.bases():
        ids = embedded.tensor([base.token_ids])
        x = embedded.network.transformer(input_ids=ids, output_hidden_states=True).hidden_states[1][0, -1]
        x = x if raw else x - x.mean()
        before = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
        norms = w["W_dec"].norm(dim=-1) if config["rescale_acts_by_decoder_norm"] else torch.ones(1)
        top = (before * norms).topk(config["k"])
        expected = torch.zeros_like(before).scatter(0, top.indices, top.values.relu())
        got = lab.features.activations(base)
        assert np.abs(got - expected.numpy()).max() < 1e-4, base.label


def test_bundled_sae_reconstructs_real_activations_better_than_the_mean(embedded: Model) -> None:
    from engine.laboratory import Laboratory
    from engine.workshop import Workshop

    recipe = parse_recipe({"site": {"prompt": "One day a cat sat"}, "population": {"n": 200}})
    population = Laboratory(embedded, recipe, Workshop()).population
    sae = load_sae(SaeSection(), embedded, parse_hook("blocks.1.hook_resid_pre", 6), report)
    assert fit(sae, population).unexplained < 0.5


def report(text: str) -> None:
    """Progress is not looked at here."""


def test_an_sae_of_another_hook_is_refused(embedded: Model) -> None:
    with pytest.raises(SaeError, match=r"no bundled SAE for blocks\.2\.hook_resid_pre"):
        load_sae(SaeSection(), embedded, parse_hook("blocks.2.hook_resid_pre", 6), report)
    folder = str(SAES_DIR / "blocks.1.hook_resid_pre")
    with pytest.raises(SaeError, match=r"trained on blocks\.1\.hook_resid_pre, but the write hook is"):
        load_sae(SaeSection(release=folder), embedded, parse_hook("blocks.3.hook_resid_pre", 6), report)


def test_an_sae_of_another_width_is_refused(llama: Model) -> None:
    folder = str(SAES_DIR / "blocks.1.hook_resid_pre")
    with pytest.raises(SaeError, match="width 256"):
        load_sae(SaeSection(release=folder), llama, parse_hook("blocks.1.hook_resid_pre", 4), report)
    with pytest.raises(SaeError, match="belongs to the embedded model"):
        load_sae(SaeSection(), llama, parse_hook("blocks.1.hook_resid_pre", 4), report)


def test_a_hook_may_have_several_saes(embedded: Model) -> None:
    hook = parse_hook("blocks.1.hook_resid_pre", 6)
    default = load_sae(SaeSection(), embedded, hook, report)
    named = load_sae(SaeSection(sae_id="blocks.1.hook_resid_pre"), embedded, hook, report)
    ids = [folder.name for folder in SAES_DIR.iterdir() if folder.name.startswith("blocks.1.hook_resid_pre.")]
    other = load_sae(SaeSection(sae_id=ids[0]), embedded, hook, report)
    assert default.sha256 == named.sha256 != other.sha256
    assert default.n_features > other.n_features
    with pytest.raises(SaeError, match=r"was trained on blocks\.1\.hook_resid_pre, but the write hook is"):
        load_sae(SaeSection(sae_id=ids[0]), embedded, parse_hook("blocks.3.hook_resid_pre", 6), report)


def test_hub_saes_fail_offline_with_one_sentence(embedded: Model) -> None:
    with pytest.raises(SaeError) as caught:
        load_sae(
            SaeSection(release="gpt2-small-res-jb", sae_id="blocks.1.hook_resid_pre"),
            embedded,
            parse_hook("blocks.1.hook_resid_pre", 6),
            report,
        )
    assert "Hub cannot be reached" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_boundary_under_its_other_name_has_the_same_sae(embedded: Model) -> None:
    sae = load_sae(SaeSection(), embedded, parse_hook("blocks.0.hook_resid_post", 6), report)
    assert sae.n_features == sae.module.W_dec.shape[0]
