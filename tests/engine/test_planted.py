"""The positive control: a model with planted features and known thresholds, on which each experiment must find them.

Tolerances: the model runs in float32 and the formula in float64. KL rises by some ten nats while the feature's share
grows by 1/400, so that a share rounded by 1e-6 moves it by 4e-3 nats there, and by 1e-9 on the plateau; thresholds,
read off the same steps, agree to 1e-4. Where something jumps is known to a step.
"""

from __future__ import annotations

import numpy as np
import pytest

from engine.aggregates import group, win_rate
from engine.contrasts import auc
from engine.curves import threshold
from engine.foreign import as_model
from engine.models import Model
from engine.results import CurveResult
from tests.engine.planted import CARRIED, FEATURES, SHARE, WRITE, Planted, lab_of, plain_prompt, planted
from tests.engine.running import outcome


@pytest.fixture(scope="module")
def toy() -> Planted:
    return planted()


@pytest.fixture(scope="module")
def model(toy: Planted) -> Model:
    return as_model(toy.network, toy.tokenizer)


@pytest.fixture(scope="module")
def prompt(toy: Planted) -> str:
    return plain_prompt(toy)


def by_formula(toy: Planted, base: np.ndarray, curve: CurveResult) -> np.ndarray:
    """KL along a straight curve from a base."""
    d = curve.direction.astype(np.float64)
    x = base.astype(np.float64) + curve.coordinate[:, None] * d / np.linalg.norm(d)
    return toy.kl(base.astype(np.float64), x)


def test_a_planted_feature_acts_where_it_was_planted_and_elsewhere_nothing_does(
    toy: Planted, model: Model, prompt: str
) -> None:
    """Straight: |x| tan(asin(SHARE)); on the sphere: 30 degrees, whatever the base's length."""
    directions = [{"kind": "sae-feature", "index": i} for i in (0, FEATURES - 1, FEATURES + 3)]
    for mode, where in (("straight", None), ("sphere", np.degrees(np.arcsin(SHARE)))):
        lab = lab_of(toy, model, prompt, directions=directions, path={"mode": mode, "steps": 800})
        x = np.linalg.norm(lab.site.vector.astype(np.float64))
        expected = where if where is not None else x * np.tan(np.arcsin(SHARE))
        curves, _, _ = outcome(lab)
        for curve in curves[:2]:
            step = curve.coordinate[1]
            assert expected - step <= curve.summary.threshold <= expected + 2 * step
            before = curve.coordinate <= expected - step
            assert curve.kl[before].max() < 1e-9, "a plateau that is exactly flat"
            assert abs(curve.coordinate[curve.summary.max_slope_step] - expected) <= 2 * step
            ends = np.interp([expected - step, expected + 2 * step], curve.coordinate, curve.distance)
            assert ends[0] <= curve.summary.plateau_length <= ends[1]
        content = curves[2].summary
        assert content.censored
        assert curves[2].kl.max() < 1e-9


def test_curves_and_thresholds_are_those_of_the_formula(toy: Planted, model: Model, prompt: str) -> None:
    kinds = ("random", "real-other", "isotropic", "random-mixture", "real-mixture")
    lab = lab_of(
        toy,
        model,
        prompt,
        experiment="sensitive-directions",
        bases=[{"kind": "real-other", "count": 12}],
        directions=[{"kind": kind, "count": 3} for kind in kinds],
    )
    curves, bases, _ = outcome(lab)
    assert len(curves) == 12 * 15
    worst = 0.0
    for curve in curves:
        expected = by_formula(toy, bases[curve.summary.base].vector, curve)
        worst = max(worst, float(np.abs(curve.kl - expected).max()))
        at = threshold(curve.coordinate, expected, 0.5)
        assert (at is None) == curve.summary.censored
        assert at is None or curve.summary.threshold == pytest.approx(at, abs=1e-4, rel=1e-4)
    assert worst < 0.02


def test_real_targets_are_more_sensitive_than_matched_random_ones(toy: Planted, model: Model, prompt: str) -> None:
    """Where they cross a threshold at all: real targets carry one feature in full, random ones a little of each."""
    lab = lab_of(
        toy,
        model,
        prompt,
        experiment="sensitive-directions",
        bases=[{"kind": "real-other", "count": 40}],
        directions=[{"kind": "real-other", "count": 4}, {"kind": "random", "count": 4}],
    )
    rows = [curve.summary for curve in outcome(lab)[0]]
    assert win_rate(rows, "real-other", "random") > 0.6
    found = auc(group(rows, "threshold", "real-other"), group(rows, "threshold", "random"))
    assert found.low > 0.5


