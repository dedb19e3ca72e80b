"""Text drawn from the bundled model itself at temperature 1: what the tool uses where others would need a corpus.

Knows the model and token streams; no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from transformers import GPT2LMHeadModel

from engine.sampling import sample_rows

AT_ONCE: Final = 250
VERBATIM_TOKENS: Final = 24


def draw(model: GPT2LMHeadModel, rows: int, length: int, seed: int, report: Callable[[str], None]) -> NDArray[np.int16]:
    """Token ids [rows, length], BOS first."""

    def say(done: int) -> None:
        report(f"sampled {done} of {rows} rows of {length} tokens")

    return sample_rows(model, int(model.config.bos_token_id), rows, length, seed, AT_ONCE, say).astype(np.int16)


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
