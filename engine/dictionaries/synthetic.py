"""Synthetic activations: a real one's SAE features exchanged for others that are alike.

*Bag of latents* (baseline): each active latent is exchanged for another one that fires about as often, which takes over
its activation. *Structured*: besides, the cosine of each to the strongest latent is kept, by choosing among latents of
like frequency. After "Evaluating synthetic activations composed of SAE latents in GPT-2" (LASR Labs 2024), whose text
leaves the sampling open. How well both matched is reported with every vector. Knows numbers; no models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.drawing import strongest, unit_rows
from engine.errors import DirectionError

RATE_TOLERANCE: Final = 0.15
"""Decades of firing rate within which two latents fire equally often."""
LEAST_CANDIDATES: Final = 16
"""Where fewer latents are that close, the nearest ones in rate."""
Rows = Callable[[Sequence[int]], NDArray[np.float64]]


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

    def detail(self) -> dict[str, Any]:
        """Provenance, as recorded."""
        return {
            "originals": list(self.originals),
            "latents": list(self.latents),
            "activations": list(self.activations),
            "rate_gap_decades": self.rate_gap,
            "cosine_gap": self.cosine_gap,
        }


def exchange(
    rng: np.random.Generator, activations: NDArray[np.float64], rates: NDArray[np.float64], rows: Rows, structured: bool
) -> Exchange:
    """Find the stand-ins of one activation's latents.

    Args:
        rng: chooses among latents that match alike.
        activations: of a real activation [d_sae].
        rates: share of real activations on which each latent is active [d_sae].
        rows: gives decoder rows [n, d] of latents.
        structured: whether cosines to the strongest latent are kept.

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
    wanted = originals @ originals[0]
    top: NDArray[np.float64] | None = None
    chosen: list[int] = []
    got: list[float] = []
    for place, latent in enumerate(active):
        gaps = np.where(free, np.abs(decades - decades[latent]), np.inf)
        near = np.flatnonzero(gaps <= RATE_TOLERANCE)
        if len(near) < LEAST_CANDIDATES and (structured or not len(near)):
            near = np.argsort(gaps, kind="stable")[: min(LEAST_CANDIDATES if structured else 1, int(free.sum()))]
        pick = int(near[rng.integers(len(near))])
        if top is not None and structured:
            cosines = unit_rows(rows([int(i) for i in near])) @ top
            pick = int(near[np.abs(cosines - wanted[place]).argmin()])
        row = unit_rows(rows([pick]))[0]
        top = row if top is None else top
        chosen.append(pick)
        got.append(float(row @ top))
        free[pick] = False
    return Exchange(
        originals=tuple(active),
        latents=tuple(chosen),
        activations=tuple(float(activations[i]) for i in active),
        rate_gap=float(np.abs(decades[chosen] - decades[active]).mean()),
        cosine_gap=float(np.abs(np.array(got) - wanted).mean()),
    )