def test_ranking_puts_the_planted_features_first_and_knows_where_they_act(
    toy: Planted, model: Model, prompt: str
) -> None:
    lab = lab_of(
        toy, model, prompt, experiment="rank-features", options={"which": "all", "nulls": 30}, path={"steps": 400}
    )
    x = np.linalg.norm(lab.site.vector.astype(np.float64))
    ranking = outcome(lab)[2]["ranking"]
    ordered = sorted(ranking, key=lambda row: row["threshold"] or np.inf)
    assert {row["feature"] for row in ordered[:FEATURES]} == set(range(FEATURES))
    for row in ordered[:FEATURES]:
        assert row["threshold"] == pytest.approx(x * np.tan(np.arcsin(SHARE)), abs=0.02)
        assert row["p"] <= 2 / 31
    assert all(row["censored"] for row in ordered[FEATURES:])


def test_a_layer_that_does_nothing_changes_no_row_and_the_gap_is_there_on_either_side(
    toy: Planted, model: Model, prompt: str
) -> None:
    lab = lab_of(
        toy,
        model,
        prompt,
        experiment="layers",
        bases=[{"kind": "real-other", "count": 30}],
        options={"hooks": ["blocks.0.hook_resid_pre", WRITE]},
    )
    rows = outcome(lab)[2]["layers"]
    before, behind = ([r for r in rows if r["hook"] == hook] for hook in ("blocks.0.hook_resid_pre", WRITE))
    assert np.mean([r["win_rate"] for r in before]) > 0.6
    for a, b in zip(before, behind, strict=True):
        assert a["win_rate"] == b["win_rate"]
        assert (a["first_threshold"] or -1) == pytest.approx(b["first_threshold"] or -1, rel=1e-4)


def test_propagation_sees_the_neuron_cross_its_threshold_and_only_then_a_push_that_grows(
    toy: Planted, model: Model, prompt: str
) -> None:
    lab = lab_of(
        toy,
        model,
        prompt,
        experiment="propagation",
        bases=[{"kind": "prompt"}],
        directions=[{"kind": "sae-feature", "index": 2}],
        path={"mode": "sphere", "steps": 90},
    )
    curve = outcome(lab)[0][0]
    neurons, output = "blocks.1.mlp.hook_post", "blocks.1.hook_resid_post"
    degrees = np.degrees(np.arcsin(SHARE))
    expected = np.where(curve.coordinate > degrees + 1, 2, 0) / (2 * FEATURES)
    clear = np.abs(curve.coordinate - degrees) > 1
    # Two neurons of a pair, the second of which is as good as at the same place.
    assert np.allclose(curve.values[neurons]["flips"][clear], expected[clear])
    size = curve.values[output]["l2"][1:] / curve.distance[1:]
    assert np.allclose(size[curve.coordinate[1:] < degrees - 1], 1, atol=1e-5), "the block hands it through"
    assert size[curve.coordinate[1:] > degrees + 1].min() > 5
    assert curve.values[output]["norm"][0] == 1
    assert curve.values[output]["norm"][-1] > 5


def test_an_sae_that_misses_a_feature_hurts_more_than_its_error_is_long(
    toy: Planted, model: Model, prompt: str
) -> None:
    missing = 1
    lab = lab_of(
        toy,
        model,
        prompt,
        without=missing,
        experiment="sae-error",
        bases=[{"kind": "real-other", "count": 40}],
        options={"texts": 4, "tokens": 24},
    )
    tables = outcome(lab)[2]
    for row in tables["substitution"]:
        # What every feature is shrunk by, and the missing one where it is there.
        assert row["length"] < 0.1 or row["length"] == pytest.approx(CARRIED, abs=0.05)
    ratios = {(r["replaced"], r["control"]): r for r in tables["ratios"]}
    for replaced in ("substitution", "everywhere"):
        found = ratios[replaced, "isotropic"]
        assert found["kl_ratio"] > 2
        assert found["kl_low"] > 1


def test_without_attention_context_is_no_variation_at_all(toy: Planted, model: Model, prompt: str) -> None:
    other = prompt.replace("There was a", "Mom saw a")
    lab = lab_of(toy, model, prompt, experiment="natural-variation", options={"prompts": [other, "Tom ran to her mom"]})
    tables = outcome(lab)[2]
    same = [row for row in tables["cloud"] if row["same_token"]]
    assert len(same) > 2
    for row in same:
        assert row["distance"] < 1e-5
        assert row["kl"] == 0
    assert all(row["cosine_centred"] == pytest.approx(1) for row in tables["truncated"])
