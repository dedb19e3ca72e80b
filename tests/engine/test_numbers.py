"""Every number of a curve against plain Hugging Face forward passes in float64 with hooks.

Tolerances: float32 logits are off by some 1e-6 (5e-6 at worst over layouts), which moves KL by about as much times
the change of the logits; residuals of norm 10 to 60 are off by about 1e-5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.embedded import MODEL_DIR
from engine.laboratory import Laboratory
from engine.models import Model
from engine.recipe import parse_recipe
from engine.results import BaseResult, CurveResult
from engine.workshop import Workshop
from tests.reference import Reference, kl

KL_ABSOLUTE, KL_RELATIVE = 5e-6, 2e-5
L2_ABSOLUTE, COSINE_ABSOLUTE = 2e-4, 2e-6
PROMPT = "Once upon a time, there was a little girl who"


@pytest.fixture(scope="module")
def references(llama_dir: Path) -> dict[str, Reference]:
    return {"embedded": Reference.load(MODEL_DIR, centred=True), "llama": Reference.load(llama_dir, centred=False)}


def curves_of(model: Model, site: dict, path: dict | None = None, bases: list[dict] | None = None):
    recipe = parse_recipe(
        {
            "site": {"prompt": PROMPT, **site},
            "population": {"n": 64},
            "path": {"steps": 8, **(path or {})},
            "bases": bases or [{"kind": "prompt"}],
            "directions": [{"kind": "random", "count": 1}, {"kind": "isotropic", "count": 1}],
        }
    )
    lab = Laboratory(model, recipe, Workshop())
    events = list(lab.experiment.run(lab))
    found = [e for e in events if isinstance(e, BaseResult)]
    return lab, found, [e for e in events if isinstance(e, CurveResult)]


CASES = [
    ("embedded", {"write": "blocks.1.hook_resid_pre"}),
    ("embedded", {"write": "blocks.0.hook_resid_pre", "read": ["blocks.2.hook_resid_pre", "blocks.5.hook_resid_post"]}),
    ("embedded", {"write": "blocks.3.hook_resid_post", "position": 4}),
    ("embedded", {"write": "blocks.5.hook_resid_post"}),
    ("embedded", {"write": "blocks.2.hook_resid_pre", "position": 5, "read_position": 8}),
    ("embedded", {"write": "blocks.1.hook_resid_pre", "position": 0, "read_position": 3}),
    ("embedded", {"write": "blocks.1.hook_resid_pre", "bos": False, "position": 0}),
    ("llama", {"write": "blocks.1.hook_resid_pre"}),
    ("llama", {"write": "blocks.0.hook_resid_pre", "read": ["blocks.1.hook_resid_post"], "position": 3}),
    ("llama", {"write": "blocks.2.hook_resid_post", "position": 2, "read_position": 6}),
]


@pytest.mark.parametrize("mode", ["straight", "sphere"])
@pytest.mark.parametrize(("name", "site"), CASES)
def test_curves_agree_with_plain_forward_passes_in_float64(
    name: str, site: dict, mode: str, references: dict[str, Reference], request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    reference = references[name]
    lab, bases, curves = curves_of(model, site, {"mode": mode})
    where = lab.where
    x = bases[0].vector.astype(np.float64)
    reads = [h.name for h in where.reads]
    ids = list(where.token_ids[: where.read_position + 1])
    for curve in curves:
        d = curve.direction.astype(np.float64)
        for step in (0, 1, 4, 8):
            a = curve.coordinate[step]
            if mode == "straight":
                delta = a * d / np.linalg.norm(d)
            else:
                across = d - (d @ x) / (x @ x) * x
                t = np.deg2rad(a)
                turned = np.cos(t) * x + np.sin(t) * np.linalg.norm(x) * across / np.linalg.norm(across)
                delta = turned - x
            arguments = (ids, where.position, where.read_position, where.write.name, reads)
            base_logits, base_reads = reference.run(*arguments, np.zeros_like(delta))
            logits, found = reference.run(*arguments, delta)
            expected = kl(base_logits, logits)
            got = curve.kl[step]
            assert abs(got - expected) <= KL_ABSOLUTE + KL_RELATIVE * expected, (
                curve.summary.label,
                step,
                got,
                expected,
            )
            for hook in reads:
                l2 = float((found[hook] - base_reads[hook]).norm())
                cosine = float(torch.nn.functional.cosine_similarity(found[hook], base_reads[hook], dim=0))
                assert abs(curve.values[hook]["l2"][step] - l2) <= L2_ABSOLUTE
                assert abs(curve.values[hook]["cosine"][step] - cosine) <= COSINE_ABSOLUTE


@pytest.mark.parametrize("name", ["embedded", "llama"])
@pytest.mark.parametrize("base", [{"kind": "random"}, {"kind": "real-other", "host": "site", "norm": "matched"}])
def test_a_made_up_base_is_written_into_the_prompt_and_is_the_run_compared_with(
    name: str, base: dict, references: dict[str, Reference], request: pytest.FixtureRequest
) -> None:
    lab, bases, curves = curves_of(request.getfixturevalue(name), {}, bases=[base])
    x = bases[0].vector.astype(np.float64)
    site = lab.site.vector.astype(np.float64)
    arguments = (
        list(lab.where.token_ids[: lab.where.read_position + 1]),
        lab.where.position,
        lab.where.read_position,
        lab.where.write.name,
        [],
    )
    base_logits, _ = references[name].run(*arguments, x - site)
    for curve in curves:
        u = curve.direction / np.linalg.norm(curve.direction.astype(np.float64))
        logits, _ = references[name].run(*arguments, x - site + curve.coordinate[5] * u)
        expected = kl(base_logits, logits)
        assert abs(curve.kl[5] - expected) <= KL_ABSOLUTE + KL_RELATIVE * expected


def test_a_real_other_base_runs_in_its_own_context(embedded: Model, references: dict[str, Reference]) -> None:
    lab, bases, curves = curves_of(embedded, {}, bases=[{"kind": "real-other"}])
    assert bases[0].token_ids != lab.where.token_ids
    arguments = (list(bases[0].token_ids), lab.where.position, lab.where.read_position, lab.where.write.name, [])
    base_logits, _ = references["embedded"].run(*arguments, np.zeros(embedded.d_model))
    u = curves[0].direction / np.linalg.norm(curves[0].direction.astype(np.float64))
    logits, _ = references["embedded"].run(*arguments, curves[0].coordinate[6] * u)
    expected = kl(base_logits, logits)
    assert abs(curves[0].kl[6] - expected) <= KL_ABSOLUTE + KL_RELATIVE * expected


def test_step_zero_is_the_base_run_exactly(embedded: Model) -> None:
    _, _, curves = curves_of(embedded, {})
    for curve in curves:
        assert curve.kl[0] == 0.0
        assert curve.distance[0] == 0.0
        read = curve.values["blocks.5.hook_resid_post"]
        assert read["l2"][0] == 0.0
        assert abs(read["cosine"][0] - 1) < 1e-12


def test_the_quadratic_prediction_is_the_limit_of_kl(embedded: Model, references: dict[str, Reference]) -> None:
    """KL(a) / (a^2 u'Fu / 2) tends to 1; the reference KL comes from float64 at a thousandth of the residual."""
    lab, bases, curves = curves_of(embedded, {})
    arguments = (
        list(lab.where.token_ids[: lab.where.read_position + 1]),
        lab.where.position,
        lab.where.read_position,
        lab.where.write.name,
        [],
    )
    base_logits, _ = references["embedded"].run(*arguments, np.zeros(embedded.d_model))
    for curve in curves:
        a = 1e-3 * float(np.linalg.norm(bases[0].vector))
        u = curve.direction / np.linalg.norm(curve.direction.astype(np.float64))
        plus, _ = references["embedded"].run(*arguments, a * u)
        minus, _ = references["embedded"].run(*arguments, -a * u)
        symmetric = (kl(base_logits, plus) + kl(base_logits, minus)) / 2  # the cubic term cancels
        assert symmetric / (a**2 / 2 * curve.summary.fisher) == pytest.approx(1, abs=2e-3)


def test_float64_curves_agree_to_many_more_digits(references: dict[str, Reference]) -> None:
    from engine.models import load_model
    from engine.recipe import ModelSection

    model = load_model(ModelSection(device="cpu", dtype="float64"))
    lab, _, curves = curves_of(model, {})
    arguments = (
        list(lab.where.token_ids[: lab.where.read_position + 1]),
        lab.where.position,
        lab.where.read_position,
        lab.where.write.name,
        [],
    )
    base_logits, _ = references["embedded"].run(*arguments, np.zeros(model.d_model))
    u = curves[0].direction.astype(np.float64)
    logits, _ = references["embedded"].run(*arguments, curves[0].coordinate[8] * u / np.linalg.norm(u))
    # What is left is the reference formula's own rounding.
    assert curves[0].kl[8] == pytest.approx(kl(base_logits, logits), abs=1e-11)
