"""Vectors as they are added, what they cost, and sweeps over strengths, against plain passes and closed forms."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoModelForCausalLM

from engine.embedded import MODEL_DIR
from engine.errors import DirectionError, PromptError, RecipeError
from engine.hooks import parse_hook
from engine.laboratory import Laboratory
from engine.models import Model
from engine.protocol import Held
from engine.recipe import parse_recipe
from engine.results import Draft, Note, RowResult
from engine.steering.composed import Placing
from engine.steering.cost import Costs
from engine.steering.damage import HeldOut, kl_after
from engine.steering.pareto import best_within, frontier
from engine.steering.rollouts import writing
from engine.steering.steer import Steer
from engine.steering.strength import Scale, budget, factor
from engine.steering.wording import Vocabulary, distinct, paired_difference, repetition, wilson
from engine.workshop import Workshop

PROMPT = "One day, a boy named Tim went to the park. He"
WRITE = "blocks.3.hook_resid_pre"
PAIR = {"plus": "Tim felt sad", "minus": "Tim felt happy"}
SMALL = {"strengths": [0.5, 1.0], "samples": 3, "tokens": 6, "words": ["sad", "dog"], "texts": 4, "text_tokens": 32}


@pytest.fixture(scope="module")
def plain() -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float64, attn_implementation="eager").eval()


def lab_of(
    model: Model,
    workshop: Workshop,
    directions: list[dict[str, Any]],
    held: Held = Held(),  # noqa: B008  (frozen)
    **options: Any,
) -> Laboratory:
    recipe = {
        "experiment": "steering",
        "site": {"prompt": PROMPT, "write": WRITE},
        "population": {"n": 60},
        "directions": directions,
        "options": {**SMALL, **options},
    }
    return Laboratory(model, parse_recipe(recipe), workshop, held)


def swept(lab: Laboratory) -> tuple[dict[str, list[dict]], list[str]]:
    """Rows by table, and notes."""
    rows: dict[str, list[dict]] = {}
    notes = []
    for event in lab.experiment.run(lab):
        if isinstance(event, RowResult):
            rows.setdefault(event.table, []).append(dict(event.values))
        elif isinstance(event, Note):
            notes.append(event.text)
    return rows, notes


# Damage


@torch.no_grad()
def passed(plain: torch.nn.Module, ids: np.ndarray, row: np.ndarray | None, tokens: list[int]) -> torch.Tensor:
    """Log-probabilities of a whole pass in float64 with a row added in front of block 3."""

    def add(module, args):
        hidden = args[0].clone()
        hidden[:, tokens] += torch.from_numpy(row)
        return (hidden, *args[1:])

    handles = [] if row is None else [plain.transformer.h[3].register_forward_pre_hook(add)]
    logits = plain(input_ids=torch.from_numpy(ids)).logits
    for handle in handles:
        handle.remove()
    return torch.log_softmax(logits, -1)


@pytest.mark.parametrize(("positions", "tokens"), [(None, [*range(6, 30)]), ((4, 5, 6), [4, 5, 6])])
def test_damage_counts_what_is_predicted_behind_the_steered_tokens(
    embedded: Model, plain: torch.nn.Module, positions: tuple[int, ...] | None, tokens: list[int]
) -> None:
    rng = np.random.default_rng(0)
    ids, row = rng.integers(300, 4000, (5, 30)), rng.standard_normal(embedded.d_model)
    row = 12 * (row - row.mean()) / np.linalg.norm(row)
    steer = Steer({parse_hook(WRITE, 6): row[None]}, 6, positions)
    assert steer.settled == 6
    found = HeldOut(embedded, ids).damage(steer, steer.settled)
    clean, steered = passed(plain, ids, None, tokens), passed(plain, ids, row, tokens)
    # Added at tokens 4 to 6, what is counted are predictions of token 8 and later.
    losses = [
        -torch.stack([table[b, t, ids[b, t + 1]] for b in range(5) for t in range(7, 29)]) for table in (clean, steered)
    ]
    kl = (clean.exp() * (clean - steered)).sum(-1)[:, 7:29]
    assert found.counted == 22
    assert found.ce_clean == pytest.approx(float(losses[0].mean()), abs=2e-6)  # float32 against float64
    assert found.ce_steered == pytest.approx(float(losses[1].mean()), abs=2e-5)
    assert found.kl == pytest.approx(float(kl.mean()), rel=1e-4)
    assert found.delta_by_text == pytest.approx((losses[1] - losses[0]).reshape(5, -1).mean(1).numpy(), abs=2e-5)
    nothing = HeldOut(embedded, ids).damage(steer.times(0.0), 6)
    assert (nothing.delta_ce, nothing.kl) == (0.0, 0.0)
    behind = (clean.exp() * (clean - steered)).sum(-1)[:, -1].mean()
    assert kl_after(embedded, ids, steer) == pytest.approx(float(behind), rel=1e-4)


# Strengths


def test_units_are_what_they_say() -> None:
    scale = Scale(length=4.0, share=0.5, activation=3.0)

    def never(times: float) -> float:
        raise AssertionError

    assert factor(2.0, "native", scale, never) == 2.0
    assert factor(2.0, "norm", scale, never) * scale.length == 2.0
    assert factor(-2.0, "fraction", scale, never) * scale.share == -2.0
    assert factor(2.0, "max-activation", scale, never) == 6.0
    with pytest.raises(DirectionError, match="for sae-feature directions"):
        factor(2.0, "max-activation", Scale(4.0, 0.5), never)


@pytest.mark.parametrize("nats", [0.01, 1.0, -0.3, 0.0])
def test_a_budget_is_solved_for(nats: float) -> None:
    times = budget(nats, Scale(4.0, 0.5), lambda t: 0.7 * t * t if t >= 0 else 0.1 * t * t)
    wanted = np.sign(nats) * np.sqrt(abs(nats) / (0.7 if nats >= 0 else 0.1))
    assert times == pytest.approx(wanted, rel=0.02)


def test_a_budget_that_is_never_reached_is_refused_and_breaking_counts_as_too_much() -> None:
    with pytest.raises(DirectionError, match="smaller budget"):
        budget(1.0, Scale(4.0, 0.5), lambda t: 0.5)
    # Where KL jumps over the budget, what is left below the jump.
    assert budget(1.5, Scale(4.0, 0.5), lambda t: np.inf if t > 2 else 0.25 * t * t) == pytest.approx(2.0, rel=1e-5)
    assert budget(1.5, Scale(4.0, 0.5), lambda t: 3.0 if t > 2 else 0.1 * t) <= 2.0


# Texts


def test_what_is_counted_in_texts() -> None:
    found = Vocabulary([" cry", "New York ", "don't", "caf\u00e9", "\u72ac", "!?"])
    cases = {
        "She will CRY.": True, "crying": False, "in new\nyork!": True, "renew yorkshire": False, "I don\u2019t": True,
        "a cafe\u0301 here": True, "a cafe here": False, "\u79c1\u306e\u72ac\u306f": True, "what!?": True,
        "what!": False,
    }  # fmt: skip
    assert {text: found.hit(text) for text in cases} == cases
    # What stood before is no hit, and what goes on a word is not that word.
    assert not found.hit("You cry and laugh", 8)
    assert not found.hit("out" + "cry now", 3)
    assert found.hit("You " + "cry now", 4)
    assert not Vocabulary([" "]).hit("anything")
    assert distinct([1, 2, 1, 2], 1) == 0.5
    assert distinct([1, 2, 1, 2], 2) == pytest.approx(2 / 3)
    assert distinct([1], 2) is None
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)
    assert repetition([1, 2, 3]) is None


def test_intervals_of_rates_are_wilsons() -> None:
    for hits, n in ((0, 8), (3, 8), (8, 8), (41, 100)):
        theirs = stats.binomtest(hits, n).proportion_ci(method="wilson")
        assert wilson(hits, n) == pytest.approx((theirs.low, theirs.high), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)


def test_intervals_of_changes_are_newcombes() -> None:
    # Newcombe 1998, method 10, by its formulas written out for 20 pairs: 7 both, 6 only the first, 1 only the second.
    first = [True] * 13 + [False] * 7
    second = [True] * 7 + [False] * 6 + [True] + [False] * 6
    (l1, u1), (l2, u2) = (stats.binomtest(k, 20).proportion_ci(method="wilson") for k in (13, 8))
    phi = (7 * 6 - 6 * 1 - 10) / np.sqrt(13 * 7 * 8 * 12)
    low = 0.25 - np.sqrt((0.65 - l1) ** 2 - 2 * phi * (0.65 - l1) * (u2 - 0.4) + (u2 - 0.4) ** 2)
    high = 0.25 + np.sqrt((u1 - 0.65) ** 2 - 2 * phi * (u1 - 0.65) * (0.4 - l2) + (0.4 - l2) ** 2)
    assert paired_difference(first, second) == pytest.approx((low, high), abs=1e-6)
    assert paired_difference(second, first) == pytest.approx((-high, -low), abs=1e-6)
    low, high = paired_difference([False] * 8, [False] * 8)
    assert low == -high
    assert 0.3 < high < 0.5
    # Of many pairs it is what resampling them gives.
    rng = np.random.default_rng(0)
    a, b = rng.random(4000) < 0.7, rng.random(4000) < 0.5
    means = [(a[i].mean() - b[i].mean()) for i in rng.integers(0, 4000, (2000, 4000))]
    assert paired_difference(a.tolist(), b.tolist()) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=2e-3)


def test_nothing_beats_the_frontier_and_everything_else_is_beaten() -> None:
    rng = np.random.default_rng(3)
    points = [{"success": s, "delta_ce": c, "kl": c} for s, c in rng.integers(0, 9, (60, 2)).tolist()]
    points.append({"success": None, "delta_ce": 0.0, "kl": 0.0})
    best = frontier(points)

    def beats(a: dict, b: dict) -> bool:
        better = a["success"] > b["success"] or a["delta_ce"] < b["delta_ce"]
        return a["success"] >= b["success"] and a["delta_ce"] <= b["delta_ce"] and better

    known = points[:-1]
    assert not any(beats(a, b) for a, b in itertools.product(known, best))
    assert all(any(beats(a, b) for a in best) or b in best for b in known)
    within = best_within(points, 3.0)
    assert within is not None
    assert within["success"] == max(p["success"] for p in known if p["delta_ce"] <= 3)
    assert best_within(points, -1.0) is None


# Vectors


@torch.no_grad()
def hidden(plain: torch.nn.Module, model: Model, prompt: str, pad: int = 0) -> np.ndarray:
    """What enters block 3 behind the BOS, spaces behind the prompt [tokens, d_model], mean over d_model removed."""
    space = model.tokenizer.encode(" ", add_special_tokens=False)
    ids = model.encode(prompt, "auto") + space * pad
    found = plain(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[3][0, 1:].numpy()
    return found - found.mean(-1, keepdims=True)


def drawn(model: Model, workshop: Workshop, spec: dict[str, Any]) -> Any:
    lab = lab_of(model, workshop, [spec])
    return lab.draw(lab.recipe.directions[0], lab.site, 0)


def test_contrasts_of_lists_and_of_padded_tokens(embedded: Model, plain: torch.nn.Module, workshop: Workshop) -> None:
    def h(prompt: str, pad: int = 0) -> np.ndarray:
        return hidden(plain, embedded, prompt, pad)

    many = {"plus": ["Tim felt sad", "She was very sad"], "minus": ["Tim felt happy", "He was glad", "Joy"]}
    lists = drawn(embedded, workshop, {"kind": "steering", **many})
    wanted = np.mean([h(p)[-1] for p in many["plus"]], 0) - np.mean([h(p)[-1] for p in many["minus"]], 0)
    np.testing.assert_allclose(lists.vector, wanted, atol=2e-5)
    assert lists.rows is None
    pair = {"plus": "She was very sad today", "minus": "She was"}
    lengths = [len(h(pair[side])) for side in ("plus", "minus")]
    with pytest.raises(DirectionError, match="equally long"):
        drawn(embedded, workshop, {"kind": "steering", **pair, "align": "tokens"})
    padded = drawn(embedded, workshop, {"kind": "steering", **pair, "align": "tokens", "pad": " "})
    rows = h(pair["plus"]) - h(pair["minus"], lengths[0] - lengths[1])
    np.testing.assert_allclose(padded.rows[WRITE], rows, atol=2e-5)
    np.testing.assert_allclose(padded.vector, rows.mean(0), atol=2e-5)
    with pytest.raises(PromptError, match="is 2 tokens"):
        drawn(embedded, workshop, {"kind": "steering", **pair, "align": "tokens", "pad": " cat dog"})


def test_a_contrast_from_its_features_is_the_sum_of_their_changes(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop, [{"kind": "steering", **PAIR}])
    sae = lab.features
    ends = [lab.reading_of(PAIR[side]) for side in ("plus", "minus")]
    f = [sae.module.encode(torch.from_numpy(e.vector[None]))[0].detach().double().numpy() for e in ends]
    decoder = sae.module.W_dec.detach().double().numpy()
    rows = decoder - decoder.mean(-1, keepdims=True)
    change = f[0] - f[1]
    sizes = np.abs(change) * np.linalg.norm(rows, axis=1)
    more = [int(i) for i in np.argsort(-sizes) if change[i] > 0][:4]
    less = [int(i) for i in np.argsort(-sizes) if change[i] < 0 and f[0][i] == 0][:4]
    found = drawn(embedded, workshop, {"kind": "steering-features", **PAIR, "positive": 4, "negative": 4})
    np.testing.assert_allclose(found.vector, change[[*more, *less]] @ rows[[*more, *less]], atol=1e-5)
    assert found.detail["features"] == [*more, *less]
    named = drawn(embedded, workshop, {"kind": "steering-features", **PAIR, "features": more[:2]})
    np.testing.assert_allclose(named.vector, change[more[:2]] @ rows[more[:2]], atol=1e-5)
    # All features together are what the SAE makes of the contrast.
    everything = drawn(embedded, workshop, {"kind": "steering-features", **PAIR, "features": [*range(sae.n_features)]})
    rebuilt = drawn(embedded, workshop, {"kind": "steering-sae", **PAIR})
    np.testing.assert_allclose(everything.vector, rebuilt.vector, atol=2e-5)
    without = drawn(embedded, workshop, {"kind": "steering", **PAIR, "project_out": more[:2]})
    assert np.abs(rows[more[:2]] @ without.vector.astype(np.float64)).max() < 1e-4
    with pytest.raises(DirectionError, match="No feature that is asked for"):
        drawn(embedded, workshop, {"kind": "steering-features", **PAIR, "positive": 0})


def test_sums_are_sums(embedded: Model, workshop: Workshop) -> None:
    one, two = {"kind": "steering", **PAIR}, {"kind": "isotropic", "count": 1}
    a, b = (drawn(embedded, workshop, spec).vector.astype(np.float64) for spec in (one, two))
    both = drawn(embedded, workshop, {"kind": "sum", "terms": [{**one, "weight": -2.0}, {"kind": "isotropic"}]})
    np.testing.assert_allclose(both.vector, b - 2 * a, atol=1e-5)
    placed = drawn(
        embedded, workshop, {"kind": "sum", "terms": [{**one, "token": 2}, {"kind": "isotropic", "token": 0}]}
    )
    np.testing.assert_allclose(placed.rows[WRITE], np.stack([b, 0 * b, a]), atol=1e-5)
    with pytest.raises(DirectionError, match="cancel"):
        drawn(embedded, workshop, {"kind": "sum", "terms": [one, {**one, "weight": -1.0}]})
    with pytest.raises(DirectionError, match="every term a token, or none"):
        drawn(embedded, workshop, {"kind": "sum", "terms": [one, {**one, "token": 1}]})
    for term, words in (
        ({"kind": "steering", "plus": "a"}, r"terms\.0\.minus"),
        ({"kind": "isotropic", "count": 3}, "count must be 1"),
        ({"kind": "isotropic", "token": 10**9}, r"terms\.0\.token"),
        ({"weight": 2.0}, "needs a kind"),
        ({"kind": "isotropik"}, "did you mean 'isotropic'"),
    ):
        with pytest.raises(RecipeError, match=words):
            parse_recipe({"site": {"prompt": "x"}, "directions": [{"kind": "sum", "terms": [term]}]})


def test_vectors_go_where_the_options_say(embedded: Model, workshop: Workshop) -> None:
    pair = {"kind": "steering", **PAIR, "align": "tokens"}
    lab = lab_of(embedded, workshop, [pair])
    last = len(lab.where.token_ids) - 1

    def placed(where: Any, spec: dict[str, Any], also: tuple[str, ...] = ()) -> Steer:
        own = lab_of(embedded, workshop, [spec])
        return Placing(where, also).composed(own, own.recipe.directions[0], 0).steer

    single = {"kind": "steering", **PAIR}
    assert placed("onwards", single).positions is None
    assert placed("onwards", single).start == last
    assert placed("site", single).positions == (last,)
    assert placed((-1, 2, 1), single).positions == (1, 2, last)
    assert placed("aligned", pair).positions == (1, 2, 3)  # behind the BOS
    assert placed("aligned", single).positions == (last,)
    # A token that is named stays named, also where it is the only one.
    alone = {"kind": "sum", "terms": [{"kind": "isotropic", "token": 0}]}
    assert placed("aligned", alone).positions == (1,)
    with pytest.raises(DirectionError, match="token by token"):
        placed("onwards", alone)
    for where in ("onwards", "site", (1, 2)):
        with pytest.raises(DirectionError, match="rows"):
            placed(where, pair)
    with pytest.raises(PromptError, match="or more"):
        placed((-50,), single)
    # A contrast is read at each hook that it is added at; what belongs to one hook's SAE is one vector.
    two = placed("onwards", single, ("blocks.5.hook_resid_pre",))
    there = lab_of(embedded, workshop, [single])
    other = Laboratory(
        embedded,
        parse_recipe({**there.recipe.data(), "site": {"prompt": PROMPT, "write": "blocks.5.hook_resid_pre"}}),
        workshop,
    )
    rows = {hook.name: held[0] for hook, held in two.rows.items()}
    np.testing.assert_allclose(
        rows["blocks.5.hook_resid_pre"], other.draw(other.recipe.directions[0], other.site, 0).vector
    )
    # Without features of the write hook, it is still that hook's own contrast.
    without = placed("onwards", {**single, "project_out": [3]}, ("blocks.5.hook_resid_pre",))
    feature_row = there.features.rows([3])[0]
    kept = rows["blocks.5.hook_resid_pre"] - feature_row * (rows["blocks.5.hook_resid_pre"] @ feature_row) / (
        feature_row @ feature_row
    )
    np.testing.assert_allclose(next(h for k, h in without.rows.items() if k.layer == 5)[0], kept, atol=1e-5)
    feature = placed("onwards", {"kind": "sae-feature", "index": 3}, ("blocks.5.hook_resid_pre",))
    assert np.array_equal(*feature.rows.values())


def test_shares_are_of_the_residual_that_is_added_to(
    embedded: Model, plain: torch.nn.Module, workshop: Workshop
) -> None:
    ids = embedded.encode(PROMPT, "auto")
    states = plain(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states

    def norm(layer: int, token: int) -> float:
        row = states[layer][0, token].detach().numpy()
        return float(np.linalg.norm(row - row.mean()))

    def composed(where: Any, spec: dict[str, Any], also: tuple[str, ...] = ()) -> Any:
        own = lab_of(embedded, workshop, [spec])
        return Placing(where, also).composed(own, own.recipe.directions[0], 0)

    first = composed((0,), {"kind": "isotropic", "count": 1})
    assert first.scale.share == pytest.approx(first.steer.length / norm(3, 0), rel=1e-4)
    pair = composed("aligned", {"kind": "steering", **PAIR, "align": "tokens"})
    rows = next(iter(pair.steer.rows.values()))
    wanted = [float(np.linalg.norm(row)) / norm(3, 1 + i) for i, row in enumerate(rows)]
    assert next(iter(pair.shares.values())) == pytest.approx(wanted, rel=1e-4, abs=1e-9)
    assert pair.scale.share == pytest.approx(max(wanted), rel=1e-4)
    assert pair.scale.length == pytest.approx(np.linalg.norm(rows[int(np.argmax(wanted))]))
    two = composed("site", {"kind": "isotropic", "count": 1}, ("blocks.5.hook_resid_pre",))
    lengths = {hook.layer: float(np.linalg.norm(held)) for hook, held in two.steer.rows.items()}
    ratios = {layer: lengths[layer] / norm(layer, len(ids) - 1) for layer in (3, 5)}
    assert two.scale.share == pytest.approx(max(ratios.values()), rel=1e-4)
    assert two.scale.length == pytest.approx(lengths[max(ratios, key=lambda layer: ratios[layer])])


def test_projecting_out_leaves_rows_that_cancel_in_their_mean(embedded: Model, workshop: Workshop) -> None:
    terms = [{"kind": "steering", **PAIR, "token": 0}, {"kind": "steering", **PAIR, "token": 1, "weight": -1.0}]
    found = drawn(embedded, workshop, {"kind": "sum", "terms": terms, "project_out": [3]})
    assert np.linalg.norm(found.rows[WRITE], axis=1).min() > 1
    several = drawn(embedded, workshop, {"kind": "sum", "terms": [{"kind": "isotropic"}, {"kind": "isotropic"}]})
    one = drawn(embedded, workshop, {"kind": "isotropic", "count": 1})
    cosine = several.vector @ one.vector / np.linalg.norm(several.vector) / np.linalg.norm(one.vector)
    assert 0.5 < cosine < 0.9  # two draws that are independent of each other


def test_features_of_an_sae_that_normalises_count_in_units_of_their_own_residual(
    embedded: Model, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_of(embedded, workshop, [{"kind": "steering", **PAIR}])
    sae = lab.features

    class Normalising:
        """The same SAE on residuals at unit length, its output scaled back: what run-time normalisation does."""

        n_features = sae.n_features

        def activations(self, base):
            return sae.activations(base) / np.linalg.norm(base.vector)

        def units(self, base, features):
            return sae.units(base, features) * np.linalg.norm(base.vector)

    spec = parse_recipe(
        {"site": {"prompt": "x"}, "directions": [{"kind": "steering-features", **PAIR, "features": [2136, 1978]}]}
    ).directions[0]
    plain = lab.draw(spec, lab.site, 0)
    monkeypatch.setattr(type(lab), "features", Normalising())
    again = lab.draw(spec, lab.site, 0)
    np.testing.assert_allclose(again.vector, plain.vector, atol=1e-5)


def test_success_needs_words(embedded: Model, workshop: Workshop) -> None:
    recipe = {"experiment": "steering", "site": {"prompt": "x"}, "directions": [{"kind": "isotropic"}]}
    with pytest.raises(RecipeError, match=r"options\.words is empty"):
        swept(Laboratory(embedded, parse_recipe(recipe), workshop))


# Sweeps


def test_a_sweep_is_the_same_wherever_it_goes_on(embedded: Model, workshop: Workshop) -> None:
    directions = [{"kind": "steering", **PAIR}, {"kind": "isotropic", "count": 1}]
    whole, _ = swept(lab_of(embedded, workshop, directions))
    assert {name: len(rows) for name, rows in whole.items() if name != "frontier"} == {
        "vectors": 2, "rollouts": 12, "points": 5, "best": 2,
    }  # fmt: skip
    # Without steering nothing is added, so what does worse than that is not on the frontier.
    assert whole["frontier"][0]["kind"] == "unsteered"
    order = [
        (e.table, dict(e.values))
        for lab in [lab_of(embedded, workshop, directions)]
        for e in lab.experiment.run(lab)
        if isinstance(e, RowResult)
    ]
    for done in (1, 6, len(order) - 1):
        held: dict[str, list[dict]] = {}
        for table, values in order[:done]:
            held.setdefault(table, []).append(values)
        rest = lab_of(embedded, workshop, directions, Held(rows=held))
        got = [(e.table, dict(e.values)) for e in rest.experiment.run(rest) if isinstance(e, RowResult)]
        assert got == order[done:]


def test_completions_are_kept_by_blocks(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop, [{"kind": "steering", **PAIR}], strengths=[0.5], samples=18, tokens=2)
    kinds = [type(e).__name__ if not isinstance(e, RowResult) else e.table for e in lab.experiment.run(lab)]
    first = kinds.index("rollouts")
    assert kinds[first : first + 20] == ["rollouts"] * 16 + ["Progress"] + ["rollouts"] * 2 + ["Progress"]


def test_points_are_what_their_completions_and_texts_come_to(embedded: Model, workshop: Workshop) -> None:
    directions = [{"kind": "steering", **PAIR}]
    lab = lab_of(embedded, workshop, directions, strengths=[0.0, 2.5], samples=6, words=["sad", "He", "was"])
    rows, notes = swept(lab)
    assert not notes
    plain, nothing, steered = rows["points"]
    length = float(np.linalg.norm(rows_vector(rows)))
    assert steered["added_norm"] == pytest.approx(2.5 * length, rel=1e-6)
    assert steered["share_of_norm"] == pytest.approx(2.5 * length / np.linalg.norm(lab.site.vector), rel=1e-6)
    for point, strength in ((nothing, 0.0), (steered, 2.5)):
        mine = [row for row in rows["rollouts"] if row["strength"] == strength]
        hits = [row["steered_hit"] for row in mine]
        assert point["success"] == np.mean(hits)
        assert (point["success_low"], point["success_high"]) == wilson(sum(hits), 6)
        assert point["change"] == pytest.approx(np.mean([row["hit_change"] for row in mine]))
        assert point["distinct_2"] == pytest.approx(np.mean([row["distinct_2"] for row in mine]))
        for row in mine:
            words = row["steered"].replace(",", " ").replace(".", " ").lower().split()
            assert row["steered_hit"] == bool({"sad", "he", "was"} & set(words))
            assert row["steered"] == embedded.tokenizer.decode(row["token_ids"])
        assert point["cache_difference"] < 1e-4
    assert [row["steered"] for row in rows["rollouts"][:6]] == [row["unsteered"] for row in rows["rollouts"][:6]]
    assert (nothing["delta_ce"], nothing["kl"], nothing["kl_prompts"]) == (0, 0, 0)
    assert nothing["success"] == plain["success"]
    assert steered["delta_ce"] > 0.5
    assert steered["delta_low"] < steered["delta_ce"] < steered["delta_high"]


def rows_vector(rows: dict[str, list[dict]]) -> np.ndarray:
    from engine.directions.vector import unpacked

    return unpacked(rows["vectors"][0]["vector"]).astype(np.float64)


def test_equal_budgets_change_the_model_equally(embedded: Model, workshop: Workshop) -> None:
    directions = [{"kind": "steering", **PAIR}, {"kind": "isotropic", "count": 1}]
    rows, _ = swept(lab_of(embedded, workshop, directions, strengths=[0.3], unit="kl", samples=1))
    assert [point["kl"] for point in rows["points"][1:]] == pytest.approx([0.3, 0.3], rel=0.02)


def test_a_strength_that_breaks_the_model_is_marked_and_the_rest_goes_on(embedded: Model, workshop: Workshop) -> None:
    rows, notes = swept(lab_of(embedded, workshop, [{"kind": "steering", **PAIR}], strengths=[1e38, 0.5]))
    broken, fine = rows["points"][1:]
    assert broken["success"] is None
    assert broken["delta_ce"] is None
    assert broken["cache_difference"] is None
    assert fine["success"] is not None
    assert len(notes) == 1
    assert "smaller strength" in notes[0]
    assert {row["strength"] for row in rows["frontier"]} <= {0.0, 0.5}
    assert all(row["hit_change"] is None for row in rows["rollouts"][:3])


def test_whoever_watches_sees_texts_grow(embedded: Model, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.steering.writer.DRAFT_SECONDS", 0.0)
    lab = lab_of(embedded, workshop, [{"kind": "steering", **PAIR}], strengths=[0.5])
    lab.live = True
    events = [e for e in lab.experiment.run(lab) if isinstance(e, Draft | RowResult)]
    drafts = [e.rows[0]["steered"] for e in events if isinstance(e, Draft)]
    beside = {e.rows[0]["unsteered"] for e in events if isinstance(e, Draft)}
    assert beside == {e.values["unsteered"] for e in events if isinstance(e, RowResult) and e.values.get("sample") == 0}
    written = next(e.values["steered"] for e in events if isinstance(e, RowResult) and e.table == "rollouts")
    assert len(drafts) == SMALL["tokens"]
    assert [len(d) for d in drafts] == sorted(len(d) for d in drafts)
    assert written.startswith(drafts[2])


def test_a_point_that_falls_back_to_whole_passes_does_so_again_when_gone_on_with(
    embedded: Model, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []

    def apart(model, ids, written, steer):
        # Stands for a cache that a strong push is not exact with.
        strong = steer is not None and steer.length > 10
        return 1.0 if strong and calls[-1] else 0.0

    def watched(model, ids, which, sampling, steer=None, pause=None, cached=True):
        calls.append(cached)
        return writing(model, ids, which, sampling, steer, pause, cached)

    monkeypatch.setattr("engine.steering.writer.cache_difference", apart)
    monkeypatch.setattr("engine.steering.writer.writing", watched)
    directions = [{"kind": "steering", **PAIR}]
    rows, notes = swept(lab_of(embedded, workshop, directions, strengths=[2.0, 0.5]))
    assert calls == [True, True, False, True]
    assert len(notes) == 1
    calls.clear()
    held = {"vectors": rows["vectors"], "points": rows["points"][:2], "rollouts": rows["rollouts"][:3]}
    rest, _ = swept(lab_of(embedded, workshop, directions, Held(rows=held), strengths=[2.0, 0.5]))
    assert calls == [True, True]
    assert rest["rollouts"] == rows["rollouts"][3:]


def test_what_a_reader_should_know_is_noted(embedded: Model, workshop: Workshop) -> None:
    pair = {"kind": "steering", **PAIR, "align": "tokens"}
    one = {"kind": "isotropic", "count": 1}
    rows, notes = swept(lab_of(embedded, workshop, [pair, one], at="aligned", strengths=[1.0], samples=1))
    last = len(embedded.encode(PROMPT, "auto")) - 1
    assert {point["behind"] for point in rows["points"]} == {last}
    assert any("end at different tokens" in note for note in notes)
    rows, notes = swept(lab_of(embedded, workshop, [one], at=[40], strengths=[1.0], text_tokens=60, temperature=0.0))
    assert any("behind the prompt's last" in note for note in notes)
    assert any("temperature 0" in note for note in notes)
    assert [point["samples"] for point in rows["points"]] == [1, 1]
    assert rows["points"][1]["kl_prompts"] is None
    many = lab_of(embedded, workshop, [one], texts=100_000, text_tokens=24)
    notes = list(Costs(many, many.recipe.options, [Steer({}, 5)]).notes)
    assert any("not 100000" in note for note in notes)
    assert any("pieces of" in note for note in notes)


def test_a_budget_that_cannot_be_met_is_a_point_without_numbers(embedded: Model, workshop: Workshop) -> None:
    rows, notes = swept(
        lab_of(embedded, workshop, [{"kind": "steering", **PAIR}], strengths=[500.0, 0.1], unit="kl", samples=1)
    )
    missed, met = rows["points"][1:]
    assert missed["success"] is None
    assert missed["kl"] is None
    assert met["kl"] == pytest.approx(0.1, rel=0.02)
    assert any("smaller budget" in note for note in notes)
    assert list(missed) == list(met)


@pytest.mark.parametrize(
    ("directions", "options", "prompt", "words"),
    [
        ([{"kind": "steering", **PAIR}], {"words": [" "]}, PROMPT, "there must be at least one"),
        ([{"kind": "steering", **PAIR}], {"held_out": "none.txt"}, PROMPT, r"options\.held_out: There is no text file"),
        ([{"kind": "steering", **PAIR}], {}, "dog" + " dog" * 253, "fills the context"),
        ([{"kind": "steering", "plus": "a cat", "minus": "a cat"}], {}, PROMPT, "no length"),
        ([{"kind": "steering", **PAIR}], {"unit": "max-activation"}, PROMPT, "for sae-feature"),
        ([{"kind": "steering", **PAIR}], {"text_tokens": 8}, PROMPT, "raise options.text_tokens"),
        ([{"kind": "steering", **PAIR}], {"also": ["blocks.9.hook_resid_pre"]}, PROMPT, "use 0 to 5"),
        ([{"kind": "steering", **PAIR}], {"also": ["blocks.4.mlp.hook_post"]}, PROMPT, "not d_model wide"),
    ],
)
def test_what_cannot_be_steered_is_refused_in_a_sentence(
    embedded: Model, workshop: Workshop, directions: list, options: dict, prompt: str, words: str
) -> None:
    recipe = {
        "experiment": "steering",
        "site": {"prompt": prompt, "write": WRITE},
        "population": {"n": 20},
        "directions": directions,
        "options": {**SMALL, **options},
    }
    with pytest.raises(RecipeError, match=words):
        swept(Laboratory(embedded, parse_recipe(recipe), workshop))
