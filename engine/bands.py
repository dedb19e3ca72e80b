"""Many curves as one: median, quartiles, deciles, mean and n at every step, without smoothing.

Knows series; not where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.results import Series

QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, eq=False)
class Band:
    """Curves of one group at common coordinates [steps]."""

    coordinate: Series
    quantiles: NDArray[np.float64]
    """[5, steps]: of 0.1, 0.25, 0.5, 0.75 and 0.9."""
    mean: Series
    n: NDArray[np.int64]
    """[steps]: curves that have a value there."""

    @property
    def median(self) -> Series:
        return np.asarray(self.quantiles[2])


def band(coordinates: Sequence[Series], values: Sequence[Series]) -> Band:
    """Quantiles over curves.

    Curves with one grid are taken as they are. Where grids differ (paths that end at their own targets) they are read
    off, linearly between steps, at as many places up to the shortest end. Missing values are left out of their step.

    Raises:
        ValueError: There are no curves.
    """
    if not values:
        raise ValueError("a band needs at least one curve")
    grid = coordinates[0]
    if all(np.array_equal(c, grid) for c in coordinates):
        rows = np.stack(list(values))
    else:
        grid = np.linspace(0, min(float(c[-1]) for c in coordinates), max(len(c) for c in coordinates))
        rows = np.stack([np.interp(grid, c, v) for c, v in zip(coordinates, values, strict=True)])
    n = np.isfinite(rows).sum(0)
    quantiles = np.full((len(QUANTILES), len(grid)), np.nan)
    mean = np.full(len(grid), np.nan)
    known = n > 0
    finite = np.where(np.isfinite(rows), rows, np.nan)[:, known]
    quantiles[:, known] = np.nanquantile(finite, QUANTILES, axis=0)
    mean[known] = np.nanmean(finite, axis=0)
    return Band(grid, quantiles, mean, n)
