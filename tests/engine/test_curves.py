"""Scalars of curves whose answers are known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.curves import max_slope_step, plateau_length, quadratic_ratio, threshold, value_at

A = np.arange(6.0)


def test_threshold_is_linear_in_kl_between_steps() -> None:
    kl = np.array([0, 0.1, 0.3, 0.7, 2, 3])
    assert threshold(A, kl, 0.5) == pytest.approx(2.5)
    assert threshold(2 * A, kl, 0.3) == pytest.approx(4.0)


def test_threshold_takes_the_first_crossing() -> None:
    assert threshold(A, np.array([0, 1, 0, 1, 0, 1.0]), 0.5) == pytest.approx(0.5)


def test_a_curve_below_the_level_has_none() -> None:
    assert threshold(A, np.full(6, 0.49), 0.5) is None


def test_max_slope_is_the_smallest_of_equal_steps() -> None:
    assert max_slope_step(np.array([0, 1, 3, 5, 5.5, 5.5])) == 2


def test_plateau_ends_where_l2_leaves_the_line() -> None:
    distance = np.linspace(0, 10, 101)
    l2 = np.where(distance <= 4, 0.5 * distance, 0.5 * distance + 2 * (distance - 4))
    # Exceeds 1.1 x 0.5 d where 2 (d - 4) > 0.05 d, that is d > 4.1026: the next point of the grid is 4.2.
    assert plateau_length(distance, l2, typical_distance=10) == pytest.approx(4.2)


def test_a_line_never_ends() -> None:
    distance = np.linspace(0, 10, 11)
    assert plateau_length(distance, 3 * distance, typical_distance=20) == math.inf


def test_no_plateau_length_without_steps_near_the_base() -> None:
    assert math.isnan(plateau_length(A, A**2, typical_distance=5))
    # A step exactly at 0.1 typical distances is not below it.
    assert math.isnan(plateau_length(A, A**2, typical_distance=10))


def test_what_lies_behind_a_missing_value_cannot_be_told() -> None:
    gap = np.array([0, 0.1, np.nan, 0.7, 2, 3])
    assert threshold(A, gap, 0.5) is None
    assert threshold(A, gap, 0.05) == pytest.approx(0.5)
    assert value_at(A, gap, 1.5) is None
    assert value_at(A, gap, 3.5) == pytest.approx(1.35)
    assert math.isnan(plateau_length(A, np.array([0, 1, np.nan, 3, 9, 9.0]), typical_distance=15))
    assert plateau_length(A, np.array([0, 1, 3, 3, np.nan, 9.0]), typical_distance=15) == 2
    assert math.isnan(plateau_length(A, np.array([0, 1, 2, 3, np.nan, 5.0]), typical_distance=15))


def test_value_at_is_linear_between_steps() -> None:
    values = np.array([0, 1, 4, 9, 16, 25.0])
    assert value_at(A, values, 2.5) == pytest.approx(6.5)
    assert value_at(A, values, 0.0) == 0
    assert value_at(A, values, 5.0) == 25
    assert value_at(A, values, 5.01) is None


def test_quadratic_ratio_is_one_for_a_parabola_and_small_for_a_plateau() -> None:
    fisher, level = 0.08, 0.5
    x = np.linspace(0, 6, 4001)
    reached = threshold(x, x**2 / 2 * fisher, level)
    assert quadratic_ratio(reached, fisher, level) == pytest.approx(1.0, abs=1e-5)
    # a^4 grows faster than its curvature at 0, which the parabola below it stands for.
    steep = x**2 / 2 * fisher + x**4 / 100
    assert quadratic_ratio(threshold(x, steep, level), fisher, level) < 0.75
    # 1 - exp(-a^2 F/2) saturates, so it comes later.
    late = -np.expm1(-(x**2) / 2 * fisher)
    assert quadratic_ratio(threshold(x, late, level), fisher, level) > 1.1
    assert quadratic_ratio(None, fisher, level) is None
    assert quadratic_ratio(5.0, 0.0, level) is None
