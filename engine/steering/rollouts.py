"""Completions of a prompt, steered or not.

The n-th completion draws the same random numbers whatever is added, so that a steered text and the unsteered one
beside it differ by the steering alone. Temperature, then frequency penalty, then top-p, as transformer-lens samples
(the penalty counts the prompt's tokens too). Knows models; no recipes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from engine.models import Model
from engine.randomness import stream
from engine.steering.steer import NotFiniteError, Steer, steering
from engine.taps import pausing

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    tokens: int
    """New tokens of a completion, fewer where the context ends."""
    temperature: float
    """0 takes the most probable token."""
    seed: int
    top_p: float = 1.0
    """Only the most probable tokens that together reach this probability (Holtzman et al., arXiv 1904.09751)."""
    frequency_penalty: float = 0.0
    """Taken off a token's logit for each time it stands in the text so far."""


@dataclass(frozen=True, eq=False)
class Written:
    """Completions as far as they are."""

    tokens: Tokens
    """[n, new tokens], going on behind the end of a text."""
    log_probabilities: NDArray[np.float64]
    """[n, new tokens]: of each token drawn, by the steered model itself, without temperature or penalties."""

    def texts(self, model: Model) -> list[str]:
        """Each up to where the model ended it."""
        return [str(model.tokenizer.decode(until_end(row.tolist(), model.eos))) for row in self.tokens]


@torch.no_grad()
def writing(
    model: Model,
    token_ids: Sequence[int],
    which: Sequence[int],
    sampling: Sampling,
    steer: Steer | None = None,
    pause: Callable[[], None] = lambda: None,
    cached: bool = True,
) -> Iterator[Written]:
    """Some completions of a prompt, after each new token.

    Args:
        which: numbers of the completions; each has a random stream of its own.
        pause: called before every block; may raise to end the writing.
        cached: whether keys and values of earlier tokens are kept; without, every pass is over the whole text.

    Raises:
        NotFiniteError: Logits are not finite.
    """
    n, length = len(which), min(sampling.tokens, model.context - len(token_ids))
    randoms = np.array([stream(sampling.seed, "rollout", i).random(sampling.tokens) for i in which])
    cache = DynamicCache() if cached and model.has_cache else None
    text = np.tile(np.array(token_ids, dtype=np.int64), (n, 1))
    chosen = np.zeros((n, 0))
    last = {"logits_to_keep": 1} if "logits_to_keep" in model.takes else {}
    for k in range(length):
        seen = text.shape[1] - 1 if cache is not None and k else 0
        with contextlib.ExitStack() as stack:
            stack.enter_context(pausing(model, pause))
            stack.enter_context(steering(model, steer, lambda: seen))  # noqa: B023  (called inside this pass)
            kept = {"past_key_values": cache, "use_cache": True} if cache is not None else {"use_cache": False}
            ids = torch.from_numpy(text[:, seen:]).to(model.device)
            logits = model.network(input_ids=ids, **kept, **last).logits[:, -1].double().cpu()
        if not logits.isfinite().all():
            raise NotFiniteError("The steered model gives NaN or infinity: use a smaller strength.")
        new = draw(logits, text, randoms[:, k], sampling)
        odds = torch.log_softmax(logits, -1).gather(1, torch.from_numpy(new)[:, None]).numpy()
        text, chosen = np.concatenate([text, new[:, None]], axis=1), np.concatenate([chosen, odds], axis=1)
        yield Written(text[:, len(token_ids) :], chosen)


def rollouts(
    model: Model,
    token_ids: Sequence[int],
    which: Sequence[int],
    sampling: Sampling,
    steer: Steer | None = None,
    pause: Callable[[], None] = lambda: None,
    cached: bool = True,
) -> Written:
    """The same to their end; arguments and errors as of `writing`."""
    written = Written(np.zeros((len(which), 0), np.int64), np.zeros((len(which), 0)))
    for written in writing(model, token_ids, which, sampling, steer, pause, cached):  # noqa: B007
        pass
    return written


@torch.no_grad()
def cache_difference(model: Model, token_ids: Sequence[int], written: Written, steer: Steer | None) -> float:
    """Largest difference of a drawn token's log-probability between writing and one whole pass without a cache.

    A cache that steering does not reach, or a position that is steered twice, shows here.
    """
    if not written.tokens.size:
        return 0.0
    text = np.concatenate([np.tile(np.array(token_ids, np.int64), (len(written.tokens), 1)), written.tokens], axis=1)
    with steering(model, steer):
        logits = model.network(input_ids=torch.from_numpy(text[:, :-1]).to(model.device), use_cache=False).logits
    new = written.tokens.shape[1]
    whole = torch.log_softmax(logits[:, -new:].double().cpu(), -1)
    found = whole.gather(2, torch.from_numpy(written.tokens)[..., None])[..., 0].numpy()
    return float(np.abs(found - written.log_probabilities).max())


def draw(logits: Tensor, text: Tokens, randoms: NDArray[np.float64], sampling: Sampling) -> Tokens:
    """The next tokens [n] by inverting the distribution function at uniform numbers [n].

    Args:
        logits: [n, d_vocab], float64 on the CPU.
        text: the tokens so far, prompt included [n, pos].
    """
    if sampling.temperature > 0:
        logits = logits / sampling.temperature
    if sampling.frequency_penalty:
        ids = torch.from_numpy(text)
        counts = torch.zeros_like(logits).scatter_add_(1, ids, torch.ones(ids.shape, dtype=logits.dtype))
        logits = logits - sampling.frequency_penalty * counts
    if sampling.temperature == 0:
        return np.asarray(logits.argmax(-1).numpy())
    odds = torch.softmax(logits, dim=-1)
    if sampling.top_p < 1:
        odds = nucleus(odds, sampling.top_p)
    ends = odds.cumsum(-1).numpy()
    drawn = [np.searchsorted(row, u * row[-1], side="right") for row, u in zip(ends, randoms, strict=True)]
    return np.asarray(np.minimum(drawn, ends.shape[1] - 1), dtype=np.int64)


def nucleus(odds: Tensor, top_p: float) -> Tensor:
    """Probabilities [n, d_vocab] with all but the fewest most probable tokens that reach top_p set to zero."""
    ordered, order = odds.sort(dim=-1, descending=True, stable=True)
    beyond = ordered.cumsum(-1) - ordered >= top_p
    return odds.masked_fill(torch.zeros_like(beyond).scatter_(1, order, beyond), 0.0)


def until_end(tokens: list[int], eos: int | None) -> list[int]:
    """Tokens up to where the model ended the text."""
    return tokens[: tokens.index(eos)] if eos in tokens else tokens
