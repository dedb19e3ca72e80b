"""How well two groups of curves are told apart by one number each: AUC and Kolmogorov-Smirnov distance.

Intervals come from resampling bases, not curves: curves of one base are no independent evidence. Where both groups have
the same bases they are resampled together. What never happens counts as +infinity, ties as one half. Knows numbers
and which base each is of; no curves, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.randomness import stream

RESAMPLES: Final = 1000
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


def auc(first: Group, second: Group) -> Measured:
    """P(a number of the first group < one of the second), ties 1/2: the area under the ROC curve; NaN of nothing."""
    if not len(first.values) or not len(second.values):
        return Measured(np.nan, np.nan, np.nan)
    x, y = first.values[:, None], second.values[None, :]
    sooner = (x < y) + 0.5 * (x == y)
    scores = _by_base(_by_base(sooner, first).T, second).T  # by base of either
    ours, theirs = (_by_base(np.ones(len(group.values)), group) for group in (first, second))
    a, b = _resampled(first, second)
    resampled = ((a @ scores) * b).sum(1) / ((a @ ours) * (b @ theirs))
    return _measured(first, second, float(sooner.mean()), np.quantile(resampled, [0.025, 0.975]))


def ks(first: Group, second: Group) -> Measured:
    """Largest difference between the two distribution functions (Kolmogorov-Smirnov); NaN of nothing.

    It is never below 0, and above it by chance: of two like groups of n curves each by some 1 / sqrt(n). Resamples are
    further apart than the groups themselves for the same reason, so their interval is moved back by that much.
    """
    if not len(first.values) or not len(second.values):
        return Measured(np.nan, np.nan, np.nan)
    steps = np.unique(np.concatenate([first.values, second.values]))

    def distance(a: Counts, b: Counts) -> Counts:
        return np.asarray(np.abs(_distribution(first, steps, a) - _distribution(second, steps, b)).max(1))

    value = float(distance(np.ones((1, first.n_bases)), np.ones((1, second.n_bases)))[0])
    resampled = distance(*_resampled(first, second))
    low, high = np.quantile(resampled, [0.025, 0.975]) - (resampled.mean() - value)
    return _measured(first, second, value, np.clip([low, high], 0, 1))


def mean_of(values: NDArray[np.float64]) -> Measured:
    """Mean of what was measured on samples [n], which are resampled; missing ones are left out."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return Measured(float(known[0]) if len(known) else np.nan, np.nan, np.nan)
    low, high = np.quantile(_draws(stream(0, "bootstrap/means"), len(known)) @ known / len(known), [0.025, 0.975])
    return Measured(float(known.mean()), float(low), float(high))


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


def _by_base(rows: Counts, group: Group) -> Counts:
    """Sums over the curves of each base, of rows [n, ...]: [n_bases, ...]."""
    order = np.argsort(group.bases, kind="stable")
    starts = np.unique(group.bases[order], return_index=True)[1]
    return np.asarray(np.add.reduceat(rows[order], starts, axis=0))


def _resampled(first: Group, second: Group) -> tuple[Counts, Counts]:
    """How often each base of either group is drawn, in every resample: [resamples, n_bases] each."""
    ours, theirs = np.unique(first.bases), np.unique(second.bases)
    rng = stream(0, "bootstrap/contrasts")
    if np.array_equal(ours, theirs):
        drawn = _draws(rng, len(ours))
        return drawn, drawn
    return _draws(rng, len(ours)), _draws(rng, len(theirs))


def _draws(rng: np.random.Generator, n: int) -> Counts:
    return rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)


def _distribution(group: Group, steps: NDArray[np.float64], weights: Counts) -> Counts:
    """The distribution function at `steps`, of every resample: [resamples, steps]."""
    of_curve = weights[:, np.unique(group.bases, return_inverse=True)[1]]
    order = np.argsort(group.values, kind="stable")
    summed = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(of_curve[:, order], axis=1)], axis=1)
    upto = np.searchsorted(group.values[order], steps, side="right")
    return np.asarray(summed[:, upto] / summed[:, -1:])


def _measured(first: Group, second: Group, value: float, interval: NDArray[np.float64]) -> Measured:
    if min(first.n_bases, second.n_bases) < 2:
        return Measured(value, np.nan, np.nan)
    return Measured(value, float(interval[0]), float(interval[1]))
