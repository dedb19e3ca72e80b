"""The evidence recipes, small: what they expect of the bundled model holds, and the model's card is made from them."""

from __future__ import annotations

import hashlib
import json
import shutil
import unicodedata
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.embedded import HERE, MODEL_DIR
from engine.embedded.settings import SAE_PLANS
from scripts import model_card
from sessions.digest import table_lines
from sessions.reader import read_run
from tests.conftest import command

SMALL = {
    "plateaus": ("bases.0.count=24", "bases.1.count=24", "bases.2.count=24", "path.steps=45"),
    "plateaus-untrained": ("bases.0.count=4", "bases.1.count=4", "bases.2.count=4", "path.steps=45"),
    "sensitive-directions": ("bases.0.count=12", "path.steps=45"),
    "sensitive-directions-down": ("bases.0.count=12", "path.steps=45"),
    "kinds": ("bases.0.count=8", "path.steps=45", "expect=[]"),
    "decompose": ("bases.0.count=10",),
    "decompose-middle": ("bases.0.count=10",),
    "decompose-late": ("bases.0.count=10",),
    "rank-features": ('options.which="active"', "expect=[]"),
    "late-layer": ("bases.0.count=12", "path.steps=45"),
    "late-layer-after": ("bases.0.count=12", "path.steps=45"),
    "sae-fidelity": ("options.texts=60",),
    "sae-fidelity-middle": ("options.texts=60",),
    "sae-fidelity-late": ("options.texts=60",),
    "steering": ("options.samples=40", "options.strengths=[0.5]", "options.tokens=30"),
    "steering-control": ("options.samples=4", "directions.0.count=2"),
    "stories": ("options.samples=2", "options.tokens=30"),
}


