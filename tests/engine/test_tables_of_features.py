"""Rankings, decompositions, geometry and explanations: rows against what curves, SAEs and other code say."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from engine.dictionaries.decompose import decompose
from engine.dictionaries.firing import mark
from engine.dictionaries.geometry import BINS, cosines, explained_by, largest_cosine
from engine.drawing import Base
from engine.errors import DirectionError, RecipeError
from engine.laboratory import Laboratory
from engine.models import Model
from engine.protocol import Held
from engine.questions.features import ActiveFeatures, FeatureCard, FindFeatures
from engine.questions.null import AgainstNulls
from engine.questions.watch import WatchFeatures
from engine.randomness import stream
from engine.recipe import parse_recipe
from engine.results import CurveResult, Note, RowResult
from engine.thresholds import BEYOND, empirical_p, in_order, null_vectors, ordered_thresholds, thresholds
from engine.workshop import Workshop

PROMPT = "Once upon a time, there was a little girl who"


def lab_of(model: Model, workshop: Workshop, held: Held | None = None, **data) -> Laboratory:
    recipe = {"site": {"prompt": PROMPT}, "population": {"n": 300}, "path": {"steps": 20}, **data}
    return Laboratory(model, parse_recipe(recipe), workshop, held or Held())


def rows_of(lab: Laboratory) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for event in lab.experiment.run(lab):
        if isinstance(event, RowResult):
            found.setdefault(event.table, []).append(dict(event.values))
    return found


def test_a_threshold_without_its_curve_is_that_of_the_curve(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop, directions=[{"kind": "random", "count": 3}, {"kind": "sae-feature", "count": 3}])
    curves = [e for e in lab.experiment.run(lab) if isinstance(e, CurveResult)]
    found = dict(thresholds(lab, lab.site, [c.direction for c in curves], [c.summary.label for c in curves]))
    assert [found[i] for i in range(6)] == [c.summary.threshold for c in curves]


def test_curvature_without_a_curve_is_that_of_the_curve_and_blocks_come_in_order(
    embedded: Model, workshop: Workshop
) -> None:
    lab = lab_of(embedded, workshop, directions=[{"kind": "isotropic", "count": 35}], path={"steps": 4})
    curves = [e for e in lab.experiment.run(lab) if isinstance(e, CurveResult)]
    vectors = [c.direction for c in sorted(curves, key=lambda c: c.summary.curve)]
    fisher = [c.summary.fisher for c in sorted(curves, key=lambda c: c.summary.curve)]
    whole = list(in_order(lab, lab.site, vectors, ["a direction"] * 35))
    assert [place for place, _ in whole] == list(range(35))
    assert [found.fisher for _, found in whole] == pytest.approx(fisher, rel=1e-4)
    assert list(in_order(lab, lab.site, vectors, ["a direction"] * 35, 33)) == whole[33:]
    assert dict(ordered_thresholds(lab, lab.site, vectors[:3], ["a direction"] * 3)) == {
        place: found.threshold for place, found in whole[:3]
    }


def test_an_empirical_p_counts_the_observed_one() -> None:
    assert empirical_p(1.0, [2.0, 3.0, None]) == 0.25
    assert empirical_p(2.0, [2.0, 3.0, None]) == 0.5
    assert empirical_p(None, [2.0, None]) == 1
    uniform = [empirical_p(float(x), np.arange(99.0)) for x in range(99)]
    assert np.mean(uniform) == pytest.approx(0.5, abs=0.011)


def test_nulls_are_not_what_the_recipe_draws(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop, directions=[{"kind": "random-mixture", "count": 2}])
    nulls = null_vectors(lab, lab.site, "along", 3)
    drawn = [lab.draw(spec, lab.site, i).vector for spec, i in lab.direction_order]
    assert not any(np.array_equal(a, b) for a in nulls for b in drawn)
    assert np.array_equal(nulls[1], lab.draw(lab.recipe.directions[0], lab.site, BEYOND + 1).vector)
    toward = null_vectors(lab, lab.site, "toward", 2)[1]
    z = stream(lab.seed, "direction/random@prompt", 0, BEYOND + 1).standard_normal(len(lab.population.vectors))
    a = lab.population.vectors.astype(np.float64)
    target = a.mean(0) + z @ (a - a.mean(0)) / np.sqrt(len(a) - 1)
    assert np.abs(toward - (target - lab.site.vector)).max() < 1e-4


def test_thresholds_at_lengths_of_their_own_are_refused(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop, experiment="rank-features", path={"stop": "native", "steps": 5})
    with pytest.raises(RecipeError, match="their thresholds do not compare"):
        rows_of(lab)


def test_who_reads_a_direction_depends_on_where_it_is_written(embedded: Model, workshop: Workshop) -> None:
    """What a block's MLP reads is read after its attention too, and not after the MLP."""
    for stage, read in (
        ("hook_resid_pre", True),
        ("hook_attn_out", True),
        ("hook_resid_mid", True),
        ("hook_mlp_out", False),
    ):
        lab = lab_of(embedded, workshop, site={"prompt": PROMPT, "write": f"blocks.1.{stage}"})
        row = lab.weights.neuron(1, 3, "in")
        found = max(largest_cosine(row, part.rows) for part in lab.weights.later_read_ins())
        assert (found > 0.999) == read, stage


