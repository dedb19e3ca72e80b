"""Wrong SAEs, made by causing each fault: refused or warned of in one sentence, and the right ones let through."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.dictionaries.gate import fit, usable
from engine.dictionaries.loading import load_sae, wrap_sae
from engine.dictionaries.sae import LEAST_ROWS
from engine.drawing import Base
from engine.embedded import SAES_DIR
from engine.errors import SaeError
from engine.hooks import parse_hook
from engine.laboratory import Laboratory
from engine.models import Model, load_model
from engine.recipe import ModelSection, SaeSection, parse_recipe
from engine.workshop import Workshop

PROMPT = "Once upon a time, there was a little girl who"
PLACES = ("blocks.1.hook_resid_pre", "blocks.3.hook_resid_pre", "blocks.5.hook_resid_pre")
Change = Callable[[dict, dict[str, torch.Tensor]], None]


def lab_of(
    loaded: Model, workshop: Workshop, write: str, sae: dict | None = None, prompt: str = PROMPT, **data
) -> Laboratory:
    recipe = {"site": {"prompt": prompt, "write": write}, "population": {"n": 400}, "sae": sae or {}, **data}
    return Laboratory(loaded, parse_recipe(recipe), workshop)


def complaints(lab: Laboratory) -> str:
    """What is said of an SAE, refused or not."""
    try:
        _ = lab.features
    except SaeError as error:
        return str(error)
    return " ".join(lab.sae_warnings)


def copied(tmp_path: Path, source: str, change: Change) -> dict:
    """A bundled SAE with a fault, as a local sae-lens directory, its card left behind."""
    folder = tmp_path / "sae"
    shutil.copytree(SAES_DIR / source, folder)
    config, weights = json.loads((folder / "cfg.json").read_text()), load_file(folder / "sae_weights.safetensors")
    change(config, weights)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file(weights, folder / "sae_weights.safetensors")
    return {"release": str(folder)}


@pytest.mark.parametrize("place", PLACES)
def test_the_right_saes_pass_without_a_word(embedded: Model, workshop: Workshop, place: str) -> None:
    for prompt in (PROMPT, "The dog"):
        lab = lab_of(embedded, workshop, place)
        lab = Laboratory(
            embedded, parse_recipe({**lab.recipe.data(), "site": {"prompt": prompt, "write": place}}), workshop
        )
        found = lab.sae_fit
        assert lab.sae_warnings == []
        assert found.unexplained < 0.15
        assert found.l0 == pytest.approx(32, abs=1)


def _as_relu(config: dict, weights: dict[str, torch.Tensor]) -> None:
    config["architecture"] = "standard"
    del config["k"], config["rescale_acts_by_decoder_norm"]


def _and_nobody_says_so(config: dict, weights: dict[str, torch.Tensor]) -> None:
    _as_relu(config, weights)
    del config["metadata"]["training_architecture"]


@pytest.mark.parametrize("place", PLACES)
def test_a_topk_sae_read_as_relu_is_refused_or_warned_of(
    embedded: Model, workshop: Workshop, tmp_path: Path, place: str
) -> None:
    """Its reconstruction is better than that of the right one: only the number of active features gives it away."""
    lab = lab_of(embedded, workshop, place, copied(tmp_path / "said", place, _as_relu))
    with pytest.raises(SaeError, match="trained as topk but is loaded as standard"):
        _ = lab.features
    lab = lab_of(embedded, workshop, place, copied(tmp_path / "unsaid", place, _and_nobody_says_so))
    said = complaints(lab)
    assert "features active on these activations (L0), but 32 are declared" in said
    # 46 of 32 may be other text, 108 and 103 of 32 may not.
    assert ("is not the one it was trained with" in said) == (place != PLACES[0])


@pytest.mark.parametrize("place", PLACES)
def test_a_missing_bias_is_told_from_a_constant_error(
    embedded: Model, workshop: Workshop, tmp_path: Path, place: str
) -> None:
    def zeroed(config: dict, weights: dict[str, torch.Tensor]) -> None:
        weights["b_dec"].zero_()

    lab = lab_of(embedded, workshop, place, copied(tmp_path / "zero", place, zeroed))
    said = complaints(lab)
    assert "same in every context, as where b_dec is missing" in said or "is not of this model, hook or weights" in said

    def dropped(config: dict, weights: dict[str, torch.Tensor]) -> None:
        del weights["b_dec"]

    lab = lab_of(embedded, workshop, place, copied(tmp_path / "none", place, dropped))
    with pytest.raises(SaeError, match="b_dec"):
        _ = lab.features


def test_an_sae_of_another_model_of_the_same_width_is_refused(embedded: Model, workshop: Workshop) -> None:
    other = load_model(ModelSection(device="cpu", weights="reinitialised"))
    with pytest.raises(SaeError, match="is not of this model, hook or weights"):
        _ = lab_of(other, workshop, PLACES[0]).features
    kept = lab_of(other, workshop, PLACES[0], {"check": "warn"})
    assert kept.features.n_features == 2048
    assert "is not of this model" in kept.sae_warnings[0]
    null = lab_of(other, workshop, PLACES[0], model={"weights": "reinitialised"})
    assert null.features.n_features == 2048, "the null of every claim can be looked at"
    assert "is not of this model" in null.sae_warnings[0]


def test_an_sae_whose_numbers_are_not_finite_is_refused(embedded: Model, workshop: Workshop, tmp_path: Path) -> None:
    """Decoder rows without length divide 0 by 0 where activations are in units of them: NaN is below every limit."""

    def without_length(config: dict, weights: dict[str, torch.Tensor]) -> None:
        weights["W_dec"][::2] = 0

    lab = lab_of(embedded, workshop, PLACES[0], copied(tmp_path, PLACES[0], without_length))
    with pytest.raises(SaeError, match="not finite"):
        _ = lab.features


def test_an_sae_in_memory_is_left_as_it_is(embedded: Model) -> None:
    """Also one in bfloat16, which numpy has not."""
    from sae_lens import SAE

    hook = parse_hook(PLACES[0], embedded.n_layers)
    for dtype in ("float32", "bfloat16"):
        theirs = SAE.load_from_disk(SAES_DIR / PLACES[0], device="cpu", dtype=dtype).train().requires_grad_(True)
        before = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
        sae = wrap_sae(theirs, embedded, hook, "memory", "SAE")
        base = Base("", 0, "", np.ones(256, np.float32), (0,))
        assert sae.activations(base).max() > 0
        assert theirs.training
        assert all(p.requires_grad and p.dtype == getattr(torch, dtype) for p in theirs.parameters())
        assert all(torch.equal(tensor, before[name]) for name, tensor in theirs.state_dict().items())
    with pytest.raises(SaeError, match="Tensor is no SAE"):
        wrap_sae(torch.randn(10, 256), embedded, hook, "memory", "SAE")


def test_an_sae_of_another_layer_whose_file_does_not_say_so_is_caught(
    embedded: Model, workshop: Workshop, tmp_path: Path
) -> None:
    def unnamed(config: dict, weights: dict[str, torch.Tensor]) -> None:
        del config["metadata"]["hook_name"]

    for source, place, said in (
        (PLACES[0], PLACES[1], "is not of this model, hook or weights"),  # 69 % where 1.3 % are declared
        (PLACES[1], PLACES[0], "of the variance unexplained here, but 6.0% is declared"),  # 35 %
    ):
        lab = lab_of(embedded, workshop, place, copied(tmp_path / source, source, unnamed))
        assert said in complaints(lab)


def test_wrong_weight_processing_is_noticed(embedded: Model, workshop: Workshop, tmp_path: Path) -> None:
    """A mean over d_model that is large, as in GPT-2, and a config that says it was there in training."""
    hook = parse_hook(PLACES[0], embedded.n_layers)
    right = lab_of(embedded, workshop, PLACES[0])

    def unsaid(config: dict, weights: dict[str, torch.Tensor]) -> None:
        del config["metadata"]["model_from_pretrained_kwargs"]

    section = SaeSection(**copied(tmp_path, PLACES[0], unsaid))
    sae = load_sae(section, embedded, hook, lambda text: None)
    assert sae.uncentred
    population = right.population
    shifted = type(population)(
        **{**{f: getattr(population, f) for f in population.__dataclass_fields__}, "means": population.means + 3}
    )
    assert any("center_writing_weights" in w for w in usable(sae, fit(sae, shifted), strict=False))
    assert not any("center_writing_weights" in w for w in usable(right.features, right.sae_fit, strict=True))


def test_hub_saes_work_from_a_filled_cache(embedded: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache layout of huggingface_hub, filled by hand with a bundled SAE, with the Hub out of reach."""
    from huggingface_hub import constants

    repository = tmp_path / "models--someone--saes"
    snapshot = repository / "snapshots" / ("b" * 40)
    shutil.copytree(SAES_DIR / PLACES[0], snapshot / PLACES[0])
    config = snapshot / PLACES[0] / "cfg.json"
    stored = json.loads(config.read_text())
    stored["metadata"]["neuronpedia_id"] = "embedded/1-res"
    config.write_text(json.dumps(stored))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("b" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    section = SaeSection(release="someone/saes", sae_id=PLACES[0])
    sae = load_sae(section, embedded, parse_hook(PLACES[0], embedded.n_layers), lambda text: None)
    bundled = load_sae(SaeSection(), embedded, parse_hook(PLACES[0], embedded.n_layers), lambda text: None)
    assert sae.sha256 == bundled.sha256
    assert sae.neuronpedia == "embedded/1-res"


def test_damaged_directories_are_refused_in_a_sentence(embedded: Model, tmp_path: Path) -> None:
    hook = parse_hook(PLACES[0], embedded.n_layers)

    def load(name: str, change: Change) -> str:
        with pytest.raises(SaeError) as caught:
            load_sae(SaeSection(**copied(tmp_path / name, PLACES[0], change)), embedded, hook, lambda text: None)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def nan(config: dict, weights: dict[str, torch.Tensor]) -> None:
        weights["W_dec"][3, 5] = float("nan")

    def renamed(config: dict, weights: dict[str, torch.Tensor]) -> None:
        weights["decoder.weight"] = weights.pop("W_dec")

    def narrower(config: dict, weights: dict[str, torch.Tensor]) -> None:
        config["d_in"] = 128
        for name in ("W_dec", "b_dec"):
            weights[name] = weights[name][..., :128].contiguous()
        weights["W_enc"] = weights["W_enc"][:128].contiguous()

    assert "holds NaN or infinity in W_dec" in load("nan", nan)
    assert "W_dec" in load("renamed", renamed)
    assert "width 128" in load("narrower", narrower)
    for missing, message in (("cfg.json", "holds no cfg.json"), ("sae_weights.safetensors", "never opened")):
        folder = tmp_path / f"without-{missing}"
        shutil.copytree(SAES_DIR / PLACES[0], folder)
        (folder / missing).unlink()
        (folder / "sae.pt").write_bytes(b"\x80\x04cos\nsystem\n(S'echo pwned'\ntR.")
        with pytest.raises(SaeError, match=message):
            load_sae(SaeSection(release=str(folder)), embedded, hook, lambda text: None)


def _tiny(architecture: str, **options):
    """An SAE of 32 features with random weights, of every architecture that sae-lens can run."""
    from sae_lens.registry import get_sae_class

    cls, config = get_sae_class(architecture)
    module = cls(config(d_in=256, d_sae=32, device="cpu", dtype="float32", **options))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("standard", {}),
        ("standard", {"normalize_activations": "constant_norm_rescale"}),
        ("standard", {"normalize_activations": "layer_norm", "apply_b_dec_to_input": False}),
        ("gated", {}),
        ("topk", {"k": 5}),
        ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
        ("abstopk", {"k": 5}),
        ("jumprelu", {}),
        ("matching_pursuit", {"max_iterations": 5}),
    ],
)
def test_every_architecture_gives_parts_that_add_up(embedded: Model, architecture: str, options: dict) -> None:
    """SAE(x) is what it decodes to when nothing is on, plus the contributions of all that is on; float32, 1e-4."""
    module = _tiny(architecture, **options)
    hook = parse_hook(PLACES[0], embedded.n_layers)
    sae = wrap_sae(module, embedded, hook, "memory", architecture)
    vector = np.random.default_rng(1).standard_normal(256).astype(np.float32) * 3
    base = Base("prompt", 0, "x", vector - vector.mean(), (0,), 0.5)
    f = sae.activations(base)
    active = [int(i) for i in np.flatnonzero(f)]
    assert active
    with torch.no_grad():
        whole = module.decode(module.encode(torch.from_numpy(base.vector + np.float32(0.5))[None]))[0].double().numpy()
    whole -= whole.mean()
    assert np.abs(base.vector + sae.error(base) - whole).max() < 1e-4
    parts = sae.contributions(base, active)
    assert np.abs(sae.bias(base) + parts.sum(0) - whole).max() < 1e-4 * max(1, np.abs(whole).max())
    units = sae.units(base, active)
    assert np.abs(units * f[active, None] - parts).max() < 1e-4 * max(1, np.abs(parts).max())
    assert np.abs(sae.atoms(base).atoms(active) - units).max() < 1e-3 * max(1, np.abs(units).max())


