"""The command without a terminal: files, streams, exit codes, resuming, verifying, exporting."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from engine.embedded import MODEL_DIR, SAES_DIR
from sessions.reader import read_run
from tests.conftest import RECIPE, command
from tests.reference import Reference, js, kl

SHORT = """
[site]
prompt = "One day a cat"
[population]
n = 50
[path]
steps = 5
[[directions]]
kind = "isotropic"
count = 3
"""


def test_stored_numbers_can_be_recomputed_by_anyone(run_folder: Path) -> None:
    """From the files alone, with plain Hugging Face in float64. Tolerances as in tests/engine/test_numbers.py."""
    reference = Reference.load(MODEL_DIR, centred=True)
    record = json.loads((run_folder / "run.json").read_text())
    site = record["site"]
    arrays = load_file(run_folder / "arrays.safetensors")
    frame = pq.read_table(run_folder / "curves.parquet")
    host = pq.read_table(run_folder / "bases.parquet").to_pylist()[0]
    ids, position = host["token_ids"], host["position"]
    arguments = (ids, position, site["read_position"], site["write"], site["read"])
    zero = np.zeros(arrays["bases"].shape[1])
    base_logits, base_reads = reference.run(*arguments, zero)
    values = {(row["curve"], row["step"], row["read"], row["metric"]): row["value"] for row in frame.to_pylist()}
    distances = {
        (r["curve"], r["step"]): r["distance"] for r in frame.select(["curve", "step", "distance"]).to_pylist()
    }
    worst = 0.0
    for curve, direction in enumerate(arrays["directions"].astype(np.float64)):
        for step in (1, 7, 20):
            delta = distances[curve, step] * direction / np.linalg.norm(direction)
            logits, reads = reference.run(*arguments, delta)
            expected = kl(base_logits, logits)
            worst = max(worst, abs(values[curve, step, "logits", "kl"] - expected) / (5e-6 + 2e-5 * expected))
            assert values[curve, step, "logits", "js"] == pytest.approx(js(base_logits, logits), abs=5e-6, rel=2e-5)
            flipped = float(logits.argmax() != base_logits.argmax())
            assert values[curve, step, "logits", "top1_flip"] == flipped
            for hook in site["read"]:
                l2 = float((reads[hook] - base_reads[hook]).norm())
                cosine = float(torch.nn.functional.cosine_similarity(reads[hook], base_reads[hook], dim=0))
                assert values[curve, step, hook, "l2"] == pytest.approx(l2, abs=2e-4)
                assert values[curve, step, hook, "cosine"] == pytest.approx(cosine, abs=2e-6)
    assert worst <= 1


def test_stored_next_tokens_are_those_of_the_model(run_folder: Path) -> None:
    reference = Reference.load(MODEL_DIR, centred=True)
    record = json.loads((run_folder / "run.json").read_text())
    host = pq.read_table(run_folder / "bases.parquet").to_pylist()[0]
    zero = np.zeros(record["model"]["d_model"])
    logits, _ = reference.run(host["token_ids"], host["position"], host["position"], record["site"]["write"], [], zero)
    top = logits.softmax(-1).topk(10)
    rows = [r for r in pq.read_table(run_folder / "tokens.parquet").to_pylist() if (r["curve"], r["step"]) == (0, 0)]
    assert [r["token_id"] for r in rows] == top.indices.tolist()
    assert [r["prob"] for r in rows] == pytest.approx(top.values.tolist(), rel=1e-4)


def test_the_record_says_where_the_numbers_come_from(run_folder: Path) -> None:
    record = json.loads((run_folder / "run.json").read_text())
    assert record["status"] == "done"
    assert record["model"]["name"] == "embedded"
    assert len(record["model"]["weights_sha256"]) == 64
    assert record["site"]["tokens"][record["site"]["position"]] == " who"
    assert record["site"]["position"] == len(record["site"]["token_ids"]) - 1
    config = json.loads((SAES_DIR / record["sae"]["sae_id"] / "cfg.json").read_text())
    assert record["sae"]["n_features"] == config["d_sae"]
    assert record["typical_distance"] > 0
    assert record["path"]["stop"] == pytest.approx(1.5 * record["typical_distance"])
    assert {"kl", "threshold", "basis", "population"} <= set(record["definitions"])
    assert 'stop = "auto"' in (run_folder / "recipe.toml").read_text()


def test_a_run_verifies_and_a_changed_number_does_not(run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    good = command("replay", str(copy), "--verify", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert "verified" in good.stdout
    assert all(metric in good.stdout for metric in ("kl", "l2", "cosine", "directions"))
    frame = pq.read_table(copy / "curves.parquet").to_pandas()
    row = frame[(frame.metric == "kl") & (frame.step == 12)].index[0]
    frame.loc[row, "value"] += 1e-3
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), copy / "curves.parquet")
    bad = command("replay", str(copy), "--verify", cwd=tmp_path)
    assert bad.returncode == 1
    assert "OVER" in bad.stdout
    assert "NOT verified" in bad.stdout


@pytest.mark.parametrize("name", ["arrays.safetensors", "curves.parquet", "summary.parquet"])
def test_damaged_tables_are_named_by_verify(run_folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(run_folder, tmp_path / "copy")
    (tmp_path / "copy" / name).write_bytes(b"not a table")
    done = command("replay", "copy", "--verify", cwd=tmp_path)
    assert done.returncode == 2
    assert "damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_is_the_same_twice(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    assert command("--batch", str(run_folder), "--out", "again", cwd=tmp_path).returncode == 0
    for name in ("curves.parquet", "summary.parquet", "bases.parquet"):
        assert pq.read_table(tmp_path / "again" / name).equals(pq.read_table(run_folder / name))


def test_stdout_carries_results_only(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(SHORT)
    rows = command("--batch", "r.toml", "--format", "csv", cwd=tmp_path)
    table = list(csv.DictReader(io.StringIO(rows.stdout)))
    assert [r["kind"] for r in table] == ["isotropic"] * 3
    assert "run folder" in rows.stderr
    events = command("--batch", "r.toml", "--format", "jsonl", "--out", "out", cwd=tmp_path).stdout.splitlines()
    assert [json.loads(line)["type"] for line in events] == ["run", "base", "curve", "curve", "curve", "end"]
    # That JSON stands alone while a run computes is in the test of a local Llama below.
    again = command("--batch", "out", "--out", "out", "--resume", "--format", "json", cwd=tmp_path)
    assert json.loads(again.stdout)["kinds"][0]["n"] == 3


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--batch", "nothing.toml"], 2, "no recipe file"),
        (["--batch", "quickstrat"], 2, "did you mean 'quickstart'"),
        (["--batch", "bad.toml"], 2, "not TOML"),
        (["--batch", "r.toml", "--set", "path.steps=0"], 2, "path.steps"),
        (["--batch", "r.toml", "--set", "path.stop=nan"], 2, "finite"),
        (["--batch", "r.toml", "--set", "site.position=99"], 2, "outside the prompt"),
        (["--batch", "r.toml", "--set", "site.prompt=''"], 2, "not empty"),
        (["--batch", "r.toml", "--set", "site.write=blocks.9.hook_resid_pre"], 2, "use 0 to 5"),
        (["--batch", "r.toml", "--set", "directions.0.kind=isotorpic"], 2, "did you mean 'isotropic'"),
        (["--batch", "r.toml", "--set", "expect=[{check='exec(1)'}]"], 2, "exec"),
        (["--batch", "r.toml", "--set", "model.name=gpt2"], 3, "Hub cannot be reached"),
        (["--batch", "r.toml", "--set", "model.name=/nowhere"], 3, "no directory"),
        (["--batch", "r.toml", "--set", "expect=[{check=\"n('isotropic') > 5\"}]"], 1, "FAILS"),
        (["--batch", "r.toml", "--out", "taken"], 2, "not empty"),
        (["--batch", "r.toml", "--out", "/proc/run"], 2, "/proc"),
        (["--batch", "r.toml", "--resume"], 2, "--out"),
        (["--batch", "taken"], 2, "neither a run folder nor a session"),
        (["replay", "nowhere"], 2, "no run or session"),
        (["replay", "nowhere", "--verify"], 2, "no run or session"),
        (["--frobnicate"], 2, "dirscope --help"),
        (["--prompt", "hello"], 2, "--batch"),
        (["--format", "json"], 2, "belongs to --batch"),
        (["somewhere", "--prompt", "hello"], 2, "brings its own recipe"),
        (["--batch", "r.toml", "--time-limit", "0"], 2, "above 0"),
        (["--batch", "bare.toml", "--set", "directions.0.count=4"], 2, "lists no directions"),
        (["replay", "taken", "--speed", "0"], 2, "--speed"),
        (["bench", "--rounds", "0"], 2, "--rounds"),
    ],
)
def test_errors_are_one_sentence_and_an_exit_code(tmp_path: Path, words: list[str], code: int, says: str) -> None:
    (tmp_path / "r.toml").write_text(SHORT)
    (tmp_path / "bad.toml").write_text("this is: not toml")
    (tmp_path / "bare.toml").write_text('site = { prompt = "One day" }')
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    done = command(*words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "taken" / "file").read_text() == "mine"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(SHORT)
    done = command("--batch", "r.toml", "--set", "site.position=99", "--debug", cwd=tmp_path)
    assert "Traceback" in done.stderr
    assert "resolve_site" in done.stderr


def test_a_time_limit_keeps_what_is_done_and_resuming_ends_the_same(tmp_path: Path) -> None:
    recipe = SHORT.replace("count = 3", "count = 120").replace("steps = 5", "steps = 100")
    (tmp_path / "r.toml").write_text(recipe)
    whole = command("--batch", "r.toml", "--out", "whole", cwd=tmp_path)
    assert whole.returncode == 0
    times = [seconds for seconds, _ in read_run(tmp_path / "whole").events]
    # Of all that is computed, about half the curves; how long it takes to start varies from one time to the next.
    limit, kept = times[len(times) // 2], []
    for _ in range(5):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        code = command("--batch", "r.toml", "--out", "out", "--time-limit", str(limit), cwd=tmp_path).returncode
        lines = (tmp_path / "out" / "events.jsonl").read_text().splitlines()
        kept = [line for line in lines if json.loads(line)["type"] == "curve"]
        if code == 4 and kept:
            break
        limit *= 0.85 if code == 0 else 1.2
    assert code == 4
    assert kept
    half = read_run(tmp_path / "out")
    assert half.status == "stopped"
    assert len(half.curves) < 120
    resumed = command("--batch", "out", "--out", "out", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    after = (tmp_path / "out" / "events.jsonl").read_text().splitlines()
    assert [line for line in after if json.loads(line)["type"] == "curve"][: len(kept)] == kept
    for name in ("curves.parquet", "summary.parquet"):
        assert pq.read_table(tmp_path / "out" / name).equals(pq.read_table(tmp_path / "whole" / name))
    again = command("--batch", "out", "--out", "out", "--resume", cwd=tmp_path)
    assert again.returncode == 0
    assert "nothing to do" in again.stderr
    other = command("--batch", "r.toml", "--out", "out", "--resume", "--set", "seed=5", cwd=tmp_path)
    assert other.returncode == 2
    assert "differs" in other.stderr


def start_long(tmp_path: Path, curves: int) -> subprocess.Popen[str]:
    (tmp_path / "r.toml").write_text(SHORT.replace("count = 3", f"count = {curves}"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tui", "--batch", "r.toml", "--out", "out"],
        cwd=tmp_path,
        env=dict(os.environ),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    events = tmp_path / "out" / "events.jsonl"
    for _ in range(600):
        if events.exists() and events.stat().st_size > 20_000:
            return process
        time.sleep(0.1)
    process.kill()
    raise AssertionError("the run did not start")


def test_an_interrupt_finishes_the_folder(tmp_path: Path) -> None:
    with start_long(tmp_path, 5000) as process:
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr
    run = read_run(tmp_path / "out")
    assert run.status == "stopped"
    assert (tmp_path / "out" / "curves.parquet").exists()


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    with start_long(tmp_path, 1000) as process:
        process.kill()
    before = len(read_run(tmp_path / "out").curves)
    assert 0 < before < 1000
    resumed = command("--batch", "out", "--out", "out", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    after = read_run(tmp_path / "out")
    assert after.status == "done"
    assert len(after.curves) == 1000


def test_exports_hold_every_value(run_folder: Path, tmp_path: Path) -> None:
    frame = pq.read_table(run_folder / "curves.parquet")
    for form in ("csv", "parquet", "jsonl", "md", "svg", "png"):
        done = command("export", str(run_folder), "--format", form, "--out", f"x.{form}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text())))
    assert len(rows) == len(frame)
    assert [float(r["value"]) for r in rows] == frame["value"].to_pylist()
    assert pq.read_table(tmp_path / "x.parquet").drop_columns(["run"]).equals(frame)
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [line["value"] for line in lines] == frame["value"].to_pylist()
    assert "| random | 2 | 1 |" in (tmp_path / "x.md").read_text()
    assert "<svg" in (tmp_path / "x.svg").read_text()
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert command("export", str(run_folder), "--format", "docx", "--out", "x", cwd=tmp_path).returncode == 2


def test_a_local_llama_runs_through_the_command(llama_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(SHORT)
    done = command("--batch", "r.toml", "--set", f"model.name={llama_dir}", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kinds"][0]["n"] == 3


def test_position_zero_is_allowed_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(SHORT)
    done = command("--batch", "r.toml", "--set", "site.position=0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "odd norm" in done.stderr
