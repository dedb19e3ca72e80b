"""Completions of a prompt, with a vector added to the residual stream on the way or without.

Activation addition (Turner et al., arXiv 2308.10248), here at every position from the steered one on, generated
tokens included. The n-th completion draws the same random numbers whatever the vector, so that a steered text and
the unsteered one beside it differ by the vector alone. Knows models and hooks; no recipes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from engine.hooks import HookPoint
from engine.models import Model
from engine.randomness import stream
from engine.taps import editing, pausing


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    tokens: int
    """New tokens of a completion, fewer where the context ends."""
    temperature: float
    """0 takes the most probable token."""
    seed: int


@torch.no_grad()
def rollouts(
    model: Model,
    token_ids: Sequence[int],
    which: Sequence[int],
    sampling: Sampling,
    hook: HookPoint,
    vector: NDArray[np.float64] | None,
    start: int,
    pause: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """New tokens of some completions of a prompt, ended before the text ends where the model says so.

    Args:
        which: numbers of the completions; each has a random stream of its own.
        hook: where `vector` [d_model] is added; None adds nothing.
        start: first position that it is added at; all later ones follow.
        pause: called before every block; may raise to end the writing.
    """
    n, length = len(which), min(sampling.tokens, model.context - len(token_ids))
    randoms = np.array([stream(sampling.seed, "rollout", i).random(sampling.tokens) for i in which])
    cache = DynamicCache()
    ids = model.tensor([list(token_ids)]).expand(n, -1)
    new = np.zeros((n, max(0, length)), dtype=np.int64)
    seen, last = 0, {"logits_to_keep": 1} if "logits_to_keep" in model.takes else {}

    def add(hidden: Tensor) -> Tensor:
        assert vector is not None
        delta = torch.from_numpy(vector).to(hidden.device, hidden.dtype)
        later = torch.arange(seen, seen + hidden.shape[1], device=hidden.device) >= start
        return hidden + later[:, None] * delta

    with contextlib.ExitStack() as stack:
        stack.enter_context(pausing(model, pause))
        if vector is not None:
            stack.enter_context(editing(model, hook, add))
        for k in range(length):
            logits = model.network(input_ids=ids, past_key_values=cache, use_cache=True, **last).logits[:, -1]
            seen += ids.shape[1]
            new[:, k] = _draw(logits.double().cpu(), randoms[:, k], sampling.temperature)
            ids = torch.from_numpy(new[:, k : k + 1]).to(model.device)
    return [_until_end(row.tolist(), model.eos) for row in new]


def _draw(logits: Tensor, randoms: NDArray[np.float64], temperature: float) -> NDArray[np.int64]:
    if temperature == 0:
        return np.asarray(logits.argmax(-1).numpy())
    ends = torch.softmax(logits / temperature, dim=-1).cumsum(-1).numpy()
    drawn = [np.searchsorted(row, u * row[-1], side="right") for row, u in zip(ends, randoms, strict=True)]
    return np.asarray(np.minimum(drawn, ends.shape[1] - 1), dtype=np.int64)


def _until_end(tokens: list[int], eos: int | None) -> list[int]:
    return tokens[: tokens.index(eos)] if eos in tokens else tokens
