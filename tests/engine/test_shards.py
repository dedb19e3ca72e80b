"""The unit of work: what a shard holds, in which order and company it is computed, what happens when memory ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.crosscheck import self_check
from engine.embedded import MODEL_DIR
from engine.errors import RecipeError, Stopped
from engine.forward import Forward
from engine.laboratory import Laboratory
from engine.models import Model, load_model
from engine.protocol import Held
from engine.provenance import describe
from engine.recipe import ModelSection, Recipe, parse_recipe
from engine.results import BaseResult, CurveResult, Note, Sketches
from engine.shards import COARSE, Layout, passes, plan, shards
from engine.workshop import Workshop
from tests.reference import Reference, kl

PROMPT = "Once upon a time, there was a little girl who"
MANY = {
    "site": {"prompt": PROMPT},
    "population": {"n": 80},
    "path": {"steps": 60},
    "bases": [{"kind": "prompt"}, {"kind": "real-other", "count": 9}, {"kind": "random", "count": 2}],
    "directions": [{"kind": "random", "count": 2}, {"kind": "real-other", "count": 2}],
}


def curves_of(lab: Laboratory) -> dict[int, CurveResult]:
    return {e.summary.curve: e for e in lab.experiment.run(lab) if isinstance(e, CurveResult)}


@pytest.mark.parametrize(("bases", "directions"), [(1, 1), (1, 24), (1, 100), (7, 5), (40, 3), (3, 33), (5, 32)])
def test_shards_cover_every_curve_once_in_order(bases: int, directions: int) -> None:
    layout = Layout("tree", 256, 32)
    found = list(shards(bases, directions, layout))
    assert sorted(c for shard in found for c in shard.curves) == list(range(bases * directions))
    assert [shard.index for shard in found] == list(range(len(found)))
    assert max(len(shard.curves) for shard in found) <= 32


@pytest.mark.parametrize("steps", [1, 2, 7, 10, 49, 50, 99, 100, 1000])
def test_every_step_is_computed_once_and_coarse_ones_first(steps: int) -> None:
    found = passes(steps, COARSE)
    assert sorted(k for chosen in found for k in chosen) == list(range(1, steps + 1))
    if len(found) > 1:
        assert steps in found[0]
        assert len(found[0]) <= len(found[-1])
    rows = plan(3, steps, COARSE)
    assert [curve for curve, _ in rows[-1]] == sorted(curve for curve, _ in rows[-1])


def test_curves_of_many_bases_agree_with_plain_passes_in_float64(embedded: Model) -> None:
    """Every base and direction of shards of eight bases, at coarse and fine steps; tolerances as in test_numbers."""
    lab = Laboratory(embedded, parse_recipe(MANY), Workshop())
    events = list(lab.experiment.run(lab))
    bases = {e.base: e for e in events if isinstance(e, BaseResult)}
    curves = [e for e in events if isinstance(e, CurveResult)]
    assert lab.layout.rule == "tree"
    assert len(curves) == 48
    reference = Reference.load(MODEL_DIR, centred=True)
    where, site = lab.where, lab.site.vector.astype(np.float64)
    for curve in curves:
        base = bases[curve.summary.base]
        own = base.kind != "random"
        delta = np.zeros_like(site) if own else base.vector.astype(np.float64) - site
        arguments = (list(base.token_ids), where.position, where.read_position, where.write.name, [])
        base_logits, _ = reference.run(*arguments, delta)
        u = curve.direction / np.linalg.norm(curve.direction.astype(np.float64))
        for step in (25, 31, 60):
            logits, _ = reference.run(*arguments, delta + curve.coordinate[step] * u)
            expected = kl(base_logits, logits)
            assert abs(curve.kl[step] - expected) <= 5e-6 + 2e-5 * expected, (curve.summary.label, base.kind, step)


@pytest.fixture(scope="module")
def whole(embedded: Model) -> dict[int, CurveResult]:
    """Every curve of MANY, computed in one go."""
    return curves_of(Laboratory(embedded, parse_recipe(MANY), Workshop()))


@pytest.mark.parametrize("held", [range(5), range(20, 48), [0, 3, 17, 31, 32, 47]])
def test_what_is_computed_besides_changes_no_number(
    embedded: Model, whole: dict[int, CurveResult], held: list[int]
) -> None:
    """Bit for bit, with whole shards, parts of shards or scattered curves already there."""
    rest = curves_of(Laboratory(embedded, parse_recipe(MANY), Workshop(), Held(curves=frozenset(held))))
    assert set(rest) == set(whole) - set(held)
    for number, curve in rest.items():
        assert np.array_equal(curve.kl, whole[number].kl)
        assert curve.summary == whole[number].summary


def test_a_shard_whose_curves_are_there_costs_nothing(embedded: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Laboratory(embedded, parse_recipe(MANY), Workshop(), Held(curves=frozenset(range(32))))
    contexts: list[int] = []
    real = lab.hosts_of
    monkeypatch.setattr(lab, "hosts_of", lambda bases: contexts.append(len(bases)) or real(bases))
    assert sorted(curves_of(lab)) == list(range(32, 48))
    assert contexts == [4]


def test_first_points_come_before_curves_and_are_theirs(embedded: Model) -> None:
    recipe = parse_recipe({**MANY, "bases": [{"kind": "prompt"}]})
    lab = Laboratory(embedded, recipe, Workshop(), live=True)
    events = list(lab.experiment.run(lab))
    kinds = [type(e) for e in events]
    assert kinds.index(Sketches) < kinds.index(CurveResult)
    curves = {e.summary.curve: e for e in events if isinstance(e, CurveResult)}
    sketches = [s for e in events if isinstance(e, Sketches) for s in e.curves]
    assert {s.curve for s in sketches} == set(curves)
    for sketch in sketches:
        at = np.searchsorted(curves[sketch.curve].coordinate, sketch.coordinate)
        assert np.array_equal(sketch.kl, curves[sketch.curve].kl[at])
        assert sketch.coordinate[-1] == curves[sketch.curve].coordinate[-1]


def test_a_pass_can_be_ended_between_any_two_blocks(embedded: Model) -> None:
    """Cancelling does not wait for the end of a pass, and leaves the model as it was."""
    recipe = parse_recipe({**MANY, "bases": [{"kind": "prompt"}]})
    counted = Laboratory(embedded, recipe, Workshop())
    _ = counted.population
    asked = [0]

    def count() -> bool:
        asked[0] += 1
        return False

    workshop = counted.workshop
    curves_of(Laboratory(embedded, recipe, workshop))  # after which shapes are known and not checked again
    curves_of(Laboratory(embedded, recipe, workshop, should_stop=count))
    n_passes = len(plan(4, 60, COARSE)) + 1  # each of one chunk, and the derivatives
    assert asked[0] >= 5 * n_passes  # once before each block that runs
    ids = torch.tensor([[5, 6, 7, 8]])
    before = embedded.network(input_ids=ids).logits
    for stop_at in (1, asked[0] // 3, asked[0] // 2, asked[0]):
        left = [stop_at]

        def stop(left: list[int] = left) -> bool:
            left[0] -= 1
            return left[0] <= 0

        with pytest.raises(Stopped):
            curves_of(Laboratory(embedded, recipe, workshop, should_stop=stop))
        assert torch.equal(embedded.network(input_ids=ids).logits, before)
        assert all("forward" not in layer.__dict__ for layer in embedded.layers)


def test_a_recorded_layout_is_read_back_and_a_foreign_one_is_not() -> None:
    layout = Layout("tree", 256, 32, (25, 5), 2)
    assert Layout.recorded(layout.data()) == layout
    for broken in ({}, {**layout.data(), "rule": "fast"}, {**layout.data(), "rows_per_chunk": 0}, {"rule": "batch"}):
        assert Layout.recorded(broken) is None


MEMORY = """
import resource, sys
from engine.laboratory import Laboratory
from engine.models import load_model
from engine.protocol import Held
from engine.recipe import ModelSection, parse_recipe
from engine.results import CurveResult, Note
from engine.shards import Layout
from engine.workshop import Workshop

