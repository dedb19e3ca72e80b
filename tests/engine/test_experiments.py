"""The experiments that measure in several places, against plain Hugging Face in float64 and against single runs.

Tolerances: float32 against float64, 2e-5 nats and 1e-4 relative, as for curves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from engine.aggregates import value_of, win_rate
from engine.dictionaries.firing import firing
from engine.drawing import Base, member
from engine.embedded import MODEL_DIR
from engine.errors import HookError, RecipeError
from engine.expect import parse_check
from engine.laboratory import Laboratory
from engine.models import Model
from engine.protocol import Held
from engine.recipe import parse_recipe
from engine.results import CurveResult
from engine.token_class import token_class
from engine.workshop import Workshop
from tests.engine.running import outcome
from tests.reference import Reference, kl

PROMPT = "Once upon a time, there was a little girl who"
WRITE = "blocks.1.hook_resid_pre"


def lab_of(model: Model, workshop: Workshop, held: Held | None = None, **data) -> Laboratory:
    recipe = {"site": {"prompt": PROMPT}, "population": {"n": 300}, **data}
    return Laboratory(model, parse_recipe(recipe), workshop, held or Held())


def held_of(rows: Mapping[str, Sequence[Mapping]], lab: Laboratory) -> Held:
    return Held(rows=rows, layout=lab.layout)


# Layers

LAYERS = {
    "experiment": "layers",
    "bases": [{"kind": "real-other", "count": 5}],
    "directions": [{"kind": "real-other", "count": 3}, {"kind": "random", "count": 3}],
    "path": {"steps": 30},
    "options": {"hooks": ["blocks.2.hook_resid_pre", "blocks.4.hook_resid_pre"]},
}


def test_a_layers_row_is_that_of_a_run_at_that_hook(embedded: Model, workshop: Workshop) -> None:
    rows = outcome(lab_of(embedded, workshop, **LAYERS))[2]["layers"]
    assert [(r["layer"], r["base"]) for r in rows] == [(layer, base) for layer in (2, 4) for base in range(5)]
    data = {k: v for k, v in LAYERS.items() if k != "options"}
    site = {"prompt": PROMPT, "write": "blocks.4.hook_resid_pre"}
    there = lab_of(embedded, workshop, **{**data, "experiment": "sensitive-directions", "site": site})
    curves = outcome(there)[0]
    typical = there.population.typical_distance
    for row in rows[5:]:
        mine = [c.summary for c in curves if c.summary.base == row["base"]]
        assert row["win_rate"] == win_rate(mine, "real-other", "random")
        reached = [np.inf if s.threshold is None else s.threshold / typical for s in mine if s.kind == "random"]
        assert (row["second_threshold"] or np.inf) == pytest.approx(float(np.median(reached)))
        assert row["second_never"] == np.isinf(reached).mean()


@pytest.mark.parametrize("done", [1, 5, 7, 10])
def test_layers_go_on_where_they_stopped(embedded: Model, workshop: Workshop, done: int) -> None:
    lab = lab_of(embedded, workshop, **LAYERS)
    rows = outcome(lab)[2]["layers"]
    rest = outcome(lab_of(embedded, workshop, held_of({"layers": rows[:done]}, lab), **LAYERS))[2]
    assert rest.get("layers", []) == rows[done:]


def test_layers_say_what_never_happens_and_in_which_unit(embedded: Model, workshop: Workshop) -> None:
    short = {**LAYERS, "path": {"steps": 20, "stop": 4.0}, "options": {"hooks": [WRITE]}}
    rows = outcome(lab_of(embedded, workshop, **short))[2]["layers"]
    data = {**short, "experiment": "sensitive-directions", "options": {}}
    curves = [c.summary for c in outcome(lab_of(embedded, workshop, **data))[0]]
    shares = [np.mean([s.censored for s in curves if (s.base, s.kind) == (b, "random")]) for b in range(5)]
    assert [row["second_never"] for row in rows] == pytest.approx(shares)
    assert 0 < np.mean(shares) <= 1
    assert any(row["second_threshold"] is None for row in rows)
    check = parse_check("quantile(1, second_threshold, 'table:layers') > 0", {"layers": ("second_threshold",)})
    assert value_of(check.left, (), {"layers": rows}) == np.inf
    round_ = {**LAYERS, "path": {"steps": 45, "mode": "sphere"}, "options": {"hooks": [WRITE]}}
    for row in outcome(lab_of(embedded, workshop, **round_))[2]["layers"]:
        assert row["unit"] == "degrees"
        assert row["first_threshold"] > 10


def test_layers_refuse_what_they_cannot_compare(embedded: Model, workshop: Workshop) -> None:
    with pytest.raises(RecipeError, match="name two of them"):
        outcome(lab_of(embedded, workshop, **{**LAYERS, "options": {"second": "isotropic"}}))
    with pytest.raises(HookError, match="Unknown hook"):
        outcome(lab_of(embedded, workshop, **{**LAYERS, "options": {"hooks": [WRITE, "blocks.9.nothing"]}}))
    with pytest.raises(RecipeError, match="twice"):
        lab_of(embedded, workshop, **{**LAYERS, "options": {"first": "random"}})


def test_at_the_first_blocks_input_members_of_one_token_are_one_vector(embedded: Model, workshop: Workshop) -> None:
    """Where no context has come in yet; a direction from one to the other would have no length."""
    site = {"prompt": PROMPT, "write": "blocks.0.hook_resid_pre"}
    data = {**LAYERS, "experiment": "sensitive-directions", "options": {}, "site": site}
    data["directions"] = [{"kind": "real-other", "count": 40}]
    curves = outcome(lab_of(embedded, workshop, **data))[0]
    assert len(curves) == 200
    assert min(c.summary.native_norm for c in curves) > 0.1


# Propagation


def test_propagation_is_what_plain_hooks_see(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(
        embedded,
        workshop,
        experiment="propagation",
        bases=[{"kind": "prompt"}],
        directions=[{"kind": "random", "count": 1}],
        path={"steps": 6},
    )
    curve = outcome(lab)[0][0]
    network = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float64).eval()
    u = curve.direction.astype(np.float64) / np.linalg.norm(curve.direction.astype(np.float64))

    def run(distance: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        seen: dict[str, torch.Tensor] = {}
        handles = [
            network.transformer.h[1].register_forward_pre_hook(
                lambda m, args: (args[0] + torch.zeros_like(args[0]).index_fill_(1, torch.tensor([11]), 1.0)
                                 * torch.from_numpy(distance * u), *args[1:])
            )
        ]  # fmt: skip
        for i, block in enumerate(network.transformer.h):
            handles.append(
                block.mlp.act.register_forward_hook(
                    lambda m, a, out, i=i: seen.__setitem__(f"blocks.{i}.mlp.hook_post", out[0, 11])
                )
            )
            handles.append(
                block.register_forward_hook(
                    lambda m, a, out, i=i: seen.__setitem__(
                        f"blocks.{i}.hook_resid_post", (out[0] if isinstance(out, tuple) else out)[0, 11]
                    )
                )
            )
        with torch.no_grad():
            logits = network(torch.tensor([list(lab.where.token_ids)]), use_cache=False).logits[0, 11]
        for handle in handles:
            handle.remove()
        return logits, seen

    base_logits, base = run(0.0)
    top = int(base_logits.argmax())
    for step in (1, 3, 6):
        logits, seen = run(float(curve.coordinate[step]))
        others = logits.clone()
        others[top] = -torch.inf
        assert curve.values["logits"]["margin"][step] == pytest.approx(float(logits[top] - others.max()), abs=1e-4)
        for name, values in curve.values.items():
            if name == "logits":
                continue
            x, y = base[name], seen[name]
            flipped = float(((x > 0) != (y > 0)).double().mean())
            assert values["flips"][step] == pytest.approx(flipped, abs=2.5 / len(x)), name
            if name.endswith("resid_post"):
                x, y = x - x.mean(), y - y.mean()
                assert values["norm"][step] == pytest.approx(float(y.norm() / x.norm()), rel=1e-5)
            assert values["l2"][step] == pytest.approx(float((y - x).norm()), rel=1e-4, abs=1e-5)
    assert curve.values["blocks.5.mlp.hook_post"]["flips"][6] > 0.05, "something does flip"


def test_propagation_reads_only_what_the_write_can_reach(embedded: Model, workshop: Workshop) -> None:
    for write, first in (("blocks.3.hook_resid_pre", 3), ("blocks.3.hook_mlp_out", 4), ("blocks.5.hook_resid_post", 6)):
        lab = lab_of(embedded, workshop, experiment="propagation", site={"prompt": PROMPT, "write": write})
        neurons = [hook.layer for hook in lab.where.reads if hook.name.endswith("hook_post")]
        assert neurons == list(range(first, 6))
        assert lab.where.reads[-1].name == "blocks.5.hook_resid_post"


# SAE errors


def test_substituting_is_overwriting_with_what_the_sae_gives(
    embedded: Model, workshop: Workshop, reference: Reference
) -> None:
    lab = lab_of(
        embedded,
        workshop,
        experiment="sae-error",
        bases=[{"kind": "prompt"}, {"kind": "real-other", "count": 2}],
        options={"texts": 3, "tokens": 20},
    )
    tables = outcome(lab)[2]
    bases = list(lab.bases())
    for row, base in zip(tables["substitution"], bases, strict=True):
        error = lab.features.error(base)
        clean, _ = reference.run(list(base.token_ids), 11, 11, WRITE, [], np.zeros(256))
        changed, _ = reference.run(list(base.token_ids), 11, 11, WRITE, [], error)
        assert row["kl_error"] == pytest.approx(kl(clean, changed), rel=1e-3, abs=2e-7)
        assert row["length"] == pytest.approx(float(np.linalg.norm(error)), rel=1e-5)
        assert 0 < row["p_isotropic"] <= 1
    # Everywhere: the whole stream of a text exchanged, in float64.
    from engine.passages import passages

    texts, first = passages(lab, 3, 20)
    network = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float64).eval()
    for row, ids in zip(tables["everywhere"], texts, strict=True):
        tokens = torch.from_numpy(ids)[None]

        def put(module, args):
            stream = args[0].clone()
            for position in range(first, stream.shape[1]):
                raw = stream[0, position].numpy()
                base = Base("", 0, "", (raw - raw.mean()).astype(np.float32), (), float(raw.mean()))
                stream[0, position] += torch.from_numpy(lab.features.error(base))
            return (stream, *args[1:])

        with torch.no_grad():
            clean = network(tokens, use_cache=False).logits[0, first:-1]
            handle = network.transformer.h[1].register_forward_pre_hook(put)
            changed = network(tokens, use_cache=False).logits[0, first:-1]
            handle.remove()
        ce = [torch.nn.functional.cross_entropy(z, tokens[0, first + 1 :]).item() for z in (clean, changed)]
        assert row["ce_clean"] == pytest.approx(ce[0], rel=1e-5)
        assert row["delta_ce_error"] == pytest.approx(ce[1] - ce[0], abs=2e-5)
        expected = np.mean([kl(a, b) for a, b in zip(clean, changed, strict=True)])
        assert row["kl_error"] == pytest.approx(expected, rel=1e-3)


def test_controls_everywhere_are_as_far_from_x_as_the_reconstruction(embedded: Model, workshop: Workshop) -> None:
    from engine.experiments.sae_error import CONTROLS, _Place

    lab = lab_of(embedded, workshop, experiment="sae-error")
    place = _Place(lab, lab, 0, CONTROLS)
    x = lab.population.vectors[:8]
    rebuilt = lab.features.reconstruction(x, lab.population.means[:8])
    wanted = np.linalg.norm(rebuilt - x, axis=1)
    seen = {}
    for control in CONTROLS:
        there = place._control(control, x, rebuilt, range(2))
        assert np.linalg.norm(there - x, axis=1) == pytest.approx(wanted, rel=1e-6)
        assert np.abs((there - x).mean(1)).max() < 1e-6, "in the basis"
        seen[control] = there
        again = place._control(control, x[4:], rebuilt[4:], range(1, 2))
        assert np.allclose(again, there[4:]), "a text draws the same whoever goes before it"
    shrunk = np.linalg.norm(rebuilt, axis=1) < np.linalg.norm(x, axis=1)
    assert ((np.linalg.norm(seen["norm"], axis=1) < np.linalg.norm(x, axis=1)) == shrunk).all()


def test_sae_errors_go_on_where_they_stopped(embedded: Model, workshop: Workshop) -> None:
    data = {
        "experiment": "sae-error",
        "bases": [{"kind": "real-other", "count": 3}],
        "options": {"texts": 2, "tokens": 12, "hooks": [WRITE, "blocks.3.hook_resid_pre"]},
    }
    lab = lab_of(embedded, workshop, **data)
    whole = outcome(lab)[2]
    assert {r["control"] for r in whole["ratios"]} == {"isotropic", "random", "mixture", "norm"}
    for cut in (
        {"substitution": 3, "everywhere": 2, "ratios": 3},
        {"substitution": 2},
        {"substitution": 3, "everywhere": 1},
        {"substitution": 4, "everywhere": 2, "ratios": 8},
    ):
        held = {table: whole[table][:n] for table, n in cut.items()}
        rest = outcome(lab_of(embedded, workshop, held_of(held, lab), **data))[2]
        for table, rows in whole.items():
            assert rest.get(table, []) == rows[cut.get(table, 0) :], (cut, table)


def test_ratios_are_of_the_error_over_the_control_and_the_order_of_places_changes_nothing(
    embedded: Model, workshop: Workshop
) -> None:
    hooks = [WRITE, "blocks.3.hook_resid_pre"]
    data = {"experiment": "sae-error", "bases": [{"kind": "real-other", "count": 4}]}
    one, other = (
        outcome(lab_of(embedded, workshop, **data, options={"texts": 3, "tokens": 12, "hooks": order}))[2]
        for order in (hooks, hooks[::-1])
    )
    for table in ("substitution", "everywhere"):
        for control in ("isotropic", "random", "mixture", "norm"):
            rows = [row for row in one[table] if row["hook"] == WRITE]
            ratio = np.mean([r["kl_error"] for r in rows]) / np.mean([r[f"kl_{control}"] for r in rows])
            found = next(
                r for r in one["ratios"] if (r["hook"], r["replaced"], r["control"]) == (WRITE, table, control)
            )
            assert found["kl_ratio"] == pytest.approx(ratio)
            assert found["kl_low"] <= ratio <= found["kl_high"]
        key = {(r["hook"], r["sample"]): r for r in other[table]}
        for row in one[table]:
            again = key[row["hook"], row["sample"]]
            assert {k: v for k, v in row.items() if k != "place"} == {k: v for k, v in again.items() if k != "place"}


def test_controls_go_where_their_names_say(embedded: Model, workshop: Workshop) -> None:
    """Random targets pull toward the mean of real activations; mixtures and isotropic changes pull nowhere."""
    from engine.experiments.sae_error import CONTROLS, _Place

    lab = lab_of(embedded, workshop, experiment="sae-error", population={"n": 1000})
    place = _Place(lab, lab, 0, CONTROLS)
    x = lab.population.vectors[:400]
    rebuilt = lab.features.reconstruction(x, lab.population.means[:400])
    lengths = np.linalg.norm(rebuilt - x, axis=1, keepdims=True)
    mean = lab.population.mean
    inward = (mean - x) / np.linalg.norm(mean - x, axis=1, keepdims=True)
    pulls, alongs = {}, {}
    for control in ("isotropic", "random", "mixture"):
        units = (place._control(control, x, rebuilt, range(20)) - x) / lengths
        pulls[control] = float((units * inward).sum(1).mean())
        alongs[control] = float((units @ mean / np.linalg.norm(mean)).mean())
    assert pulls["random"] > 0.4
    assert abs(pulls["isotropic"]) < 0.05
    assert abs(pulls["mixture"]) < 0.05
    drawn = lab.population.covariance_matched_many(np.random.default_rng(0), 400)
    one = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)) @ mean / np.linalg.norm(mean)
    assert one.mean() > 0.3, "one draw by itself points along the mean"
    assert abs(alongs["mixture"]) < 0.05


def test_p_counts_the_error_itself_and_draws_that_hurt_as_much(embedded: Model, workshop: Workshop) -> None:
    from dataclasses import replace

    from engine.experiments.sae_error import _of_base

    curves = outcome(lab_of(embedded, workshop, directions=[{"kind": "random", "count": 1}], path={"steps": 2}))[0]

    def of(kind: str, kl: float | None) -> CurveResult:
        plain = curves[0]
        return replace(plain, summary=replace(plain.summary, kind=kind, final_kl=kl), detail={"share_of_norm": 0.1})

    draws = [of("sae-error-isotropic", kl) for kl in (0.1, 0.2, 0.2, 0.4)]
    values = _of_base([of("sae-error", 0.2), *draws], ["isotropic"])
    assert values["p_isotropic"] == pytest.approx((1 + 3) / 5)
    assert values["kl_isotropic"] == pytest.approx(0.225)
    assert _of_base([of("sae-error", 0.5), *draws], ["isotropic"])["p_isotropic"] == pytest.approx(1 / 5)
    assert _of_base([of("sae-error", None), *draws], ["isotropic"])["p_isotropic"] is None


def test_sae_errors_need_no_sae_at_a_site_that_they_leave(embedded: Model, workshop: Workshop) -> None:
    from engine.crosscheck import self_check
    from engine.provenance import describe

    lab = lab_of(
        embedded,
        workshop,
        experiment="sae-error",
        site={"prompt": PROMPT, "write": "blocks.2.hook_resid_pre"},
        bases=[{"kind": "real-other", "count": 2}],
        options={"texts": 0, "hooks": [WRITE]},
    )
    assert describe(lab, self_check(embedded))["sae"] is None
    assert len(outcome(lab)[2]["substitution"]) == 2


def test_sae_errors_refuse_what_they_do_not_compare(embedded: Model, workshop: Workshop) -> None:
    with pytest.raises(RecipeError, match="give it these"):
        outcome(lab_of(embedded, workshop, experiment="sae-error", directions=[{"kind": "random"}]))
    with pytest.raises(RecipeError, match="one SAE for each of 1 hooks"):
        lab_of(embedded, workshop, experiment="sae-error", options={"hooks": [WRITE], "sae_ids": ["a", "b"]})


# Natural variation


def test_natural_variation_is_what_patching_another_prompt_in_does(
    embedded: Model, workshop: Workshop, reference: Reference
) -> None:
    others = ["One day there was a boy who", "She saw a cat"]
    lab = lab_of(
        embedded,
        workshop,
        experiment="natural-variation",
        options={"prompts": others, "longest": 3},
        directions=[{"kind": "random", "count": 4}],
        path={"steps": 20},
    )
    tables = outcome(lab)[2]
    ids = list(lab.where.token_ids)
    clean, here = reference.run(ids, 11, 11, WRITE, [WRITE], np.zeros(256))
    contexts = [embedded.encode(other, "auto") for other in others] + [[0, *ids[-n:]] for n in (1, 2, 3)]
    assert [row["same_token"] for row in tables["cloud"]] == [True, False, True, True, True]
    for row, context in zip(tables["cloud"], contexts, strict=True):
        last = len(context) - 1
        _, there = reference.run(context, last, last, WRITE, [WRITE], np.zeros(256))
        x, y = (v[WRITE].numpy() for v in (here, there))
        patched, _ = reference.run(ids, 11, 11, WRITE, [], y - x)
        assert row["distance"] == pytest.approx(float(np.linalg.norm(y - x)), rel=1e-4)
        assert row["cosine"] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-5)
        assert row["kl"] == pytest.approx(kl(clean, patched), rel=1e-3, abs=2e-6)
        assert row["inside"] == (row["distance"] < row["plateau_ends"])
    hook = "blocks.2.hook_resid_post"
    found = {row["tokens"]: row for row in tables["truncated"] if row["hook"] == hook}
    from engine.hooks import parse_hook
    from engine.statistics import read_windows

    mean = read_windows(embedded, parse_hook(hook, 6), lab.population.token_ids, 11)[0].mean(0, dtype=np.float64)
    _, base = reference.run(ids, 11, 11, WRITE, [hook], np.zeros(256))
    for n in (1, 2, 3):
        _, cut = reference.run([0, *ids[-n:]], n, n, WRITE, [hook], np.zeros(256))
        x, y = base[hook].numpy() - mean, cut[hook].numpy() - mean
        expected = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
        assert found[n]["cosine_centred"] == pytest.approx(expected, abs=1e-4)
        assert found[n]["share_of_square"] == pytest.approx(expected**2, abs=2e-4)
    alone = lab_of(embedded, workshop, directions=[{"kind": "random", "count": 4}], path={"steps": 20})
    kls = np.stack([c.kl for c in outcome(alone)[0]])
    for name, q in (("low", 0.25), ("median", 0.5), ("high", 0.75)):
        assert [row[name] for row in tables["plateau"]] == pytest.approx(np.quantile(kls, q, axis=0).tolist())
    assert len(tables["plateau"]) == 21
    assert tables["plateau"][0]["median"] == 0


def test_on_the_sphere_inside_is_told_by_angle(embedded: Model, workshop: Workshop) -> None:
    data = {
        "experiment": "natural-variation",
        "options": {"prompts": ["She saw a cat"], "longest": 2},
        "path": {"mode": "sphere", "steps": 45},
        "directions": [{"kind": "random", "count": 6}],
    }
    rows = outcome(lab_of(embedded, workshop, **data))[2]["cloud"]
    assert [row["inside"] for row in rows] == [row["angle"] < row["plateau_ends"] for row in rows]
    assert any(row["inside"] != (row["distance"] < row["plateau_ends"]) for row in rows)
    assert rows[0]["sort"] == "other token"
    # A plateau that does not end on this path holds whatever lies on it.
    flat = {**data, "path": {"steps": 10, "stop": 3.5}, "options": {"prompts": [], "longest": 2}}
    rows = outcome(lab_of(embedded, workshop, **flat))[2]["cloud"]
    assert rows[0]["plateau_ends"] is None
    assert [row["inside"] for row in rows] == [row["distance"] < 3.5 for row in rows]
    assert {row["inside"] for row in rows} == {True, False}
    with pytest.raises(RecipeError, match="leave"):
        outcome(lab_of(embedded, workshop, **data, bases=[{"kind": "random"}]))


# The ladder of synthetic activations


def test_each_rung_is_closer_in_what_it_keeps(embedded: Model, workshop: Workshop) -> None:
    kinds = ("baseline", "structured", "pairwise", "cooccurring")
    lab = lab_of(
        embedded,
        workshop,
        population={"n": 600},
        experiment="synthetic",
        bases=[{"kind": "real-other", "count": 12}],
        directions=[{"kind": f"synthetic-{kind}", "count": 1} for kind in kinds],
        path={"steps": 2},
    )
    curves = outcome(lab)[0]

    def gap(kind: str, name: str) -> float:
        return float(np.mean([c.detail[name] for c in curves if c.summary.kind == f"synthetic-{kind}"]))

    assert gap("structured", "cosine_gap") < 0.3 * gap("baseline", "cosine_gap")
    assert gap("pairwise", "pairwise_gap") < 0.9 * gap("structured", "pairwise_gap")
    assert gap("cooccurring", "cofiring_gap") < 0.95 * gap("pairwise", "cofiring_gap")
    # A rung gives up a little of what the one below matched, and not all of it.
    assert gap("pairwise", "cosine_gap") < 0.7 * gap("baseline", "cosine_gap")
    assert gap("cooccurring", "pairwise_gap") < 0.97 * gap("structured", "pairwise_gap")
    assert gap("cooccurring", "rate_gap_decades") < 1.2 * gap("baseline", "rate_gap_decades")
    # What is said of a vector is so, by counting anew.
    codes = lab.features.encode(lab.population.vectors, lab.population.means) != 0
    rates = lab.firing_rates
    decades = np.log10(np.maximum(rates, rates[rates > 0].min()))
    for curve in curves:
        for original, latent in zip(curve.detail["originals"], curve.detail["latents"], strict=True):
            free = (rates > 0) & ~np.isin(np.arange(len(rates)), curve.detail["originals"])
            gaps = np.sort(np.abs(decades[free] - decades[original]))
            # Within the tolerance, or among the nearest (some of which may be taken by then).
            assert abs(decades[latent] - decades[original]) <= max(0.15, gaps[16 + len(curve.detail["originals"])])
    for curve in curves[::7]:
        originals, latents = curve.detail["originals"], curve.detail["latents"]
        real = member(lab.population, curve.detail["population_row"])
        assert sorted(originals) == sorted(np.flatnonzero(lab.features.activations(real)))
        assert not set(originals) & set(latents)
        shares = [
            np.array([[codes[codes[:, a]][:, b].mean() for b in ids] for a in ids]) for ids in (originals, latents)
        ]
        pairs = np.triu_indices(len(originals), 1)
        assert curve.detail["cofiring_gap"] == pytest.approx(np.abs(shares[0] - shares[1])[pairs].mean())
        rows = [lab.features.rows(ids) for ids in (originals, latents)]
        units = [r / np.linalg.norm(r, axis=1, keepdims=True) for r in rows]
        apart = ((units[0] @ units[0].T - units[1] @ units[1].T)[pairs] ** 2).mean()
        assert curve.detail["pairwise_gap"] == pytest.approx(np.sqrt(apart))


def test_co_firing_is_counted_right_where_parts_begin_within_a_byte(
    embedded: Model, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_of(embedded, workshop, population={"n": 203})
    sae = lab.features
    codes = sae.encode(lab.population.vectors, lab.population.means) != 0
    monkeypatch.setattr(type(sae), "_parts", lambda self, n: [slice(a, min(a + 13, n)) for a in range(0, n, 13)])
    found = firing(sae, lab.population)
    some = np.flatnonzero(codes.sum(0) > 3)[:40]
    for feature in some[:10]:
        expected = codes[codes[:, feature]][:, some].mean(0)
        assert np.allclose(found.together(int(feature), some), expected)


def test_real_other_through_the_sae_pairs_with_real_other(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(
        embedded, workshop, directions=[{"kind": "real-other", "count": 3}, {"kind": "real-other-sae", "count": 3}]
    )
    for i in range(3):
        plain, through = (lab.draw(spec, lab.site, i) for spec in lab.recipe.directions)
        assert plain.detail == through.detail
        real = member(lab.population, plain.detail["population_row"])
        error = lab.features.error(real)
        assert np.allclose(through.vector - plain.vector, error, atol=1e-5)


# Small things


def test_the_synthetic_experiment_goes_as_far_as_the_typical_distance(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop, experiment="synthetic")
    assert lab.stop == lab.population.typical_distance
    assert lab.n_curves == 4000
    with pytest.raises(RecipeError, match="where a sphere path ends at an angle"):
        lab_of(embedded, workshop, experiment="synthetic", path={"mode": "sphere"})


@pytest.mark.parametrize(
    ("token", "bos", "expected"),
    [
        ("<|endoftext|>", True, "BOS"),
        ("\n\n", False, "newline"),
        (".", False, "full stop"),
        (",", False, "comma"),
        (' "', False, "punctuation"),
        (" the", False, "common word"),
        ("The", False, "common word"),
        (" house", False, "word"),
        ("ing", False, "fragment"),
        (" 12", False, "number"),
        ("", False, "other"),
        (" don't", False, "other"),
    ],
)
def test_tokens_are_sorted(token: str, bos: bool, expected: str) -> None:
    assert token_class(token, bos) == expected