def test_ranking_gives_every_active_feature_its_threshold_and_p(embedded: Model, workshop: Workshop) -> None:
    data = {"experiment": "rank-features", "options": {"nulls": 40}}
    lab = lab_of(embedded, workshop, **data)
    tables = rows_of(lab)
    ranking, nulls = tables["ranking"], tables["nulls"]
    f = lab.features.activations(lab.site)
    assert [row["feature"] for row in ranking] == list(np.argsort(-f, kind="stable")[: int((f > 0).sum())])
    assert len(nulls) == 40
    for row in ranking[:4]:
        curve = lab_of(embedded, workshop, directions=[{"kind": "sae-feature", "index": row["feature"]}])
        summary = next(e for e in curve.experiment.run(curve) if isinstance(e, CurveResult)).summary
        # Contributions of 32 features at once differ in their last bits from that of one.
        assert (row["threshold"] or np.inf) == pytest.approx(summary.threshold or np.inf, rel=1e-5)
        assert row["length"] == pytest.approx(summary.native_norm, rel=1e-5)
        sooner = sum((n["threshold"] or np.inf) <= (row["threshold"] or np.inf) for n in nulls)
        assert row["p"] == pytest.approx((1 + sooner) / 41)
    held = Held(rows={"nulls": nulls, "ranking": ranking[:10]})
    assert rows_of(lab_of(embedded, workshop, held, **data)) == {"ranking": ranking[10:]}
    held = Held(rows={"nulls": nulls[:35]})
    assert rows_of(lab_of(embedded, workshop, held, **data)) == {"ranking": ranking, "nulls": nulls[35:]}
    moved = [{**row, "threshold": None} for row in nulls]
    held = Held(rows={"nulls": moved})
    assert all(
        r["p"] <= 1 / 41 for r in rows_of(lab_of(embedded, workshop, held, **data))["ranking"] if r["threshold"]
    ), "held nulls are used and not measured again"
    assert rows_of(lab_of(embedded, workshop, Held(rows={"nulls": nulls, "ranking": ranking}), **data)) == {}


def test_a_decomposition_says_what_the_encoder_says_and_explains_what_it_says(
    embedded: Model, workshop: Workshop
) -> None:
    lab = lab_of(embedded, workshop)
    sae, base = lab.features, lab.site
    direction = lab.draw(lab.recipe.directions[1], base, 0).vector
    found = decompose(sae, base, direction, 12, 0)
    end = Base("", 0, "", (base.vector + direction).astype(np.float32), base.token_ids)
    change = sae.activations(end) - sae.activations(base)
    assert found.turned_on == int((change > 0).sum())
    assert found.turned_off == int((change < 0).sum())
    so_far = np.zeros(len(direction))
    for part, explained in zip(found.encoder, found.encoder_explained, strict=True):
        assert part.coefficient == pytest.approx(change[part.feature])
        assert part.coefficient == pytest.approx(part.plus - part.minus)
        so_far += part.coefficient * sae.units(base, [part.feature])[0]
        left = ((direction - so_far) ** 2).sum() / (direction.astype(np.float64) ** 2).sum()
        assert explained == pytest.approx(1 - left, abs=1e-5)
    for readings in (found.pursuit_explained, found.random_explained):
        assert list(readings) == sorted(readings)
    assert found.pursuit_explained[-1] > found.random_explained[-1] + 0.2
    assert any(part.coefficient < 0 for part in found.pursuit)
    whole = decompose(sae, base, None, 12, 0)
    signal = base.vector - sae.bias(base)
    rebuilt = sum(p.coefficient * sae.units(base, [p.feature])[0] for p in whole.pursuit)
    left = ((signal - rebuilt) ** 2).sum() / (signal**2).sum()
    assert whole.pursuit_explained[-1] == pytest.approx(1 - left, abs=1e-5)
    assert all(part.coefficient >= 0 for part in whole.pursuit)
    rows = whole.rows
    assert [row["k"] for row in rows] == list(range(1, 13))
    assert rows[2]["encoder_feature"] == whole.encoder[2].feature


