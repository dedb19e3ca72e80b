"""How the rows of a run are arranged and cut into forward passes: a rule, recorded with the run and used again.

The rule depends on shapes, the kind of device and what a model was found to do exactly, never on a stopwatch, so that
the same recipe gives the same numbers. Knows shapes; no vectors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from engine.errors import OutOfMemoryError
from engine.forward import Forward, Hosts, Output
from engine.memory import free_cached
from engine.models import Model
from engine.shards import Layout, Rule

T = TypeVar("T")

ROWS: Final = {"cpu": 256, "mps": 256, "cuda": 4096}
"""Perturbed positions of one forward pass by device."""
CURVES: Final = {"cpu": 32, "mps": 32, "cuda": 256}
"""Curves of one shard by device."""
LOGITS_BYTES: Final = {"cpu": 2**28, "mps": 2**28, "cuda": 2**31}
"""What the logits of one pass may take."""
LIVE_FLOPS: Final = 10**10
"""Of unembedding one pass where a key may end it: some 40 ms on two cores."""
LEAST_ROWS: Final = 8
SMALL: Final = 3 * 10**7
"""Parameters of a model whose results come so fast that drawing them takes as long."""
TREE_PREFIX: Final = 16
"""Tokens of prefix for each further token that a copy runs, from which a tree is no slower than a batch. A batch copies
the prefix to every row; a tree with branches of S tokens computes S times as many scores as it needs."""

TOLERANCE: Final = {torch.float32: 1e-4, torch.float64: 1e-5, torch.bfloat16: 0.5}
"""Largest log-probability difference from a plain pass: float32 layouts differ by some 1e-6 (measured), silent errors
start at 3e-3. Eager attention and RMSNorm round to float32 inside most families, hence 1e-5 and not 1e-12 in float64.
bfloat16 layouts differ by up to 0.2 on improbable tokens, so that only gross errors can be told from rounding there."""


class LayoutRefused(Exception):
    """A pass by this rule differs from a plain one; the run starts again by the next rule."""

    def __init__(self, rule: Rule, difference: float) -> None:
        super().__init__(rule, difference)
        self.rule: Rule = rule
        self.difference = difference


def choose(
    model: Model,
    prefix: int,
    suffix: int,
    directions: int,
    refused: frozenset[Rule] = frozenset(),
    live: bool = False,
) -> Layout:
    """The layout of a run.

    Args:
        prefix: tokens in front of the write.
        suffix: tokens each copy runs.
        directions: curves of one base.
        refused: rules that were found to be wrong for this model and shape.
        live: whether an app draws what is computed, on the same processor.
    """
    device = model.device.type if model.device.type in ROWS else "cpu"
    curves = CURVES[device]
    rules: list[Rule] = []
    if model.has_cache:
        rules = ["tree", "batch"] if prefix >= max(1, TREE_PREFIX * (suffix - 1)) else ["batch"]
    rule: Rule = next((r for r in rules if r not in refused), "full")
    run = prefix + suffix if rule == "full" else suffix
    # Where several bases are computed together nobody waits for the first points, and larger products are faster.
    rows = ROWS[device] * (1 if directions >= curves else 2)
    rows = min(rows // run, LOGITS_BYTES[device] // (4 * model.d_vocab))
    threads = usable_threads()
    if live and device == "cpu":
        # Unembedding is the longest step that cannot be ended in its middle.
        rows = min(rows, LIVE_FLOPS // (2 * model.d_vocab * model.d_model))
    if live and device == "cpu" and threads > 1 and sum(p.numel() for p in model.network.parameters()) < SMALL:
        threads -= 1  # what a small model gains by the last core, the app loses, and its threads wait for each other
    return Layout(rule, max(LEAST_ROWS, rows), curves, threads=threads)


@contextlib.contextmanager
def all_threads() -> Iterator[None]:
    """Every usable thread, whatever a run before was given."""
    before = torch.get_num_threads()
    torch.set_num_threads(usable_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def usable_threads() -> int:
    """Threads that this process was started with, by default one for each core."""
    return int(torch.get_num_threads())


@dataclass
class LayoutBook:
    """Which arrangements of which models were compared with plain passes, and which were found wrong."""

    _checked: dict[tuple[Any, ...], int] = field(default_factory=dict)
    _refused: dict[tuple[Any, ...], frozenset[Rule]] = field(default_factory=dict)

    def refused(self, model: Model) -> frozenset[Rule]:
        """Rules not to be used for a model."""
        return self._refused.get(model.identity, frozenset())

    def refuse(self, model: Model, rule: Rule) -> None:
        """Use another rule from now on."""
        key = model.identity
        self._refused[key] = self._refused.get(key, frozenset()) | {rule}

    def check(self, forward: Forward, hosts: Hosts, vectors: Tensor, output: Output, rule: Rule) -> None:
        """Compare the first and the last row of a pass with plain ones, once per model and shape.

        A pass with more rows than any checked before is checked again: some faults show at large row numbers alone.

        Raises:
            LayoutRefused: They differ by more than rounding; the rule is not used again.
        """
        if rule == "full":
            return
        frozen = () if forward.freezer is None else forward.freezer.what
        shape = (rule, forward.write.place, hosts.position, hosts.n_suffix, len(hosts), frozen)
        key, copies = (*forward.model.identity, *shape), vectors.shape[1]
        if self._checked.get(key, 0) >= copies:
            return
        if not output.logits[[0, -1], [0, -1]].isfinite().all():
            return  # a model that overflows tells nothing of the arrangement
        worst = difference(forward, hosts, vectors, output)
        if not worst <= TOLERANCE[forward.model.dtype]:
            self.refuse(forward.model, rule)
            raise LayoutRefused(rule, worst)
        self._checked[key] = copies


def exactly(attempt: Callable[[], T]) -> T:
    """What an attempt gives, made again while an arrangement turns out to be wrong for its model."""
    while True:
        with contextlib.suppress(LayoutRefused):
            return attempt()


def difference(forward: Forward, hosts: Hosts, vectors: Tensor, output: Output) -> float:
    """Largest difference of log-probabilities of the first and last rows [B, N, d_hook] from plain passes."""
    ends = torch.tensor([0, len(hosts) - 1], device=vectors.device)
    # The first copy rides along: parts that are frozen take theirs from it.
    copies = torch.tensor([0, vectors.shape[1] - 1], device=vectors.device)
    plain = forward.full(hosts.select(ends), vectors[ends][:, copies]).logits
    fast = output.logits[ends][:, copies].detach()
    return float((fast.float().log_softmax(-1) - plain.float().log_softmax(-1)).abs().max())


def smaller(layout: Layout, model: Model) -> Layout:
    """The layout after running out of memory: half the rows; what a GPU holds for later is given back first.

    Raises:
        OutOfMemoryError: There is nothing left to halve.
    """
    free_cached()
    if layout.rows_per_chunk <= 2:
        raise OutOfMemoryError(
            f"'{model.name}' does not fit: even two rows at a time run out of memory. Use another device."
        )
    return replace(layout, rows_per_chunk=max(2, layout.rows_per_chunk // 2))
