"""What holds for every path, metric, threshold and aggregate, on inputs that nobody would think of."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp

from engine import metrics
from engine.aggregates import quantile, win_rate
from engine.curves import plateau_length, threshold, value_at
from engine.errors import DirectionError
from engine.paths import RELATIVE_ZERO, grid, make_ray
from engine.results import Summary

settings.register_profile("same", database=None, derandomize=True, deadline=None, max_examples=60)
settings.load_profile("same")

FLOATS = st.floats(-100, 100, allow_nan=False, width=32)
VECTORS = arrays(np.float64, st.shared(st.integers(2, 12), key="d"), elements=FLOATS)
LOGITS = arrays(np.float64, st.shared(st.integers(2, 30), key="v"), elements=st.floats(-60, 60, width=32))
POSITIVE = st.floats(1e-3, 1e3)


def length(vector: np.ndarray) -> float:
    return float(np.linalg.norm(vector))


# Paths


@given(VECTORS, VECTORS, st.lists(st.floats(0, 1e4), min_size=1, max_size=5))
def test_straight_goes_as_far_as_it_says_and_nowhere_else(x: np.ndarray, d: np.ndarray, a: list[float]) -> None:
    assume(length(d) > 1e-3 * max(1, length(x)))
    ray = make_ray("straight", x, d)
    offsets = ray.offsets(a)
    assert np.allclose(ray.distance(a), a, rtol=1e-12, atol=1e-12)
    # Along d: what is left of each offset beside it is rounding.
    across = offsets - np.outer(offsets @ d, d) / (d @ d)
    assert np.all(np.linalg.norm(across, axis=1) <= 1e-10 * (1 + np.array(a)))
    assert np.allclose(ray.offsets([ray.native])[0], d, rtol=1e-10, atol=1e-10)


@given(VECTORS, VECTORS, st.floats(0, 180))
def test_a_sphere_keeps_the_norm_and_turns_by_its_coordinate_in_one_plane(
    x: np.ndarray, d: np.ndarray, t: float
) -> None:
    assume(length(x) > 1e-2)
    across = d - (d @ x) / (x @ x) * x
    assume(length(across) > 1e-3 * length(d) and length(d) > 1e-3 * length(x))
    ray = make_ray("sphere", x, d)
    moved = x + ray.offsets([t])[0]
    assert length(moved) == pytest.approx(length(x), rel=1e-9)
    assert ray.angle([t])[0] == pytest.approx(t, abs=1e-5)
    assert ray.distance([t])[0] == pytest.approx(2 * length(x) * math.sin(math.radians(t) / 2), rel=1e-9, abs=1e-9)
    plane = np.linalg.qr(np.stack([x, d], axis=1))[0]
    assert length(moved - plane @ (plane.T @ moved)) <= 1e-8 * length(x)


@given(VECTORS, VECTORS)
def test_a_sphere_comes_past_its_target(x: np.ndarray, d: np.ndarray) -> None:
    assume(length(x) > 1e-2 and length(x + d) > 1e-2)
    across = d - (d @ x) / (x @ x) * x
    assume(length(across) > 1e-3 * length(d) and length(d) > 1e-3 * length(x))
    ray = make_ray("sphere", x, d)
    there = x + ray.offsets([ray.native])[0]
    cosine = there @ (x + d) / (length(there) * length(x + d))
    assert cosine == pytest.approx(1, abs=1e-9)


@given(VECTORS, VECTORS, st.sampled_from(["straight", "sphere"]), POSITIVE)
def test_how_long_a_direction_is_changes_where_it_ends_and_not_where_it_leads(
    x: np.ndarray, d: np.ndarray, mode: str, scale: float
) -> None:
    assume(length(x) > 1e-1 and length(d) > 10 * length(x) * max(1, 1 / scale) * RELATIVE_ZERO)
    across = d - (d @ x) / (x @ x) * x
    assume(length(across) > 1e-2 * length(d))
    one, other = make_ray(mode, x, d), make_ray(mode, x, scale * d)
    assert np.allclose(one.u, other.u, atol=1e-9)
    assert other.native_norm == pytest.approx(scale * one.native_norm, rel=1e-9)


@given(VECTORS, st.floats(-1e3, 1e3))
def test_what_leads_nowhere_is_refused(x: np.ndarray, scale: float) -> None:
    assume(length(x) > 1e-2)
    with pytest.raises(DirectionError, match="no length"):
        make_ray("straight", x, 0 * x)
    with pytest.raises(DirectionError, match=r"parallel|no length"):
        make_ray("sphere", x, scale * x)
    with pytest.raises(DirectionError, match="some length"):
        make_ray("sphere", 0 * x, x)


@given(POSITIVE, st.integers(1, 500))
def test_a_grid_begins_at_the_base_and_ends_where_it_should_in_equal_steps(stop: float, steps: int) -> None:
    found = grid(stop, steps)
    assert (len(found), found[0], found[-1]) == (steps + 1, 0, pytest.approx(stop, rel=1e-15))
    assert np.allclose(np.diff(found), stop / steps, rtol=1e-9)


# Metrics


def textbook(p: np.ndarray, q: np.ndarray) -> float:
    log_p, log_q = p - logsumexp(p), q - logsumexp(q)
    return float(np.exp(log_p) @ (log_p - log_q))


@given(LOGITS, LOGITS, st.floats(-50, 50))
def test_kl_is_the_textbooks_never_negative_and_blind_to_constants(p: np.ndarray, q: np.ndarray, c: float) -> None:
    found = float(metrics.kl(torch.tensor(p), torch.tensor(q)[None])[0])
    # The textbook's difference of log-probabilities is exact to some ulps of the largest of them, at most 120 here.
    assert found == pytest.approx(textbook(p, q), rel=1e-9, abs=1e-12)
    assert found >= 0
    shifted = float(metrics.kl(torch.tensor(p), torch.tensor(q + c)[None])[0])
    assert shifted == pytest.approx(found, rel=1e-9, abs=1e-13)
    assert float(metrics.kl(torch.tensor(p), torch.tensor(p + c)[None])[0]) < 1e-13
    apart = np.abs(np.exp(p - logsumexp(p)) - np.exp(q - logsumexp(q))).sum() / 2
    assert found >= 2 * apart**2 - 1e-12  # Pinsker


@given(LOGITS, LOGITS)
def test_js_is_symmetric_and_at_most_ln_2(p: np.ndarray, q: np.ndarray) -> None:
    one = float(metrics.js(torch.tensor(p), torch.tensor(q)[None])[0])
    other = float(metrics.js(torch.tensor(q), torch.tensor(p)[None])[0])
    assert one == pytest.approx(other, rel=1e-9, abs=1e-12)
    assert 0 <= one <= math.log(2) + 1e-12
    middle = np.logaddexp(p - logsumexp(p), q - logsumexp(q)) - math.log(2)
    assert one == pytest.approx((textbook(p, middle) + textbook(q, middle)) / 2, rel=1e-9, abs=1e-12)


@given(VECTORS, VECTORS, POSITIVE)
def test_l2_and_cosine_of_any_vectors(x: np.ndarray, y: np.ndarray, scale: float) -> None:
    base, rows = torch.tensor(x), torch.tensor(np.stack([y, scale * y]))
    assert float(metrics.l2(base, rows)[0]) == pytest.approx(length(x - y), rel=1e-9, abs=1e-12)
    assume(length(x) > 1e-3 and length(y) > 1e-3 * max(1, 1 / scale))
    cosine = metrics.cosine(base, rows)
    assert float(cosine[0]) == pytest.approx(x @ y / (length(x) * length(y)), abs=1e-9)
    assert float(cosine[1]) == pytest.approx(float(cosine[0]), abs=1e-9)
    assert -1 - 1e-12 <= float(cosine[0]) <= 1 + 1e-12


# Thresholds

CURVES = st.lists(st.floats(0, 10, width=32), min_size=2, max_size=30).map(lambda rest: np.array([0.0, *rest]))


@given(CURVES, st.floats(0.01, 12), POSITIVE)
def test_a_threshold_is_where_the_curve_first_meets_the_level(kl: np.ndarray, level: float, scale: float) -> None:
    a = np.arange(float(len(kl)))
    found = threshold(a, kl, level)
    assert (found is None) == (kl.max() < level)
    if found is None:
        return
    before = kl[: math.ceil(found)]
    assert (before < level).all()
    assert np.interp(found, a, kl) == pytest.approx(level, rel=1e-6, abs=1e-6)
    stretched = threshold(scale * a, kl, level)
    assert stretched == pytest.approx(scale * found, rel=1e-9)
    higher = threshold(a, kl, level * 1.1)
    assert higher is None or higher >= found


@given(CURVES, st.integers(0, 29), st.floats(0.01, 12))
def test_what_comes_after_a_missing_value_is_never_told(kl: np.ndarray, gap: int, level: float) -> None:
    a = np.arange(float(len(kl)))
    whole, gap = threshold(a, kl, level), gap % len(kl)
    holed = kl.copy()
    holed[gap] = np.nan
    found = threshold(a, holed, level)
    assert found == (whole if whole is not None and math.ceil(whole) < gap else None)


@given(CURVES, st.floats(0, 40))
def test_a_value_on_the_way_is_that_of_the_line_between_steps(values: np.ndarray, where: float) -> None:
    a = np.arange(float(len(values)))
    found = value_at(a, values, where)
    assert (found is None) == (where > a[-1])
    if found is not None:
        assert found == pytest.approx(np.interp(where, a, values), rel=1e-9, abs=1e-9)


@given(CURVES, POSITIVE)
def test_a_plateau_does_not_depend_on_the_unit_of_what_is_read(l2: np.ndarray, scale: float) -> None:
    distance = np.linspace(0, 15, 61)
    fine = np.interp(distance, np.linspace(0, 15, len(l2)), l2)
    one, other = (plateau_length(distance, v, typical_distance=10) for v in (fine, scale * fine))
    assert (one == other) or (math.isnan(one) and math.isnan(other)) or fine.max() < 1e-6  # scaled to rounding
    straight = plateau_length(distance, scale * distance, typical_distance=10)
    assert math.isinf(straight)


# Aggregates


def rows(kind: str, values: list[tuple[int, float | None]]) -> list[Summary]:
    return [
        Summary(i, base, "prompt", kind, kind, 1.0, 1.0, v, v is None, 1, None, True, 1.0, 1.0)
        for i, (base, v) in enumerate(values)
    ]


VALUES = st.lists(
    st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(0, 5).map(float))), min_size=1, max_size=12
)


@given(VALUES, VALUES)
def test_win_rates_are_those_of_counting_every_pair(
    first: list[tuple[int, float | None]], second: list[tuple[int, float | None]]
) -> None:
    both = {b for b, _ in first} & {b for b, _ in second}
    assume(both)
    every = [*rows("a", first), *rows("b", second)]

    def won(x: float | None, y: float | None) -> float:
        p, q = (math.inf if v is None else v for v in (x, y))
        return 0.5 if p == q else float(p < q)

    by_base = [
        np.mean([won(x, y) for base, x in first if base == b for other, y in second if other == b]) for b in both
    ]
    assert win_rate(every, "a", "b") == pytest.approx(np.mean(by_base), abs=1e-12)
    assert win_rate(every, "a", "b") + win_rate(every, "b", "a") == pytest.approx(1, abs=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.integers(0, 5), st.floats(0, 1))
def test_quantiles_are_numpys_and_put_what_never_happens_last(values: list[float], never: int, q: float) -> None:
    assert quantile(np.array(values), q) == pytest.approx(float(np.quantile(values, q)), rel=1e-9, abs=1e-9)
    found = quantile(np.array(values + [math.inf] * never), q)
    place = q * (len(values) + never - 1)
    if place > len(values) - 1 and never:
        assert math.isinf(found)
    else:
        assert math.isfinite(found)
