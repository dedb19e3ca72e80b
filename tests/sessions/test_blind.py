"""Blind tests: nothing tells what is real before the answer, and the answer opens it once."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from engine.client import Worker
from engine.errors import DirectionError, RecipeError, RunFolderError, UsageError
from engine.experiments.blind_test import drawn_with
from engine.foreign import as_model
from engine.laboratory import Laboratory
from engine.models import Model
from engine.paths import angle_between
from engine.protocol import Held
from engine.recipe import parse_recipe
from engine.results import RowResult
from engine.sealing import Seal, seal, unseal
from engine.worker import WorkerOptions
from engine.workshop import Workshop
from sessions.blind import Item, _by_chance, _right_of, answer, curves_of, verdict_of
from sessions.catalogue import show
from sessions.export import export
from sessions.reader import read_run
from sessions.runner import seal_of
from sessions.store import RunWriter
from sessions.summary import digest_of
from sessions.verify import verify
from tests.conftest import PROMPT, command
from tests.engine.planted import lab_of, plain_prompt, planted
from tests.engine.running import outcome

SMALL = ("--set", "population.n=150", "--set", "path.steps=15")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("blind")
    done = command("--batch", "blind-test", "--out", "out", *SMALL, cwd=place, env={"DIRSCOPE_HOME": str(place / "h")})
    assert done.returncode == 0, done.stderr
    assert "sealed" not in done.stdout
    assert "A " in done.stdout
    return place / "out"


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "run"))


def content_of(folder: Path) -> dict:
    closed = seal_of(read_run(folder))
    assert closed is not None
    return unseal(closed)


def test_nothing_in_the_folder_tells_which_is_which(folder: Path, tmp_path: Path) -> None:
    content = content_of(folder)
    assert sorted(item["real"] for item in content["items"]) == [False] * 5 + [True] * 5
    told = [str(content["seed"]), "made up", *(item["label"] for item in content["items"])]
    told += [item["vector"] for item in content["items"]]
    bodies = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    export(folder, "md", tmp_path / "page.md")
    bodies.append((tmp_path / "page.md").read_bytes())
    for body, text in product(bodies, told):
        assert text.encode() not in body
    # Neither do vectors as numbers, in any table: no column has as many values as they.
    vectors = [np.frombuffer(base64.b64decode(item["vector"]), "<f4") for item in content["items"]]
    for body, vector in product(bodies, vectors):
        assert vector[:8].tobytes() not in body
        assert vector[:8].astype("<f8").tobytes() not in body


def test_what_is_made_up_matches_what_is_real(embedded: Model) -> None:
    """In length exactly; in angle to the base to some degrees; and it is no feature."""
    lab = Laboratory(embedded, parse_recipe({"experiment": "blind-test", "site": {"prompt": PROMPT}}), Workshop())
    base = next(lab.bases())
    content = drawn_with(lab, base, 11)
    assert content == drawn_with(lab, base, 11)
    assert content != drawn_with(lab, base, 12)
    orders = {tuple(item["real"] for item in drawn_with(lab, base, seed)["items"]) for seed in range(8)}
    assert len(orders) > 4, "items are shuffled"
    vectors = {item["label"]: np.frombuffer(base64.b64decode(item["vector"]), "<f4") for item in content["items"]}
    x = base.vector.astype(np.float64)
    gaps = []
    for item in (item for item in content["items"] if item["real"]):
        real, fake = (vectors[name].astype(np.float64) for name in (item["label"], f"made up to match {item['label']}"))
        assert np.allclose(real, lab.features.contribution(base, item["feature"]), atol=1e-5)
        assert np.linalg.norm(fake) == pytest.approx(np.linalg.norm(real), rel=1e-5)
        assert abs(fake @ real) < 0.95 * (real @ real)
        gaps.append(abs(float(angle_between(x, real) - angle_between(x, fake))))
    assert np.mean(gaps) < 12


def test_an_answer_opens_the_seal_once(copy: Path, tmp_path: Path) -> None:
    truth = [item["real"] for item in content_of(copy)["items"]]
    names = list(curves_of(read_run(copy)))
    assert names == list("ABCDEFGHIJ")
    assert verdict_of(copy) is None
    with pytest.raises(UsageError, match="no item Z"):
        answer(copy, ["A", "Z"])
    right = [name for name, real in zip(names, truth, strict=True) if real]
    assert "dirscope answer" in "\n".join(digest_of(read_run(copy)))
    home = {"DIRSCOPE_HOME": str(tmp_path / "h")}
    early = command("answer", str(copy), cwd=tmp_path, env=home)
    assert early.returncode == 2
    assert "not answered yet" in early.stderr
    empty = command("answer", str(copy), "--real", "", cwd=tmp_path, env=home)
    assert empty.returncode == 2
    assert "names no item" in empty.stderr
    first, rest = right[0].lower(), ",, ".join(right[1:])
    done = command("answer", str(copy), "--real", first, "--real", rest, cwd=tmp_path, env=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("10 of 10 right; as many or more by chance: 0%")
    verdict = verdict_of(copy)
    assert verdict is not None
    assert verdict.right == 10
    assert verdict.by_chance == pytest.approx(1 / 252)
    assert {rule.name for rule in verdict.rules} == {
        "smallest threshold",
        "smallest max-slope step",
        "largest KL at half of the path",
    }
    with pytest.raises(UsageError, match="answered before"):
        answer(copy, right)
    assert command("answer", str(copy), cwd=tmp_path, env=home).stdout == done.stdout
    export(copy, "md", tmp_path / "page.md")
    assert "10 of 10 right" in (tmp_path / "page.md").read_text()
    assert "10 of 10 right" in "\n".join(show(copy))


def test_a_test_verifies_before_and_after_its_answer(copy: Path) -> None:
    worker = Worker(WorkerOptions())
    worker.start()
    try:
        assert all(d.ok and d.largest == 0 for d in verify(copy, worker).deviations)
        answer(copy, ["A"])
        assert all(d.ok and d.largest == 0 for d in verify(copy, worker).deviations)
    finally:
        worker.stop()


def test_a_test_that_was_cut_off_goes_on_as_the_same_test(copy: Path, tmp_path: Path) -> None:
    before = content_of(copy)
    whole = curves_of(read_run(copy))
    events = (copy / "events.jsonl").read_text().splitlines()
    rows = [i for i, line in enumerate(events) if json.loads(line)["type"] == "row"]
    (copy / "events.jsonl").write_text("\n".join(events[: rows[40]]) + "\n")
    with pytest.raises(UsageError, match="not whole"):
        answer(copy, ["A"])
    done = command(
        "--batch", str(copy), "--out", str(copy), "--resume", cwd=tmp_path, env={"DIRSCOPE_HOME": str(tmp_path / "h")}
    )
    assert done.returncode == 0, done.stderr
    assert content_of(copy) == before
    assert curves_of(read_run(copy)) == whole


def test_a_seal_that_was_changed_is_found_out(copy: Path) -> None:
    closed = seal({"items": [1, 2]})
    assert unseal(closed) == {"items": [1, 2]}
    assert seal({"items": [1, 2]}).sealed != closed.sealed
    assert seal({"items": [1, 2]}).commitment == closed.commitment
    with pytest.raises(RunFolderError, match="changed after"):
        unseal(Seal(seal({"items": [2, 1]}).sealed, closed.commitment))
    with pytest.raises(RunFolderError, match="damaged"):
        unseal(Seal(closed.sealed[:-8], closed.commitment))
    text = (copy / "events.jsonl").read_text()
    other = seal({**content_of(copy), "seed": 0})
    found = seal_of(read_run(copy))
    assert found is not None
    (copy / "events.jsonl").write_text(text.replace(found.sealed, other.sealed))
    RunWriter.repair(copy)
    with pytest.raises(RunFolderError, match="changed after"):
        answer(copy, ["A"])
    assert verdict_of(copy) is None


def test_scores_are_counted_by_hand() -> None:
    def items(said: str, real: str) -> list[Item]:
        return [Item(name, name in said, name in real, "") for name in "ABCD"]

    assert _by_chance(items("AB", "AB")) == pytest.approx(1 / 6)
    assert _by_chance(items("AC", "AB")) == pytest.approx(5 / 6)
    assert _by_chance(items("", "AB")) == 1
    assert _by_chance(items("ABCD", "AB")) == 1
    assert _by_chance(items("A", "AB")) == pytest.approx(1 / 2)
    real = np.array([True, True, False, False])
    assert _right_of(np.array([1.0, 2.0, 3.0, np.inf]), real) == 4
    assert _right_of(np.array([3.0, np.inf, 1.0, 2.0]), real) == 0
    # All alike: two of four are said real, and each is right half of the time.
    assert _right_of(np.ones(4), real) == pytest.approx(2)
    assert _right_of(np.array([1.0, 2.0, 2.0, 3.0]), real) == pytest.approx(3)


def test_a_run_that_is_no_test_has_no_answer(run_folder: Path) -> None:
    with pytest.raises(UsageError, match="no blind test"):
        answer(run_folder, ["A"])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"path": {"stop": "native"}}, "how long each direction is"),
        ({"bases": [{"kind": "random"}]}, "leave \\[\\[bases\\]\\] out"),
        ({"bases": [{"kind": "prompt"}, {"kind": "prompt"}]}, "leave \\[\\[bases\\]\\] out"),
    ],
)
def test_tests_that_would_tell_too_much_are_refused(embedded: Model, data: dict, words: str) -> None:
    recipe = parse_recipe({"experiment": "blind-test", "site": {"prompt": PROMPT}, "population": {"n": 100}, **data})
    lab = Laboratory(embedded, recipe, Workshop())
    with pytest.raises(RecipeError, match=words):
        list(lab.experiment.run(lab))


def test_a_base_with_few_features_has_no_test() -> None:
    toy = planted()
    model = as_model(toy.network, toy.tokenizer)
    lab = lab_of(toy, model, plain_prompt(toy), experiment="blind-test", options={"real": 2})
    few = replace(lab.site, vector=(toy.content[0] + 0.5 * toy.content[1] - toy.content[2]).astype(np.float32))
    with pytest.raises(DirectionError, match="needs 4 active ones, and 3 are active"):
        drawn_with(lab, few, 0)


def test_a_test_outlives_a_layout_that_was_refused(embedded: Model) -> None:
    """What the worker hands to its next attempt has the seal among its rows: the items are those of that seal."""
    recipe = parse_recipe({"experiment": "blind-test", "site": {"prompt": PROMPT}, "path": {"steps": 3}})
    workshop = Workshop()
    first = Laboratory(embedded, recipe, workshop)
    sealed = next(e for e in first.experiment.run(first) if isinstance(e, RowResult))
    whole = [e for e in first.experiment.run(first) if isinstance(e, RowResult)]
    assert whole[0] != sealed, "every test is another"
    again = Laboratory(embedded, recipe, workshop, Held(rows={"seal": [sealed.values]}))
    rows = [e for e in again.experiment.run(again) if isinstance(e, RowResult)]
    assert {row.table for row in rows} == {"items"}
    content = unseal(Seal(sealed.values["sealed"], sealed.values["commitment"]))
    vectors = [{"kind": "vector", "label": str(i), "data": item["vector"]} for i, item in enumerate(content["items"])]
    data = {"site": {"prompt": PROMPT}, "path": {"mode": "sphere", "steps": 3}, "directions": vectors}
    curves, _, _ = outcome(Laboratory(embedded, parse_recipe(data), workshop))
    for name, curve in zip("ABCDEFGHIJ", curves, strict=True):
        ours = [row.values["kl"] for row in rows if row.values["item"] == name]
        assert ours == pytest.approx(curve.kl.tolist(), rel=1e-4, abs=1e-6)


def test_labels_that_the_seed_does_not_draw_are_found_out(embedded: Model) -> None:
    recipe = parse_recipe({"experiment": "blind-test", "site": {"prompt": PROMPT}, "path": {"steps": 3}})
    lab = Laboratory(embedded, recipe, Workshop())
    content = drawn_with(lab, next(lab.bases()), 5)
    for item in content["items"]:
        item["real"] = not item["real"]
    lab.held = Held(seal=seal(content))
    with pytest.raises(RunFolderError, match="not what its seed draws"):
        list(lab.experiment.run(lab))
