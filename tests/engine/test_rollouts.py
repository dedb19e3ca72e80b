"""Completions against whole forward passes of the plain model, with and without a vector added."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from engine.embedded import MODEL_DIR
from engine.hooks import parse_hook
from engine.models import Model
from engine.randomness import stream
from engine.steering.rollouts import Sampling, rollouts

PROMPT = "One day, a boy named Tim went to the park. He"


@pytest.fixture(scope="module")
def plain() -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float64, attn_implementation="eager").eval()


@torch.no_grad()
def next_logits(plain: torch.nn.Module, ids: list[int], layer: int, delta: np.ndarray | None, start: int):
    """Logits after `ids` of a whole pass with delta added before (or, for 6, after) a block from `start` on."""

    def added(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        hidden[:, start:] += torch.from_numpy(delta)
        return hidden

    handles = []
    if delta is not None and layer < 6:
        block = plain.transformer.h[layer]
        handles.append(block.register_forward_pre_hook(lambda module, args: (added(args[0]), *args[1:])))
    elif delta is not None:
        handles.append(plain.transformer.ln_f.register_forward_pre_hook(lambda module, args: (added(args[0]),)))
    logits = plain(input_ids=torch.tensor([ids])).logits[0, -1]
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.parametrize(
    ("hook", "layer"),
    [("blocks.1.hook_resid_pre", 1), ("blocks.3.hook_resid_post", 4), ("blocks.5.hook_resid_post", 6)],
)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_writing_with_the_cache_is_writing_without_it(
    embedded: Model, plain: torch.nn.Module, hook: str, layer: int, temperature: float
) -> None:
    ids = embedded.encode(PROMPT, "auto")
    rng = np.random.default_rng(1)
    delta = rng.standard_normal(embedded.d_model)
    delta -= delta.mean()
    delta *= 25 / np.linalg.norm(delta)
    start, sampling = len(ids) - 1, Sampling(20, temperature, 7)
    for vector in (None, delta):
        written = rollouts(embedded, ids, [0, 3], sampling, parse_hook(hook, 6), vector, start)
        for number, tokens in zip((0, 3), written, strict=True):
            randoms = stream(7, "rollout", number).random(20)
            expected: list[int] = []
            for u in randoms:
                logits = next_logits(plain, [*ids, *expected], layer, vector, start)
                if temperature == 0:
                    token = int(logits.argmax())
                else:
                    token = int((torch.softmax(logits / temperature, -1).cumsum(-1) <= u).sum())
                if token == embedded.eos:
                    break
                expected.append(token)
            assert tokens == expected


def test_a_completion_does_not_depend_on_the_others(embedded: Model) -> None:
    ids, hook = embedded.encode(PROMPT, "auto"), parse_hook("blocks.1.hook_resid_pre", 6)
    sampling = Sampling(20, 1.0, 0)
    together = rollouts(embedded, ids, range(5), sampling, hook, None, 0)
    assert len({tuple(tokens) for tokens in together}) == 5
    assert rollouts(embedded, ids, [3], sampling, hook, None, 0) == [together[3]]
    assert rollouts(embedded, ids, [3], Sampling(20, 1.0, 1), hook, None, 0) != [together[3]]


def test_writing_ends_with_the_context_and_with_the_text(embedded: Model) -> None:
    hook = parse_hook("blocks.1.hook_resid_pre", 6)
    words = (embedded.encode("the cat saw the dog", "auto") * embedded.context)[: embedded.context - 3]
    assert len(rollouts(embedded, words, [0], Sampling(50, 0.0, 0), hook, None, 0)[0]) <= 3
    ended = rollouts(embedded, embedded.encode("The end.", "auto"), range(8), Sampling(80, 1.0, 0), hook, None, 0)
    assert all(embedded.eos not in tokens for tokens in ended)
    assert any(len(tokens) < 80 for tokens in ended)
