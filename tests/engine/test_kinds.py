"""Bases and directions made from features, weights, texts and files: each against its own formula."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_torch

from engine.bases import BASES
from engine.dictionaries.synthetic import RUNGS, exchange
from engine.directions import DIRECTIONS
from engine.directions.fake_feature import rotation
from engine.directions.vector import packed
from engine.drawing import Direction, without
from engine.embedded import MODEL_DIR, SAES_DIR
from engine.errors import DirectionError, HookError, RecipeError
from engine.laboratory import Laboratory
from engine.models import Model
from engine.randomness import stream
from engine.recipe import parse_recipe
from engine.results import CurveResult
from engine.weights import gain
from engine.workshop import Workshop

PROMPT = "Once upon a time, there was a little girl who"
HAPPY, SAD = "She was very happy", "She was very sad"


@pytest.fixture(scope="module")
def lab(embedded: Model, workshop: Workshop) -> Laboratory:
    return lab_of(embedded, workshop)


def lab_of(model: Model, workshop: Workshop, **data) -> Laboratory:
    site = {"prompt": PROMPT, **data.pop("site", {})}
    return Laboratory(model, parse_recipe({"site": site, "population": {"n": 500}, **data}), workshop)


def draw(lab: Laboratory, kind: str, number: int = 0, **options) -> Direction:
    """As the recipe would have it, options checked."""
    recipe = parse_recipe({"site": {"prompt": PROMPT}, "directions": [{"kind": kind, **options}]})
    return lab.draw(recipe.directions[0], lab.site, number)


def decoder(lab: Laboratory) -> np.ndarray:
    """Unit contributions of all features [d_sae, d], from the stored tensors by hand."""
    rows = load_file(SAES_DIR / "blocks.1.hook_resid_pre" / "sae_weights.safetensors")["W_dec"].double().numpy()
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)  # this SAE counts activations in unit rows
    return units - units.mean(1, keepdims=True)


def close(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-4) -> bool:
    """Equal for float32 vectors of norms of some tens."""
    return bool(np.abs(a - b).max() < tolerance)


def states(model: Model, text: str, layer: int) -> np.ndarray:
    """Centred residual stream [pos, d] before a block, from plain Hugging Face."""
    ids = model.tensor([[model.bos, *model.tokenizer.encode(text, add_special_tokens=False)]])
    state = model.network.transformer(input_ids=ids, output_hidden_states=True).hidden_states[layer][0]
    return (state - state.mean(-1, keepdim=True)).numpy()


def test_a_combination_is_a_weighted_sum_of_features(lab: Laboratory) -> None:
    found = draw(lab, "combination", features=[7, 300, 41], weights=[2.0, -1.5, 4.0])
    assert close(found.vector, np.array([2.0, -1.5, 4.0]) @ decoder(lab)[[7, 300, 41]])
    on = int(lab.features.activations(lab.site).argmax())
    both = draw(lab, "combination", features=[on, 7] if on != 7 else [on, 8])
    assert both.detail["weights"] == pytest.approx([lab.features.activations(lab.site)[on], 1.0])
    with pytest.raises(RecipeError, match="2 features need as many weights"):
        draw(lab, "combination", features=[1, 2], weights=[1.0])
    with pytest.raises(DirectionError, match="SAE feature 9999 does not exist"):
        draw(lab, "combination", features=[1, 9999])


def test_what_a_real_activation_turns_on_and_off_is_all_that_the_sae_sees_of_it(lab: Laboratory) -> None:
    """on + off = SAE(target) - SAE(base), since b_dec drops out."""
    for options in ({}, {"prompt": "The dog was sad"}):
        on, off = (draw(lab, f"real-other-{part}", **options) for part in ("on", "off"))
        whole = draw(lab, "real-other", **options)
        target = lab.site.vector + whole.vector
        rebuilt = lab.features.reconstruction(np.stack([target, lab.site.vector]).astype(np.float32), np.zeros(2, "f4"))
        assert close(on.vector + off.vector, rebuilt[0] - rebuilt[1], 1e-3)
        before, after = (
            lab.features.encode(v[None].astype(np.float32), np.zeros(1, "f4"))[0] for v in (lab.site.vector, target)
        )
        assert on.detail["features"] == int((after > before).sum())
        assert off.detail["features"] == int((after < before).sum())
        assert on.detail["cosine_with_whole"] > 0
        assert whole.detail.get("prompt") == options.get("prompt")
        assert on.label == ("on toward 'The dog was sad'" if options else "real-other-on 0")
        assert whole.label == ("toward 'The dog was sad'" if options else "real-other 0")
        for half in (on, off):
            lengths = np.linalg.norm(half.vector), np.linalg.norm(whole.vector)
            assert half.detail["share_of_length"] == pytest.approx(lengths[0] / lengths[1], rel=1e-4)
            cosine = float(half.vector @ whole.vector / lengths[0] / lengths[1])
            assert half.detail["cosine_with_whole"] == pytest.approx(cosine, abs=1e-5)
    for part in ("on", "off"):
        with pytest.raises(DirectionError, match=f"no SAE feature turns {part}"):
            draw(lab, f"real-other-{part}", prompt=PROMPT)


@pytest.mark.parametrize("kind", ["synthetic-baseline", "synthetic-structured"])
def test_synthetic_targets_exchange_every_latent_for_one_like_it(lab: Laboratory, kind: str) -> None:
    found = draw(lab, kind, 3)
    detail = found.detail
    row = detail["population_row"]
    population = lab.population
    real = lab.features.encode(population.vectors[row][None], np.zeros(1, "f4"))[0]
    assert set(detail["originals"]) == set(np.flatnonzero(real))
    assert set(detail["latents"]).isdisjoint(detail["originals"])
    assert len(set(detail["latents"])) == len(detail["latents"])
    assert detail["activations"] == pytest.approx([float(real[i]) for i in detail["originals"]])
    # The target decodes from latent ids with b_dec, by the stored tensors.
    weights = load_file(SAES_DIR / "blocks.1.hook_resid_pre" / "sae_weights.safetensors")
    bias = weights["b_dec"].double().numpy()
    target = bias - bias.mean() + np.array(detail["activations"]) @ decoder(lab)[detail["latents"]]
    assert close(lab.site.vector + found.vector, target)
    # The match that is reported is the match.
    rates = (lab.features.encode(population.vectors, population.means) > 0).mean(0)
    gaps = np.abs(np.log10(rates[detail["latents"]]) - np.log10(rates[detail["originals"]]))
    assert detail["rate_gap_decades"] == pytest.approx(gaps.mean())


def test_structured_targets_keep_cosines_that_bags_of_latents_do_not(lab: Laboratory) -> None:
    bags = [draw(lab, "synthetic-baseline", i).detail for i in range(8)]
    structured = [draw(lab, "synthetic-structured", i).detail for i in range(8)]
    assert [d["population_row"] for d in bags] == [d["population_row"] for d in structured]
    assert np.mean([d["cosine_gap"] for d in structured]) < 0.25 * np.mean([d["cosine_gap"] for d in bags])
    for detail in structured:
        units = lab.features.rows(detail["originals"]), lab.features.rows(detail["latents"])
        normed = [u / np.linalg.norm(u, axis=1, keepdims=True) for u in units]
        gap = np.abs(normed[0] @ normed[0][0] - normed[1] @ normed[1][0]).mean()
        assert detail["cosine_gap"] == pytest.approx(gap, abs=1e-9)


def test_stand_ins_are_latent_ids_and_not_places_in_a_list() -> None:
    """Two sorts of latents that fire at rates ten times apart: each must be exchanged within its own sort."""
    rng = np.random.default_rng(0)
    rates = np.where(np.arange(400) < 200, 0.3, 0.03)
    activations = np.zeros(400)
    activations[[5, 300, 350]] = [3.0, 2.0, 1.0]
    rows = rng.standard_normal((400, 20))
    for rung in RUNGS:
        made = exchange(
            np.random.default_rng(1), activations, rates, lambda ids: rows[list(ids)], lambda i, ids: rates[ids], rung
        )
        assert made.originals == (5, 300, 350)
        assert made.latents[0] < 200 <= min(made.latents[1:])
        assert made.rate_gap == 0
    few = np.zeros(400)
    few[:2] = 0.1
    with pytest.raises(DirectionError, match="too few to stand in for 3"):
        exchange(rng, activations, few, lambda ids: rows[list(ids)], lambda i, ids: rates[ids], "baseline")


def test_fake_features_add_up_to_what_the_real_ones_add_up_to(lab: Laboratory) -> None:
    activations = lab.features.activations(lab.site)
    n = int((activations > 0).sum())
    fakes = np.stack([draw(lab, "fake-feature", i).vector for i in range(n)]).astype(np.float64)
    real = activations[activations > 0, None] * decoder(lab)[activations > 0]
    assert close(fakes.sum(0), real.sum(0), 1e-3)
    assert (fakes**2).sum() == pytest.approx((real**2).sum(), rel=1e-4)
    cosines = (fakes @ real.T) / np.outer(np.linalg.norm(fakes, axis=1), np.linalg.norm(real, axis=1))
    assert np.median(np.abs(cosines).max(1)) < 0.97, "a fake feature is no feature"
    with pytest.raises(DirectionError, match=f"but {n} SAE features are active"):
        draw(lab, "fake-feature", n, count=n + 1)


def test_feature_spans_are_normal_sums_of_what_is_active(lab: Laboratory) -> None:
    activations = lab.features.activations(lab.site)
    active = np.argsort(-activations, kind="stable")[: int((activations > 0).sum())]
    z = stream(lab.seed, "direction/feature-span@prompt", 0, 2).standard_normal(len(active))
    found = draw(lab, "feature-span", 2, count=3)
    assert close(found.vector, (z * activations[active]) @ decoder(lab)[active], 1e-3)
    assert found.detail == {"of": len(active)}


def test_random_mixtures_are_differences_of_two_draws(lab: Laboratory) -> None:
    rows = lab.population.vectors.astype(np.float64)
    z = stream(lab.seed, "direction/random-mixture@prompt", 0, 2).standard_normal((2, len(rows)))
    expected = (z[0] - z[1]) @ (rows - rows.mean(0)) / np.sqrt(len(rows) - 1)
    assert close(draw(lab, "random-mixture", 2, count=3).vector, expected)


def test_no_member_serves_twice_in_real_mixtures(lab: Laboratory) -> None:
    details = [draw(lab, "real-mixture", i, count=20).detail for i in range(20)]
    served = [detail[side] for detail in details for side in ("plus_row", "minus_row")]
    order = stream(lab.seed, "direction/real-mixture@prompt", 0).permutation(len(lab.population.vectors))
    others = [int(row) for row in order if not close(lab.population.vectors[row], lab.site.vector, 1e-3)]
    assert served == others[:40]


def test_a_real_other_through_the_sae_is_what_the_sae_makes_of_the_same_member(lab: Laboratory) -> None:
    found, real = draw(lab, "real-other-sae", 2, count=3), draw(lab, "real-other", 2, count=3)
    assert found.detail == real.detail
    with torch.no_grad():
        x = torch.from_numpy(lab.population.vectors[real.detail["population_row"]])[None]
        rebuilt = lab.features.module.decode(lab.features.module.encode(x))[0].double().numpy()
    assert close(lab.site.vector + found.vector, rebuilt - rebuilt.mean(), 1e-3)


def test_every_number_and_every_base_has_draws_of_its_own(lab: Laboratory) -> None:
    kinds = [
        "random", "random-mixture", "real-mixture", "real-other", "real-other-on", "real-other-sae", "isotropic",
        "feature-span", "fake-feature", "interpolation", "synthetic-baseline", "sae-error-isotropic",
        "sae-error-random", "sae-error-mixture",
    ]  # fmt: skip
    for kind in kinds:
        spec = parse_recipe({"site": {"prompt": PROMPT}, "directions": [{"kind": kind, "count": 2}]}).directions[0]
        bases = [lab.site, replace(lab.site, index=1), replace(lab.site, kind="random")]
        drawn = [lab.draw(spec, base, i).vector for base in bases for i in (0, 1)]
        assert len({vector.tobytes() for vector in drawn}) == 6, kind


def test_one_active_feature_is_too_few_to_mix(lab: Laboratory) -> None:
    for kind in ("fake-feature", "feature-span"):
        found = DIRECTIONS[kind]
        for active in (1, 2):
            features = SimpleNamespace(
                activations=lambda base, active=active: 1.0 * (np.arange(5) < active),
                contributions=lambda base, ids: np.eye(256)[list(ids)],
            )
            context = SimpleNamespace(seed=0, features=features)
            if active > 1:
                assert found.draw(found.spec(kind=kind), context, lab.site, 0).detail == {"of": active}
                continue
            with pytest.raises(DirectionError, match="1 SAE features are active"):
                found.draw(found.spec(kind=kind), context, lab.site, 0)


def test_rotations_keep_ones_and_are_uniform_around_them() -> None:
    draws = np.array([rotation(np.random.default_rng(i), 4) for i in range(4000)])
    assert np.abs(draws @ np.ones(4) - 1).max() < 1e-12
    assert np.abs(np.einsum("nij,nkj->nik", draws, draws) - np.eye(4)).max() < 1e-12
    # The mean of a uniform rotation of the rest is zero, which leaves 1/4 everywhere.
    assert np.abs(draws.mean(0) - 0.25).max() < 5 * draws.std(0).max() / np.sqrt(len(draws))


def test_error_controls_are_as_long_as_the_error(lab: Laboratory) -> None:
    error = np.linalg.norm(draw(lab, "sae-error").vector)
    for how in ("isotropic", "random", "mixture", "norm"):
        control = draw(lab, f"sae-error-{how}")
        assert np.linalg.norm(control.vector) == pytest.approx(error, rel=1e-5)
        assert control.detail["length"] == pytest.approx(error, rel=1e-5)
    x = lab.site.vector.astype(np.float64)
    rows = lab.population.vectors.astype(np.float64)

    def normal(how: str, *shape: int) -> np.ndarray:
        return stream(lab.seed, f"direction/sae-error-{how}@prompt", 0, 1).standard_normal(shape)

    spread = (rows - rows.mean(0)) / np.sqrt(len(rows) - 1)
    z, pair = normal("isotropic", len(x)), normal("mixture", 2, len(rows))
    wanted = {
        "isotropic": z - z.mean(),
        "random": rows.mean(0) + normal("random", len(rows)) @ spread - x,
        "mixture": (pair[0] - pair[1]) @ spread,
    }
    for how, vector in wanted.items():
        assert close(draw(lab, f"sae-error-{how}", 1, count=2).vector, vector * error / np.linalg.norm(vector)), how
    norm = draw(lab, "sae-error-norm").vector.astype(np.float64)
    shrinks = np.linalg.norm(x + lab.features.error(lab.site)) < np.linalg.norm(x)
    assert norm @ x / np.linalg.norm(norm) / np.linalg.norm(x) == pytest.approx(-1 if shrinks else 1)


def test_the_sae_of_a_steering_vector_is_the_difference_of_rebuilt_ends(lab: Laboratory, embedded: Model) -> None:
    ends = np.stack([states(embedded, text, 1)[-1] for text in (HAPPY, SAD)])
    rebuilt = lab.features.reconstruction(ends, np.zeros(2, "f4"))
    found = draw(lab, "steering-sae", plus=HAPPY, minus=SAD)
    assert close(found.vector, rebuilt[0] - rebuilt[1], 1e-3)
    pair = np.stack([rebuilt[0] - rebuilt[1], ends[0] - ends[1]])
    pair /= np.linalg.norm(pair, axis=1, keepdims=True)
    assert found.detail["cosine_with_whole"] == pytest.approx(float(pair[0] @ pair[1]), abs=1e-4)


def test_labels_of_chosen_features_name_a_few_and_count_many(lab: Laboratory) -> None:
    many = draw(lab, "steering-features", plus=HAPPY, minus=SAD, positive=5, negative=1)
    assert many.label.startswith("5 features + ")
    some = many.detail["features"][:2]
    few = draw(lab, "steering-features", plus=HAPPY, minus=SAD, features=some)
    assert few.label.endswith(f" of {HAPPY!r} - {SAD!r}")
    assert set(few.label.split(" of ")[0].split(" + ")) == {f"#{i}" for i in some}


def test_prompts_that_cancel_have_no_cosine(lab: Laboratory) -> None:
    assert draw(lab, "steering-sae", plus=HAPPY, minus=HAPPY).detail["cosine_with_whole"] == 0


def test_a_term_that_goes_token_by_token_is_not_placed_at_one(lab: Laboratory) -> None:
    by_token = {"kind": "steering", "plus": HAPPY, "minus": SAD, "align": "tokens"}
    with pytest.raises(DirectionError, match="goes token by token itself"):
        draw(lab, "sum", terms=[{**by_token, "token": 1}])


def test_steering_token_by_token_needs_equally_long_prompts(lab: Laboratory, embedded: Model) -> None:
    found = draw(lab, "steering", plus=HAPPY, minus=SAD, align="tokens")
    plus, minus = states(embedded, HAPPY, 1), states(embedded, SAD, 1)
    assert close(found.vector, (plus[1:] - minus[1:]).mean(0), 1e-5)
    assert found.label == f"{HAPPY!r} - {SAD!r}, token by token"
    assert draw(lab, "steering", plus=[HAPPY, "One day"], minus=SAD).label == f"mean of 2 prompts - {SAD!r}"
    with pytest.raises(DirectionError, match=r"'She was sad' has 3 tokens and another 4"):
        draw(lab, "steering", plus=HAPPY, minus="She was sad", align="tokens")


def test_class_means_are_means_over_prompts(lab: Laboratory, embedded: Model) -> None:
    plus, minus = [HAPPY, "He was glad", "They smiled"], [SAD, "He was upset"]
    found = draw(lab, "class-mean", plus=plus, minus=minus)
    means = [np.mean([states(embedded, t, 1)[-1] for t in side], axis=0) for side in (plus, minus)]
    assert close(found.vector, means[0] - means[1], 1e-5)
    difference = means[0] - means[1]
    length = float(np.linalg.norm(difference))
    within = [np.var([states(embedded, t, 1)[-1] @ difference / length for t in side]) for side in (plus, minus)]
    assert found.detail["separation"] == pytest.approx(length / np.sqrt(np.mean(within)), rel=1e-4)
    one_each = draw(lab, "class-mean", plus=[HAPPY], minus=[SAD])
    assert one_each.detail["separation"] is None
    with pytest.raises(RecipeError, match=r"directions\.0\.minus"):
        draw(lab, "class-mean", plus=[HAPPY], minus=[])
    with pytest.raises(RecipeError, match=r"directions\.0\.plus"):
        draw(lab, "class-mean", plus=[HAPPY, ""], minus=[SAD])


def test_interpolation_mixes_targets_before_the_base_is_subtracted(lab: Laboratory, embedded: Model) -> None:
    targets = [{"prompt": "The dog ran", "weight": 1}, {"prompt": "One day", "weight": 3.0}]
    found = draw(lab, "interpolation", targets=targets)
    corners = [states(embedded, t, 1)[-1] for t in ("The dog ran", "One day")]
    assert close(found.vector, 0.25 * corners[0] + 0.75 * corners[1] - lab.site.vector, 1e-5)
    drawn = draw(lab, "interpolation", targets=[{"kind": "real-other"}, {"kind": "real-other"}], count=2)
    rows = [c["population_row"] for c in drawn.detail["targets"]]
    assert close(lab.site.vector + drawn.vector, lab.population.vectors[rows].mean(0), 1e-5)
    mixed = [draw(lab, "interpolation", i, count=400).detail["targets"] for i in (0, 399)]
    assert [set(c) - {"kind", "weight"} for c in mixed[1]] == [{"population_row"}, {"random"}], "a member each"
    one = draw(lab, "interpolation", 1, targets=[{"prompt": "One day"}, {"kind": "real-other"}], count=2)
    assert one.detail["targets"][1]["population_row"] == draw(lab, "real-other", 1, count=2).detail["population_row"]
    randoms = draw(lab, "interpolation", 1, targets=[{"kind": "random"}] * 2, count=2)
    rows = lab.population.vectors.astype(np.float64)
    z = [stream(lab.seed, "direction/interpolation@prompt", 0, i).standard_normal(len(rows)) for i in (3, 4)]
    target = rows.mean(0) + (z[0] + z[1]) / 2 @ (rows - rows.mean(0)) / np.sqrt(len(rows) - 1)
    assert close(lab.site.vector + randoms.vector, target)
    both = {"targets": [{"prompt": "One day"}, {"kind": "random"}]}
    for options, count, prompts in ((both, 16, ("One day",)), ({"targets": targets}, 1, ("The dog ran", "One day"))):
        spec = DIRECTIONS["interpolation"].spec(kind="interpolation", **options)
        assert (spec.count, spec.prompts, spec.drawn) == (count, prompts, count > 1)
    with pytest.raises(RecipeError, match="list of 1 to 3 tables"):
        draw(lab, "interpolation", targets=[{}] * 4)
    with pytest.raises(RecipeError, match="must not all be 0"):
        draw(lab, "interpolation", targets=[{"weight": 0.0}])


def test_embeddings_and_neurons_are_the_models_own_weights(lab: Laboratory, embedded: Model) -> None:
    stored = {k: v.double().numpy() for k, v in load_file(MODEL_DIR / "model.safetensors").items()}
    prefix = "transformer." if "transformer.wte.weight" in stored else ""

    def centred(rows: np.ndarray) -> np.ndarray:
        return rows - rows.mean(-1, keepdims=True)

    ids = [embedded.tokenizer.encode(t, add_special_tokens=False)[0] for t in (" girl", " boy")]
    table = stored[f"{prefix}wte.weight"]
    assert close(
        draw(lab, "token-embedding", plus=" girl", minus=" boy").vector, centred(table[ids[0]] - table[ids[1]])
    )
    assert close(draw(lab, "token-embedding", plus=" girl").vector, centred(table[ids[0]] - table.mean(0)))
    out = draw(lab, "mlp-neuron", layer=2, index=5)
    assert out.detail == {"layer": 2, "neuron": 5, "side": "out"}
    assert close(out.vector, centred(stored[f"{prefix}h.2.mlp.c_proj.weight"][5]))
    read = draw(lab, "mlp-neuron", layer=2, index=5, side="in")
    expected = centred(stored[f"{prefix}h.2.mlp.c_fc.weight"][:, 5] * stored[f"{prefix}h.2.ln_2.weight"])
    assert close(read.vector, expected, 1e-4 * np.abs(expected).max())
    with pytest.raises(DirectionError, match=r"is [2-9] tokens"):
        draw(lab, "token-embedding", plus="girl boy")
    with pytest.raises(DirectionError, match="There is no neuron 9999"):
        draw(lab, "mlp-neuron", layer=2, index=9999)
    with pytest.raises(HookError, match="layer 9"):
        draw(lab, "mlp-neuron", layer=9, index=0)
    with pytest.raises(DirectionError, match="cannot be told"):
        draw(lab, "mlp-neuron", layer=2, index=5, side="gate")


def test_what_a_gated_neuron_reads_has_the_gain_of_the_norm_in_it(
    llama: Model, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_of(llama, workshop)
    block = llama.layers[2]
    monkeypatch.setattr(block.post_attention_layernorm.weight, "data", torch.linspace(0.5, 2, llama.d_model))
    for side, matrix in (("gate", block.mlp.gate_proj), ("in", block.mlp.up_proj)):
        wanted = (matrix.weight[7] * block.post_attention_layernorm.weight).detach().numpy()
        assert close(lab.weights.neuron(2, 7, side), wanted, 1e-5)
    norm = block.post_attention_layernorm
    assert torch.allclose(gain(norm, llama.d_model, norm.weight), norm.weight, atol=1e-4)


def test_principal_components_are_those_of_the_covariance(lab: Laboratory) -> None:
    values, vectors = np.linalg.eigh(np.cov(lab.population.vectors.astype(np.float64).T))
    first = draw(lab, "principal-component", 0, count=3)
    assert np.linalg.norm(first.vector) == pytest.approx(np.sqrt(values[-1]), rel=1e-5)
    assert abs(first.vector @ vectors[:, -1]) == pytest.approx(np.sqrt(values[-1]), rel=1e-5)
    assert first.detail["component"] == 0
    assert np.array_equal(draw(lab, "principal-component", index=0).vector, first.vector)
    assert first.detail["share_of_variance"] == pytest.approx(values[-1] / values.sum(), rel=1e-5)
    assert np.array_equal(
        draw(lab, "principal-component", index=2).vector, draw(lab, "principal-component", 2, count=3).vector
    )
    with pytest.raises(DirectionError, match="the population varies in 255"):
        draw(lab, "principal-component", index=255)


def test_the_null_space_of_what_comes_next_has_no_effect_at_all(embedded: Model, workshop: Workshop) -> None:
    """The one direction whose curve is known: KL is 0, below 1e-9 in float32, as far out as 200."""
    lab = lab_of(
        embedded,
        workshop,
        site={"write": "blocks.2.mlp.hook_post"},
        directions=[{"kind": "null-space", "count": 2}, {"kind": "causal-space", "count": 2}],
        path={"steps": 4, "stop": 200.0},
    )
    kl = {e.summary.label: e.kl[1:] for e in lab.experiment.run(lab) if isinstance(e, CurveResult)}
    assert max(kl["null space 0"].max(), kl["null space 1"].max()) < 1e-9
    assert min(kl["causal space 0"].max(), kl["causal space 1"].max()) > 0.1
    weight = embedded.layers[2].mlp.c_proj.weight.detach().double().numpy()
    null = draw(lab, "null-space").vector.astype(np.float64)
    assert np.abs(null @ weight).max() < 1e-5 * np.linalg.norm(null)
    rows = lab.population.vectors.astype(np.float64)
    whole = {"isotropic": stream(lab.seed, "direction/null-space@prompt", 0, 1).standard_normal(len(null))}
    z = stream(lab.seed, "direction/null-space@prompt", 0, 1).standard_normal((2, len(rows)))
    whole["random-mixture"] = (z[0] - z[1]) @ (rows - rows.mean(0)) / np.sqrt(len(rows) - 1)
    for of, vector in whole.items():
        parts = [draw(lab, f"{part}-space", 1, of=of, count=2) for part in ("null", "causal")]
        assert close(parts[0].vector + parts[1].vector, vector)
        assert abs(parts[0].vector @ parts[1].vector) < 1e-5 * (vector @ vector)
        for part in parts:
            assert part.vector.dtype == np.float32
            share = np.linalg.norm(part.vector) / np.linalg.norm(vector)
            assert part.detail["share_of_length"] == pytest.approx(share, rel=1e-4)
    with pytest.raises(DirectionError, match=r"Write at blocks\.1\.mlp\.hook_post"):
        draw(lab_of(embedded, workshop), "null-space")


def test_directions_come_from_files_that_fit(lab: Laboratory, tmp_path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3, 256)).astype(np.float32)
    save_file({"a": rows[0], "b": rows}, tmp_path / "two.safetensors")
    np.save(tmp_path / "one.npy", rows[1])
    assert close(draw(lab, "file", path=str(tmp_path / "one.npy")).vector, rows[1] - rows[1].mean(), 1e-6)
    found = draw(lab, "file", path=str(tmp_path / "two.safetensors"), key="b", row=2)
    assert close(found.vector, rows[2] - rows[2].mean(), 1e-6)
    assert len(found.detail["sha256"]) == 64
    half = {"h": torch.from_numpy(rows[0]).to(torch.bfloat16)}
    save_torch(half, tmp_path / "half.safetensors")
    assert close(draw(lab, "file", path=str(tmp_path / "half.safetensors")).vector, rows[0] - rows[0].mean(), 0.02)
    hook = "blocks.1.hook_resid_pre"
    save_file({hook: rows[:1]}, tmp_path / "ours.safetensors", {"dirscope": '{"format": 1}'})
    for options, label in (({"key": hook}, hook), ({}, "ours")):
        found = draw(lab, "file", path=str(tmp_path / "ours.safetensors"), **options)
        assert found.label == label
        assert close(found.vector, rows[0] - rows[0].mean(), 1e-6)
    np.save(tmp_path / "huge.npy", np.arange(256) * 1e300)
    np.save(tmp_path / "wide.npy", np.ones(300))
    np.save(tmp_path / "ones.npy", np.ones(256))
    np.save(tmp_path / "nan.npy", np.full(256, np.nan))
    np.save(tmp_path / "objects.npy", np.array([{}] * 256, dtype=object), allow_pickle=True)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "two.safetensors").read_bytes()[:40])
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "evil.pt").write_bytes(b"\x80\x04.")
    for name, options, message in (
        ("wide.npy", {}, r"shape 300, but the write hook has d_hook 256"),
        ("ones.npy", {}, "has no length"),
        ("huge.npy", {}, "too long for float32"),
        ("one.npy", {"row": 7}, "no row 7"),
        ("one.npy", {"key": "a"}, "leave key out"),
        ("nan.npy", {}, "NaN or infinity"),
        ("objects.npy", {}, "damaged or no vector file"),
        ("cut.safetensors", {}, "damaged or no vector file"),
        ("empty.npy", {}, "damaged or no vector file"),
        ("half.safetensors", {"key": "x"}, "holds h: name one with key"),
        ("evil.pt", {}, "pickles are never opened"),
        ("none.npy", {}, "No such file"),
        ("two.safetensors", {}, "holds a, b: name one with key"),
        ("two.safetensors", {"key": "b"}, "name one with row"),
        ("two.safetensors", {"key": "b", "row": 3}, "use 0 to 2"),
    ):
        with pytest.raises(DirectionError, match=message) as caught:
            draw(lab, "file", path=str(tmp_path / name), **options)
        assert "\n" not in str(caught.value)


def test_features_can_be_projected_out_of_any_direction(lab: Laboratory) -> None:
    plain = draw(lab, "steering", plus=HAPPY, minus=SAD)
    found = draw(lab, "steering", plus=HAPPY, minus=SAD, project_out=[3, 700, 41])
    rows = decoder(lab)[[3, 700, 41]]
    assert np.abs(rows @ found.vector).max() < 1e-4
    for again in ([3, 700, 41, 3], [41, 3, 700]):
        same = draw(lab, "steering", plus=HAPPY, minus=SAD, project_out=again)
        assert close(same.vector, found.vector, 1e-5), "the same span"
    removed = plain.vector.astype(np.float64) - found.vector
    assert np.abs(removed - rows.T @ np.linalg.lstsq(rows.T, removed, rcond=None)[0]).max() < 1e-4
    assert "without #3, #700, #41" in found.label
    assert found.detail["share_left"] == pytest.approx(np.linalg.norm(found.vector) / np.linalg.norm(plain.vector))
    with pytest.raises(DirectionError, match="Nothing is left"):
        draw(lab, "sae-feature", index=3, project_out=[3])


def test_features_are_projected_out_of_every_row_of_a_direction(lab: Laboratory) -> None:
    options = {"plus": HAPPY, "minus": SAD, "align": "tokens"}
    plain, found = draw(lab, "steering", **options), draw(lab, "steering", **options, project_out=[3, 700])
    basis = np.linalg.qr(decoder(lab)[[3, 700]].T)[0]
    (before,), (after,) = plain.rows.values(), found.rows.values()
    assert close(after, before - before @ basis @ basis.T)
    assert close(found.vector, after.mean(0), 1e-5)
    longest = [np.linalg.norm(rows, axis=1).max() for rows in (after, before)]
    assert found.detail["share_left"] == pytest.approx(longest[0] / longest[1], rel=1e-4)


def test_a_hook_whose_row_is_all_projected_out_leaves_the_others(lab: Laboratory) -> None:
    row, kept = decoder(lab)[3], np.random.default_rng(0).standard_normal(256)
    parts = {"blocks.1.hook_resid_pre": packed(5 * row), "blocks.2.hook_resid_pre": packed(kept)}
    found = draw(lab, "vector", parts=parts, project_out=[3])
    left = kept - kept.mean() - (kept @ row) / (row @ row) * row
    assert close(found.rows["blocks.2.hook_resid_pre"], left[None])
    assert close(found.rows["blocks.1.hook_resid_pre"], np.zeros((1, 256)))
    assert found.detail["share_left"] == pytest.approx(np.linalg.norm(left) / np.linalg.norm(kept - kept.mean()))


def test_rows_without_length_take_nothing_away() -> None:
    rng = np.random.default_rng(0)
    vector, row = rng.standard_normal(8), rng.standard_normal(8)
    left = vector - (vector @ row) / (row @ row) * row
    assert close(without(vector, np.stack([row, np.zeros(8), 2 * row])), left, 1e-12)
    assert close(without(vector, np.zeros((2, 8))), vector, 1e-12)


def test_rebuilt_bases_are_what_the_sae_makes_of_real_ones(embedded: Model, workshop: Workshop) -> None:
    specs = [
        {"kind": "sae-reconstruction"},
        {"kind": "sae-reconstruction", "of": "real-other", "count": 2},
        {"kind": "sae-reconstruction", "of": "real-other", "count": 2, "host": "site", "norm": "matched"},
        {"kind": "pursuit-reconstruction", "k": 32},
        {"kind": "pursuit-reconstruction", "k": 2},
        {"kind": "real-other", "count": 2},
    ]
    lab = lab_of(embedded, workshop, bases=specs)
    made = list(lab.bases())
    assert close(made[0].vector, lab.site.vector + lab.features.error(lab.site), 1e-5)
    assert [b.population_row for b in made[1:3]] == [b.population_row for b in made[7:9]]
    for rebuilt, real in zip(made[1:3], made[7:9], strict=True):
        assert close(rebuilt.vector, lab.features.reconstruction(real.vector[None], np.zeros(1, "f4"))[0], 1e-4)
        assert rebuilt.token_ids == real.token_ids
    for at_site in made[3:5]:
        assert at_site.kind_and_host(lab.where.token_ids) == "sae-reconstruction@site"
        assert np.linalg.norm(at_site.vector) == pytest.approx(np.linalg.norm(lab.site.vector), rel=1e-5)
    many, few = made[5:7]
    assert np.linalg.norm(many.vector - lab.site.vector) < np.linalg.norm(few.vector - lab.site.vector)
    assert few.detail["features"] <= 2
    with pytest.raises(RecipeError, match="there is one prompt to rebuild"):
        lab_of(embedded, workshop, bases=[{"kind": "sae-reconstruction", "count": 2}])
    synthetic = list(lab_of(embedded, workshop, bases=[{"kind": "synthetic-structured", "count": 2}]).bases())
    assert all(b.token_ids == lab.where.token_ids and "latents" in b.detail for b in synthetic)


@pytest.mark.parametrize(
    ("kind", "options", "wrong"),
    [
        ("random", {}, {"count": 0}),
        ("random", {}, {"project_out": [-1]}),
        ("class-mean", {"plus": [HAPPY], "minus": [SAD]}, {"plus": []}),
        ("combination", {"features": [3]}, {"features": []}),
        ("combination", {"features": [3]}, {"features": [-1]}),
        ("combination", {"features": [3]}, {"features": [3, 3]}),
        ("sae-feature", {}, {"index": -1}),
        ("sae-feature", {}, {"count": 0}),
        ("sae-feature", {"index": 3}, {"count": 2}),
        ("principal-component", {}, {"index": -1}),
        ("principal-component", {}, {"count": 0}),
        ("principal-component", {"index": 3}, {"count": 2}),
        ("mlp-neuron", {"layer": 0, "index": 0}, {"layer": -1}),
        ("mlp-neuron", {"layer": 0, "index": 0}, {"index": -1}),
        ("real-other", {}, {"prompt": ""}),
        ("real-other", {"prompt": HAPPY}, {"count": 2}),
        ("file", {"path": "a.npy"}, {"path": ""}),
        ("file", {"path": "a.npy"}, {"key": ""}),
        ("file", {"path": "a.npy"}, {"row": -1}),
        ("steering", {"plus": HAPPY, "minus": SAD}, {"plus": ""}),
        ("steering", {"plus": HAPPY, "minus": SAD}, {"minus": []}),
        ("steering", {"plus": HAPPY, "minus": SAD}, {"minus": [SAD, ""]}),
        ("steering-features", {"plus": HAPPY, "minus": SAD}, {"features": []}),
        ("steering-features", {"plus": HAPPY, "minus": SAD}, {"features": [-1]}),
        ("steering-features", {"plus": HAPPY, "minus": SAD}, {"positive": -1}),
        ("steering-features", {"plus": HAPPY, "minus": SAD}, {"negative": -1}),
        ("steering-features", {"plus": HAPPY, "minus": SAD}, {"max_rate": 0.0}),
        ("steering-features", {"plus": HAPPY, "minus": SAD}, {"max_rate": 1.5}),
        ("token-embedding", {"plus": " girl"}, {"plus": ""}),
        ("token-embedding", {"plus": " girl"}, {"minus": ""}),
        ("vector", {"data": packed(np.ones(256))}, {"tokens": 0}),
        ("interpolation", {}, {"targets": []}),
        ("interpolation", {}, {"targets": [{"weight": -1.0}]}),
        ("interpolation", {}, {"targets": [{"kind": "random", "prompt": HAPPY}]}),
        ("sum", {"terms": [{"kind": "isotropic"}]}, {"terms": []}),
        ("sum", {"terms": [{"kind": "isotropic"}]}, {"terms": [{"kind": "isotropic", "token": -1}]}),
        ("sum", {"terms": [{"kind": "isotropic"}]}, {"terms": [{"kind": "isotropic", "count": 2}]}),
    ],
)
def test_options_out_of_range_are_refused_by_name(kind: str, options: dict, wrong: dict) -> None:
    def parse(**given) -> None:
        parse_recipe({"site": {"prompt": PROMPT}, "directions": [{"kind": kind, **given}]})

    parse(**options)
    with pytest.raises(RecipeError, match=r"directions\.0"):
        parse(**{**options, **wrong})


def test_every_kind_runs_and_is_recorded(embedded: Model, workshop: Workshop, tmp_path) -> None:
    import tomllib

    np.save(tmp_path / "direction.npy", np.arange(256.0))
    kinds = [k for k in DIRECTIONS.values() if k.name not in ("null-space", "causal-space")]
    directions = [{"kind": k.name, **tomllib.loads(k.example)} for k in kinds]
    for spec in directions:
        spec.update({"path": str(tmp_path / "direction.npy")} if spec["kind"] == "file" else {})
        spec.update({"data": packed(np.arange(256.0))} if spec["kind"] == "vector" else {})
        if DIRECTIONS[spec["kind"]].spec.model_fields["count"].default > 1:
            spec["count"] = 1
    lab = lab_of(embedded, workshop, bases=[{"kind": k} for k in BASES], directions=directions, path={"steps": 2})
    drawn = [lab.draw(spec, lab.site, i) for spec, i in lab.direction_order]
    assert [(d.kind, d.vector.dtype, d.vector.shape) for d in drawn] == [(k.name, np.float32, (256,)) for k in kinds]
    curves = [e for e in lab.experiment.run(lab) if isinstance(e, CurveResult)]
    assert {c.summary.kind for c in curves} == {k.name for k in kinds}
    assert len({c.summary.base_kind for c in curves}) == len(BASES)
    assert all(np.isfinite(c.kl).all() for c in curves)