def test_what_is_no_autoencoder_of_one_token_is_refused(embedded: Model) -> None:
    hook = parse_hook(PLACES[0], embedded.n_layers)
    for architecture, options in (
        ("transcoder", {"d_out": 256, "apply_b_dec_to_input": False}),
        ("temporal", {"n_heads": 1, "bottleneck_factor": 1}),
    ):
        with pytest.raises(SaeError, match=r"choose an autoencoder|single tokens"):
            wrap_sae(_tiny(architecture, **options), embedded, hook, "memory", architecture)


def test_a_wide_sae_is_scanned_by_parts(embedded: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """131,072 features: a scan of 260 vectors would be 136 MB of activations at once."""
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

    from engine.dictionaries.firing import firing

    module = StandardSAE(StandardSAEConfig(d_in=256, d_sae=131_072, device="cpu", dtype="float32"))
    sae = wrap_sae(module, embedded, parse_hook(PLACES[0], 6), "memory", "wide")
    population = Laboratory(
        embedded, parse_recipe({"site": {"prompt": PROMPT}, "population": {"n": 260}}), Workshop()
    ).population
    held = max(f.size for _, f in sae.encoded(population.vectors, population.means))
    assert held == LEAST_ROWS * 131_072
    counts = firing(sae, population).counts
    assert counts.shape == (131_072,)
    whole = (module.encode(torch.from_numpy(population.vectors + population.means[:, None])) > 0).sum(0).numpy()
    assert np.abs(counts - whole).sum() <= 20  # a few products within rounding of zero
    near = sae.neighbours(5, 3)
    assert len(near) == 3
    assert all(i != 5 for i, _ in near)