def test_pursuit_rebuilds_bases_better_than_the_encoder_at_equal_l0(embedded: Model, workshop: Workshop) -> None:
    """Smith's claim for inference-time optimisation; of 100 real activations here, on 97 to 100, by hook."""
    from engine.drawing import member

    lab = lab_of(embedded, workshop)
    both = [decompose(lab.features, member(lab.population, row), None, 32, 0) for row in range(20)]
    assert np.mean([d.pursuit_explained[-1] > d.encoder_explained[-1] for d in both]) >= 0.85
    assert np.mean([d.pursuit_explained[-1] - d.encoder_explained[-1] for d in both]) > 0
    assert np.mean([d.random_explained[-1] for d in both]) < 0.8


def test_the_decompose_table_and_its_scatter(embedded: Model, workshop: Workshop) -> None:
    feature = int(lab_of(embedded, workshop).features.activations(lab_of(embedded, workshop).site).argmax())
    options = {"of": "base", "k": 8, "feature": feature, "members": 12}
    data = {"experiment": "decompose", "options": options}
    tables = rows_of(lab_of(embedded, workshop, **data))
    assert [row["k"] for row in tables["parts"]] == list(range(1, 9))
    assert {"encoder_feature", "pursuit_feature", "random_explained"} <= set(tables["parts"][0])
    assert len(tables["scatter"]) == 12
    assert tables["scatter"][0]["encoder"] == pytest.approx(tables["scatter"][0]["pursuit"], rel=0.2)
    went_on = rows_of(
        lab_of(embedded, workshop, Held(rows={"parts": tables["parts"][:5], "scatter": tables["scatter"][:3]}), **data)
    )
    assert went_on == {"parts": tables["parts"][5:], "scatter": tables["scatter"][3:]}
    with pytest.raises(DirectionError, match="SAE feature 5000 does not exist"):
        rows_of(lab_of(embedded, workshop, experiment="decompose", options={**options, "feature": 5000}))


def test_cosine_histograms_are_those_of_the_vectors() -> None:
    vectors = np.array([[1.0, 0], [2.0, 0], [0, 3.0], [0, 0]])
    found = cosines(vectors)
    middle = BINS // 2  # the bin that begins at 0
    assert found.pairs[-1] == pytest.approx(1 / 3)
    assert found.pairs[middle] == pytest.approx(2 / 3)
    assert found.nearest[-1] == pytest.approx(2 / 3)
    assert found.nearest[middle] == pytest.approx(1 / 3)
    assert largest_cosine(np.array([1.0, 1.0]), np.array([[0, -5.0], [1.0, 0.2]])) == pytest.approx(
        1.2 / np.sqrt(2 * 1.04)
    )
    rng = np.random.default_rng(0)
    predictors, outcome = rng.standard_normal((30, 2)), rng.standard_normal(30)
    theirs = LinearRegression().fit(predictors, outcome).score(predictors, outcome)
    assert explained_by(predictors, outcome) == pytest.approx(theirs)


def test_geometry_has_all_its_tables(embedded: Model, workshop: Workshop) -> None:
    directions = [{"kind": "random", "count": 4}, {"kind": "isotropic", "count": 4}]
    lab = lab_of(embedded, workshop, experiment="sae-geometry", options={"inputs": 5}, directions=directions)
    events = list(lab.experiment.run(lab))
    tables: dict[str, list[dict]] = {}
    for event in events:
        if isinstance(event, RowResult):
            tables.setdefault(event.table, []).append(dict(event.values))
    assert sum(row["decoder"] for row in tables["cosines"]) == pytest.approx(1)
    assert sum(row["isotropic_nearest"] for row in tables["cosines"]) == pytest.approx(1)
    assert {row["input"] for row in tables["l0"]} == {"base", "isotropic", "random", "real"}
    base = tables["l0"][0]
    before = lab.features.before(lab.site)
    assert base["positive"] == (before > 0).sum() >= base["l0"]
    assert tables["active"][0]["cosine_to_strongest"] == pytest.approx(1)
    assert len(tables["readers"]) == 8
    notes = " ".join(e.text for e in events if isinstance(e, Note))
    assert "keeps its 32 strongest features" in notes
    assert "within kinds" in notes


