"""Two independent checks of a loaded model's hot path, run at every load.

First the suffix pass against plain full forward passes of the same network; then the clean run and a perturbed one
against transformer-lens' bridge, booted over a second module tree that shares the tensors. A model that fails the
first is refused with the numbers; where transformer-lens disagrees or does not know the architecture, that is said.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from engine.errors import LoadError
from engine.forward import Forward
from engine.hooks import default_read, parse_hook
from engine.models import Model, Report

TOLERANCE: Final = {torch.float32: 1e-4, torch.float64: 1e-5}
"""Largest log-probability difference: float32 layouts differ by some 1e-6 (measured); silent errors start at 3e-3.
Eager attention and RMSNorm round to float32 inside most families, hence 1e-5 and not 1e-12 in float64."""
BRIDGE_TOLERANCE: Final = 1e-3
"""The bridge computes attention its own way; 4e-5 was the largest difference over 27 families."""


@dataclass(frozen=True)
class SelfCheck:
    """What the checks measured: largest differences of log-probabilities."""

    full_forward: float
    bridge: float | None
    """None where transformer-lens cannot boot the architecture."""
    bridge_problem: str = ""


def self_check(model: Model, report: Report = lambda text: None) -> SelfCheck:
    """Check the hot path of a model on a few tokens.

    Raises:
        LoadError: The suffix pass differs from the plain one by more than the tolerance.
    """
    report("checking the forward pass")
    ids = [(7 * i + 3) % model.d_vocab for i in range(9)]
    position = 6
    write = parse_hook(f"blocks.{min(1, model.n_layers - 1)}.hook_resid_pre", model.n_layers)
    forward = Forward(model, write, [parse_hook(default_read(model.n_layers), model.n_layers)])
    host = forward.host(ids, position)
    vectors = torch.stack([host.raw, host.raw + host.raw.roll(1)])
    suffix = forward.run(host, vectors).logits.log_softmax(-1)
    plain = forward.full(ids, position, vectors).logits.log_softmax(-1)
    worst = float((suffix - plain).abs().max())
    if not worst <= TOLERANCE[model.dtype]:
        raise LoadError(
            f"The fast forward pass of '{model.name}' differs from a plain one by {worst:.2g} in log-probability "
            f"(at most {TOLERANCE[model.dtype]:g} is allowed), so its curves would be wrong: this architecture is "
            "not supported."
        )
    report("booting transformer-lens")
    try:
        bridge = boot_bridge(model)
        through_bridge = _bridge_log_probs(bridge, model, ids, position, write.name, vectors)
    except Exception as error:
        # The bridge is a second opinion: an architecture it cannot boot still runs, and the run record says so.
        return SelfCheck(worst, None, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    apart = float((through_bridge - plain).abs().max())
    # Where it boots and disagrees, the plain pass of the model's own modules is what is true: the record says so.
    problem = "" if apart <= BRIDGE_TOLERANCE else f"log-probabilities differ by {apart:.2g}"
    return SelfCheck(worst, apart, problem)


def boot_bridge(model: Model) -> Any:
    """A transformer-lens bridge over a copy of the module tree that shares every tensor with the model.

    The copy matters: the bridge replaces modules in the tree it is given.
    """
    from transformer_lens.model_bridge import TransformerBridge

    shared = {id(t): t for t in [*model.network.parameters(), *model.network.buffers()]}
    twin = copy.deepcopy(model.network, shared)
    return TransformerBridge.boot_transformers(
        model.name, hf_model=twin, tokenizer=model.tokenizer, device=model.device, dtype=model.dtype
    )


@torch.no_grad()
def _bridge_log_probs(bridge: Any, model: Model, ids: list[int], position: int, hook: str, vectors: Tensor) -> Tensor:
    def put(stream: Tensor, hook: Any) -> Tensor:
        stream = stream.clone()
        stream[:, position] = vectors
        return stream

    tokens = model.tensor([ids]).expand(len(vectors), -1)
    logits = bridge.run_with_hooks(tokens, fwd_hooks=[(hook, put)])
    log_probs: Tensor = logits[:, -1].log_softmax(-1)
    return log_probs
