"""How an SAE's decoder rows lie to each other and to what reads them, beside vectors that are no features.

Knows SAEs, populations and weights; no runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.dictionaries.sae import Sae
from engine.drawing import Population, isotropic, unit_rows
from engine.randomness import stream

MOST: Final = 2048
"""Vectors whose pairs are looked at; of a wider SAE, a seeded sample of its features."""
BINS: Final = 80


@dataclass(frozen=True, eq=False)
class Cosines:
    """Of one set of vectors."""

    pairs: NDArray[np.float64]
    """Shares [BINS] of all pairs by cosine, from -1 to 1."""
    nearest: NDArray[np.float64]
    """Shares [BINS] of all vectors by the cosine to their nearest other."""


def cosines(vectors: NDArray[Any]) -> Cosines:
    """Histograms of the pairwise cosines of vectors [n, d]; ones without length are left out."""
    lengths = np.linalg.norm(vectors, axis=1)
    units = vectors[lengths > 0] / lengths[lengths > 0, None]
    products = np.clip(units @ units.T, -1, 1)
    above = products[np.triu_indices(len(units), 1)]
    np.fill_diagonal(products, -np.inf)
    edges = np.linspace(-1, 1, BINS + 1)
    found = [np.histogram(values, edges)[0] / max(1, len(values)) for values in (above, products.max(1))]
    return Cosines(*found)


def decoder_sample(sae: Sae, seed: int) -> NDArray[np.float64]:
    """Decoder rows [n, d_hook] of all features, or of a seeded sample of them."""
    chosen = stream(seed, "geometry/features").permutation(sae.n_features)[:MOST]
    return sae.rows([int(i) for i in np.sort(chosen)])


def references(population: Population, n: int, centred: bool, seed: int) -> dict[str, NDArray[np.float64]]:
    """What decoder rows are compared with [n, d_hook]: isotropic vectors, and ones with real covariance."""
    d = population.vectors.shape[1]
    plain = np.stack([isotropic(stream(seed, "geometry/isotropic", i), d, centred) for i in range(n)])
    matched = [population.covariance_matched(stream(seed, "geometry/matched", i)) - population.mean for i in range(n)]
    return {"isotropic": plain, "covariance-matched": np.stack(matched)}


def largest_cosine(vector: NDArray[Any], rows: NDArray[Any]) -> float:
    """The largest |cosine| of a vector [d] with any of the rows [n, d]."""
    lengths = np.linalg.norm(rows, axis=1)
    products = np.abs(rows @ vector.astype(rows.dtype)) / np.where(lengths > 0, lengths, np.inf)
    return float(products.max() / max(np.linalg.norm(vector), 1e-30))


def explained_by(predictors: NDArray[np.float64], outcome: NDArray[np.float64]) -> float:
    """R^2 of a linear least-squares fit of an outcome [n] by predictors [n, k]; NaN with fewer than k + 3 points."""
    if len(outcome) < predictors.shape[1] + 3:
        return float("nan")
    design = np.column_stack([np.ones(len(outcome)), predictors])
    fitted = design @ np.linalg.lstsq(design, outcome, rcond=None)[0]
    spread = float(((outcome - outcome.mean()) ** 2).sum())
    return 1 - float(((outcome - fitted) ** 2).sum()) / spread if spread > 0 else float("nan")


def to_strongest(sae: Sae, features: Sequence[int]) -> NDArray[np.float64]:
    """Cosine of each feature's decoder row to that of the first [n]."""
    units = unit_rows(sae.rows(features))
    return np.asarray(units @ units[0])
