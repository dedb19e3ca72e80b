"""What comes with the package: sizes, shapes, cards, and feature evidence that says what is there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from engine.activations import activations_everywhere
from engine.dictionaries.loading import load_sae
from engine.embedded import HERE, SAES_DIR, SAMPLES_FILE, TRAINING_LOG
from engine.embedded.sample import draw
from engine.embedded.settings import SAE_PLANS, SaePlan
from engine.hooks import parse_hook
from engine.models import Model
from engine.recipe import SaeSection

LIMIT = 32_000_000


@pytest.fixture(scope="module")
def own_texts(embedded: Model) -> np.ndarray:
    """Other texts of the model, as long as those that the evidence was taken from: features know positions."""
    return draw(embedded.network, 60, embedded.context, 9, lambda text: None).astype(np.int64)


def test_everything_bundled_stays_under_its_limit() -> None:
    files = [f for f in HERE.rglob("*") if f.is_file() and f.suffix not in (".py", ".pyc")]
    assert sum(f.stat().st_size for f in files) < LIMIT


def test_the_log_shows_learning_and_the_loss_of_what_is_stored(embedded: Model) -> None:
    events = [json.loads(line) for line in TRAINING_LOG.read_text().splitlines()]
    held_out = [e["held_out_loss"] for e in events if e["event"] == "train" and "held_out_loss" in e]
    assert held_out[-1] == min(held_out) < held_out[0] - 0.5
    last = [e for e in events if e["event"] == "model"][-1]
    assert last["parameters"] == embedded.network.num_parameters()
    assert last["held_out_loss"] == pytest.approx(held_out[-1], abs=0.02)
    assert last["held_out_loss"] < 1.95


def test_samples_are_as_many_as_promised_and_disjoint(embedded: Model) -> None:
    parts = load_file(SAMPLES_FILE)
    assert {name: rows.shape for name, rows in parts.items()} == {"population": (2000, 64), "evaluation": (500, 64)}
    assert all((rows[:, 0] == embedded.bos).all() for rows in parts.values())
    assert not {r.tobytes() for r in parts["population"]} & {r.tobytes() for r in parts["evaluation"]}


@pytest.mark.parametrize("plan", SAE_PLANS, ids=lambda p: p.sae_id)
def test_cards_say_what_the_saes_are(plan: SaePlan, embedded: Model, own_texts: np.ndarray) -> None:
    """Against what can be measured without the corpus: the same on samples of the model, within its noise."""
    card = json.loads((SAES_DIR / plan.sae_id / "card.json").read_text())
    config = json.loads((SAES_DIR / plan.sae_id / "cfg.json").read_text())
    assert (card["width"], card["k"], card["hook"]) == (config["d_sae"], config["k"], plan.hook)
    assert config["metadata"]["hook_name"] == plan.hook
    assert config["metadata"]["model_name"] == "embedded"
    assert config["metadata"]["prepend_bos"] is True
    assert config["metadata"]["model_from_pretrained_kwargs"] == {"center_writing_weights": True}
    assert card["delta_ce"] == pytest.approx(card["ce_spliced"] - card["ce_clean"], abs=2e-4)
    assert card["ce_clean"] < card["ce_spliced"] < card["ce_mean"]
    sae = load_sae(SaeSection(sae_id=plan.sae_id), embedded, parse_hook(plan.hook, 6), lambda text: None)
    rows = load_file(SAMPLES_FILE)["evaluation"][:200].astype(np.int64)
    f, x, rebuilt = features_of(sae, embedded, plan, rows)
    unexplained = ((x - rebuilt) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert (f > 0).sum(-1).mean() == pytest.approx(card["l0"], abs=0.1)
    # Samples are a little harder than stories; a wrong card would be off by far more.
    assert unexplained == pytest.approx(card["unexplained_variance"], rel=0.5)
    rates = load_file(SAES_DIR / plan.sae_id / "features.safetensors")["rate"]
    fired, _, _ = features_of(sae, embedded, plan, own_texts)
    assert np.corrcoef((fired > 0).mean(0), rates)[0, 1] > 0.99
    assert (rates > 0).mean() == pytest.approx(card["alive_share"], abs=1e-4)


def features_of(sae, model: Model, plan: SaePlan, rows: np.ndarray):
    """Feature activations, vectors and reconstructions of the tokens after BOS."""
    import torch

    raw = activations_everywhere(model, parse_hook(plan.hook, 6), torch.from_numpy(rows))[:, 1:].flatten(0, 1)
    x = model.to_basis(raw, parse_hook(plan.hook, 6))
    removed = (raw - x).mean(-1).numpy()
    return sae.encode(x.numpy(), removed), x.numpy(), sae.reconstruction(x.numpy(), removed)


def test_output_tokens_are_those_of_the_direct_path(embedded: Model) -> None:
    """One product by hand: decoder row, final norm's scale, unembedding."""
    folder = SAES_DIR / "blocks.1.hook_resid_pre"
    weights, evidence = load_file(folder / "sae_weights.safetensors"), load_file(folder / "features.safetensors")
    scale = embedded.network.transformer.ln_f.weight.numpy()
    unembedding = embedded.network.lm_head.weight.numpy()
    for feature in (0, 17, 400):
        row = weights["W_dec"][feature]
        logits = unembedding @ ((row - row.mean()) * scale)
        for name, order in (("raised", np.argsort(-logits)), ("lowered", np.argsort(logits))):
            assert np.allclose(logits[evidence[name][feature]], logits[order[:8]], atol=1e-5), (feature, name)


def test_snippets_are_places_where_the_feature_fires(embedded: Model) -> None:
    """A snippet is cut from a longer text, so the feature need not fire exactly as hard, but fire it must."""
    plan = SAE_PLANS[0]
    sae = load_sae(SaeSection(), embedded, parse_hook(plan.hook, 6), lambda text: None)
    evidence = load_file(SAES_DIR / plan.sae_id / "features.safetensors")
    assert (np.diff(evidence["peaks"], axis=1) <= 0).all()
    fires, looked = 0, 0
    for feature in np.argsort(-evidence["rate"])[:: len(evidence["rate"]) // 60]:
        if evidence["peaks"][feature, 0] > 0:
            snippet = evidence["snippets"][feature, 0, :13]
            rows = np.array([[embedded.bos, *[int(t) for t in snippet if t >= 0 and t != embedded.bos]]])
            f, _, _ = features_of(sae, embedded, plan, rows)
            looked += 1
            fires += f[-1, feature] > 0.5 * evidence["peaks"][feature, 0]
    assert looked > 50
    assert fires / looked > 0.9
