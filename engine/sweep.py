"""Measuring one shard: every step of every curve, many bases and directions in one pass, coarse steps first.

Each pass of a chunk carries every base's own row in front, so that a row is compared with a base row of the same pass
and rounding cancels. Values stay on the device until their chunk is read back; on a GPU that happens one chunk late, so
that it never waits for this process. Knows the laboratory's forward pass, rays and metrics; does not know how bases and
directions were drawn or what is made of the curves.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import metrics
from engine.errors import RunFailedError
from engine.forward import Forward, Hosts
from engine.layouts import LayoutBook, smaller
from engine.memory import is_out_of_memory
from engine.paths import Ray
from engine.results import Note, Series
from engine.shards import Layout, Rule, plan

TOKEN_RANKS: Final = 10
DERIVATIVES_AT_ONCE: Final = 32
Row = tuple[int, int]
"""(place of the direction within the shard, step)"""


@dataclass(frozen=True, eq=False)
class Start:
    """A base of the shard: its context, what is written for its base run, and its rays."""

    row: Tensor
    """[d_hook]: raw, float64, on the CPU."""
    rays: Sequence[Ray]
    coordinates: Sequence[Series]
    """Of each ray, step 0 first."""


@dataclass
class Measured:
    """Values of a shard, by base and direction, NaN where a step is not done yet."""

    values: dict[str, dict[str, NDArray[np.float64]]]
    """values[read][metric]: [n_bases, n_directions, steps + 1]"""
    fisher: NDArray[np.float64]
    """t'Ft: [n_bases, n_directions]"""
    entropy: NDArray[np.float64]
    """Of each base run's next-token distribution, nats: [n_bases]"""
    token_ids: NDArray[np.int32] | None
    """[n_bases, n_directions, steps + 1, ranks]"""
    token_probabilities: NDArray[np.float64] | None


@dataclass(frozen=True)
class Swept:
    """Steps that are done: whole directions, of all bases at once, or a pass over all of them."""

    directions: tuple[int, ...] = ()
    """Done with all steps."""
    steps: tuple[int, ...] = ()
    """Done for all directions so far, where a pass has ended and others follow."""


