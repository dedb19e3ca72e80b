"""Maps, mixtures and held parts where the truth is known: the planted model, by formula; and held parts by plain hooks.

Tolerances as in `test_planted`: thresholds, read off the same steps, agree to 1e-3 degrees or units of length.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.errors import RecipeError
from engine.foreign import as_model
from engine.freezing import Frozen, freezer
from engine.laboratory import Laboratory
from engine.models import Model
from engine.recipe import parse_recipe
from engine.workshop import Workshop
from tests.conftest import PROMPT
from tests.engine.planted import FEATURES, SHARE, Planted, lab_of, plain_prompt, planted
from tests.engine.running import outcome
from tests.reference import Reference

STEPS = 90


@pytest.fixture(scope="module")
def toy() -> Planted:
    return planted()


@pytest.fixture(scope="module")
def model(toy: Planted) -> Model:
    return as_model(toy.network, toy.tokenizer)


@pytest.fixture(scope="module")
def prompt(toy: Planted) -> str:
    return plain_prompt(toy)


def by_formula(toy: Planted, x: np.ndarray, direction: np.ndarray, level: float = 0.5) -> float | None:
    """Where KL along the great circle from x reaches the level, linear between degrees; None where it never does."""
    x, d = x.astype(np.float64), direction.astype(np.float64)
    across = d - (d @ x) / (x @ x) * x
    t = np.radians(np.arange(STEPS + 1))[:, None]
    there = np.cos(t) * x + np.sin(t) * np.linalg.norm(x) * across / np.linalg.norm(across)
    values = toy.kl(x, there)
    over = np.flatnonzero(values >= level)
    if not len(over):
        return None
    k = int(over[0])
    return float(k - 1 + (level - values[k - 1]) / (values[k] - values[k - 1]))


def same(found: float | None, expected: float | None) -> bool:
    return found is None if expected is None else found == pytest.approx(expected, abs=1e-3)


def feature_tables(*features: int) -> list[dict]:
    return [{"kind": "sae-feature", "index": i} for i in features]


def test_a_triangle_is_that_of_the_formula(toy: Planted, model: Model, prompt: str) -> None:
    """Targets that carry a feature are sensitive corners, and mixing them with others costs turning."""
    lab = lab_of(toy, model, prompt, experiment="triangle", path={"steps": STEPS}, options={"resolution": 4})
    _, _, tables = outcome(lab)
    from engine.directions.interpolation import corners

    x = lab.site.vector.astype(np.float64)
    triangles = [corners(spec, lab, lab.site, index) for spec, index in lab.direction_order]
    reached = 0
    for row in tables["triangle"]:
        targets = [vector for vector, _ in triangles[row["triangle"]]]
        target = (row["i"] * targets[0] + row["j"] * targets[1] + row["k"] * targets[2]) / 4
        expected = by_formula(toy, x, target - x)
        assert same(row["threshold"], expected)
        assert row["distance"] == pytest.approx(float(np.linalg.norm(target - x)), rel=1e-5)
        reached += expected is not None
    assert reached > 8


def test_a_planted_feature_is_a_local_optimum_and_a_mixture_of_two_is_none(
    toy: Planted, model: Model, prompt: str
) -> None:
    lab = lab_of(
        toy,
        model,
        prompt,
        experiment="local-optimum",
        path={"steps": 900},  # everything happens within a third of a degree
        directions=[*feature_tables(0, 3), {"kind": "combination", "features": [1, 4], "weights": [1.0, 0.8]}],
        options={"others": ["isotropic", "random-mixture"], "draws": 6, "angles": [8.1]},
    )
    _, _, tables = outcome(lab)
    of = {(row["centre"], row["other"]): row for row in tables["optima"]}
    for feature in ("#0 (off)", "#3 (off)"):
        assert of[feature, "isotropic"]["both_worse"] == 1
        assert of[feature, "isotropic"]["improves"] == 0
    # Turned toward the larger of its two features the mixture acts sooner, and many a slice has some of that.
    assert of["1 #1 + 0.8 #4", "isotropic"]["improves"] > 0.3
    row = next(row for row in tables["slices"] if row["centre"] == "#0 (off)")
    assert row["centre_threshold"] == pytest.approx(np.degrees(np.arcsin(SHARE)), abs=1.0)
    # cos 8.1 degrees of the feature is left, and something else may add to it a little.
    least = np.degrees(np.arcsin(SHARE / np.cos(np.radians(8.1))))
    assert max(row["plus"], row["minus"]) > least - 0.2


def test_mixtures_of_planted_features_break_on_a_square(toy: Planted, model: Model, prompt: str) -> None:
    """Each has a threshold of its own, so that the larger component decides: p is large, where an ellipse has 2."""
    lab = lab_of(
        toy,
        model,
        prompt,
        experiment="mixtures",
        path={"steps": STEPS, "stop": 90},
        directions=feature_tables(0, 1),
        options={"angles": 6},
    )
    _, _, tables = outcome(lab)
    x = lab.site.vector
    for row in tables["mixtures"]:
        t = np.radians(row["mixed"])
        expected = by_formula(toy, x, np.cos(t) * toy.features[0] + np.sin(t) * toy.features[1])
        assert same(row["threshold"], expected)
    exponents = tables["exponents"][0]
    assert exponents["cosine"] == pytest.approx(0, abs=1e-5)
    assert exponents["p_plus"] > 4
    assert exponents["p"] is None, "their opposites do nothing, so that there is no even part to fit"
    assert exponents["first_threshold"] == pytest.approx(exponents["second_threshold"], rel=0.02)


def test_a_sum_of_planted_features_has_to_go_further_by_the_root_of_their_number(
    toy: Planted, model: Model, prompt: str
) -> None:
    lab = lab_of(
        toy,
        model,
        prompt,
        experiment="combine-features",
        path={"steps": STEPS},
        directions=feature_tables(*range(FEATURES)),
        options={"sizes": [1, 2, 3], "draws": 4},
    )
    _, _, tables = outcome(lab)
    for row in tables["combined"]:
        # sin t of the length is shared by n orthogonal features of the same length.
        expected = np.degrees(np.arcsin(SHARE * np.sqrt(row["added"])))
        assert row["threshold"] == pytest.approx(expected, abs=1.0), "to a step"
    x, y = np.log([1, 2, 3]), np.log(np.degrees(np.arcsin(SHARE * np.sqrt([1, 2, 3]))))
    assert tables["growth"][0]["slope"] == pytest.approx(float(np.polyfit(x, y, 1)[0]), abs=0.03)
    assert {row["draw"] for row in tables["combined"]} == {0, 1, 2, 3}


def test_only_the_mlp_makes_the_planted_plateau(toy: Planted, model: Model, prompt: str) -> None:
    """Without it the output knows nothing of the features; with the norm in front of it held, no length is shared."""
    lab = lab_of(
        toy,
        model,
        prompt,
        experiment="mechanism",
        bases=[{"kind": "prompt"}],
        path={"steps": 200, "stop": 1.2},
        directions=feature_tables(0),
        options={"modes": ["straight", "sphere"]},
    )
    _, _, tables = outcome(lab)
    reached = {(row["mode"], row["frozen"], row["at"]): row["threshold"] for row in tables["mechanism"]}
    length = float(np.linalg.norm(lab.site.vector))
    plain = length * np.tan(np.arcsin(SHARE))
    step = 1.2 / 200
    assert reached["straight", "nothing", "-"] == pytest.approx(plain, abs=step)
    assert reached["straight", "attn", "all"] == reached["straight", "nothing", "-"]
    assert reached["straight", "mlp", "all"] is None
    # share = a f / |x| with the base's divisor, instead of a / sqrt(|x|^2 + a^2)
    assert reached["straight", "norm", "block 1"] == pytest.approx(length * SHARE, abs=step)
    assert reached["straight", "norm", "final"] == pytest.approx(plain, abs=step)
    assert reached["sphere", "norm", "block 1"] == pytest.approx(reached["sphere", "nothing", "-"], abs=1e-3)
    assert reached["sphere", "mlp", "all"] is None
    profile = [row for row in tables["profiles"] if row["mode"] == "straight" and row["frozen"] == "nothing"]
    assert profile[-1]["l2_share"] == 1
    assert profile[0]["l2_share"] == pytest.approx(0, abs=1e-6)


# Held parts of the bundled model, by plain hooks in float64


def held_by_hooks(
    reference: Reference, lab: Laboratory, part: str, layers: list[int], delta: np.ndarray
) -> torch.Tensor:
    """Logits of the pushed run whose parts give what they gave in the base run, at the last token."""
    position = lab.where.position
    modules = []
    for layer in layers:
        block = reference.blocks[layer]
        modules += {"mlp": [block.mlp], "attn": [block.attn], "norm": [block.ln_1, block.ln_2]}[part]
    kept: dict[int, torch.Tensor] = {}

    def keep(module, args, output) -> None:
        if part == "norm":
            x = args[0][0, position]
            kept[id(module)] = (x.var(unbiased=False) + module.eps).sqrt()
        else:
            kept[id(module)] = (output[0] if isinstance(output, tuple) else output)[0, position].clone()

    def put(module, args, output):
        tensor = (output[0] if isinstance(output, tuple) else output).clone()
        if part == "norm":
            x = args[0][0, position]
            tensor[0, position] = (x - x.mean()) / kept[id(module)] * module.weight + module.bias
        else:
            tensor[0, position] = kept[id(module)]
        return (tensor, *output[1:]) if isinstance(output, tuple) else tensor

    ids = list(lab.where.token_ids)
    handles = [module.register_forward_hook(keep) for module in modules]
    reference.run(ids, position, position, "blocks.1.hook_resid_pre", [], np.zeros_like(delta))
    for handle in handles:
        handle.remove()
    handles = [module.register_forward_hook(put) for module in modules]
    try:
        return reference.run(ids, position, position, "blocks.1.hook_resid_pre", [], delta)[0]
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize(
    ("part", "at"), [("mlp", [1, 2, 3, 4, 5]), ("attn", [3]), ("norm", [1, 2, 3, 4, 5]), ("norm", [4])]
)
def test_held_parts_are_what_plain_hooks_hold(embedded: Model, reference: Reference, part: str, at: list[int]) -> None:
    """By every arrangement of the pass, and by derivative."""
    recipe = parse_recipe({"site": {"prompt": PROMPT}, "population": {"n": 100}})
    lab = Laboratory(embedded, recipe, Workshop())
    hosts = lab.hosts_of([lab.site])
    rng = np.random.default_rng(2)
    delta = rng.standard_normal((3, embedded.d_model))
    delta *= 6 / np.linalg.norm(delta, axis=1, keepdims=True)
    row = lab.base_row(lab.site, hosts.raw[0])
    vectors = torch.cat([row[None], row + torch.from_numpy(delta)]).float()[None]
    base = held_by_hooks(reference, lab, part, at, np.zeros(embedded.d_model))
    lab.forward.freezer = freezer(embedded, (Frozen(part, tuple(at)),))
    plain = reference.run(list(lab.where.token_ids), 11, 11, "blocks.1.hook_resid_pre", [], delta[2])[0]
    for rule in ("tree", "batch", "full"):
        logits = lab.forward.run(hosts, vectors, rule).logits[0]
        for n, push in enumerate([np.zeros(embedded.d_model), *delta]):
            theirs = held_by_hooks(reference, lab, part, at, push)
            difference = (logits[n].double().log_softmax(-1) - theirs.log_softmax(-1)).abs().max()
            assert float(difference) < 2e-4
        assert float((theirs - plain).abs().max()) > 0.02, "holding changes something"
        small = 1e-4
        _, slope = lab.forward.derivative(hosts, row[None].float(), torch.from_numpy(delta[:1])[None].float(), rule)
        ahead, behind = (held_by_hooks(reference, lab, part, at, side * small * delta[0]) for side in (1, -1))
        theirs = (ahead - behind) / (2 * small)
        assert float((slope[0, 0].double() - theirs).abs().max()) < 1e-3 * float(theirs.abs().max())
    assert base.shape == logits[0].shape


def test_an_rms_norm_is_held_too(llama: Model) -> None:
    """On the sphere around the origin its divisor never changes, so that holding it changes nothing."""
    data = {
        "experiment": "mechanism",
        "site": {"prompt": PROMPT},
        "population": {"n": 60},
        "bases": [{"kind": "prompt"}],
        "directions": [{"kind": "isotropic", "count": 2}],
        "path": {"steps": 10},
        "options": {"parts": ["norm"], "modes": ["sphere", "straight"]},
    }
    lab = Laboratory(llama, parse_recipe(data), Workshop())
    _, _, tables = outcome(lab)
    rows = {(r["mode"], r["frozen"], r["at"], i % 2): r for i, r in enumerate(tables["mechanism"])}
    for n in range(2):
        # Before block 1's attention the stream is what was written: as long as the base on the sphere.
        held, plain = rows["sphere", "norm", "final", n], rows["sphere", "nothing", "-", n]
        assert held["final_l2"] == pytest.approx(plain["final_l2"], rel=1e-5), "read in front of the last norm"
        straight = rows["straight", "norm", "block 1", n]["final_kl"]
        assert straight != pytest.approx(rows["straight", "nothing", "-", n]["final_kl"], rel=1e-3)


@pytest.mark.parametrize("rule", ["tree", "batch", "full"])
def test_what_is_read_of_a_held_part_is_what_is_held(embedded: Model, rule: str) -> None:
    data = {"site": {"prompt": PROMPT, "read": ["blocks.3.hook_attn_out", "blocks.3.hook_mlp_out"]}}
    lab = Laboratory(embedded, parse_recipe({**data, "population": {"n": 100}}), Workshop())
    hosts = lab.hosts_of([lab.site])
    row = lab.base_row(lab.site, hosts.raw[0])
    push = torch.from_numpy(np.random.default_rng(4).standard_normal(embedded.d_model))
    vectors = torch.stack([row, row + push]).float()[None]
    free = lab.forward.run(hosts, vectors, rule).reads
    lab.forward.freezer = freezer(embedded, (Frozen("mlp", (3,)),))
    attn, mlp = lab.forward.run(hosts, vectors, rule).reads
    assert torch.equal(mlp[0, 0], mlp[0, 1])
    assert not torch.equal(free[1][0, 0], free[1][0, 1])
    assert torch.allclose(attn, free[0], atol=1e-4), "attention comes before it"


def test_what_lies_behind_a_write_is_held_from_its_own_block_on(embedded: Model) -> None:
    def places(write: str, parts: list[str]) -> dict[str, set[str]]:
        data = {
            "experiment": "mechanism",
            "site": {"prompt": PROMPT, "write": write},
            "population": {"n": 60},
            "bases": [{"kind": "prompt"}],
            "directions": [{"kind": "isotropic", "count": 1}],
            "path": {"steps": 2},
            "options": {"parts": parts, "modes": ["straight"]},
        }
        _, _, tables = outcome(Laboratory(embedded, parse_recipe(data), Workshop()))
        return {part: {r["at"] for r in tables["mechanism"] if r["frozen"] == part} for part in parts}

    found = places("blocks.4.hook_resid_mid", ["mlp", "attn", "norm"])
    assert found == {
        "mlp": {"all", "block 4", "block 5"},
        "attn": {"all"},  # of block 5 alone
        "norm": {"all", "block 4", "block 5", "final"},
    }
    assert places("blocks.5.hook_mlp_out", ["norm"]) == {"norm": {"all"}}
    with pytest.raises(RecipeError, match="nothing of attn is left to hold"):
        places("blocks.5.hook_resid_mid", ["attn"])


def test_other_sizes_change_no_sum(embedded: Model) -> None:
    def sums(sizes: list[int]) -> dict[tuple, float]:
        data = {
            "experiment": "combine-features",
            "site": {"prompt": PROMPT},
            "population": {"n": 100},
            "path": {"steps": 15},
            "options": {"sizes": sizes, "draws": 3},
        }
        _, _, tables = outcome(Laboratory(embedded, parse_recipe(data), Workshop()))
        return {(r["kind"], r["added"], r["draw"]): r["threshold"] for r in tables["combined"]}

    few, more = sums([2, 1]), sums([1, 2, 5])
    assert len(few) == 18
    for name, threshold in few.items():
        assert more[name] == pytest.approx(threshold, rel=1e-5)
    assert len({few["isotropic", 1, draw] for draw in range(3)}) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"others": ["sae-error"]}, "one direction or needs options"),
        ({"others": ["vector"]}, "one direction or needs options"),
        ({"others": ["isotropc"]}, "isotropic"),
        ({"others": ["isotropic", "isotropic"]}, "each entry may stand once"),
        ({"angles": [8.1, 8.1]}, "each entry may stand once"),
    ],
)
def test_slices_are_of_kinds_that_can_be_drawn(options: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse_recipe({"experiment": "local-optimum", "site": {"prompt": PROMPT}, "options": options})


def test_slices_toward_real_activations_are_not_toward_the_centre(embedded: Model) -> None:
    data = {
        "experiment": "local-optimum",
        "site": {"prompt": PROMPT},
        "population": {"n": 100},
        "path": {"steps": 10},
        "directions": [{"kind": "real-other", "count": 2}],
        "options": {"others": ["real-other"], "draws": 2, "angles": [20]},
    }
    _, _, tables = outcome(Laboratory(embedded, parse_recipe(data), Workshop()))
    assert len(tables["slices"]) == 4


def test_triangles_refuse_what_they_would_ignore(embedded: Model) -> None:
    for more in ({"project_out": [1]}, {"targets": [{"weight": 2.0}, {}, {}]}):
        directions = [{"kind": "interpolation", "count": 1, "targets": [{}, {}, {}], **more}]
        recipe = parse_recipe({"experiment": "triangle", "site": {"prompt": PROMPT}, "directions": directions})
        with pytest.raises(RecipeError, match="leave weight and project_out out"):
            outcome(Laboratory(embedded, recipe, Workshop()))
