"""The independent computation that numbers are tested against: plain Hugging Face, float64, nothing of ours.

One whole forward pass per step, the residual overwritten by a hook, textbook formulas. Slow on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM


@dataclass
class Reference:
    """A model in float64 and where its blocks are."""

    model: torch.nn.Module
    blocks: torch.nn.ModuleList
    centred: bool

    @classmethod
    def load(cls, folder: Path, centred: bool) -> Reference:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
        blocks = model.transformer.h if hasattr(model, "transformer") else model.model.layers
        return cls(model, blocks, centred)

    @torch.no_grad()
    def run(
        self, ids: list[int], position: int, read_position: int, write: str, reads: list[str], delta: np.ndarray
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and residuals at the read position after adding `delta` [d_model] at one hook and position."""
        found: dict[str, Tensor] = {}
        handles = []

        def edit(hidden: Tensor) -> Tensor:
            hidden = hidden.clone()
            hidden[0, position] += torch.from_numpy(delta)
            return hidden

        for name in dict.fromkeys([write, *reads]):
            layer, side = int(name.split(".")[1]), name.rsplit("_", 1)[1]
            writing = name == write

            def before(module, args, kwargs, name=name, writing=writing):
                hidden = args[0] if args else kwargs["hidden_states"]
                if writing:
                    hidden = edit(hidden)
                if name in reads:
                    found[name] = hidden[0, read_position]
                return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

            def after(module, args, output, name=name, writing=writing):
                hidden = output[0] if isinstance(output, tuple) else output
                if writing:
                    hidden = edit(hidden)
                if name in reads:
                    found[name] = hidden[0, read_position]
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            if side == "pre":
                handles.append(self.blocks[layer].register_forward_pre_hook(before, with_kwargs=True))
            else:
                handles.append(self.blocks[layer].register_forward_hook(after))
        try:
            logits = self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, read_position]
        finally:
            for handle in handles:
                handle.remove()
        if self.centred:
            found = {k: v - v.mean() for k, v in found.items()}
        return logits, found


def kl(base: Tensor, logits: Tensor) -> float:
    """The textbook formula, in float64."""
    p, q = base.log_softmax(-1), logits.log_softmax(-1)
    return float((p.exp() * (p - q)).sum())


def js(base: Tensor, logits: Tensor) -> float:
    p, q = base.softmax(-1), logits.softmax(-1)
    m = (p + q) / 2
    return float(((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2)