@dataclass
class Sweep:
    """One shard on its way through the model.

    Args:
        forward: writes and reads.
        hosts: the context of each base.
        starts: one per base, in the order of the hosts.
        layout: how rows are arranged; halved, with a note, when memory runs out.
        book: what was checked before.
        extra: metrics beside KL, L2 and cosine: of the logits, or of every read hook.
        keeps_tokens: whether next tokens are kept.
        wanted: asked with a direction's place; what is false for all of a chunk is not computed.
    """

    forward: Forward
    hosts: Hosts
    starts: Sequence[Start]
    layout: Layout
    book: LayoutBook
    extra: Sequence[str] = ()
    keeps_tokens: bool = False
    wanted: Callable[[int], bool] = lambda direction: True
    steps_done: int = 0
    """Perturbed rows computed."""
    seconds: float = 0.0
    overflows: int = 0
    """Rows whose output was not finite."""
    measured: Measured = field(init=False)

    def __post_init__(self) -> None:
        model, bases, directions = self.forward.model, len(self.starts), len(self.starts[0].rays)
        self._steps = len(self.starts[0].coordinates[0]) - 1
        shape = (bases, directions, self._steps + 1)
        reads = [hook.name for hook in self.forward.reads]
        ranks = min(TOKEN_RANKS, model.d_vocab)
        self._of_logits = ["kl", *(name for name in self.extra if name not in metrics.STREAM_METRICS)]
        self._of_reads = ["l2", "cosine", *(name for name in self.extra if name in metrics.STREAM_METRICS)]
        self.measured = Measured(
            values={
                "logits": {name: np.full(shape, np.nan) for name in self._of_logits},
                **{name: {metric: np.full(shape, np.nan) for metric in self._of_reads} for name in reads},
            },
            fisher=np.full(shape[:2], np.nan),
            entropy=np.full(bases, np.nan),
            token_ids=np.zeros((*shape, ranks), np.int32) if self.keeps_tokens else None,
            token_probabilities=np.zeros((*shape, ranks)) if self.keeps_tokens else None,
        )
        # Where rays are put together: in float64, which Apple's GPUs do not have.
        self._place = torch.device("cpu") if model.device.type == "mps" else model.device
        stacked = [np.stack([ray.u for ray in start.rays]) for start in self.starts]
        self._u = torch.from_numpy(np.stack(stacked)).to(self._place)
        self._x = torch.from_numpy(np.stack([start.rays[0].x for start in self.starts])).to(self._place)
        self._base = torch.stack([start.row for start in self.starts]).to(self._place)
        weights = [[ray.weights(c) for ray, c in zip(s.rays, s.coordinates, strict=True)] for s in self.starts]
        self._weights = torch.from_numpy(np.array(weights)).to(self._place)  # [B, directions, of x or u, steps + 1]
        self._landings: deque[tuple[list[Row], _Landing]] = deque()
        self._late = 1 if model.device.type == "cuda" else 0
        self._missing = dict.fromkeys(range(directions), self._steps)

    def run(self) -> Iterator[Swept | Note]:
        """Compute everything; yields what is done as it is done."""
        rows_by_pass = plan(len(self.starts[0].rays), self._steps, self.layout.coarse)
        done_steps: list[int] = [0]
        for number, rows in enumerate(rows_by_pass):
            last = number == len(rows_by_pass) - 1
            if last:  # curves that end need theirs; before that, the first points come first
                yield from self._derivatives()
            yield from self._pass(rows)
            if not last:
                self._read_back(0)
                done_steps += dict.fromkeys(k for _, k in rows)
                yield Swept(steps=tuple(sorted(done_steps)))
        yield from self._finished(self._read_back(0))

    def _pass(self, rows: list[Row]) -> Iterator[Swept | Note]:
        start = 0
        while start < len(rows):
            width = max(1, self.layout.rows_per_chunk // len(self.starts) - 1)
            chunk = rows[start : start + width]
            if not any(self.wanted(direction) for direction, _ in chunk):
                start += width
                self._read_back(0)
                yield from self._finished(self._skipped(chunk))
                continue
            began = time.monotonic()
            try:
                landing = self._compute(chunk)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                yield self._halved()
                continue
            self._landings.append((chunk, landing))
            done = self._read_back(self._late)
            self.seconds += time.monotonic() - began
            start += width
            yield from self._finished(done)

    def _halved(self) -> Note:
        self._read_back(0)
        self.layout = smaller(self.layout, self.forward.model)
        return Note(
            f"Out of memory: going on with {self.layout.rows_per_chunk} rows at a time, half as many as before.",
            "warning",
        )

    def _compute(self, chunk: list[Row], rule: Rule | None = None) -> _Landing:
        """The base rows and these rows of every base: one pass, or several where memory is short."""
        at_once = max(1, self.layout.rows_per_chunk // 2)
        found: dict[tuple[str, str], list[Tensor]] = {}
        for start in range(0, len(self.starts), at_once):
            bases = slice(start, min(start + at_once, len(self.starts)))
            self._compute_some(chunk, bases, rule or self.layout.rule, found)
        return _Landing({key: torch.stack(parts) for key, parts in found.items()})

    def _compute_some(
        self, chunk: list[Row], bases: slice, rule: Rule, found: dict[tuple[str, str], list[Tensor]]
    ) -> None:
        """One pass over some of the bases."""
        model, hosts = self.forward.model, self.hosts
        if bases != slice(0, len(self.starts)):
            hosts = hosts.select(torch.arange(bases.start, bases.stop, device=model.device))
        directions = torch.tensor([direction for direction, _ in chunk], device=self._place)
        steps = torch.tensor([step for _, step in chunk], device=self._place)
        weights = self._weights[bases]
        of_x, of_u = (weights[:, directions, i, steps, None] for i in (0, 1))
        base = self._base[bases, None]
        moved = base + of_x * self._x[bases, None] + of_u * self._u[bases][:, directions]
        vectors = torch.cat([base, moved], dim=1).to(model.dtype).to(model.device)
        output = self.forward.run(hosts, vectors, rule)
        self.book.check(self.forward, hosts, vectors, output, rule)
        for b, logits in enumerate(output.logits):
            self.forward.pause()
            for name in self._of_logits:
                found.setdefault(("logits", name), []).append(getattr(metrics, name)(logits[0], logits))
            if self.keeps_tokens:
                ids, probabilities = metrics.top_tokens(logits, TOKEN_RANKS)
                found.setdefault(("tokens", "ids"), []).append(ids)
                found.setdefault(("tokens", "probabilities"), []).append(probabilities)
            for hook, read in zip(self.forward.reads, output.reads, strict=True):
                stream = model.to_basis(read[b], hook)
                for name in self._of_reads:
                    found.setdefault((hook.name, name), []).append(getattr(metrics, name)(stream[0], stream))
        self.steps_done += len(chunk) * len(output.logits)

    def _read_back(self, leave: int) -> list[int]:
        """Put landed values where they belong, all but the newest `leave` chunks; gives directions now whole."""
        whole = []
        while len(self._landings) > leave:
            chunk, landing = self._landings.popleft()
            directions, steps = np.array(chunk).T
            arrays = landing.arrays()
            if np.isnan(arrays["logits", "kl"]).any():
                arrays = self._again(chunk) if self.layout.rule == "tree" else arrays
                if np.isnan(arrays["logits", "kl"][:, 0]).any():
                    raise RunFailedError(
                        "The model's output is NaN or infinite at a base itself, so there is nothing to compare with: "
                        "use another prompt or base, or a wider model.dtype."
                    )
                self.overflows += int(np.isnan(arrays["logits", "kl"]).sum())
            for (read, metric), values in arrays.items():
                if read == "tokens":
                    target = self.measured.token_ids if metric == "ids" else self.measured.token_probabilities
                    assert target is not None
                else:
                    target = self.measured.values[read][metric]
                target[:, directions, steps] = values[:, 1:]
                # Step 0 is the base run itself, the first row of every pass.
                target[:, directions, 0] = values[:, :1]
            whole += self._skipped(chunk)
        return whole

    def _again(self, chunk: list[Row]) -> dict[tuple[str, str], NDArray[np.float64]]:
        """The same as rows of a batch: in a tree, a copy that overflows makes NaN of others, 0 x NaN being NaN."""
        self.hosts.prefix = None
        return self._compute(chunk, "batch").arrays()

    def _skipped(self, chunk: list[Row]) -> list[int]:
        """Count rows as done; gives directions of which none is missing now."""
        whole = []
        for direction, _ in chunk:
            self._missing[direction] -= 1
            if not self._missing[direction]:
                whole.append(direction)
        return whole

    def _finished(self, directions: list[int]) -> Iterator[Swept]:
        if directions:
            yield Swept(directions=tuple(directions))

    def _derivatives(self) -> Iterator[Note]:
        """t'Ft of every ray at its base, several at once."""
        model = self.forward.model
        tangents = np.stack([[ray.tangent for ray in start.rays] for start in self.starts])
        base = self._base.to(model.dtype).to(model.device)
        start, at_once = 0, max(1, DERIVATIVES_AT_ONCE // len(self.starts))
        while start < tangents.shape[1]:
            some = torch.from_numpy(tangents[:, start : start + at_once]).to(model.dtype).to(model.device)
            try:
                logits, derivative = self.forward.derivative(self.hosts, base, some, self.layout.rule)
                forms = torch.stack([metrics.fisher_form(a, d) for a, d in zip(logits, derivative, strict=True)])
            except Exception as error:
                if not is_out_of_memory(error) or at_once == 1:
                    raise
                at_once //= 2
                yield self._halved()
                continue
            self.measured.fisher[:, start : start + at_once] = forms.cpu().numpy()
            self.measured.entropy[:] = metrics.entropy(logits).cpu().numpy()
            start += at_once


class _Landing:
    """Values on their way from the device to this process."""

    def __init__(self, values: dict[tuple[str, str], Tensor]) -> None:
        self._event = None
        if any(v.is_cuda for v in values.values()):
            # Into pinned memory and without waiting: the GPU goes on while the copies are under way.
            pinned = {k: torch.empty(v.shape, dtype=v.dtype, pin_memory=True) for k, v in values.items()}
            for key, value in values.items():
                pinned[key].copy_(value, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
            self._values = pinned
        else:
            self._values = {k: v.cpu() for k, v in values.items()}

    def arrays(self) -> dict[tuple[str, str], NDArray[np.float64]]:
        """The values, once they are here."""
        if self._event is not None:
            self._event.synchronize()
        return {k: v.numpy() for k, v in self._values.items()}
