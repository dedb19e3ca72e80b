"""What is drawn: formulas against their definitions, and draws that stay when more are asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.directions import DIRECTIONS
from engine.drawing import Base, Population
from engine.errors import DirectionError, RecipeError
from engine.laboratory import Laboratory
from engine.models import Model
from engine.randomness import stream
from engine.recipe import parse_recipe
from engine.workshop import Workshop

PROMPT = "Once upon a time, there was a little girl who"


def lab_of(model: Model, workshop: Workshop, **data) -> Laboratory:
    site = {"prompt": PROMPT, **data.pop("site", {})}
    return Laboratory(model, parse_recipe({"site": site, "population": {"n": 500}, **data}), workshop)


def draw(lab: Laboratory, kind: str, number: int = 0, base: Base | None = None, **options):
    spec = DIRECTIONS[kind].spec(kind=kind, **options)
    return DIRECTIONS[kind].draw(spec, lab, base or lab.site, number)


def test_random_targets_have_the_populations_mean_and_covariance() -> None:
    """Over many draws; the standard error of each entry is known from the normal distribution."""
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((60, 5)) @ rng.standard_normal((5, 5)) + 3).astype(np.float32)
    population = Population(vectors, np.zeros(60, np.float32), np.zeros((60, 1), np.int32), 0, 1.0, "")
    draws = np.array([population.covariance_matched(stream(0, "test", i)) for i in range(20_000)])
    exact = np.cov(vectors.astype(np.float64).T)
    spread = np.sqrt(np.diag(exact))
    assert np.abs((draws.mean(0) - population.mean) / spread).max() < 5 / np.sqrt(len(draws))
    error = np.sqrt((exact**2 + np.outer(np.diag(exact), np.diag(exact))) / len(draws))
    assert (np.abs(np.cov(draws.T) - exact) / error).max() < 5


def test_random_is_a_target_minus_the_base(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop)
    z = stream(lab.seed, "direction/random@prompt", 0, 3).standard_normal(len(lab.population.vectors))
    a = lab.population.vectors.astype(np.float64)
    target = a.mean(0) + sum(z[i] * (a[i] - a.mean(0)) for i in range(len(a))) / np.sqrt(len(a) - 1)
    assert np.abs(draw(lab, "random", 3).vector - (target - lab.site.vector)).max() < 1e-4


def test_real_other_ends_at_a_member_that_is_not_the_base(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop)
    rows = [draw(lab, "real-other", i).detail["population_row"] for i in range(20)]
    assert len(set(rows)) == 20
    first = draw(lab, "real-other", 0)
    assert np.allclose(lab.site.vector + first.vector, lab.population.vectors[rows[0]], atol=1e-5)
    as_base = Base("prompt", 0, "", lab.population.vectors[rows[0]], lab.site.token_ids)
    from_member = [draw(lab, "real-other", i, as_base) for i in range(len(lab.population.vectors) - 1)]
    assert all(np.abs(d.vector).max() > 0 for d in from_member)


def test_asking_for_too_many_members_is_refused(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop)
    with pytest.raises(DirectionError, match="lower the count"):
        draw(lab, "real-other", len(lab.population.vectors))


def test_mixtures_do_not_involve_the_base(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop)
    elsewhere = Base("prompt", 0, "", lab.site.vector + 5, lab.site.token_ids)
    for kind in ("random-mixture", "real-mixture", "isotropic"):
        assert np.array_equal(draw(lab, kind, 1).vector, draw(lab, kind, 1, elsewhere).vector)
    detail = draw(lab, "real-mixture", 4).detail
    vectors = lab.population.vectors
    expected = vectors[detail["plus_row"]] - vectors[detail["minus_row"]]
    assert np.array_equal(draw(lab, "real-mixture", 4).vector, expected)


def test_vectors_of_a_centred_model_have_no_mean(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop)
    for kind in ("random", "random-mixture", "isotropic", "real-other", "sae-feature"):
        vector = draw(lab, kind).vector.astype(np.float64)
        assert abs(vector.mean()) < 1e-6 * np.abs(vector).max()


def test_isotropic_directions_of_an_rmsnorm_model_keep_their_mean(llama: Model, workshop: Workshop) -> None:
    lab = lab_of(llama, workshop)
    means = [float(draw(lab, "isotropic", i).vector.mean()) for i in range(50)]
    # Standard deviation 1/sqrt(d) of the mean of d standard normals.
    assert np.std(means) == pytest.approx(1 / np.sqrt(llama.d_model), rel=0.4)


def test_more_draws_keep_the_earlier_ones(embedded: Model, workshop: Workshop) -> None:
    few = lab_of(embedded, workshop, directions=[{"kind": "random", "count": 2}])
    many = lab_of(embedded, workshop, directions=[{"kind": "isotropic", "count": 3}, {"kind": "random", "count": 5}])
    for i in range(2):
        assert np.array_equal(draw(few, "random", i).vector, draw(many, "random", i).vector)
    other = lab_of(embedded, workshop, seed=1)
    assert not np.array_equal(draw(few, "random", 0).vector, draw(other, "random", 0).vector)


def test_a_kind_asked_for_twice_draws_on(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop, directions=[{"kind": "random", "count": 2}, {"kind": "random", "count": 2}])
    vectors = [draw(lab, "random", i).vector for _, i in lab.direction_order]
    assert len({v.tobytes() for v in vectors}) == 4


def test_ranks_and_typed_prompts_do_not_shift_other_draws(embedded: Model, workshop: Workshop) -> None:
    both_signs = [{"kind": "sae-feature", "count": 2}, {"kind": "sae-feature", "count": 2, "sign": "-"}]
    lab = lab_of(embedded, workshop, directions=both_signs)
    found = [DIRECTIONS[spec.kind].draw(spec, lab, lab.site, i) for spec, i in lab.direction_order]
    assert found[0].label == found[1].label.removeprefix("-")
    assert np.array_equal(found[0].vector, -found[1].vector)
    typed = [{"kind": "real-other", "prompt": "One day"}, {"kind": "real-other", "count": 1}]
    lab = lab_of(embedded, workshop, directions=typed)
    assert [i for _, i in lab.direction_order] == [0, 0]


def test_a_rescaled_base_is_not_its_own_target(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop, bases=[{"kind": "real-other", "norm": "matched"}])
    base = next(lab.bases())
    assert np.linalg.norm(base.vector) == pytest.approx(np.linalg.norm(lab.site.vector), rel=1e-5)
    rows = {draw(lab, "real-other", i, base).detail["population_row"] for i in range(len(lab.population.vectors) - 1)}
    assert base.population_row not in rows


def test_the_same_bases_in_both_hosts_make_pairs(embedded: Model, workshop: Workshop) -> None:
    bases = [{"kind": "real-other", "count": 3}, {"kind": "real-other", "count": 3, "host": "site"}]
    lab = lab_of(embedded, workshop, bases=bases)
    drawn = list(lab.bases())
    assert [b.population_row for b in drawn[:3]] == [b.population_row for b in drawn[3:]]
    assert all(b.token_ids == lab.where.token_ids for b in drawn[3:])
    assert all(b.token_ids != lab.where.token_ids for b in drawn[:3])


def test_real_other_bases_at_bos_are_refused(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop, site={"position": 0}, bases=[{"kind": "real-other"}])
    with pytest.raises(DirectionError, match="host"):
        list(lab.bases())


def test_steering_is_the_difference_of_last_tokens(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop)
    found = draw(lab, "steering", plus="She was very happy", minus="She was sad")
    hidden = []
    for text in ("She was very happy", "She was sad"):
        ids = embedded.tensor([[embedded.bos, *embedded.tokenizer.encode(text, add_special_tokens=False)]])
        state = embedded.network.transformer(input_ids=ids, output_hidden_states=True).hidden_states[1][0, -1]
        hidden.append((state - state.mean()).numpy())
    assert np.abs(found.vector - (hidden[0] - hidden[1])).max() < 1e-5


def test_a_direction_of_no_length_is_refused_in_a_sentence(embedded: Model, workshop: Workshop) -> None:
    same = {"kind": "steering", "plus": "She was sad", "minus": "She was sad"}
    typed = {"kind": "real-other", "prompt": PROMPT}
    for spec in (same, typed):
        lab = lab_of(embedded, workshop, directions=[spec])
        with pytest.raises(DirectionError, match="has no length"):
            list(lab.experiment.run(lab))


def test_feature_directions_are_contributions_of_the_sae(embedded: Model, workshop: Workshop) -> None:
    """decode(f) - decode(f with f_i = 0), computed here from the SAE's own tensors."""
    lab = lab_of(embedded, workshop)
    sae = lab.features.module
    found = draw(lab, "sae-feature", 0)
    feature = found.detail["feature"]
    activations = lab.features.activations(lab.site)
    assert feature == int(activations.argmax())
    assert found.detail["share_of_l1"] == pytest.approx(activations[feature] / activations.sum())
    row = sae.W_dec[feature].double().numpy()
    row = row - row.mean()
    expected = activations[feature] * row
    if sae.cfg.rescale_acts_by_decoder_norm:
        # Such an SAE reports activations in units of its decoder rows.
        expected = expected / np.linalg.norm(sae.W_dec[feature].double().numpy())
    cosine = found.vector @ expected / np.linalg.norm(found.vector) / np.linalg.norm(expected)
    assert cosine == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(found.vector) == pytest.approx(np.linalg.norm(expected), rel=1e-3)
    negative = draw(lab, "sae-feature", 0, sign="-", index=feature)
    assert np.array_equal(negative.vector, -draw(lab, "sae-feature", 0, index=feature).vector)


