"""Straight lines and great circles, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import DirectionError
from engine.paths import angle_between, grid, make_ray

RNG = np.random.default_rng(0)
X = RNG.standard_normal(192) * 2
D = RNG.standard_normal(192) * 3


def test_straight_moves_by_its_coordinate() -> None:
    ray = make_ray("straight", X, D)
    a = grid(30, 12)
    assert np.allclose(ray.distance(a), a, rtol=1e-14)
    assert np.allclose(ray.offsets(a)[5], a[5] * D / np.linalg.norm(D))
    assert ray.native == pytest.approx(np.linalg.norm(D))


def test_sphere_keeps_the_norm_and_turns_by_its_coordinate() -> None:
    ray = make_ray("sphere", X, D)
    a = grid(180, 36)
    moved = X + ray.offsets(a)
    assert np.abs(np.linalg.norm(moved, axis=1) / np.linalg.norm(X) - 1).max() < 1e-12
    assert np.allclose(ray.angle(a), a, atol=1e-10)


def test_sphere_at_the_native_angle_points_at_the_target() -> None:
    ray = make_ray("sphere", X, D)
    there = X + ray.offsets([ray.native])[0]
    assert float(angle_between(X + D, there[None])[0]) < 1e-6


def test_sphere_offset_is_accurate_for_tiny_angles() -> None:
    ray = make_ray("sphere", X, D)
    t = 1e-6
    assert ray.distance([t])[0] == pytest.approx(2 * np.linalg.norm(X) * np.sin(np.radians(t) / 2), rel=1e-12)


@pytest.mark.parametrize("mode", ["straight", "sphere"])
def test_tangent_is_the_derivative_at_the_base(mode: str) -> None:
    ray = make_ray(mode, X, D)
    step = 1e-5
    difference = (ray.offsets([step]) - ray.offsets([-step]))[0] / (2 * step)
    assert np.allclose(ray.tangent, difference, atol=1e-9)


def test_angles_of_known_vectors() -> None:
    x = np.array([1.0, 0.0])
    others = np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0]])
    assert angle_between(x, others).tolist() == pytest.approx([0, 90, 180, 45])
    assert angle_between(np.zeros(2), others).tolist() == pytest.approx([90] * 4), "no length, no angle"
    assert angle_between(x, np.zeros((1, 2))).tolist() == pytest.approx([90])


def test_a_direction_without_length_is_refused() -> None:
    with pytest.raises(DirectionError, match="has no length"):
        make_ray("straight", X, np.zeros(192))
    with pytest.raises(DirectionError, match="has no length"):
        make_ray("straight", X, X * 1e-9)


def test_what_has_no_length_is_told_by_the_vectors_it_lies_among() -> None:
    x = np.array([1e6, 0.0])
    with pytest.raises(DirectionError, match="has no length"):
        make_ray("straight", x, np.array([0.0, 0.5]))
    assert make_ray("straight", x, np.array([0.0, 2.0])).native == 2
    assert make_ray("straight", x / 1e9, np.array([0.0, 1e-8])).native == 1e-8
    assert make_ray("straight", np.zeros(2), np.array([0.0, 1e-8])).native == 1e-8
    for scale in (1e3, 1e-3):
        with pytest.raises(DirectionError, match="parallel to the base"):
            make_ray("sphere", np.array([scale, 0.0]), scale * np.array([1, 5e-7]))
        assert make_ray("sphere", np.array([scale, 0.0]), scale * np.array([1, 5e-6])).u.tolist() == [0, 1]


def test_a_ray_of_float32_vectors_is_in_float64() -> None:
    x, d = X.astype(np.float32), D.astype(np.float32)
    ray = make_ray("straight", x, d)
    exact = d.astype(np.float64)
    assert np.allclose(ray.offsets([7])[0], 7 * exact / np.linalg.norm(exact), rtol=1e-14)
    turned = make_ray("sphere", x, d).offsets([60])[0] + x.astype(np.float64)
    assert np.linalg.norm(turned) == pytest.approx(np.linalg.norm(x.astype(np.float64)), rel=1e-14)


def test_native_ends_and_units_are_those_of_the_mode() -> None:
    x, d = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    straight, sphere = make_ray("straight", x, d), make_ray("sphere", x, d)
    assert (straight.native, straight.unit) == (1, "L2")
    assert (sphere.native, sphere.unit) == (pytest.approx(45), "degrees")


def test_a_sphere_needs_something_across() -> None:
    with pytest.raises(DirectionError, match="a base of some length"):
        make_ray("sphere", np.zeros(192), D)
    with pytest.raises(DirectionError, match="parallel to the base"):
        make_ray("sphere", X, 2 * X)
    with pytest.raises(DirectionError, match="not finite"):
        make_ray("straight", X, np.full(192, np.nan))
    with pytest.raises(DirectionError, match="not finite"):
        make_ray("straight", X, np.where(np.arange(192) == 7, np.inf, D))


def test_grid_starts_at_zero_and_ends_at_stop() -> None:
    a = grid(7.5, 3)
    assert a.tolist() == [0, 2.5, 5, 7.5]
