"""Text drawn from a model at temperature 1, many rows at a time.

Knows networks and token ids; no prompts, no files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@torch.no_grad()
def sample_rows(
    network: Any, start: int, rows: int, length: int, seed: int, at_once: int, report: Callable[[int], None]
) -> NDArray[np.int32]:
    """Token ids [rows, length]; a row runs on past the end of a text.

    Args:
        network: a causal Hugging Face model, in evaluation mode.
        start: the token every row begins with.
        at_once: rows of one batch; the rows depend on it, since a batch shares its random numbers.
        report: called with the number of rows done.
    """
    assert not network.training, "dropout would be sampled too"
    device = network.device
    parts = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for done in range(0, rows, at_once):
            prompt = torch.full((min(at_once, rows - done), 1), start, device=device)
            drawn = network.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=True,
                # All said here, or a checkpoint's own generation settings would shape the text.
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                repetition_penalty=1.0,
                max_length=length,
                eos_token_id=None,
                pad_token_id=start,
            )
            parts.append(drawn.cpu().numpy().astype(np.int32))
            report(done + len(prompt))
    return np.concatenate(parts)
