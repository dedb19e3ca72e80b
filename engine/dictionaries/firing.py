"""How often each feature of an SAE fires on real activations of the run's own hook and position.

Knows SAEs and populations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.dictionaries.sae import Sae
from engine.drawing import Population

DENSE: Final = 0.5
"""Features that fire on more tokens than this mostly cancel in differences (Conmy & Nanda, GDM update #1, 2024)."""
ULTRA_RARE: Final = 1e-4
"""Features that fire less often form a cluster of their own (Conmy, dictionary learning replication, 2024)."""


@dataclass(frozen=True, eq=False)
class Firing:
    """Counts over a population."""

    n: int
    """Activations looked at."""
    counts: NDArray[np.int64]
    """[d_sae]: on how many a feature is active."""
    bits: NDArray[np.uint8]
    """[d_sae, n / 8]: on which a feature is active, a bit each."""
    largest: NDArray[np.float32]
    """[d_sae]: the largest activation of each, 0 of one that never fires."""

    @property
    def rates(self) -> NDArray[np.float64]:
        """[d_sae]"""
        return np.asarray(self.counts / self.n)

    def together(self, feature: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of the activations on which a feature is active, the share that have each of some others too [others]."""
        both = np.bitwise_count(self.bits[others] & self.bits[feature]).sum(1)
        return np.asarray(both / max(1, int(self.counts[feature])))


def firing(sae: Sae, population: Population, pause: Callable[[], None] = lambda: None) -> Firing:
    """Encode a population, by parts; `pause` is called before each, and may raise to give up."""
    counts = np.zeros(sae.n_features, np.int64)
    largest = np.zeros(sae.n_features, np.float32)
    bits = np.zeros((sae.n_features, -(-len(population.vectors) // 8)), np.uint8)
    for rows, f in sae.encoded(population.vectors, population.means):
        pause()
        counts += (f != 0).sum(0)
        largest = np.maximum(largest, f.max(0))
        # Parts need not begin at a whole byte.
        shift = rows.start % 8
        on = np.packbits(np.pad(f != 0, ((shift, 0), (0, 0))), axis=0).T
        bits[:, rows.start // 8 : rows.start // 8 + on.shape[1]] |= on
    return Firing(len(population.vectors), counts, bits, largest)


def mark(rate: float, looked_at: int) -> str:
    """`dense`, `rare`, `dead` or nothing: what to know of a feature before it is picked.

    Args:
        rate: share of tokens on which it is active.
        looked_at: tokens; too few of them cannot tell a rare feature from a dead one.
    """
    if rate > DENSE:
        return "dense"
    if rate == 0:
        return "dead" if looked_at >= 1 / ULTRA_RARE else "not seen"
    return "rare" if rate < ULTRA_RARE else ""
