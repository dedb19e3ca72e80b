"""What only a running network can tell: the form of its blocks' results, its cache, and the basis of its stream.

Asked with a few tokens when a model is loaded, rather than known by class, so that unknown architectures are right too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import torch
from torch import nn

from engine.errors import LoadError
from engine.forward import Forward
from engine.hooks import FIRST
from engine.memory import is_out_of_memory
from engine.metrics import kl
from engine.models import Model

CENTRED_BELOW: Final = {torch.float32: 1e-5, torch.float64: 1e-5, torch.bfloat16: 1e-2}
"""KL of a ones-vector kick that counts as none; bfloat16 rounds the kick itself."""


def probed(model: Model) -> Model:
    """The model with what its network told.

    Raises:
        LoadError: Its output is not finite, or its blocks do not run once each.
    """
    return _with_basis(_with_cache(_with_returns(model)))


@torch.no_grad()
def _with_returns(model: Model) -> Model:
    """Find out what form the blocks' results have, which what stands in for a block must have too."""
    found: list[int] = []

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        found.append(len(output) if isinstance(output, tuple) else 0)

    handles = [layer.register_forward_hook(note) for layer in model.layers]
    try:
        logits = model.network(input_ids=model.probe, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    if not logits.isfinite().all():
        raise LoadError(f"'{model.name}' gives NaN or infinite logits on a plain forward pass: are its weights whole?")
    if len(found) != model.n_layers:
        raise LoadError(f"'{model.name}' runs its blocks {len(found)} times instead of {model.n_layers}: unsupported.")
    return replace(model, returns=tuple(found))


@torch.no_grad()
def _with_basis(model: Model) -> Model:
    """Find out whether the output ignores the mean over d_model, by adding a ones-vector as long as the residual.

    LayerNorm models ignore it (KL about 1e-12 in float32), RMSNorm models do not (KL 0.4 to 1). Asking the model
    rather than its class is what gets LayerNorm look-alikes right.
    """
    forward, ids = Forward(model, FIRST, ()), model.probe.tolist()
    hosts = forward.hosts(ids, len(ids[0]) - 1)
    raw = hosts.raw[0]
    kick = raw.norm() / model.d_model**0.5 * torch.ones_like(raw)
    logits = forward.run(hosts, torch.stack([raw, raw + kick])[None], "full").logits[0]
    return replace(model, centred=bool(kl(logits[0], logits[1:]).item() < CENTRED_BELOW[model.dtype]))


def _with_cache(model: Model) -> Model:
    """Find out whether the model runs on from keys and values, the only kind of cache the hot path has."""
    if "past_key_values" not in model.takes:
        return replace(model, has_cache=False)
    forward = Forward(model, FIRST, ())
    try:
        forward.prefix(forward.hosts(model.probe.tolist(), 3))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Recurrent and hybrid architectures ask their caches for what ours has not; whole passes still run.
        return replace(model, has_cache=False)
    return model
