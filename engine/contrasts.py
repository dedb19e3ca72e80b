"""How well two groups of curves are told apart by one number each: AUC and Kolmogorov-Smirnov distance.

Intervals come from resampling bases, not curves: curves of one base are no independent evidence. Bases that both groups
have are resampled together. What never happens counts as +infinity, ties as one half. Knows numbers and which base each
is of; no curves, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.randomness import stream

RESAMPLES: Final = 1000
AT_ONCE: Final = 100
"""Resamples counted together, which bounds memory."""
Counts = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Group:
    """One number per curve, and the base that the curve starts from."""

    values: NDArray[np.float64]
    """[n], +infinity for what never happens; no NaN."""
    bases: NDArray[np.int64]
    """[n]"""

    @property
    def n_bases(self) -> int:
        return len(np.unique(self.bases))


@dataclass(frozen=True)
class Measured:
    """A statistic with its 95 % interval over resampled bases."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Distance:
    """A distance that is never negative, and how far apart like groups would be by chance."""

    value: float
    chance: float
    """95 % of distances lie below it when it is left to chance which group a base's curves count for."""


def auc(first: Group, second: Group) -> Measured:
    """P(a number of the first group < one of the second), ties 1/2: the area under the ROC curve; NaN of nothing."""
    if not len(first.values) or not len(second.values):
        return Measured(np.nan, np.nan, np.nan)
    order = np.argsort(second.values, kind="stable")
    ordered = second.values[order]
    upto, before = (np.searchsorted(ordered, first.values, side=side) for side in ("right", "left"))

    def area(a: Counts, b: Counts) -> Counts:
        """Of weights of the curves of either group [resamples, n]."""
        summed = np.concatenate([np.zeros((len(b), 1)), np.cumsum(b[:, order], axis=1)], axis=1)
        behind, level = summed[:, -1:] - summed[:, upto], summed[:, upto] - summed[:, before]
        with np.errstate(invalid="ignore"):
            return np.asarray((a * (behind + level / 2)).sum(1) / (a.sum(1) * b.sum(1)))

    value = float(area(np.ones((1, len(first.values))), np.ones((1, len(second.values))))[0])
    if min(first.n_bases, second.n_bases) < 2:
        return Measured(value, np.nan, np.nan)
    drawn = _resampled(first, second)
    parts = [slice(start, start + AT_ONCE) for start in range(0, RESAMPLES, AT_ONCE)]
    resampled = np.concatenate([area(*(weights[part] for weights in drawn)) for part in parts])
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Measured(value, float(low), float(high))


def ks(first: Group, second: Group) -> Distance:
    """Largest difference between the two distribution functions (Kolmogorov-Smirnov); NaN of nothing.

    It is above 0 by chance alone, and resampled groups are further apart than the groups themselves, so that it has no
    interval of the usual sort. What it would be by chance comes from exchanging the groups' labels: within the bases
    that both have, base by base, else between bases.
    """
    if not len(first.values) or not len(second.values):
        return Distance(np.nan, np.nan)
    values = np.concatenate([first.values, second.values])
    order = np.argsort(values, kind="stable")
    # The end of each run of equal values: only there are the functions compared.
    ends = np.append(np.diff(np.searchsorted(values[order], values[order], side="right")) != 0, True)

    def distance(ours: NDArray[np.bool_]) -> Counts:
        """Which curves count for the first group: [exchanges, n]."""
        one = ours[:, order].astype(np.float64)
        other = 1 - one
        with np.errstate(invalid="ignore"):
            gap = np.cumsum(one, axis=1) / one.sum(1, keepdims=True)
            gap -= np.cumsum(other, axis=1) / other.sum(1, keepdims=True)
        return np.asarray(np.abs(gap[:, ends]).max(1))

    labels = np.arange(len(values)) < len(first.values)
    value = float(distance(labels[None])[0])
    if min(first.n_bases, second.n_bases) < 2:
        return Distance(value, np.nan)
    rng = stream(0, "exchange/contrasts")
    found = [distance(_exchanged(rng, first, second, labels)) for _ in range(0, RESAMPLES, AT_ONCE)]
    return Distance(value, float(np.nanquantile(np.concatenate(found), 0.95)))


