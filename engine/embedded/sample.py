"""Text drawn from the bundled model itself at temperature 1: what the tool uses where others would need a corpus.

Knows the model; no files.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GPT2LMHeadModel

AT_ONCE = 250


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
