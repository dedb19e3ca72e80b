"""Runs on a Ray cluster of two nodes on this machine: the same numbers as here, whatever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine.cluster.client import ClusterWorker
from engine.errors import LoadError, UsageError
from engine.protocol import Answer, AskRequest, CancelRequest, RunRequest
from engine.questions.features import ActiveFeatures
from engine.recipe import Recipe, read_recipe
from engine.results import BaseResult, CurveResult, Event, Note, Progress, RowResult, RunEnded
from engine.worker import WorkerOptions
from sessions.batch import BatchOptions, run_batch
from sessions.paths import places
from sessions.reader import read_run
from sessions.runner import run_to_end
from sessions.store import RunWriter
from tests.conftest import command, whole_run

CURVES = """
seed = 3
[site]
prompt = "Once upon a time, there was a little girl who"
[population]
n = 60
[path]
steps = 20
[[bases]]
kind = "prompt"
[[bases]]
kind = "real-other"
count = 3
[[directions]]
kind = "real-other"
count = 40
[[directions]]
kind = "random"
count = 30
[cluster]
actors = 2
"""
RANKING = """
experiment = "rank-features"
[site]
prompt = "Once upon a time, there was a little girl who"
[population]
n = 60
[path]
steps = 20
[options]
which = "active"
nulls = 80
[cluster]
actors = 2
"""
TABLES = ("curves.parquet", "summary.parquet", "bases.parquet", "tokens.parquet")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two nodes of a processor each, in processes of their own."""
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  (or actors starve beside other tests)
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    yield str(cluster.address)
    cluster.shutdown()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of curves, computed by one worker process."""
    return whole_run(tmp_path_factory.mktemp("here"), CURVES)


@pytest.fixture(scope="module")
def worker(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterWorker]:
    """Two actors, or who came in their place, for all tests that speak to them."""
    worker = ClusterWorker(address, WorkerOptions(cache=tmp_path_factory.mktemp("cache")))
    worker.start()
    yield worker
    worker.stop()


def recipe_of(tmp_path: Path, text: str) -> Recipe:
    (tmp_path / "r.toml").write_text(text)
    return read_recipe(tmp_path / "r.toml")


def same(folder: Path, other: Path) -> None:
    for name in TABLES:
        assert pq.read_table(folder / name).equals(pq.read_table(other / name)), name


def test_a_killed_actor_costs_nothing_and_changes_no_number(here: Path, worker: ClusterWorker, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, CURVES)
    writer = RunWriter.create(tmp_path / "run", recipe)
    seen: list[Event] = []

    def take(event: Event) -> None:
        writer.write(event)
        seen.append(event)
        pids = [member.pid for member in worker.members if member.pid]
        if isinstance(event, CurveResult) and len(pids) > 1 and not victims:
            victims.append(pids[-1])  # while it has shards
            os.kill(pids[-1], signal.SIGKILL)

    victims: list[int] = []
    end = run_to_end(worker, RunRequest(1, recipe), take)
    writer.finish(end)
    assert victims
    assert any(isinstance(e, Note) and "was lost" in e.text for e in seen)
    curves = [e.summary.curve for e in seen if isinstance(e, CurveResult)]
    assert sorted(curves) == list(range(280))  # each once
    assert sorted(e.base for e in seen if isinstance(e, BaseResult)) == [0, 1, 2, 3]
    told = [e for e in seen if isinstance(e, Progress) and "actor" in e.text and e.total]
    assert told[-1].total == 280
    same(tmp_path / "run", here)


def test_a_ranking_is_led_by_one_actor_and_measured_by_all(worker: ClusterWorker, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, RANKING)
    alone = whole_run(tmp_path, RANKING)
    rows: list[RowResult] = []
    killed: list[int] = []

    def take(event: Event) -> None:
        if isinstance(event, RowResult):
            rows.append(event)
            if len(rows) == 40:  # the one that leads
                killed.append(worker.members[0].pid)
                os.kill(killed[0], signal.SIGKILL)

    run_to_end(worker, RunRequest(1, recipe), take)
    assert killed
    stored = read_run(alone).tables
    for table in stored:
        assert [row.values for row in rows if row.table == table] == list(stored[table]), table


def test_questions_cancelling_and_a_newer_run(worker: ClusterWorker, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, CURVES.replace("count = 30", "count = 4000"))
    small = recipe_of(tmp_path, CURVES.replace("count = 40", "count = 1").replace("count = 3\n", "count = 1\n"))
    found: dict[int, list[Any]] = {}

    def until(number: int, kind: type) -> Any:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            reply = worker.recv(0.1)
            if reply is not None:
                found.setdefault(reply.id, []).append(reply.body)
                if reply.id == number and isinstance(reply.body, kind):
                    return reply.body
        raise AssertionError(f"no {kind.__name__} of {number}: {[type(b).__name__ for b in found.get(number, [])]}")

    worker.send(RunRequest(1, recipe))
    until(1, CurveResult)
    worker.send(RunRequest(2, recipe))
    assert until(1, RunEnded).status == "stopped"
    until(2, CurveResult)
    worker.send(CancelRequest(2))
    assert until(2, RunEnded).status == "stopped"
    worker.send(RunRequest(4, small))
    assert until(4, RunEnded).status == "done"
    assert len([body for body in found[4] if isinstance(body, CurveResult)]) == 2 * 31
    worker.send(AskRequest(3, small, ActiveFeatures()))
    assert until(3, Answer).problem == ""


def test_a_driver_that_dies_is_resumed_on_the_cluster(address: str, here: Path, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(CURVES)
    words = ["--batch", "r.toml", "--out", "out", "--cluster", address, "--set", "cluster.actors=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tui", *words], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    events, end = tmp_path / "out" / "events.jsonl", time.monotonic() + 120
    while not (events.exists() and events.read_text().count('"curve"')):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = read_run(tmp_path / "out")
    assert 0 < len(before.curves) < 280
    # What the actors get may change: it is no part of what is computed.
    again = command(*words, "--resume", "--set", "cluster.cpus=0.5", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "1 actor" in again.stderr
    same(tmp_path / "out", here)
    numbers = [json.loads(line)["curve"] for line in events.read_text().splitlines() if '"type": "curve"' in line]
    assert sorted(numbers) == list(range(280))


def test_no_cluster_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(CURVES)
    with pytest.raises(LoadError, match="Nobody listens at"):
        run_batch(BatchOptions(str(tmp_path / "r.toml"), tmp_path / "out", cluster="127.0.0.1:9"), places())
    found = command("--batch", "r.toml", "--out", "other", "--cluster", "a::b", cwd=tmp_path)
    assert found.returncode == LoadError.exit_code
    assert "no Ray cluster at 'a::b'" in found.stderr


def test_more_than_any_node_has_is_refused(address: str, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(CURVES + "cpus = 64\n")
    with pytest.raises(UsageError, match="No node of the cluster"):
        run_batch(BatchOptions(str(tmp_path / "r.toml"), tmp_path / "out", cluster=address), places())
