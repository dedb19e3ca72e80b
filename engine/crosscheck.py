"""Two independent checks of a loaded model's hot path: one at every load, one for every set of weights and versions.

First each arrangement of the suffix pass against plain full forward passes of the same network; then the clean run and
a perturbed one against transformer-lens' bridge, booted over a second module tree that shares the tensors. An
arrangement that fails the first is not used for this model; where transformer-lens disagrees or does not know the
architecture, that is said.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from engine.durable import make_private, replace_file
from engine.errors import UsageError
from engine.forward import Forward
from engine.hooks import default_read, parse_hook
from engine.layouts import TOLERANCE, difference
from engine.memory import is_out_of_memory
from engine.models import Model, Report, twin
from engine.shards import Rule

COPIES: Final = 40
"""Rows of a check: enough that a tree has branches far from its prefix."""
BRIDGE_TOLERANCE: Final = {torch.float32: 1e-3, torch.float64: 1e-3, torch.bfloat16: 0.5}
"""The bridge computes attention its own way; 4e-5 was the largest difference over 27 families in float32."""


@dataclass(frozen=True)
class SelfCheck:
    """What the checks measured: largest differences of log-probabilities."""

    full_forward: float
    """Of the arrangements that are used; 0 where the plain way is the only one."""
    bridge: float | None
    """None where transformer-lens cannot boot the architecture."""
    bridge_problem: str = ""
    refused: Mapping[Rule, float] = field(default_factory=dict)
    """Arrangements that differ by more than the tolerance, and by how much; infinity where one does not run."""


def self_check(model: Model, report: Report = lambda text: None, cache: Path | None = None) -> SelfCheck:
    """Check the hot path of a model on a few tokens, by every arrangement, with a short and a longer suffix.

    Args:
        model: just loaded.
        report: called with a line of text at each stage.
        cache: where transformer-lens' verdict is kept. It is a property of weights and versions, and takes longer to
            get than all else of a start; the arrangements, which depend on the machine too, are checked each time.
    """
    report("checking the forward pass")
    worst, refused = check_arrangements(model)
    file = None if cache is None else cache / f"bridge-{_verdict_key(model)}.json"
    known = _kept(file)
    if known is None:
        report("booting transformer-lens")
        known = _compared_with_bridge(model)
        _keep(file, known)
    return SelfCheck(worst, *known, refused)


def _compared_with_bridge(model: Model) -> tuple[float | None, str]:
    """The largest difference from transformer-lens, and what is wrong with it."""
    forward, ids, position = _asked(model)
    hosts = forward.hosts([ids], position)
    vectors = _moved(hosts.raw[0], 2)
    plain = forward.full(hosts, vectors[None]).logits[0].float().log_softmax(-1)
    try:
        bridge = boot_bridge(model)
        through_bridge = _bridge_log_probs(bridge, model, ids, position, forward.write.name, vectors)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # The bridge is a second opinion: an architecture it cannot boot still runs, and the run record says so.
        return None, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    apart = float((through_bridge - plain).abs().max())
    # Where it boots and disagrees, the plain pass of the model's own modules is what is true: the record says so.
    return apart, "" if apart <= BRIDGE_TOLERANCE[model.dtype] else f"log-probabilities differ by {apart:.2g}"


def _verdict_key(model: Model) -> str:
    """What the verdict depends on."""
    packages = [f"{p} {version(p)}" for p in ("torch", "transformers", "transformer-lens")]
    parts = [*map(str, model.identity), str(model.network.config), *packages]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=12).hexdigest()


def _kept(file: Path | None) -> tuple[float | None, str] | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
        apart = data["difference"]
        return None if apart is None else float(apart), str(data["problem"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # not there or damaged: found out again


def _keep(file: Path | None, verdict: tuple[float | None, str]) -> None:
    if file is None or verdict[0] is None:
        return  # what could not be booted may be bootable next time
    with contextlib.suppress(OSError, UsageError):  # a full disk costs some seconds, next time
        make_private(file.parent)
        replace_file(file, json.dumps({"difference": verdict[0], "problem": verdict[1]}))


def check_arrangements(model: Model) -> tuple[float, dict[Rule, float]]:
    """The largest difference of the arrangements that may be used, and those that may not with theirs."""
    forward, ids, position = _asked(model)
    worst, refused = 0.0, dict[Rule, float]()
    rules: tuple[Rule, ...] = ("tree", "batch") if model.has_cache else ()
    for rule in rules:
        apart = max(_apart(forward, ids[: position + 1], position, rule), _apart(forward, ids, position, rule))
        if apart <= TOLERANCE[model.dtype]:
            worst = max(worst, apart)
        else:
            refused[rule] = apart
    return worst, refused


def _asked(model: Model) -> tuple[Forward, list[int], int]:
    """What is computed in all ways: a hook, some tokens and a position."""
    ids = [(7 * i + 3) % model.d_vocab for i in range(9)]
    write = parse_hook(f"blocks.{min(1, model.n_layers - 1)}.hook_resid_pre", model.n_layers)
    return Forward(model, write, [parse_hook(default_read(model.n_layers), model.n_layers)]), ids, 6


def _moved(raw: Tensor, copies: int) -> Tensor:
    """A vector [d] and copies of it, moved ever further: [copies, d]."""
    return raw + torch.linspace(0, 1, copies, device=raw.device, dtype=raw.dtype)[:, None] * raw.roll(1)


def _apart(forward: Forward, ids: list[int], position: int, rule: Rule) -> float:
    try:
        hosts = forward.hosts([ids, ids[::-1]], position)
        vectors = torch.stack([_moved(raw, COPIES) for raw in hosts.raw])
        apart = difference(forward, hosts, vectors, forward.run(hosts, vectors, rule))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return float("inf")  # what raises here is an architecture this arrangement does not suit
    return apart if apart == apart else float("inf")


def boot_bridge(model: Model) -> Any:
    """A transformer-lens bridge over a copy of the module tree that shares every tensor with the model.

    The copy matters: the bridge replaces modules in the tree it is given.
    """
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(
        model.name, hf_model=twin(model.network), tokenizer=model.tokenizer, device=model.device, dtype=model.dtype
    )


@torch.no_grad()
def _bridge_log_probs(bridge: Any, model: Model, ids: list[int], position: int, hook: str, vectors: Tensor) -> Tensor:
    def put(stream: Tensor, hook: Any) -> Tensor:
        stream = stream.clone()
        stream[:, position] = vectors
        return stream

    tokens = model.tensor([ids]).expand(len(vectors), -1)
    logits = bridge.run_with_hooks(tokens, fwd_hooks=[(hook, put)])
    log_probs: Tensor = logits[:, -1].float().log_softmax(-1)
    return log_probs