_MADE: dict[str, Future[str]] = {}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all small runs of the card are made, each once and two at a time."""
    folder = tmp_path_factory.mktemp("evidence")

    def make(name: str) -> str:
        recipe, *overrides = (*model_card.RUNS[name], *SMALL[name])
        words = [word for override in overrides for word in ("--set", override)]
        home = {"DIRSCOPE_HOME": str(folder / f"home-{name}")}
        done = command("--batch", recipe, "--out", name, *words, cwd=folder, env=home, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with ThreadPoolExecutor(max_workers=2) as pool:
        _MADE.update({name: pool.submit(make, name) for name in SMALL})
        yield folder


def small(name: str, place: Path) -> str:
    """What a small run of the card printed."""
    return _MADE[name].result()


@pytest.mark.parametrize("name", SMALL)
def test_what_a_recipe_expects_of_the_bundled_model_holds(name: str, place: Path) -> None:
    printed = small(name, place)
    run = read_run(place / name)
    assert run.status == "done"
    assert printed.count("holds:") == len(run.recipe.expect)
    for table, columns in run.record["tables"].items():
        assert (place / name / "tables" / f"{table}.parquet").exists()
        assert columns == list(run.tables[table][0])


def test_an_expectation_that_fails_ends_with_exit_code_one(place: Path) -> None:
    check = "expect=[{check=\"mean(delta_ce, 'table:splice') < -1\"}]"
    words = ("--set", "options.texts=4", "--set", check)
    done = command("--batch", "sae-fidelity", "--out", "failing", "--format", "json", *words, cwd=place)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert not document["expect"][0]["holds"]
    rows = document["tables"]["splice"]
    assert document["expect"][0]["left"] == pytest.approx(sum(r["delta_ce"] for r in rows) / len(rows))


def test_tables_are_verified_and_exported_like_curves(place: Path) -> None:
    small("steering-control", place)
    shutil.copytree(place / "steering-control", place / "small")
    verified = command("replay", "small", "--verify", cwd=place)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.stdout.splitlines()[1].split()[:2] == ["tables", "0"]
    exported = command("export", "small", "--table", "rollouts", "--out", "small.csv", cwd=place)
    assert exported.returncode == 0, exported.stderr
    assert (place / "small.csv").read_text().splitlines()[0].startswith("run,number,kind,label,strength")
    picture = command("export", "small", "--out", "small.svg", cwd=place)
    assert picture.returncode == 0, picture.stderr
    assert "<svg" in (place / "small.svg").read_text()

    file = place / "small" / "tables" / "rollouts.parquet"
    rows = pq.read_table(file).to_pylist()
    for change in ({"steered": "something else"}, {"added_norm": rows[1]["added_norm"] * 1.01}):
        pq.write_table(pa.Table.from_pylist([rows[0], {**rows[1], **change}, *rows[2:]]), file)
        wrong = command("replay", "small", "--verify", cwd=place)
        assert wrong.returncode == 1
        assert "OVER" in wrong.stdout


def test_tables_go_on_where_they_were_stopped(place: Path) -> None:
    """A run cut off in the middle of a table ends as one that was not."""
    small("sae-fidelity", place)
    shutil.copytree(place / "sae-fidelity", place / "cut")
    events = (place / "cut" / "events.jsonl").read_text().splitlines(keepends=True)
    (place / "cut" / "events.jsonl").write_text("".join(events[:21]) + '{"v": 1, "t": 3, "type": "ro')
    done = command("--batch", "cut", "--out", "cut", "--resume", cwd=place)
    assert done.returncode == 0, done.stderr
    whole, cut = read_run(place / "sae-fidelity"), read_run(place / "cut")
    assert cut.status == "done"
    assert cut.tables == whole.tables


def test_the_card_is_made_from_runs_and_files(place: Path) -> None:
    for name in SMALL:
        small(name, place)
    model_card.main(["--runs", str(place), "--out", str(place / "card.md")])
    text = (place / "card.md").read_text()
    cards = [json.loads(f.read_text()) for f in sorted((HERE / "saes").glob("*/card.json"))]
    assert len(cards) == len(SAE_PLANS)
    for card in cards:
        assert f"**{card['delta_ce']:.3f}**" in text
    run = read_run(place / "plateaus")
    near = [s.kl_near for s in run.summaries if s.base_kind == "random"]
    assert f"| trained | made up, in the prompt | {len(near)} | {np.median(near):.3g} (" in text
    steered = read_run(place / "steering").tables
    for i, row in enumerate(steered["best"]):
        hits = [r["steered_hit"] for r in steered["rollouts"] if r["number"] == i]
        assert f"| {row['label']} | 50% | {np.mean(hits):.0%} (" in text


def test_the_card_refuses_runs_of_other_weights(place: Path) -> None:
    small("stories", place)
    shutil.copytree(place / "stories", place / "old" / "plateaus")
    file = place / "old" / "plateaus" / "events.jsonl"
    weights = hashlib.sha256((MODEL_DIR / "model.safetensors").read_bytes()).hexdigest()
    file.write_text(file.read_text().replace(weights, "0" * 64))
    with pytest.raises(SystemExit, match="of other weights"):
        model_card.main(["--runs", str(place / "old"), "--out", str(place / "old.md")])


def test_the_committed_card_says_what_the_files_beside_it_say() -> None:
    text = (HERE / "README.md").read_text()
    events = [json.loads(line) for line in (HERE / "training.jsonl").read_text().splitlines()]
    loss = [e["held_out_loss"] for e in events if e["event"] == "model"][-1]
    assert f"Held-out loss: {loss:.3f} nats per token" in text
    for file in (HERE / "saes").glob("*/card.json"):
        card = json.loads(file.read_text())
        assert f"| {card['ce_spliced']:.3f} |" in text


def test_what_a_model_writes_cannot_drive_a_terminal() -> None:
    rows = [{"label": "a", "steered": "x\x1b[2Jy\x07\n z\u202e", "steered_hit": True}] * 2
    lines = table_lines("rollouts", rows)
    assert not any(unicodedata.category(c)[0] == "C" for line in lines for c in line)
    assert "x·[2Jy· z·" in " ".join(lines)