model = load_model(ModelSection(device="cpu"))
recipe = {"site": {"prompt": "One day a cat"}, "population": {"n": 50}, "path": {"steps": 12000},
          "directions": [{"kind": "isotropic", "count": 1}]}
lab = Laboratory(model, parse_recipe(recipe), Workshop(), Held(layout=Layout("tree", 6000, 32, (25, 5), 1)))
lab.population
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20, resource.RLIM_INFINITY))
for event in lab.experiment.run(lab):
    if isinstance(event, Note):
        print("note:", event.text)
    if isinstance(event, CurveResult):
        print("curve:", len(event.kl), bool((event.kl[1:] > 0).all()), lab.layout.rows_per_chunk, event.kl[-1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as only Linux does")
def test_out_of_memory_halves_the_rows_and_goes_on(embedded: Model, tmp_path: Path) -> None:
    """A process with 400 MiB left computes passes that would need gigabytes, with a note, and loses no step."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=280, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stdout.splitlines() if line.startswith("note:")]
    assert notes
    assert "Out of memory: going on with 3000 rows at a time" in notes[0]
    word, points, positive, _, last = next(line for line in done.stdout.splitlines() if "curve:" in line).split()
    assert (word, points, positive) == ("curve:", "12001", "True")
    recipe = {"site": {"prompt": "One day a cat"}, "population": {"n": 50}, "path": {"steps": 1}}
    recipe["directions"] = [{"kind": "isotropic", "count": 1}]
    ample = curves_of(Laboratory(embedded, parse_recipe(recipe), Workshop()))[0]
    assert float(last) == pytest.approx(float(ample.kl[-1]), rel=1e-4)


def test_bases_of_a_shard_leave_room_for_perturbed_rows() -> None:
    """Each base has its own row in every pass: with few rows there are few bases."""
    for rows in (8, 16, 64, 256):
        found = list(shards(100, 1, Layout("batch", rows, 256)))
        assert max(len(shard.bases) for shard in found) == max(1, rows // 8)


def test_when_memory_ends_passes_get_as_small_as_the_note_says(
    embedded: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, with many bases: passes above 20 rows fail, and in the end every curve is what it is otherwise."""
    recipe = parse_recipe({**MANY, "directions": [{"kind": "random", "count": 1}]})
    ample = curves_of(Laboratory(embedded, recipe, Workshop()))
    real, passed = Forward.run, list[int]()

    def scarce(self: Forward, hosts, vectors, rule="batch"):
        rows = vectors.shape[0] * vectors.shape[1]
        if rows > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        passed.append(rows)
        return real(self, hosts, vectors, rule)

    monkeypatch.setattr(Forward, "run", scarce)
    lab = Laboratory(embedded, recipe, Workshop())
    events = list(lab.experiment.run(lab))
    notes = [e.text for e in events if isinstance(e, Note)]
    assert f"going on with {lab.layout.rows_per_chunk} rows" in notes[-1]
    assert lab.layout.rows_per_chunk <= 20
    assert max(passed) <= 20
    found = {e.summary.curve: e for e in events if isinstance(e, CurveResult)}
    assert set(found) == set(ample)
    for number, curve in found.items():
        assert np.allclose(curve.kl, ample[number].kl, atol=5e-6, rtol=2e-5)


def test_steps_that_overflow_are_missing_and_spoil_no_others(embedded: Model) -> None:
    """In a tree a NaN would reach every other copy and the prefix; what is finite by plain passes stays finite."""
    path = {"stop": 1e22, "steps": 8}
    recipe = parse_recipe({"site": {"prompt": PROMPT}, "population": {"n": 50}, "path": path})
    lab = Laboratory(embedded, recipe, Workshop())
    events = list(lab.experiment.run(lab))
    assert any("not finite at some steps" in e.text for e in events if isinstance(e, Note))
    curves = [e for e in events if isinstance(e, CurveResult)]
    finite = [np.isfinite(c.kl) for c in curves]
    assert all(f[0] for f in finite)
    assert any(f[1:].any() for f in finite)
    assert any((~f).any() for f in finite)
    assert all(c.kl[0] == 0 for c in curves)
    hosts, row = lab.site_host, lab.base_row(lab.site, lab.site_host.raw[0])
    for curve, found in zip(curves, finite, strict=True):
        ray = lab.ray(lab.site, curve.direction, "")
        rows = (row + torch.from_numpy(ray.offsets(curve.coordinate))).float()
        plain = lab.forward.full(hosts, rows[None]).logits[0].isfinite().all(-1).numpy()
        assert (found == plain).all()
    assert not lab.workshop.layouts.refused(embedded), "an overflow was taken for a wrong arrangement"
    ordinary = Laboratory(embedded, parse_recipe({"site": {"prompt": PROMPT}, "population": {"n": 50}}), lab.workshop)
    assert ordinary.layout.rule == "tree"


@pytest.fixture(scope="module")
def half() -> Model:
    """The bundled model in bfloat16, in which its weights are stored: they are the same as in float32."""
    return load_model(ModelSection(device="cpu", dtype="bfloat16"))


def bf16_recipe(**more: object) -> Recipe:
    site = {"prompt": PROMPT}
    directions = [{"kind": "isotropic", "count": 4}]
    model = {"dtype": "bfloat16"}
    return parse_recipe({"model": model, "site": site, "population": {"n": 200}, "directions": directions, **more})


def test_bfloat16_has_float32_logits_and_a_noise_floor_that_covers_its_error(half: Model, embedded: Model) -> None:
    """Against float32 passes from the same vectors: where KL is small, the error is of the size of the floor."""
    logits = half.network(input_ids=torch.tensor([[0, 5, 6]])).logits
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float()), "logits were rounded to bfloat16"
    lab = Laboratory(half, bf16_recipe(), Workshop())
    assert lab.noise is not None
    assert 1e-8 < lab.noise.kl < 1e-3
    measured = curves_of(lab)
    exact = Laboratory(embedded, bf16_recipe(path={"stop": lab.stop}), Workshop())
    assert exact.noise is None
    true = curves_of(exact)
    for number, curve in measured.items():
        assert curve.kl[0] == 0
        error = np.abs(curve.kl - true[number].kl)
        assert (error <= 2 * lab.noise.kl + 6 * np.sqrt(lab.noise.kl * curve.kl)).all()
        assert error[curve.kl < 5 * lab.noise.kl].max() > lab.noise.kl / 20, "the floor is far above the noise"
        assert curve.summary.threshold == pytest.approx(true[number].summary.threshold, rel=0.05)


def test_what_lies_below_the_noise_floor_is_no_result(half: Model) -> None:
    lab = Laboratory(half, bf16_recipe(), Workshop())
    record = describe(lab, self_check(half))
    assert lab.noise is not None
    assert record["noise_floor"]["kl"] == lab.noise.kl > 0
    assert record["dtype"] == "bfloat16"
    low = Laboratory(half, bf16_recipe(metrics={"level": lab.noise.kl / 2}), Workshop())
    with pytest.raises(RecipeError, match=r"below the noise floor of bfloat16"):
        describe(low, self_check(half))
    short = Laboratory(half, bf16_recipe(path={"stop": 0.3 * lab.population.typical_distance}), Workshop())
    object.__setattr__(short.noise, "kl", 10.0)
    for curve in curves_of(short).values():
        assert curve.summary.kl_near is None
        assert curve.summary.near_share is None
        assert curve.summary.final_kl is None
