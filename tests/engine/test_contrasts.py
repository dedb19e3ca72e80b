"""AUC, KS, bands and ratios against scikit-learn, SciPy and closed forms, and what their intervals rest on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score

from engine.aggregates import bootstrap_interval, value_of
from engine.bands import band
from engine.contrasts import Group, auc, ks, mean_of, ratio_of_means
from engine.errors import RecipeError
from engine.expect import parse_check
from engine.results import Summary


def group(values: object, bases: object | None = None) -> Group:
    values = np.asarray(values, dtype=float)
    return Group(values, np.arange(len(values)) if bases is None else np.asarray(bases))


def summary(curve: int, base: int, kind: str, threshold: float | None, step: int = 10) -> Summary:
    return Summary(
        curve, base, "real-other", kind, kind, 1.0, 1.0, threshold, threshold is None, step, None, False, 1.0, 1.0,
        area=1.0,
    )  # fmt: skip


def test_auc_is_scikit_learns_with_ties_and_with_what_never_happens() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 12, 80).astype(float), rng.integers(3, 15, 60).astype(float)
    x[:7], y[:11] = np.inf, np.inf
    finite = np.where(np.isinf(np.concatenate([x, y])), 1e9, np.concatenate([x, y]))
    expected = roc_auc_score(np.r_[np.ones(80), np.zeros(60)], -finite)
    assert auc(group(x), group(y)).value == pytest.approx(expected)
    assert auc(group(y), group(x)).value == pytest.approx(1 - expected)
    assert auc(group([np.inf] * 3), group([np.inf] * 2)).value == 0.5


def test_ks_is_scipys() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=90), rng.normal(0.4, 1.3, 70)
    x[:5] = np.inf
    assert ks(group(x), group(y)).value == pytest.approx(ks_2samp(x, y).statistic)
    assert ks(group(x), group(x)).value == 0


def test_nothing_gives_no_number() -> None:
    assert math.isnan(auc(group([]), group([1.0])).value)
    assert math.isnan(ks(group([1.0]), group([])).value)
    assert math.isnan(auc(group([1.0]), group([2.0])).low), "one base has no interval"


def test_intervals_rest_on_bases_and_not_on_curves() -> None:
    """Ten copies of every curve are no further evidence: the interval stays what it was."""
    rng = np.random.default_rng(2)
    x, y, bases = rng.normal(size=40), rng.normal(0.5, 1, 40), np.arange(40)
    once = auc(group(x, bases), group(y, bases))
    often = auc(group(np.repeat(x, 10), np.repeat(bases, 10)), group(np.repeat(y, 10), np.repeat(bases, 10)))
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))
    naive = auc(group(np.repeat(x, 10)), group(np.repeat(y, 10)))
    assert naive.high - naive.low < 0.6 * (once.high - once.low)


def test_what_bases_have_in_common_cancels_also_where_one_lacks_a_curve() -> None:
    rng = np.random.default_rng(7)
    common = rng.normal(0, 3, 60)
    x, y = group(common + rng.normal(0, 0.3, 60)), group(common + rng.normal(0, 0.3, 60))
    paired = auc(x, y)
    apart = auc(x, Group(y.values, y.bases + 1000))
    assert paired.high - paired.low < 0.4 * (apart.high - apart.low)
    lacking = auc(x, Group(y.values[1:], y.bases[1:]))
    assert lacking.high - lacking.low < 0.5 * (apart.high - apart.low)


def test_intervals_cover_what_they_should() -> None:
    """Two like groups: 95 % intervals of the AUC hold 0.5 in about 95 % of worlds; of 200, at least 180."""
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        base = rng.normal(size=30)  # what curves of a base have in common
        x, y = base + rng.normal(size=30), base + rng.normal(size=30)
        found = auc(group(x), group(y))
        held += found.low <= 0.5 <= found.high
    assert 180 <= held <= 200


@pytest.mark.parametrize("shared", [True, False])
def test_like_groups_are_as_far_apart_as_chance_says(shared: bool) -> None:
    """In some 5 % of worlds they are further; three curves of a base, which have much in common."""
    further = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        bases = np.repeat(np.arange(25), 3)
        ours = rng.normal(size=25)
        theirs = ours if shared else rng.normal(size=25)
        x, y = ours[bases] + rng.normal(0, 0.5, 75), theirs[bases] + rng.normal(0, 0.5, 75)
        found = ks(Group(x, bases), Group(y, bases if shared else bases + 100))
        further += found.value > found.chance
    assert 2 <= further <= 22
    far = ks(group(np.arange(40.0)), group(np.arange(40.0) + 20))
    assert far.value == 0.5
    assert far.value > far.chance


def test_the_order_of_curves_changes_nothing() -> None:
    rng = np.random.default_rng(4)
    x, bases = rng.normal(size=60), np.repeat(np.arange(20), 3)
    y = rng.normal(size=60)
    order = rng.permutation(60)
    one, other = (auc(group(x[o], bases[o]), group(y, bases)) for o in (np.arange(60), order))
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
    assert ks(group(x[order], bases[order]), group(y, bases)) == ks(group(x, bases), group(y, bases))


def test_ratios_and_means_of_samples() -> None:
    rng = np.random.default_rng(5)
    below = rng.exponential(1.0, 4000)
    above = 2.5 * below + rng.normal(0, 0.1, 4000)
    found = ratio_of_means(above, below)
    assert found.low < 2.5 < found.high
    assert found.high - found.low < 0.02, "what varies together cancels"
    missing = np.r_[above, np.nan]
    assert ratio_of_means(missing, np.r_[below, 1.0]).value == pytest.approx(found.value)
    nothing = ratio_of_means(rng.normal(1, 1, 50), rng.normal(0.01, 1, 50))
    assert math.isnan(nothing.low), "what may be nothing cannot be divided by"
    middle = mean_of(np.r_[below, np.nan])
    assert middle.value == pytest.approx(below.mean())
    assert middle.high - middle.low == pytest.approx(2 * 1.96 * below.std() / np.sqrt(4000), rel=0.1)


def test_bands_are_quantiles_at_every_step() -> None:
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(50, 12))
    rows[3:20, 5] = np.nan
    grid = np.linspace(0, 6, 12)
    found = band([grid] * 50, list(rows))
    assert np.allclose(found.median, np.nanmedian(rows, axis=0))
    assert np.allclose(found.quantiles[1], np.nanquantile(rows, 0.25, axis=0))
    assert np.allclose(found.mean, np.nanmean(rows, axis=0))
    assert found.n[5] == 33
    assert found.n[0] == 50


def test_bands_of_paths_of_different_length_end_with_the_shortest() -> None:
    found = band([np.linspace(0, 2, 21), np.linspace(0, 4, 21)], [np.linspace(0, 2, 21), np.linspace(0, 8, 21)])
    assert found.coordinate[-1] == 2
    assert found.mean[-1] == pytest.approx(3)


def test_expectations_speak_of_contrasts_and_of_some_rows_of_a_table() -> None:
    rows = [summary(i, i % 10, "random", 5.0 + i % 7) for i in range(40)]
    rows += [summary(40 + i, i % 10, "real-other", None if i % 5 == 0 else 4.0 + i % 7) for i in range(40)]
    check = parse_check("ci_low(auc(threshold, 'real-other', 'random')) < ks(threshold, 'real-other', 'random')")
    assert check.left.arguments[0].function == "auc"
    with pytest.raises(RecipeError, match="has no interval"):
        parse_check("ci_low(ks(threshold, 'real-other', 'random')) > 0")
    assert value_of(parse_check("median(threshold, 'random@real') > 0").left, rows) == value_of(
        parse_check("median(threshold, 'random') > 0").left, rows
    )
    x = [np.inf if r.threshold is None else r.threshold for r in rows if r.kind == "real-other"]
    y = [r.threshold for r in rows if r.kind == "random"]
    found = auc(group(x, [r.base for r in rows if r.kind == "real-other"]), group(y, [r.base for r in rows[:40]]))
    assert value_of(check.left.arguments[0], rows) == found.value
    assert bootstrap_interval(check.left.arguments[0], rows) == (found.low, found.high)
    tables = {"ratios": [{"control": "norm", "kl_ratio": 3.0}, {"control": "isotropic", "kl_ratio": 1.5}]}
    check = parse_check("quantile(0, kl_ratio, 'table:ratios[control=isotropic]') > 1", {"ratios": ("kl_ratio",)})
    assert value_of(check.left, (), tables) == 1.5
    tables = {"layers": [{"layer": 1, "win_rate": 0.7}, {"layer": 2, "win_rate": 0.9}]}
    for selector, expected in (("[layer=2]", 1), ("[layer=2.0]", 1), ("[layer=3]", 0), ("", 2), ("[layr=2]", math.nan)):
        found_n = value_of(parse_check(f"n('table:layers{selector}') == 0", {"layers": ("win_rate",)}).left, (), tables)
        assert found_n == expected or (math.isnan(found_n) and math.isnan(expected)), selector
    for wrong in ("mean(kl_ratio, 'table:ratios[control]') > 1", "auc(threshold, 'table:ratios', 'random') > 1"):
        with pytest.raises(RecipeError):
            parse_check(wrong, {"ratios": ("kl_ratio",)})
