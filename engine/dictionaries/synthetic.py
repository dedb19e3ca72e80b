"""Synthetic activations: a real one's SAE features exchanged for others that are alike.

A ladder (after "Evaluating synthetic activations composed of SAE latents in
GPT-2", LASR Labs 2024, whose text has the first two and leaves the sampling open):

- *baseline*, a bag of latents: each active latent is exchanged for another one that fires about as often, which takes
  over its activation.
- *structured*: chosen among those for a like cosine to the strongest latent.
- *pairwise*: of the quarter that is best by that, for like cosines to all of the stronger ones.
- *cooccurring*: of the half that is best by that in turn, for firing as often where the stronger ones fire.

Every rung chooses among the same latents, and each gives up a little of what the rung below matched: how well all four
are matched is recorded with every vector. Knows numbers; no models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from engine.drawing import strongest, unit_rows
from engine.errors import DirectionError

Rung = Literal["baseline", "structured", "pairwise", "cooccurring"]
RUNGS: Final[tuple[Rung, ...]] = get_args(Rung)
WHAT: Final[dict[Rung, str]] = {
    "baseline": "a bag of SAE latents of like frequency and activation",
    "structured": "such a bag with like cosines to the strongest latent",
    "pairwise": "such a bag with like pairwise cosines too",
    "cooccurring": "such a bag with like pairwise cosines and co-occurrence",
}
RATE_TOLERANCE: Final = 0.15
"""Decades of firing rate within which two latents fire equally often."""
LEAST_CANDIDATES: Final = 16
"""Where fewer latents are that close, the nearest ones in rate."""
Rows = Callable[[Sequence[int]], NDArray[np.float64]]
Cofiring = Callable[[int, Sequence[int]], NDArray[np.float64]]


@dataclass(frozen=True)
class Exchange:
    """Which latent stands for which. Ids are indices of the SAE."""

    originals: tuple[int, ...]
    """Strongest first."""
    latents: tuple[int, ...]
    activations: tuple[float, ...]
    """Of the originals, carried over."""
    rate_gap: float
    """Mean difference of firing rates, decades."""
    cosine_gap: float
    """Mean difference of the cosines to the strongest latent."""
    pairwise_gap: float
    """Root mean square difference of all pairwise cosines."""
    cofiring_gap: float
    """Mean difference of the shares of activations with a stronger latent that have the weaker one too."""

    def detail(self) -> dict[str, Any]:
        """Provenance, as recorded."""
        return {
            "originals": list(self.originals),
            "latents": list(self.latents),
            "activations": list(self.activations),
            "rate_gap_decades": self.rate_gap,
            "cosine_gap": self.cosine_gap,
            "pairwise_gap": self.pairwise_gap,
            "cofiring_gap": self.cofiring_gap,
        }


def exchange(
    rng: np.random.Generator,
    activations: NDArray[np.float64],
    rates: NDArray[np.float64],
    rows: Rows,
    cofiring: Cofiring,
    rung: Rung,
) -> Exchange:
    """Find the stand-ins of one activation's latents.

    Args:
        rng: chooses among latents that match alike.
        activations: of a real activation [d_sae].
        rates: share of real activations on which each latent is active [d_sae].
        rows: gives decoder rows [n, d] of latents.
        cofiring: gives, of the real activations on which a latent is active, the share that have each of some others.
        rung: what is kept.

    Raises:
        DirectionError: No latent is active, or there are not enough others.
    """
    active = strongest(activations)
    if not active:
        raise DirectionError(
            "None of the SAE's features is active at a real activation, so there is nothing to build a synthetic one "
            "from: choose another SAE."
        )
    free = rates > 0
    free[active] = False
    if int(free.sum()) < len(active):
        raise DirectionError(
            f"{int(free.sum())} other SAE features fire on the population, too few to stand in for {len(active)}: "
            "raise population.n."
        )
    # A latent that is active here was seen at least once, if only here.
    decades = np.log10(np.maximum(rates, rates[rates > 0].min()))
    originals = unit_rows(rows(active))
    wanted = originals @ originals.T
    together = np.stack([cofiring(latent, active) for latent in active])  # [given, other]
    chosen: list[int] = []
    chosen_rows = np.zeros((0, originals.shape[1]))
    for place, latent in enumerate(active):
        near = _near(np.where(free, np.abs(decades - decades[latent]), np.inf), int(free.sum()))
        pick = near[rng.integers(len(near))]
        if place and rung != "baseline":
            # Not by matrix products: the threads of small ones would get in the way of those that run the model.
            units = unit_rows(rows(near))
            order = np.abs(np.einsum("nd,d->n", units, chosen_rows[0]) - wanted[place, 0]).argsort(kind="stable")
            if rung != "structured":
                order = order[: -(-len(near) // 4)]
                apart = np.einsum("nd,kd->nk", units[order], chosen_rows) - wanted[place, :place]
                order = order[(apart**2).mean(1).argsort(kind="stable")]
            if rung == "cooccurring":
                order = order[: -(-len(order) // 2)]
                shares = np.stack([cofiring(other, [near[i] for i in order]) for other in chosen], axis=1)
                order = order[((shares - together[:place, place]) ** 2).mean(1).argsort(kind="stable")]
            pick = near[int(order[0])]
        chosen.append(pick)
        chosen_rows = np.concatenate([chosen_rows, unit_rows(rows([pick]))])
        free[pick] = False
    got = chosen_rows @ chosen_rows.T
    theirs = np.stack([cofiring(latent, chosen) for latent in chosen])
    pairs = np.triu_indices(len(active), 1)
    return Exchange(
        originals=tuple(active),
        latents=tuple(chosen),
        activations=tuple(float(activations[i]) for i in active),
        rate_gap=float(np.abs(decades[chosen] - decades[active]).mean()),
        cosine_gap=float(np.abs(got[0] - wanted[0]).mean()),
        pairwise_gap=float(np.sqrt(((got - wanted)[pairs] ** 2).mean())) if len(active) > 1 else 0.0,
        cofiring_gap=float(np.abs(theirs - together)[pairs].mean()) if len(active) > 1 else 0.0,
    )


def _near(gaps: NDArray[np.float64], n_free: int) -> list[int]:
    """Latents that fire about as often; where few do, the nearest in rate, so that there is a choice."""
    near = np.flatnonzero(gaps <= RATE_TOLERANCE)
    if len(near) < LEAST_CANDIDATES:
        near = np.argsort(gaps, kind="stable")[: min(LEAST_CANDIDATES, n_free)]
    return [int(i) for i in near]
