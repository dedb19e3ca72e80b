"""A model whose features and thresholds are known: the positive control of every experiment.

Two blocks of GPT-2's architecture, attention switched off. A token's embedding is a content vector and one of a few
planted features. The second block has a pair of ReLU neurons for each feature, which begins to act when the feature's
share of the normalised residual passes `SHARE` and writes one next token's logit; nothing else reaches the output. So
from x, along a feature f that is orthogonal to it, nothing at all happens up to |x| tan(asin(SHARE)), or on the sphere
up to asin(SHARE) degrees, and everything right behind. The numbers below are computed in numpy, by formula.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sae_lens import StandardSAE, StandardSAEConfig
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from engine.dictionaries.loading import wrap_sae
from engine.embedded import MODEL_DIR
from engine.laboratory import Laboratory
from engine.models import Model
from engine.recipe import parse_recipe
from engine.site import resolve_site
from engine.workshop import Workshop

WRITE = "blocks.1.hook_resid_pre"
WIDTH, FEATURES, EPSILON = 48, 6, 1e-5
SHARE = 0.5
"""Of the length of the normalised residual: 30 degrees."""
STEEP, LOUD, HEAD = 400.0, 40.0, 3.0
CONTENT, CARRIED = 1.0, 1.2
"""Lengths of a token's content, and of the feature that it carries."""
PLAIN = tuple(range(0, 4096, 7))
"""Tokens that carry none."""


@dataclass(frozen=True)
class Planted:
    """The model, and what was put into it."""

    network: GPT2LMHeadModel
    tokenizer: object
    features: np.ndarray
    """[FEATURES, WIDTH], orthonormal."""
    content: np.ndarray
    """[n, WIDTH], an orthonormal basis of what content is made of."""
    embeddings: np.ndarray
    """[vocabulary, WIDTH]"""
    outputs: np.ndarray
    """[FEATURES, WIDTH]: what the second block writes."""

    def carried(self, token: int) -> int | None:
        """The feature of a token; none for the plain ones."""
        return None if token in PLAIN else token % FEATURES

    def logits(self, x: np.ndarray) -> np.ndarray:
        """By formula, in float64, of residuals [n, WIDTH] before the second block: [n, FEATURES], the rest being 0."""
        centred = x - x.mean(-1, keepdims=True)
        normalised = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
        share = normalised @ self.features.T / np.sqrt(WIDTH)
        acting = np.clip(STEEP * (share - SHARE), 0, 1)
        # What acts is written along its own direction with a length that swamps the rest, and normalised again.
        written = centred + LOUD * acting @ self.outputs
        final = written / np.sqrt((written**2).mean(-1, keepdims=True) + EPSILON)
        return np.asarray(HEAD * final @ self.outputs.T)

    def kl(self, base: np.ndarray, x: np.ndarray) -> np.ndarray:
        """KL of residuals [n, WIDTH] from base [WIDTH], nats: [n]."""
        vocabulary = len(self.embeddings)

        def log_p(z: np.ndarray) -> np.ndarray:
            whole = np.concatenate([z, np.zeros((len(z), vocabulary - FEATURES))], axis=1)
            return whole - np.log(np.exp(whole).sum(-1, keepdims=True))

        p, q = log_p(self.logits(base[None])), log_p(self.logits(x))
        return np.asarray((np.exp(p) * (p - q)).sum(-1))


def planted() -> Planted:
    """Made the same at every call."""
    rng = np.random.default_rng(5)
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    vocabulary = len(tokenizer)
    raw = rng.standard_normal((WIDTH, WIDTH))
    raw[:, 0] = 1.0  # everything else is orthogonal to ones, which the norms take away
    basis = np.linalg.qr(raw)[0].T[1:]
    features, outputs, content = basis[:FEATURES], basis[FEATURES : 2 * FEATURES], basis[2 * FEATURES :]
    mixed = rng.standard_normal((vocabulary, len(content)))
    embeddings = CONTENT * mixed / np.linalg.norm(mixed, axis=1, keepdims=True) @ content
    carrying = np.setdiff1d(np.arange(vocabulary), PLAIN)
    embeddings[carrying] += CARRIED * features[carrying % FEATURES]
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=WIDTH,
        n_layer=2,
        n_head=2,
        n_positions=64,
        n_inner=2 * FEATURES,
        activation_function="relu",
        tie_word_embeddings=False,
        layer_norm_epsilon=EPSILON,
        bos_token_id=0,
        eos_token_id=0,
    )
    network = GPT2LMHeadModel(config)
    root = np.sqrt(WIDTH)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for module in network.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.fill_(1.0)
        network.transformer.wte.weight.copy_(torch.from_numpy(embeddings))
        mlp = network.transformer.h[1].mlp
        # min(1, relu(z)) = relu(z) - relu(z - 1), z = STEEP (share - SHARE)
        read = torch.from_numpy(STEEP * features / root)
        mlp.c_fc.weight.copy_(torch.cat([read, read]).T)
        mlp.c_fc.bias.copy_(torch.cat([torch.full((FEATURES,), -STEEP * SHARE + shift) for shift in (0.0, -1.0)]))
        mlp.c_proj.weight.copy_(LOUD * torch.cat([torch.from_numpy(outputs), -torch.from_numpy(outputs)]))
        network.lm_head.weight[:FEATURES].copy_(HEAD * torch.from_numpy(outputs))
    return Planted(network.eval(), tokenizer, features, content, embeddings, outputs)


def plain_prompt(toy: Planted) -> str:
    """One that ends in a token without a feature, so that all of them lie across the base."""
    for word in (" who", " cat", " dog", " house", " tree", " boy", " big", " sun", " red", " ball", " day"):
        ids = toy.tokenizer.encode(word, add_special_tokens=False)
        if len(ids) == 1 and toy.carried(ids[0]) is None:
            return "There was a" + word
    raise AssertionError("none of the words will do")


def sae_of(toy: Planted, model: Model, without: int | None = None) -> object:
    """Every planted feature and every content direction both ways: it rebuilds nearly all, or misses one feature."""
    atoms = np.concatenate([toy.features, toy.content, -toy.content])
    module = StandardSAE(StandardSAEConfig(d_in=WIDTH, d_sae=len(atoms), apply_b_dec_to_input=False))
    rows = torch.from_numpy(atoms).float()
    decoder = rows.clone()
    if without is not None:
        decoder[without] = 0
    with torch.no_grad():
        module.W_enc.copy_(rows.T)
        module.W_dec.copy_(decoder)
        module.b_enc.fill_(-0.01)  # so that rounding turns nothing on, and something is always missed
        module.b_dec.zero_()
    return module


def lab_of(toy: Planted, model: Model, prompt: str, without: int | None = None, **data) -> Laboratory:
    site = {"prompt": prompt, "write": WRITE, **data.pop("site", {})}
    recipe = parse_recipe({"site": site, "population": {"n": 400}, **data})
    workshop = Workshop()
    hook = resolve_site(recipe, model).write
    workshop.keep_sae(model, recipe.sae, hook, wrap_sae(sae_of(toy, model, without), model, hook, "planted", "SAE"))
    return Laboratory(model, recipe, workshop)
