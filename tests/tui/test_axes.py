"""Units of the x axis, against closed forms; runs laid over each other; small multiples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.results import CurveResult, RunStarted, Sketch, Summary
from sessions.chart import Chart
from tui.axes import AXES, after, converted, coordinates, summaries
from tui.charts import Behind, View, chart, one_chart
from tui.panels import Grid, Panels
from tui.picture import Picture
from tui.plotting import draw

BASE = np.array([3.0, 4.0])
TARGET = np.array([-4.0, 3.0])
"""At a right angle to the base, as long: |d| is 5 sqrt 2, and the angle between them 90 degrees."""
FISHER = 0.08
STEPS = 40


def straight(kind: str = "random", curve: int = 0, scale: float = 1.0) -> CurveResult:
    """x + a u, with KL = scale a^2 / 50 and the parabola of `FISHER`."""
    d = TARGET - BASE
    a = np.linspace(0, 10, STEPS + 1)
    points = BASE + a[:, None] * d / np.linalg.norm(d)
    cosine = points @ BASE / np.linalg.norm(points, axis=1) / 5
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return _curve(kind, curve, a, a, angle, scale * a**2 / 50, float(np.sqrt(50)), 90.0)


def sphere(kind: str = "random", curve: int = 0) -> CurveResult:
    """5 (cos t, sin t) in the plane of base and target."""
    t = np.linspace(0, 90, STEPS + 1)
    distance = np.sqrt((5 * np.cos(np.radians(t)) - 5) ** 2 + (5 * np.sin(np.radians(t))) ** 2)
    return _curve(kind, curve, t, distance, t, t / 90, float(np.sqrt(50)), 45.0)


def _curve(
    kind: str,
    number: int,
    coordinate: np.ndarray,
    distance: np.ndarray,
    angle: np.ndarray,
    kl: np.ndarray,
    norm: float,
    turn: float,
) -> CurveResult:
    threshold = float(np.interp(0.5, kl, coordinate)) if kl[-1] >= 0.5 else None
    s = Summary(number, 0, "prompt", kind, f"{kind} {number}", norm, turn, threshold, threshold is None, 1, None, True,
                FISHER, float(kl[-1]))  # fmt: skip
    values = {
        "logits": {"kl": kl, "kl_quadratic": FISHER * distance**2 / 2},
        "h": {"l2": distance, "cosine": 1 - distance / 20},
    }
    return CurveResult(s, np.zeros(2, np.float32), {}, coordinate, distance, angle, values)


def picture(*curves: CurveResult, unit: str = "L2", typical: float = 4.0) -> Picture:
    stop = float(curves[0].coordinate[-1]) if curves else 10.0
    info = {
        "n_curves": len(curves),
        "typical_distance": typical,
        "level": 0.5,
        "site": {"read": ["h"]},
        "path": {"unit": unit, "stop": stop},
        "model": {"weights": "trained"},
    }
    found = Picture().after(RunStarted(info))
    for curve in curves:
        found = found.after(curve)
    return replace(found, ended=True)


def test_every_axis_of_a_straight_path_is_its_closed_form() -> None:
    curve = straight()
    found = picture(curve)
    a = np.linspace(0, 10, STEPS + 1)
    inside = np.degrees(np.arctan2(a / np.sqrt(2), 5 - a / np.sqrt(2)))
    expected = {
        "L2": a,
        "typical": a / 4,
        "angle": inside,  # of (3, 4) + a (-7, -1) / sqrt 50 with (3, 4): by its parts along the base and across
        "native": a / np.sqrt(50),
        "predicted": FISHER * a**2 / 2,
    }
    for name, x in expected.items():
        assert coordinates(found, curve, name) == pytest.approx(x, abs=1e-9), name
    assert curve.angle[-1] == pytest.approx(
        np.degrees(np.arccos((BASE + 10 * (TARGET - BASE) / np.sqrt(50)) @ BASE / 5 / np.linalg.norm(
            BASE + 10 * (TARGET - BASE) / np.sqrt(50))))
    )  # fmt: skip


def test_every_axis_of_the_sphere_is_its_closed_form() -> None:
    curve = sphere()
    found = picture(curve, unit="degrees")
    t = np.linspace(0, 90, STEPS + 1)
    chord = 10 * np.sin(np.radians(t) / 2)
    expected = {"L2": chord, "typical": chord / 4, "angle": t, "native": t / 45, "predicted": FISHER * chord**2 / 2}
    for name, x in expected.items():
        assert coordinates(found, curve, name) == pytest.approx(x, abs=1e-9), name
    assert coordinates(found, curve, "") == pytest.approx(t), "no name is the path's own unit"


def test_thresholds_go_along_and_censored_ones_stay_so() -> None:
    reached, never = straight(), straight(curve=1, scale=0.1)
    found = picture(reached, never)
    assert reached.summary.threshold == pytest.approx(5, abs=0.01)  # a^2 / 50 = 0.5
    table = {name: [s.threshold for s in summaries(found, name)] for name in AXES}
    assert table["typical"] == [pytest.approx(1.25, abs=0.01), None]
    assert table["native"] == [pytest.approx(5 / np.sqrt(50), abs=0.01), None]
    assert table["predicted"] == [pytest.approx(1.0, abs=0.01), None]  # FISHER 25 / 2
    assert [s.censored for s in summaries(found, "typical")] == [False, True]
    assert converted(found, reached, None, "typical") is None


def test_the_key_goes_through_all_axes_and_back_to_the_paths_own() -> None:
    for found, own in ((picture(straight()), "L2"), (picture(sphere(), unit="degrees"), "angle")):
        seen, axis = [], ""
        for _ in AXES:
            axis = after(found, axis)
            seen.append(axis or own)
        assert sorted(seen) == sorted(AXES)
        assert axis == ""


def test_against_predicted_kl_the_parabola_is_the_diagonal_and_the_axis_ends_soon_after_the_threshold() -> None:
    drawn = one_chart(picture(straight()), View(axis="predicted", curve=-1))
    dotted = next(line for line in drawn.lines if line.thin)
    assert np.allclose(dotted.x, dotted.y)
    assert drawn.x_stop == pytest.approx(1.5, abs=0.02)
    assert [m.x for m in drawn.marks if m.character == "●"] == [pytest.approx(1.0, abs=0.01)]


def test_what_is_still_being_measured_is_on_the_axes_that_are_known_of_it() -> None:
    sketch = Sketch(7, "prompt", "random", "r", np.array([0.0, 5.0, 10.0]), {"logits": {"kl": np.zeros(3)}})
    found = picture(straight())
    assert coordinates(found, sketch, "typical") == pytest.approx([0, 1.25, 2.5])
    for name in ("angle", "native", "predicted"):
        assert coordinates(found, sketch, name) is None


def test_a_run_laid_over_is_measured_by_its_own_typical_distance() -> None:
    here, there = picture(straight(), typical=4.0), picture(straight(), typical=8.0)
    view = View(axis="typical", curve=-1)
    behind = next(x for x in one_chart(here, view, [Behind(there, "1", "other")]).lines if x.letter == "1")
    assert behind.x[-1] <= one_chart(here, view).x_stop
    assert np.interp(1.0, behind.x, behind.y) == pytest.approx(64 / 50, abs=0.01)  # its KL at its own typical distance
    in_l2 = next(x for x in one_chart(here, View(curve=-1), [Behind(there, "1", "other")]).lines if x.letter == "1")
    assert np.interp(5.0, in_l2.x, in_l2.y) == pytest.approx(0.5, abs=0.01)


def test_a_longer_run_laid_over_ends_at_the_edge_with_its_letter_in_sight() -> None:
    short = replace(picture(straight()), info={**picture(straight()).info, "path": {"unit": "L2", "stop": 6.0}})
    drawn = one_chart(short, View(curve=-1), [Behind(picture(straight()), "1", "other")])
    assert max(line.x[-1] for line in drawn.lines if line.letter == "1") <= 6.0
    assert "1" in draw(drawn, 60, 16).plain.replace("1.", "").replace("10", "")


def test_small_multiples_share_their_scale_and_each_kind_has_one() -> None:
    found = picture(straight("random"), straight("isotropic", 1, 0.1), straight("real-other", 2, 3.0))
    panels = chart(found, View(split=True))
    assert isinstance(panels, Panels)
    assert [name for name, _ in panels.parts] == ["r random", "i isotropic", "R real-other"]
    assert len({(c.x_stop, c.y_start, c.y_stop) for _, c in panels.parts}) == 1
    assert panels.parts[0][1].y_stop == pytest.approx(6 * 1.05)
    for width, height in ((86, 26), (51, 9), (120, 12), (17, 7)):
        text = draw(panels, width, height).plain.split("\n")
        assert max(map(len, text)) <= width
        assert len(text) <= height
    assert "(2 mor" in draw(panels, 17, 7).plain, "what has no room is said"
    assert "no room" not in draw(panels, 51, 9).plain, "three kinds at 80x24"
    assert isinstance(chart(picture(straight()), View(split=True)), Chart), "one kind needs no multiples"


def test_a_grid_shows_as_many_as_fit() -> None:
    for n in range(1, 10):
        for width in (34, 70, 120, 200):
            for height in (9, 20, 40):
                grid = Grid.of(n, width, height)
                assert grid.columns * grid.width <= width
                assert grid.rows * grid.height <= height
                fits = (width // 17) * (height // 6)
                assert grid.columns * grid.rows >= min(n, fits)
