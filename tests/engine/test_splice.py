"""Splicing an SAE into every position, against plain Hugging Face in float64 with its stored tensors by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from engine.dictionaries.loading import load_sae
from engine.dictionaries.sae import Sae
from engine.dictionaries.splice import cut, mean_activation, splice
from engine.embedded import MODEL_DIR, SAES_DIR, SAMPLES_FILE
from engine.hooks import parse_hook
from engine.metrics import kl, kl_rows
from engine.models import Model
from engine.recipe import PopulationSection, SaeSection
from engine.texts import joined
from engine.workshop import Workshop

HOOK = parse_hook("blocks.1.hook_resid_pre", 6)


@pytest.fixture(scope="module")
def sae(embedded: Model) -> Sae:
    return load_sae(SaeSection(), embedded, HOOK, lambda text: None)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    from safetensors.numpy import load_file as load_numpy

    return load_numpy(SAMPLES_FILE)["evaluation"][:6, :40].astype(np.int64)


def test_losses_and_kl_are_those_of_a_model_edited_by_hand(embedded: Model, sae: Sae, rows: np.ndarray) -> None:
    """Float32 against float64: losses of a few nats agree to 1e-4, which is what such logits are worth."""
    network = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float64, attn_implementation="eager").eval()
    weights = {k: v.double() for k, v in load_file(SAES_DIR / HOOK.name / "sae_weights.safetensors").items()}
    ids = torch.from_numpy(rows)

    def rebuilt(x: torch.Tensor) -> torch.Tensor:
        # sae-lens' TopK: unit decoder rows or activations rescaled by their norms, the largest k kept.
        before = (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
        norms = weights["W_dec"].norm(dim=-1) if sae.module.cfg.rescale_acts_by_decoder_norm else torch.ones(1)
        top = (before * norms).topk(sae.module.cfg.k)
        f = torch.zeros_like(before).scatter(-1, top.indices, top.values.relu())
        return (f / norms) @ weights["W_dec"] + weights["b_dec"]

    with torch.no_grad():
        clean = network(input_ids=ids, output_hidden_states=True)
        stream = clean.hidden_states[1]
        x = stream - stream.mean(-1, keepdim=True)
        mean = x[:, 1:].reshape(-1, x.shape[-1]).mean(0)
        edits = {"clean": x, "spliced": rebuilt(x), "zero": torch.zeros_like(x), "mean": mean.expand_as(x)}
        logits = {}
        for name, new in edits.items():
            stand_in = torch.cat([stream[:, :1], new[:, 1:]], dim=1)
            handle = network.transformer.h[1].register_forward_pre_hook(
                lambda module, args, stand_in=stand_in: (stand_in, *args[1:])
            )
            logits[name] = network(input_ids=ids).logits[:, 1:-1].log_softmax(-1)
            handle.remove()
    assert (logits["clean"] - clean.logits[:, 1:-1].log_softmax(-1)).abs().max() < 1e-9

    measured = splice(embedded, sae, HOOK, rows, 1, mean_activation(embedded, HOOK, rows, 1))
    for i, text in enumerate(measured):
        assert text.tokens == rows.shape[1] - 2
        for name, log_p in logits.items():
            expected = -log_p[i].gather(-1, ids[i, 2:, None]).mean().item()
            assert getattr(text, f"ce_{name}") == pytest.approx(expected, abs=1e-4), name
        expected = (logits["clean"][i].exp() * (logits["clean"][i] - logits["spliced"][i])).sum(-1).mean().item()
        assert text.kl == pytest.approx(expected, abs=1e-4)
        assert text.delta_ce == pytest.approx(text.ce_spliced - text.ce_clean)
        error = (x - edits["spliced"])[i, 1:-1].pow(2).sum(-1).mean().item()
        assert text.squared_error == pytest.approx(error, rel=1e-3)
        spread = (x - mean)[i, 1:-1].pow(2).sum(-1).mean().item()
        assert text.squared_distance == pytest.approx(spread, rel=1e-3)
        assert text.ce_zero > text.ce_spliced > text.ce_clean - 0.1


def test_texts_are_cut_one_by_one_and_joined_where_they_stood_together() -> None:
    groups = [[np.array([5, 6], np.int32), np.array([8], np.int32)], [np.array([], np.int32), np.array([9], np.int32)]]
    assert [t.tolist() for t in joined(groups, 1)] == [[5, 6, 1, 8], [1, 9]]
    assert [t.tolist() for t in joined(groups, None)] == [[5, 6, 8], [9]]
    texts = [np.array([5, 6, 7, 8], np.int32), np.array([9], np.int32), np.array([10, 11], np.int32)]
    assert cut(texts, 0, 3).tolist() == [[0, 5, 6], [0, 7, 8], [0, 10, 11]]
    assert cut(texts, None, 2).tolist() == [[5, 6], [7, 8], [10, 11]]


def test_the_evaluation_texts_are_the_samples_as_they_were_drawn(embedded: Model) -> None:
    from safetensors.numpy import load_file as load_numpy

    section = PopulationSection(prompts="bundled-evaluation")
    rows = cut(joined(Workshop().texts(embedded, section), embedded.eos), embedded.bos, 64)
    assert (rows == load_numpy(SAMPLES_FILE)["evaluation"]).all()


def test_kl_of_rows_is_kl_of_each_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    base, other = torch.randn(70, 50, generator=generator), torch.randn(70, 50, generator=generator)
    pairs = zip(base.double(), other.double(), strict=True)
    expected = torch.stack([kl(b, o[None])[0] for b, o in pairs])
    assert torch.allclose(kl_rows(base, other), expected, rtol=1e-12)
    p, q = base.double().log_softmax(-1), other.double().log_softmax(-1)
    assert torch.allclose(kl_rows(base, other), (p.exp() * (p - q)).sum(-1), rtol=1e-9)
