"""Runs of tables: verified, and found out where rows are missing that a whole run has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.client import Worker
from engine.errors import RunFolderError
from engine.worker import WorkerOptions
from sessions.store import RunWriter
from sessions.verify import verify
from tests.conftest import command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("layers")
    done = command(
        "--batch", "layers", "--out", "out", "--set", "population.n=150", "--set", "path.steps=15",
        "--set", "bases.0.count=4", "--set", 'options.hooks=["blocks.1.hook_resid_pre", "blocks.4.hook_resid_pre"]',
        "--set", "expect=[]", cwd=place, env={"DIRSCOPE_HOME": str(place / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mean win_rate" in done.stdout
    return place / "out"


def test_a_run_of_tables_verifies_and_one_that_lacks_rows_does_not(folder: Path, tmp_path: Path) -> None:
    worker = Worker(WorkerOptions())
    worker.start()
    try:
        assert all(d.ok and d.largest == 0 for d in verify(folder, worker).deviations)
        short = tmp_path / "short"
        shutil.copytree(folder, short)
        events = (short / "events.jsonl").read_text().splitlines()
        rows = [i for i, line in enumerate(events) if json.loads(line)["type"] == "row"]
        del events[rows[-2] : rows[-1] + 1]
        (short / "events.jsonl").write_text("\n".join(events) + "\n")
        RunWriter.repair(short)
        with pytest.raises(RunFolderError, match="2 rows that were computed again are not in its tables"):
            verify(short, worker)
    finally:
        worker.stop()


def test_a_finished_run_gives_its_events_again_and_several_tables_are_no_csv(folder: Path, tmp_path: Path) -> None:
    env = {"DIRSCOPE_HOME": str(tmp_path / "home")}
    again = command(
        "--batch", str(folder), "--out", str(folder), "--resume", "--format", "jsonl", cwd=tmp_path, env=env
    )
    assert again.returncode == 0
    assert [json.loads(line)["type"] for line in again.stdout.splitlines()].count("row") == 8
    refused = command("--batch", "natural-variation", "--out", "x", "--format", "csv", cwd=tmp_path, env=env)
    assert refused.returncode == 2
    assert "natural-variation gives plateau, cloud, truncated" in refused.stderr
    assert not (tmp_path / "x").exists()


def test_a_table_that_may_come_does_not_keep_the_one_that_comes_from_being_csv(tmp_path: Path) -> None:
    done = command(
        "--batch", "decompose", "--out", "out", "--format", "csv", "--set", "population.n=100", "--set", "expect=[]",
        "--set", "bases.0.count=2", "--set", "options.k=3", cwd=tmp_path, env={"DIRSCOPE_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 + 2 * 3
