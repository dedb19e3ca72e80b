"""Runs on a Ray cluster of two nodes on this machine: the same numbers as here, whatever dies on the way."""

from __future__ import annotations

import os
import signal
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
from engine.results import BaseResult, CurveResult, Event, Note, Progress, RunEnded
from engine.worker import WorkerOptions
from sessions.batch import BatchOptions, run_batch
from sessions.paths import places
from sessions.reader import read_run
from sessions.runner import held_of, run_to_end
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


def test_what_a_dead_driver_left_is_gone_on_with(here: Path, worker: ClusterWorker, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, CURVES)
    writer = RunWriter.create(tmp_path / "run", recipe)

    def die(event: Event) -> None:
        writer.write(event)
        if isinstance(event, CurveResult) and event.summary.curve % 32 == 9:
            raise KeyboardInterrupt  # in the middle of a shard

    with pytest.raises(KeyboardInterrupt):
        run_to_end(worker, RunRequest(7, recipe), die)
    writer.close()
    before = read_run(tmp_path / "run")
    assert 0 < len(before.curves) < 280
    writer = RunWriter.resume(tmp_path / "run")
    numbers: list[int] = []

    def take(event: Event) -> None:
        writer.write(event)
        numbers.extend([event.summary.curve] if isinstance(event, CurveResult) else [])

    writer.finish(run_to_end(worker, RunRequest(8, recipe, held_of(before)), take))
    assert sorted([*numbers, *(c.summary.curve for c in before.curves)]) == list(range(280))
    same(tmp_path / "run", here)


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
