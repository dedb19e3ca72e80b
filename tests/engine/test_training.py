"""The training recipe on a corpus of a few lines: splits, resuming, and a model that learns."""

from __future__ import annotations

import json
import lzma
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import GPT2LMHeadModel

from engine.embedded.corpus import Rows, encode, evaluation_rows, read_source
from engine.embedded.sample import VERBATIM_TOKENS, draw, verbatim_share
from engine.embedded.settings import Log, SaePlan, Settings
from engine.embedded.train import main
from engine.embedded.train_model import build_model, schedule, train_model, train_tokenizer

SMALL = Settings(vocabulary=300, layers=1, d_model=32, heads=2, context=16, batch=8, tokens=8 * 16 * 40, warmup_steps=4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    animals, things = ["cat", "dog", "bird", "cow"], ["ball", "hat", "cup", "tree"]
    stories = [
        f"The {rng.choice(animals)} number {i} saw a {rng.choice(things)}. It was a big {rng.choice(things)}."
        for i in range(400)
    ]
    (folder / "stories.txt.xz").write_bytes(lzma.compress("\n<|endoftext|>\n".join(stories).encode()))
    return folder / "stories.txt.xz"


@pytest.fixture(scope="module", autouse=True)
def plain_forward() -> None:
    """Compiling takes longer than everything here; it changes no result that is looked at."""
    patch = pytest.MonkeyPatch()
    patch.setattr("shutil.which", lambda name: None)
    yield
    patch.undo()


def test_held_out_documents_are_never_trained_on(corpus: Path) -> None:
    source = read_source(corpus, 1.0, 1.0)
    assert 0 < len(source.held_out) < 30
    assert not set(source.held_out) & set(source.train)
    assert len(source.held_out) + len(source.train) == 400
    assert read_source(corpus, 0.5, 0.1).held_out == source.held_out


def test_rows_depend_on_seed_step_and_shares_alone() -> None:
    streams = (np.arange(1, 200, dtype=np.uint16), np.arange(1000, 1400, dtype=np.uint16))
    rows = Rows(streams, 3, 0, 16)
    first = rows.at(5, 64, [0.9, 0.1])
    assert (first == Rows(streams, 3, 0, 16).at(5, 64, [0.9, 0.1])).all()
    assert (first != rows.at(6, 64, [0.9, 0.1])).any()
    assert (first[:, 0] == 0).all()
    assert (np.diff(first[:, 1:], axis=1) == 1).all()  # consecutive tokens of one stream
    assert (rows.at(5, 64, [0.0, 1.0])[:, 1:] >= 1000).all()
    assert 0.75 < (rows.at(5, 2000, [0.9, 0.1])[:, 1] < 1000).mean() <= 0.95


def test_the_schedule_is_a_warm_up_and_a_cosine() -> None:
    assert schedule(0, SMALL) == pytest.approx(1 / 4)
    assert schedule(4, SMALL) == pytest.approx(1.0)
    assert schedule(22, SMALL) == pytest.approx(0.5)
    assert schedule(31, SMALL) == pytest.approx(0.5 * (1 + math.cos(math.pi * 27 / 36)))


def test_a_resumed_run_ends_as_an_unbroken_one(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = read_source(corpus, 1.0, 1.0)
    tokenizer = train_tokenizer([source], SMALL, tmp_path / "tokenizer")

    def train(name: str) -> torch.nn.Module:
        for part in ("work", "out"):
            (tmp_path / name / part).mkdir(parents=True, exist_ok=True)
        place = tmp_path / name
        return train_model([source], tokenizer, SMALL, place / "out", place / "work", Log(place / "log.jsonl"))

    whole = train("whole")
    monkeypatch.setattr("engine.embedded.train_model.CHECKPOINT_SECONDS", 0.0)

    def dying(step: int, settings: Settings) -> float:
        if step == 25:
            raise KeyboardInterrupt
        return schedule(step, settings)

    with monkeypatch.context() as patch:
        patch.setattr("engine.embedded.train_model.schedule", dying)
        with pytest.raises(KeyboardInterrupt):
            train("broken")
    assert (tmp_path / "broken" / "work" / "checkpoint.pt").exists()
    with pytest.raises(SystemExit, match="other settings"):
        train_model(
            [source], tokenizer, replace(SMALL, seed=1), tmp_path, tmp_path / "broken" / "work", Log(tmp_path / "l")
        )
    resumed = train("broken")
    assert '"resumed", "step": 25' in (tmp_path / "broken" / "log.jsonl").read_text()
    for (name, a), (_, b) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(a, b), name

    bos = int(tokenizer.bos_token_id)
    held_out = encode(source.held_out, tokenizer.backend_tokenizer, bos)
    rows = torch.from_numpy(np.stack(list(evaluation_rows(held_out, bos, SMALL.context))))
    with torch.no_grad():
        before = build_model(SMALL, bos).eval()(input_ids=rows, labels=rows).loss.item()
        after = whole(input_ids=rows, labels=rows).loss.item()
    assert before == pytest.approx(math.log(SMALL.vocabulary), rel=0.05)
    assert after < 0.75 * before


def test_verbatim_windows_are_found_wherever_they_stand() -> None:
    rng = np.random.default_rng(0)
    stream = rng.integers(0, 4096, 5000).astype(np.uint16)
    rows = rng.integers(0, 4096, (10, 64)).astype(np.int16)
    assert verbatim_share(rows, [stream]) == 0
    windows = 63 - VERBATIM_TOKENS + 1
    rows[3, 10 : 10 + VERBATIM_TOKENS + 5] = stream[777 : 777 + VERBATIM_TOKENS + 5]
    assert verbatim_share(rows, [stream[:100], stream[100:]]) == pytest.approx(6 / (10 * windows))


def test_the_command_makes_everything_and_makes_nothing_twice(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Small(Settings):
        vocabulary: int = 300
        layers: int = 2
        d_model: int = 32
        heads: int = 2
        context: int = 32
        batch: int = 8
        tokens: int = 8 * 32 * 40
        warmup_steps: int = 4
        population_samples: int = 30
        evaluation_samples: int = 10
        sample_tokens: int = 30

    plans = (SaePlan(1, 48, 300_000, k=4), SaePlan(1, 24, 300_000, k=4, default=False))
    monkeypatch.setattr("engine.embedded.train.Settings", Small)
    monkeypatch.setattr("engine.embedded.train.SAE_PLANS", plans)
    monkeypatch.setattr("engine.embedded.train.EVIDENCE_SAMPLES", 40)
    monkeypatch.setattr("engine.embedded.train.SOURCES", {corpus.name: (1.0, 1.0)})
    out = tmp_path / "out"
    arguments = ["--corpus", str(corpus.parent), "--out", str(out)]
    main(arguments)

    events = [json.loads(line) for line in (out / "training.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events if e["event"] != "train"] == [
        "settings", "data", "model", "samples", "sae", "sae",
    ]  # fmt: skip
    samples = load_file(out / "samples.safetensors")
    assert {k: v.shape for k, v in samples.items()} == {"population": (30, 30), "evaluation": (10, 30)}
    for plan in plans:
        folder = out / "saes" / plan.sae_id
        card = json.loads((folder / "card.json").read_text())
        assert {**card, "event": "sae"} in events
        # The mean alone would leave all of the variance unexplained.
        assert 0 < card["unexplained_variance"] < 0.7
        assert card["l0"] <= plan.k
        assert load_file(folder / "features.safetensors")["snippets"].shape == (plan.width, 4, 18)
    # What comes after the model stage in one go is what a process that loads the stored model would make.
    stored = GPT2LMHeadModel.from_pretrained(out / "model", dtype=torch.float32).eval()
    again = draw(stored, 30, 30, 0, lambda text: None)
    assert (again == samples["population"]).all()
    before = {f: f.read_bytes() for f in out.rglob("*") if f.is_file()}
    main(arguments)
    assert {f: f.read_bytes() for f in out.rglob("*") if f.is_file()} == before
