"""Evidence of what each feature of a bundled SAE stands for, gathered once so that no corpus is needed later.

For every feature: how often it fires on text drawn from the model itself, where it fires most, and which output
tokens its decoder vector raises and lowers by the direct path (through the final norm's scale and the unembedding;
Bloom & Lin, "Understanding SAE Features with the Logit Lens", 2024). Knows the bundled model's modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from engine.activations import activations_everywhere
from engine.dictionaries.evidence import EVIDENCE_FILE, SNIPPET_AFTER, SNIPPET_BEFORE
from engine.dictionaries.sae import Sae
from engine.embedded.settings import SaePlan
from engine.hooks import parse_hook
from engine.models import Model

TOKENS_KEPT: Final = 8
SNIPPETS_KEPT: Final = 4
NOTHING: Final = -1


@dataclass(frozen=True)
class Evidence:
    """Rows are features."""

    tokens: int
    """Tokens looked at."""
    rate: NDArray[np.float32]
    """[d_sae]: share of tokens the feature is active on."""
    peaks: NDArray[np.float32]
    """[d_sae, snippets]: activation at each snippet's token, 0 where there is no snippet."""
    snippets: NDArray[np.int16]
    """[d_sae, snippets, before + 1 + after]: token ids around the peak, -1 where the text is over."""
    raised: NDArray[np.int16]
    """[d_sae, tokens]: output tokens whose logits the feature raises most."""
    lowered: NDArray[np.int16]
    """[d_sae, tokens]: output tokens whose logits it lowers most."""


@torch.no_grad()
def gather(sae: Sae, model: Model, plan: SaePlan, rows: NDArray[np.int64], say: Callable[[str], None]) -> Evidence:
    """Look at texts [n, pos] of the model's own, BOS in front."""
    hook = parse_hook(plan.hook, model.n_layers)
    peaks = np.zeros((len(rows), sae.n_features), dtype=np.float32)
    places = np.zeros((len(rows), sae.n_features), dtype=np.int16)
    fired = np.zeros(sae.n_features)
    for start in range(0, len(rows), 16):
        part = rows[start : start + 16]
        raw = activations_everywhere(model, hook, torch.from_numpy(part))[:, 1:]
        x = model.to_basis(raw, hook)
        removed = (raw - x).mean(-1)
        f = sae.encode(x.flatten(0, 1).numpy(), removed.flatten().numpy()).reshape(len(part), -1, sae.n_features)
        fired += (f > 0).sum((0, 1))
        # One peak a text, so that four snippets are four texts.
        places[start : start + len(part)] = f.argmax(1) + 1
        peaks[start : start + len(part)] = f.max(1)
    say(f"gathered evidence for {plan.sae_id}")
    best = np.argsort(-peaks, axis=0, kind="stable")[:SNIPPETS_KEPT].T
    features = np.arange(sae.n_features)[:, None]
    raised, lowered = _output_tokens(sae, model)
    width = SNIPPET_BEFORE + 1 + SNIPPET_AFTER
    padded = np.pad(rows, ((0, 0), (SNIPPET_BEFORE, SNIPPET_AFTER)), constant_values=NOTHING)
    padded[:, SNIPPET_BEFORE] = NOTHING  # the BOS in front of every text
    windows = places[best, features].astype(np.int64)[..., None] + np.arange(width)
    return Evidence(
        tokens=rows.shape[0] * (rows.shape[1] - 1),
        rate=(fired / (rows.shape[0] * (rows.shape[1] - 1))).astype(np.float32),
        peaks=peaks[best, features],
        snippets=padded[best[..., None], windows].astype(np.int16),
        raised=raised,
        lowered=lowered,
    )


def _output_tokens(sae: Sae, model: Model) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    scale = model.network.transformer.ln_f.weight
    decoder = sae.module.W_dec.detach()
    decoder = decoder - decoder.mean(-1, keepdim=True) if sae.centre else decoder
    logits = (decoder * scale) @ model.network.lm_head.weight.T
    order = logits.argsort(-1, descending=True).numpy().astype(np.int16)
    return order[:, :TOKENS_KEPT].copy(), order[:, : -TOKENS_KEPT - 1 : -1].copy()


def save_evidence(evidence: Evidence, sae: Sae, model: Model, folder: Path) -> None:
    """Write it beside the SAE's weights, with the hashes of what it is evidence of."""
    arrays: dict[str, NDArray[Any]] = {
        "rate": evidence.rate,
        "peaks": evidence.peaks,
        "snippets": evidence.snippets,
        "raised": evidence.raised,
        "lowered": evidence.lowered,
    }
    # Transposed views would be written in the order of their memory.
    save_file(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()},
        folder / EVIDENCE_FILE,
        metadata={
            "weights_sha256": model.weights_sha256,
            "sae_sha256": sae.sha256,
            "tokens": str(evidence.tokens),
        },
    )
