"""Batch runs in trouble: a worker that hangs or dies, a full disk, a signal, another process; nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.errors import OutOfMemoryError, RunFailedError
from scripts.hardship.kills import worker_of
from sessions.batch import BatchOptions, run_batch
from sessions.paths import places
from sessions.reader import read_run
from sessions.store import is_whole
from tests import faults
from tests.conftest import command, whole_run
from tests.sessions.test_batch import SHORT

MANY = SHORT.replace("count = 3", "count = 40").replace("steps = 5", "steps = 60")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    return whole_run(tmp_path_factory.mktemp("whole"), MANY)


@pytest.fixture(autouse=True)
def recipe(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(MANY)


def same(folder: Path, whole: Path) -> bool:
    """Whether a run ended in the same numbers, bit for bit."""
    return all(
        pq.read_table(folder / name).equals(pq.read_table(whole / name))
        for name in ("curves.parquet", "summary.parquet", "bases.parquet", "tokens.parquet")
    )


def test_whatever_happens_to_the_worker_is_one_sentence_and_resuming_ends_the_same(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fault, recipe = tmp_path / "fault", str(tmp_path / "r.toml")
    monkeypatch.setenv(faults.VARIABLE, str(fault))
    monkeypatch.setattr("engine.client.serve", faults.serve)
    kept: dict[str, int] = {}
    for what, passes, says in (
        ("hang", 0, "said nothing for"),  # in the passes that check the model
        ("exit", 18, "exit code 3"),
    ):
        out = tmp_path / what
        fault.write_text(f"{what} {passes}")
        with pytest.raises(RunFailedError, match=says) as raised:
            run_batch(BatchOptions(recipe, out, patience=2), places())
        assert len(str(raised.value).splitlines()) == 1
        stopped = read_run(out)
        assert (stopped.status, stopped.record["status"], is_whole(stopped)) == ("failed", "failed", True)
        assert says in stopped.record["why"]
        kept[what] = len(stopped.curves)
    assert 0 < kept["exit"] < 40
    assert run_batch(BatchOptions(recipe, tmp_path / "exit", resume=True), places()) == 0
    assert same(tmp_path / "exit", whole)
    capsys.readouterr()


def started(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    """A batch run of many curves that has written some of them."""
    (tmp_path / "long.toml").write_text(MANY.replace("count = 40", "count = 4000"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tui", "--batch", "long.toml", "--out", "out", *words],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    events, end = tmp_path / "out" / "events.jsonl", time.monotonic() + 60
    while not (events.exists() and events.stat().st_size > 100_000):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)
    return process


def test_a_lost_terminal_leaves_a_run_that_is_stopped_and_whole(tmp_path: Path) -> None:
    process = started(tmp_path)
    os.killpg(process.pid, signal.SIGHUP)  # as a terminal that goes does: to the worker too
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    run = read_run(tmp_path / "out")
    assert (run.status, is_whole(run), "Traceback" in said) == ("stopped", True, False)
    assert 0 < len(run.curves) < 4000


def test_a_scheduler_that_ends_everything_at_once_is_an_interruption(tmp_path: Path) -> None:
    process = started(tmp_path)
    os.killpg(process.pid, signal.SIGTERM)  # which ends the worker before its parent can
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "Interrupted" in said) == (130, True), said
    assert read_run(tmp_path / "out").status == "stopped"


def test_two_processes_on_one_run_do_not_mix(tmp_path: Path) -> None:
    process = started(tmp_path)
    other = command("--batch", "out", "--out", "out", "--resume", cwd=tmp_path)
    assert (other.returncode, "Another dirscope is writing" in other.stderr) == (2, True), other.stderr
    listed = command("sessions", "show", str(tmp_path / "out"), cwd=tmp_path)
    assert "running" in listed.stdout, listed.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    numbers = [c.summary.curve for c in read_run(tmp_path / "out").curves]
    lines = (tmp_path / "out" / "events.jsonl").read_text().splitlines()
    assert len(numbers) == sum(json.loads(line)["type"] == "curve" for line in lines)


def test_a_disk_that_fills_up_keeps_what_was_written_and_resuming_ends_the_same(whole: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: writing fails in the same way, with another number."""
    size = (whole / "events.jsonl").stat().st_size

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))

    done = subprocess.run(
        [sys.executable, "-m", "tui", "--batch", "r.toml", "--out", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "free some space" in done.stderr
    kept = read_run(tmp_path / "out").curves
    assert 0 < len(kept) < 40
    resumed = command("--batch", "out", "--out", "out", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert same(tmp_path / "out", whole)


def test_the_system_killing_the_worker_is_out_of_memory(tmp_path: Path) -> None:
    process = started(tmp_path)
    worker = worker_of(process.pid)
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "killed, most likely for memory" in said) == (OutOfMemoryError.exit_code, True), said
    assert is_whole(read_run(tmp_path / "out"))