def test_a_feature_is_explained_by_others_and_never_by_itself(embedded: Model, workshop: Workshop) -> None:
    tables = rows_of(lab_of(embedded, workshop, experiment="explain-feature", options={"feature": 7, "k": 4}))
    joined = [row["joined"] for row in tables["explained"]]
    assert 7 not in joined
    shares = [row["explained"] for row in tables["explained"]]
    assert shares == sorted(shares)
    assert tables["explained"][0]["explained"] == pytest.approx(tables["explained"][0]["cosine"] ** 2, rel=1e-4)
    what = [row["what"] for row in tables["sensitivity"]]
    assert what[0] == "feature"
    assert what[-1] == "sum of parts"


def test_features_are_found_by_number_and_by_token(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop)
    active = ActiveFeatures().answer(lab)
    assert active.rows[0].activation == max(f.activation for f in active.rows)
    assert active.rows[0].encoder_cosine == pytest.approx(_cosine(lab, active.rows[0].index), abs=1e-5)
    by_number = FindFeatures("37").answer(lab)
    assert [f.index for f in by_number.rows] == [37]
    by_token = FindFeatures("girl").answer(lab)
    unembedding = embedded.network.lm_head.weight.detach().double().numpy()
    gain = embedded.network.transformer.ln_f.weight.detach().double().numpy()
    row = unembedding[embedded.tokenizer.encode(" girl", add_special_tokens=False)[0]] * gain
    units = lab.features.rows(range(2048))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    assert [f.index for f in by_token.rows[:5]] == list(np.argsort(-(units @ (row - row.mean())), kind="stable")[:5])
    for text, message in (("99999", "does not exist"), ("girl boy", "is no single token")):
        with pytest.raises(DirectionError, match=message):
            FindFeatures(text).answer(lab)


def _cosine(lab: Laboratory, feature: int) -> float:
    a, b = lab.features.encoder(feature), lab.features.rows([feature])[0]
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_card_has_neighbours_and_output_tokens_of_the_evidence(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop)
    card = FeatureCard(12).answer(lab)
    assert card.feature.evidence is not None
    assert set(card.feature.raised) == set(card.feature.evidence.raised), "two computations of the direct path"
    units = lab.features.rows(range(2048))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    cosines_to = units @ units[12]
    cosines_to[12] = -1
    nearest = np.argsort(-cosines_to)[:6]
    assert [i for i, _, _ in card.neighbours] == list(nearest)
    assert card.neighbours[0][1] == pytest.approx(cosines_to[nearest[0]], abs=1e-5)


def test_watched_features_say_how_far_they_are_from_firing(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop)
    on = int(lab.features.activations(lab.site).argmax())
    found = WatchFeatures((on, 3), ("One day a dog",)).answer(lab)
    assert [(w.feature, w.prompt) for w in found] == [
        (on, PROMPT), (3, PROMPT), (on, "One day a dog"), (3, "One day a dog"),
    ]  # fmt: skip
    assert found[0].activation == pytest.approx(float(lab.features.activations(lab.site)[on]))
    assert found[0].before == pytest.approx(found[0].activation, rel=1e-4)
    assert found[1].activation == 0
    assert found[1].before < found[0].before


def test_one_direction_against_its_null(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop)
    isotropic = lab.draw(lab.recipe.directions[2], lab.site, 0)
    found = AgainstNulls("isotropic 0", "along", isotropic.vector).answer(lab)
    assert found.null_kind == "random-mixture"
    assert len(found.nulls) == 200
    assert found.p == empirical_p(found.observed, found.nulls)


def test_marks_tell_rare_from_dead_only_where_enough_was_seen() -> None:
    assert mark(0.6, 1000) == "dense"
    assert mark(0.0, 1000) == "not seen"
    assert mark(0.0, 255_000) == "dead"
    assert mark(5e-5, 255_000) == "rare"
    assert mark(0.01, 255_000) == ""
