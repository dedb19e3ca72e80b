"""The unit of work: some bases, their directions, all steps. Torch-free, so that whoever hands work out can know it.

Which shards a run has, and in which order and company each row is computed, follows from counts and the recorded layout
alone: who computes a shard, and what else is computed, changes no number. A stopped run computes a shard that it had
begun again in the same company, and records what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

Rule = Literal["tree", "batch", "full"]
"""How perturbed copies are arranged: branches of a tree, rows of a batch, or whole prompts the plain way."""
LEAST_ROWS_OF_A_BASE: Final = 8
"""Rows of one pass for each base of a shard, its own among them."""
COARSE: Final = (25, 5)
"""Every 25th step of all curves of a shard comes first, then every 5th, then the rest."""


@dataclass(frozen=True)
class Layout:
    """How a run is computed."""

    rule: Rule
    rows_per_chunk: int
    """Perturbed copies of one forward pass, base rows included."""
    curves_per_shard: int
    coarse: tuple[int, ...] = COARSE
    threads: int = 1
    """Of the processor."""

    def data(self) -> dict[str, Any]:
        """As recorded."""
        return {**asdict(self), "coarse": list(self.coarse)}

    @classmethod
    def recorded(cls, data: Mapping[str, Any]) -> Layout | None:
        """Read back from a run's record; None where it holds none."""
        try:
            rule, rows, curves = data["rule"], int(data["rows_per_chunk"]), int(data["curves_per_shard"])
            coarse, threads = tuple(int(n) for n in data["coarse"]), int(data["threads"])
        except (KeyError, TypeError, ValueError):
            return None
        known = rule in get_args(Rule) and rows > 1 and curves > 0 and threads > 0
        return cls(rule, rows, curves, coarse, threads) if known else None


@dataclass(frozen=True)
class Shard:
    """Some bases and some of their directions."""

    index: int
    bases: range
    directions: range
    """Places in the order of one base's directions."""
    n_directions: int
    """Of every base, in this shard and others."""

    def curve(self, base: int, direction: int) -> int:
        """The number of a curve within its run."""
        return base * self.n_directions + direction

    @property
    def curves(self) -> list[int]:
        """All of its curves, base by base."""
        return [self.curve(base, direction) for base in self.bases for direction in self.directions]


def shards(n_bases: int, n_directions: int, layout: Layout) -> Iterator[Shard]:
    """The shards of a run, in order: a part of one base's directions each, or several bases with all of theirs."""
    index, curves_per_shard = 0, layout.curves_per_shard
    # Every base has its own row in every pass, so that more of them would leave no room for perturbed ones.
    bases_each = max(1, min(curves_per_shard // n_directions, layout.rows_per_chunk // LEAST_ROWS_OF_A_BASE))
    for first in range(0, n_bases, bases_each):
        bases = range(first, min(first + bases_each, n_bases))
        for start in range(0, n_directions, curves_per_shard):
            yield Shard(index, bases, range(start, min(start + curves_per_shard, n_directions)), n_directions)
            index += 1


def passes(steps: int, coarse: Sequence[int]) -> list[list[int]]:
    """Steps 1 to `steps` in the order in which they are computed: each pass finer than the one before.

    The first pass of a curve of some length has its last step, so that it shows where the curve goes.
    """
    left, found = dict.fromkeys(range(1, steps + 1)), list[list[int]]()
    for stride in coarse:
        if steps >= 2 * stride:
            wanted = [k for k in left if k % stride == 0 or k == steps]
            found.append(wanted)
            for k in wanted:
                del left[k]
    return [*found, list(left)] if left else found


def plan(n_curves: int, steps: int, coarse: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Rows (curve, step) of each pass, for each base of a shard alike; in the last pass curve by curve."""
    return [[(curve, k) for curve in range(n_curves) for k in chosen] for chosen in passes(steps, coarse)]
