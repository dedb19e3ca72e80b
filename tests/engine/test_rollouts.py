"""Completions against whole forward passes of the plain model, with and without a vector added."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.generation.logits_process import TopPLogitsWarper

from engine.embedded import MODEL_DIR
from engine.hooks import parse_hook
from engine.models import Model
from engine.randomness import stream
from engine.steering.rollouts import (
    Sampling,
    cache_difference,
    draw,
    nucleus,
    rollouts,
    until_end,
)
from engine.steering.steer import NotFiniteError, Steer

PROMPT = "One day, a boy named Tim went to the park. He"


@pytest.fixture(scope="module")
def plain() -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float64, attn_implementation="eager").eval()


@torch.no_grad()
def next_logits(plain: torch.nn.Module, ids: list[int], added: dict[int, dict[int, np.ndarray]]) -> torch.Tensor:
    """Logits after `ids` of a whole pass with rows added before (or, for 6, after) blocks, by block and token."""
    handles = []
    for layer, rows in added.items():

        def add(module, args, rows=rows):
            hidden = args[0].clone()
            for token, row in rows.items():
                if token < hidden.shape[1]:
                    hidden[:, token] += torch.from_numpy(row)
            return (hidden, *args[1:])

        module = plain.transformer.h[layer] if layer < 6 else plain.transformer.ln_f
        handles.append(module.register_forward_pre_hook(add))
    logits = plain(input_ids=torch.tensor([ids])).logits[0, -1]
    for handle in handles:
        handle.remove()
    return logits


def pushes(d_model: int, n: int, length: float = 25.0) -> np.ndarray:
    rows = np.random.default_rng(1).standard_normal((n, d_model))
    rows -= rows.mean(-1, keepdims=True)
    return length * rows / np.linalg.norm(rows, axis=1, keepdims=True)


CASES = {
    "onwards": (None, {"blocks.1.hook_resid_pre": 1}, 1),
    "onwards, last block's output": (None, {"blocks.5.hook_resid_post": 6}, 1),
    "some tokens": ((0, 5, 14), {"blocks.3.hook_resid_post": 4}, 1),
    "token by token, two hooks": ((1, 2, 3), {"blocks.1.hook_resid_pre": 1, "blocks.3.hook_resid_pre": 3}, 3),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_writing_with_the_cache_is_writing_without_it(
    embedded: Model, plain: torch.nn.Module, case: str, temperature: float
) -> None:
    positions, hooks, n_rows = CASES[case]
    ids = embedded.encode(PROMPT, "auto")
    start, sampling = len(ids) - 1, Sampling(9, temperature, 7)
    rows = {name: pushes(embedded.d_model, n_rows) * (1 + i) / 2 for i, name in enumerate(hooks)}
    steer = Steer({parse_hook(name, 6): held for name, held in rows.items()}, start, positions)
    tokens = range(start, 64) if positions is None else positions
    added = {
        layer: {t: rows[name][i if n_rows > 1 else 0] for i, t in enumerate(tokens)} for name, layer in hooks.items()
    }
    for how, by_layer in ((None, {}), (steer, added)):
        written = rollouts(embedded, ids, [0, 3], sampling, how)
        for number, got in zip((0, 3), written.tokens, strict=True):
            expected: list[int] = []
            for u in stream(7, "rollout", number).random(9):
                logits = next_logits(plain, [*ids, *expected], by_layer)
                if temperature == 0:
                    expected.append(int(logits.argmax()))
                else:
                    expected.append(int((torch.softmax(logits / temperature, -1).cumsum(-1) <= u).sum()))
            assert until_end(got.tolist(), embedded.eos) == until_end(expected, embedded.eos)
        # float32 against itself in another arrangement: some 1e-6 (measured).
        assert cache_difference(embedded, ids, written, how) < 5e-5
        uncached = rollouts(embedded, ids, [0, 3], sampling, how, cached=False)
        assert (uncached.tokens == written.tokens).all()
    other = (
        Steer(steer.rows, start + 1)
        if positions is None
        else Steer(steer.rows, start, (*positions[:-1], positions[-1] + 1))
    )
    assert cache_difference(embedded, ids, rollouts(embedded, ids, [0, 3], sampling, steer), other) > 1e-3


def test_a_completion_does_not_depend_on_the_others(embedded: Model) -> None:
    ids = embedded.encode(PROMPT, "auto")
    together = rollouts(embedded, ids, range(5), Sampling(20, 1.0, 0)).tokens.tolist()
    assert len({tuple(tokens) for tokens in together}) == 5
    assert rollouts(embedded, ids, [3], Sampling(20, 1.0, 0)).tokens.tolist() == [together[3]]
    assert rollouts(embedded, ids, [3], Sampling(20, 1.0, 1)).tokens.tolist() != [together[3]]


def test_writing_ends_with_the_context_and_with_the_text(embedded: Model) -> None:
    words = (embedded.encode("the cat saw the dog", "auto") * embedded.context)[: embedded.context - 3]
    assert rollouts(embedded, words, [0], Sampling(50, 0.0, 0)).tokens.shape == (1, 3)
    ended = rollouts(embedded, embedded.encode("The end.", "auto"), range(8), Sampling(80, 1.0, 0))
    kept = [until_end(row.tolist(), embedded.eos) for row in ended.tokens]
    assert all(embedded.eos not in tokens for tokens in kept)
    assert any(len(tokens) < 80 for tokens in kept)


def test_strengths_that_break_the_model_are_told(embedded: Model) -> None:
    ids = embedded.encode(PROMPT, "auto")
    steer = Steer({parse_hook("blocks.1.hook_resid_pre", 6): pushes(embedded.d_model, 1, 1e38)}, 3)
    with pytest.raises(NotFiniteError, match="smaller strength"):
        rollouts(embedded, ids, [0], Sampling(3, 1.0, 0), steer)


def test_top_p_keeps_what_hugging_face_keeps() -> None:
    logits = torch.randn(50, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    for top_p in (0.05, 0.3, 0.9):
        kept = torch.softmax(TopPLogitsWarper(top_p)(None, logits), -1)
        ours = nucleus(torch.softmax(logits, -1), top_p)
        torch.testing.assert_close(ours / ours.sum(-1, keepdim=True), kept)


def test_draws_follow_temperature_penalty_and_top_p() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.5, 0.0, -1.0]], dtype=torch.float64)
    text = np.array([[0, 0, 2]])
    sampling = Sampling(1, 0.5, 0, top_p=0.95, frequency_penalty=1.5)
    # transformer-lens: logits / temperature, less the penalty for each time a token stood there, then top-p.
    odds = np.exp(logits[0].numpy() / 0.5 - 1.5 * np.array([2, 0, 1, 0, 0]))
    odds /= odds.sum()
    order = np.argsort(-odds)
    keep = order[: int(np.searchsorted(np.cumsum(odds[order]), 0.95)) + 1]
    expected = np.where(np.isin(np.arange(5), keep), odds, 0) / odds[keep].sum()
    uniform = (np.arange(20_000) + 0.5) / 20_000
    many = 20_000
    drawn = draw(logits.expand(many, -1), np.repeat(text, many, 0), uniform, sampling)
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / many, expected, atol=1e-4)
    assert draw(logits, text, np.array([0.5]), Sampling(1, 0.0, 0, frequency_penalty=1.5)).tolist() == [1]