def _exchanged(rng: np.random.Generator, first: Group, second: Group, labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Labels left to chance, a base's curves of either group staying together: [AT_ONCE, n]."""
    bases = np.concatenate([first.bases, second.bases])
    found, places = np.unique(bases, return_inverse=True)
    shared = np.isin(found, np.intersect1d(first.bases, second.bases))
    if shared.any():
        swapped = (rng.random((AT_ONCE, len(found))) < 0.5) & shared
        return np.asarray(labels ^ swapped[:, places])
    n_ours = first.n_bases
    ranks = rng.random((AT_ONCE, len(found))).argsort(axis=1).argsort(axis=1)
    return np.asarray((ranks < n_ours)[:, places])


def rates_by_base(first: Group, second: Group) -> NDArray[np.float64]:
    """P(a number of the first < one of the second), ties one half, within each base that both have [n_bases]."""
    rates = []
    for base in np.intersect1d(first.bases, second.bases):
        x, y = first.values[first.bases == base][:, None], second.values[second.bases == base][None]
        rates.append(float(((x < y) + 0.5 * (x == y)).mean()))
    return np.array(rates)


def mean_of(values: NDArray[np.float64]) -> Measured:
    """Mean of what was measured on samples [n], which are resampled; missing ones are left out."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return Measured(float(known[0]) if len(known) else np.nan, np.nan, np.nan)
    low, high = np.quantile(_draws(stream(0, "bootstrap/means"), len(known)) @ known / len(known), [0.025, 0.975])
    return Measured(float(known.mean()), float(low), float(high))


def median_of(values: NDArray[np.float64]) -> Measured:
    """Median of what was measured on samples [n], which are resampled; missing ones are left out, infinities count."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return Measured(float(known[0]) if len(known) else np.nan, np.nan, np.nan)
    rng = stream(0, "bootstrap/medians")
    medians = np.median(known[rng.integers(0, len(known), (RESAMPLES, len(known)))], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975], method="nearest")
    return Measured(float(np.median(known)), float(low), float(high))


def ratio_of_means(above: NDArray[np.float64], below: NDArray[np.float64]) -> Measured:
    """Mean of one quantity over the mean of another, both measured on the same samples [n], which are resampled."""
    known = np.isfinite(above) & np.isfinite(below)
    x, y = above[known], below[known]
    if not len(x) or y.mean() <= 0:
        return Measured(np.nan, np.nan, np.nan)
    drawn = _draws(stream(0, "bootstrap/ratios"), len(x))
    lower = drawn @ y
    if len(x) < 2 or np.quantile(lower, 0.025) <= 0:  # what may be nothing cannot be divided by
        return Measured(float(x.mean() / y.mean()), np.nan, np.nan)
    with np.errstate(divide="ignore"):
        low, high = np.quantile(drawn @ x / lower, [0.025, 0.975])
    return Measured(float(x.mean() / y.mean()), float(low), float(high))


def _resampled(first: Group, second: Group) -> tuple[Counts, Counts]:
    """How often each curve of either group is drawn, in every resample: [RESAMPLES, n] each."""
    rng = stream(0, "bootstrap/contrasts")
    if len(np.intersect1d(first.bases, second.bases)):
        found, places = np.unique(np.concatenate([first.bases, second.bases]), return_inverse=True)
        drawn = _draws(rng, len(found))[:, places]
        return drawn[:, : len(first.values)], drawn[:, len(first.values) :]
    ours, theirs = (np.unique(group.bases, return_inverse=True) for group in (first, second))
    return _draws(rng, len(ours[0]))[:, ours[1]], _draws(rng, len(theirs[0]))[:, theirs[1]]


def _draws(rng: np.random.Generator, n: int) -> Counts:
    return rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
