"""The engine against the naive ways, timed side by side in one run: `dirscope bench`.

A sweep is 100 steps along one direction at the last token of a ten-token prompt, logits and the last residual read,
KL included. Ratios carry over between machines, milliseconds do not. Imports torch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from engine import metrics
from engine.forward import Forward
from engine.hooks import default_read, parse_hook
from engine.models import Model, load_model
from engine.recipe import ModelSection

STEPS: Final = 100
PROMPT: Final = "Once upon a time, there was a little girl"


def bench_lines(model_name: str, rounds: int) -> Iterator[str]:
    """One line of text per method, medians over interleaved rounds."""
    model = load_model(ModelSection(name=model_name))
    write = parse_hook(f"blocks.{min(1, model.n_layers - 1)}.hook_resid_pre", model.n_layers)
    forward = Forward(model, write, [parse_hook(default_read(model.n_layers), model.n_layers)])
    ids = model.encode(PROMPT, "auto")
    position = len(ids) - 1
    host = forward.host(ids, position)
    u = torch.from_numpy(np.random.default_rng(0).standard_normal(model.d_model)).to(host.raw)
    u = u - u.mean() if model.centred else u
    distances = torch.linspace(0, float(host.raw.norm()), STEPS + 1)[:, None].to(host.raw)
    rows = host.raw + distances * u / u.norm()
    methods: dict[str, Callable[[], Tensor]] = {
        "one full forward per step": lambda: _naive(forward, ids, position, rows),
        "all steps as one full batch": lambda: _batched(forward, ids, position, rows),
        "dirscope, prefix pass included": lambda: _ours(forward, ids, position, rows),
    }
    times: dict[str, list[float]] = {name: [] for name in methods}
    results = {name: method() for name, method in methods.items()}  # also warms up
    for _ in range(rounds):
        for name, method in methods.items():
            started = time.perf_counter()
            method()
            _finish(model)
            times[name].append(time.perf_counter() - started)
    ours = statistics.median(times["dirscope, prefix pass included"])
    yield (
        f"{model.name}: {model.n_layers} layers, d_model {model.d_model}, {len(ids)} tokens, {STEPS} steps, "
        f"{model.device}, {torch.get_num_threads()} threads, median of {rounds} rounds"
    )
    for name, values in times.items():
        median = statistics.median(values)
        difference = float((results[name] - results["one full forward per step"]).abs().max())
        yield f"{name:<32} {1000 * median:9.1f} ms  {median / ours:7.1f} x  KL differs by at most {difference:.1e} nats"


def _naive(forward: Forward, ids: list[int], position: int, rows: Tensor) -> Tensor:
    logits = torch.cat([forward.full(ids, position, row[None]).logits for row in rows])
    return metrics.kl(logits[0], logits)


def _batched(forward: Forward, ids: list[int], position: int, rows: Tensor) -> Tensor:
    logits = forward.full(ids, position, rows).logits
    return metrics.kl(logits[0], logits)


def _ours(forward: Forward, ids: list[int], position: int, rows: Tensor) -> Tensor:
    logits = forward.run(forward.host(ids, position), rows).logits
    return metrics.kl(logits[0], logits)


def _finish(model: Model) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