def test_feature_indices_out_of_range_are_refused(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop)
    n = lab.features.n_features
    with pytest.raises(DirectionError, match=f"use 0 to {n - 1}"):
        draw(lab, "sae-feature", 0, index=n)
    activations = lab.features.activations(lab.site)
    with pytest.raises(DirectionError, match="are active at this base"):
        draw(lab, "sae-feature", int((activations != 0).sum()))
    off = draw(lab, "sae-feature", index=int(activations.argmin()), sign="-", vector="encoder")
    assert off.label == f"-#{activations.argmin()} encoder (off)"
    assert (off.detail["activation"], off.detail["share_of_l1"]) == (0, 0)


def test_every_kind_is_registered_under_its_own_name() -> None:
    names = set(DIRECTIONS)
    assert {"random", "random-mixture", "real-mixture", "isotropic", "real-other", "sae-feature", "steering"} <= names
    assert all(DIRECTIONS[n].name == n for n in names)
    with pytest.raises(RecipeError, match="did you mean 'steering'"):
        DIRECTIONS["stering"]


def test_the_sae_error_is_what_the_sae_adds_to_the_base(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop)
    module = lab.features.module
    with torch.no_grad():
        x = torch.from_numpy(lab.site.vector)[None]
        rebuilt = module.decode(module.encode(x))[0]
    rebuilt = (rebuilt - rebuilt.mean()).numpy()
    error = draw(lab, "sae-error")
    assert np.abs(error.vector - (rebuilt - lab.site.vector)).max() < 1e-4
    assert error.detail["share_of_norm"] == pytest.approx(
        float(np.linalg.norm(rebuilt - lab.site.vector) / np.linalg.norm(lab.site.vector)), rel=1e-3
    )
    with pytest.raises(RecipeError, match=r"directions\.0\.count"):
        lab_of(embedded, workshop, directions=[{"kind": "sae-error", "count": 2}])
