"""What the plot shows of a picture, on curves whose closed form is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.results import CurveResult, RunStarted, Summary
from tui.charts import Behind, View, one_chart
from tui.picture import Picture

X = np.linspace(0, 3, 31)


def picture(scale: float, power: float, typical: float = 2.0) -> Picture:
    """One curve, KL = scale x^power along a path of 1.5 typical distances."""
    x = X * typical / 2
    kl = scale * X**power
    summary = Summary(0, 0, "prompt", "random", "random 0", 1, 1, None, True, 1, None, True, 2 * scale, float(kl[-1]))
    values = {"logits": {"kl": kl, "kl_quadratic": kl}, "h": {"l2": x, "cosine": 1 - x}}
    curve = CurveResult(summary, np.zeros(3, np.float32), {}, x, x, x, values)
    info = {
        "n_curves": 1,
        "typical_distance": typical,
        "site": {"read": ["h"]},
        "path": {"unit": "L2", "stop": float(x[-1])},
        "model": {"weights": "trained"},
    }
    return Picture().after(RunStarted(info)).after(curve)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0])
def test_the_share_of_a_parabola_is_its_dotted_prediction_whatever_its_height(scale: float) -> None:
    dotted, line = one_chart(picture(scale, 2), View("share")).lines
    assert dotted.thin
    assert np.allclose(
        np.interp(X, dotted.x, dotted.y), line.y, atol=1e-3
    )  # 60 points of a parabola, between them lines
    assert np.allclose(line.y, (X / 3) ** 2)
    assert line.letter_x == pytest.approx(X[np.searchsorted(X, 3 / np.sqrt(2))])


def test_a_plateau_lies_below_its_untrained_twin_at_equal_shares_of_the_typical_distance() -> None:
    behind, twin = picture(20.0, 6, typical=8.0), picture(1e-3, 2, typical=0.5)
    view = View("share", curve=-1, axis="typical")
    lines = [line for line in one_chart(twin, view, [Behind(behind, "t", "trained")]).lines if not line.thin]
    median, own = lines
    assert median.letter == "t"
    assert np.allclose(median.x, own.x)
    assert np.allclose(median.y, (X / 3) ** 6)
    assert (median.y[1:-1] < own.y[1:-1]).all()


def test_a_curve_that_stays_at_zero_has_no_share() -> None:
    lines = one_chart(picture(0.0, 2), View("share")).lines
    assert len(lines) == 1
    assert not np.asarray(lines[0].y).any()


@pytest.mark.parametrize(("detail", "mark"), [
    ({}, "▴"),
    ({"sign": "+", "vector": "encoder"}, "▴"),
    ({"sign": "+", "vector": "decoder"}, "2"),
    ({"sign": "-", "vector": "decoder"}, "0"),
])  # fmt: skip
def test_the_native_length_is_marked_and_of_a_feature_what_becomes_of_it_there(detail: dict, mark: str) -> None:
    plain = picture(20.0, 6)
    (curve,) = plain.curves
    native = curve.summary.native_norm
    assert native <= X[-1]
    shown = replace(plain, curves=(replace(curve, detail=detail),))
    marks = [m for m in one_chart(shown, View("kl")).marks if m.character != "●"]
    assert [(m.character, m.x) for m in marks if m.character != "◆"] == [(mark, native)]
