"""Text drawn from the bundled model itself at temperature 1: what the tool uses where others would need a corpus.

Knows the model and token streams; no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GPT2LMHeadModel

AT_ONCE: Final = 250
VERBATIM_TOKENS: Final = 24


@torch.no_grad()
def draw(model: GPT2LMHeadModel, rows: int, length: int, seed: int, report: Callable[[str], None]) -> NDArray[np.int16]:
    """Token ids [rows, length], BOS first; a row runs on past the end of a story, as the training rows do."""
    torch.manual_seed(seed)
    bos = int(model.config.bos_token_id)
    parts = []
    for start in range(0, rows, AT_ONCE):
        prompt = torch.full((min(AT_ONCE, rows - start), 1), bos, device=model.device)
        drawn = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            top_k=0,
            max_length=length,
            eos_token_id=None,
            pad_token_id=bos,
        )
        parts.append(drawn.cpu().numpy().astype(np.int16))
        report(f"sampled {start + len(prompt)} of {rows} rows of {length} tokens")
    return np.concatenate(parts)


def verbatim_share(rows: NDArray[np.int16], streams: Sequence[NDArray[Any]]) -> float:
    """Share of the samples' windows of `VERBATIM_TOKENS` tokens that occur word for word in the training text."""
    seen = np.unique(np.concatenate([_window_hashes(stream) for stream in streams]))
    drawn = np.concatenate([_window_hashes(row[1:]) for row in rows])
    return float(np.isin(drawn, seen).mean())


def _window_hashes(tokens: NDArray[Any]) -> NDArray[np.uint64]:
    """A polynomial hash of every window, modulo 2^64; of millions of windows about none collide."""
    values = tokens.astype(np.uint64) + np.uint64(1)
    count = max(0, len(values) - VERBATIM_TOKENS + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    for i in range(VERBATIM_TOKENS):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + values[i : i + count]
    return hashes
