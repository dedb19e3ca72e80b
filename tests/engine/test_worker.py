"""The worker process: streaming, newest wins, cancelling, and dying well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from engine.client import Worker
from engine.errors import OutOfMemoryError
from engine.experiments import Experiment
from engine.laboratory import Laboratory
from engine.layouts import LayoutRefused
from engine.protocol import Answer, AskRequest, CancelRequest, Failed, Held, Reply, RunRequest
from engine.questions.features import ActiveFeatures, FeatureList
from engine.recipe import parse_recipe
from engine.results import CurveResult, Event, Note, RowResult, RunEnded, RunStarted
from engine.worker import WorkerOptions, _Server
from engine.workshop import Workshop

RECIPE = parse_recipe({"site": {"prompt": "One day a cat"}, "population": {"n": 50}, "path": {"steps": 10}})
LONG = parse_recipe(
    {
        "site": {"prompt": "One day a dog"},
        "population": {"n": 50},
        "directions": [{"kind": "isotropic", "count": 5000}],
    }
)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(WorkerOptions(log=tmp_path_factory.mktemp("log") / "worker.log"))
    worker.start()
    yield worker
    worker.stop()


def replies(worker: Worker, request_id: int, seconds: float = 120) -> Iterator[Reply]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        reply = worker.recv(0.5)
        if reply is not None and reply.id == request_id:
            yield reply
            if isinstance(reply.body, RunEnded | Failed | Answer):
                return
    raise AssertionError("the worker did not finish in time")


def is_done(body: object) -> bool:
    """A run that ended well says how much memory it took."""
    return isinstance(body, RunEnded) and body.status == "done" and (body.peak_bytes or 0) > 10**8


def test_a_run_streams_its_record_then_curves_then_its_end(worker: Worker) -> None:
    worker.send(RunRequest(1, RECIPE))
    bodies = [r.body for r in replies(worker, 1)]
    kinds = [type(b) for b in bodies]
    assert kinds.index(RunStarted) < kinds.index(CurveResult)
    assert sum(k is CurveResult for k in kinds) == 24
    assert is_done(bodies[-1])


def test_a_newer_run_ends_the_one_before(worker: Worker) -> None:
    worker.send(RunRequest(2, LONG))
    for reply in replies(worker, 2):
        if isinstance(reply.body, CurveResult):
            worker.send(RunRequest(3, RECIPE))
            break
    ended = [r.body for r in replies(worker, 2)][-1]
    assert isinstance(ended, RunEnded)
    assert ended.status == "stopped"
    assert is_done([r.body for r in replies(worker, 3)][-1])


def test_a_cancelled_run_stops_between_chunks(worker: Worker) -> None:
    worker.send(RunRequest(4, LONG))
    curves = 0
    for reply in replies(worker, 4):
        curves += isinstance(reply.body, CurveResult)
        if curves == 1:
            worker.send(CancelRequest(4))
    assert 1 <= curves < 2000
    worker.send(RunRequest(5, RECIPE))
    assert is_done([r.body for r in replies(worker, 5)][-1])


def test_errors_come_back_typed_and_the_worker_goes_on(worker: Worker) -> None:
    bad = parse_recipe({"site": {"prompt": "One day", "position": 40}})
    worker.send(RunRequest(6, bad))
    failure = [r.body for r in replies(worker, 6)][-1]
    assert isinstance(failure, Failed)
    assert failure.error == "PromptError"
    worker.send(RunRequest(7, RECIPE))
    assert is_done([r.body for r in replies(worker, 7)][-1])


def test_features_are_listed_with_their_share(worker: Worker) -> None:
    worker.send(AskRequest(8, RECIPE, ActiveFeatures()))
    answer = [r.body for r in replies(worker, 8)][-1]
    assert isinstance(answer, Answer)
    listed = answer.found
    assert isinstance(listed, FeatureList)
    activations = [row.activation for row in listed.rows]
    assert activations == sorted(activations, reverse=True)
    assert sum(row.share_of_l1 for row in listed.rows) == pytest.approx(1, abs=1e-6)


def test_a_hook_without_an_sae_says_so(worker: Worker) -> None:
    elsewhere = parse_recipe({"site": {"prompt": "One day", "write": "blocks.2.hook_resid_pre"}})
    worker.send(AskRequest(9, elsewhere, ActiveFeatures()))
    answer = [r.body for r in replies(worker, 9)][-1]
    assert isinstance(answer, Answer)
    assert answer.found is None
    assert "no bundled SAE" in answer.problem


def read_until_dead(worker: Worker) -> None:
    for _ in range(100):
        worker.recv(0.1)


def test_a_killed_worker_is_reported(tmp_path: Path) -> None:
    worker = Worker(WorkerOptions(log=tmp_path / "log"))
    worker.start()
    worker.send(RunRequest(1, LONG))
    assert worker._process is not None
    os.kill(worker._process.pid or 0, signal.SIGKILL)
    with pytest.raises(OutOfMemoryError, match="killed"):
        read_until_dead(worker)
    worker.stop()


class _Pipe:
    """The worker's end of a pipe on which nobody sends."""

    def __init__(self) -> None:
        self.sent: list[object] = []

    def poll(self) -> bool:
        return False

    def send(self, reply: Reply) -> None:
        self.sent.append(reply.body)


@pytest.fixture
def server() -> Iterator[_Server]:
    """A worker in this process, which keeps torch's settings as they are."""
    threads = torch.get_num_threads()
    server = _Server(_Pipe(), WorkerOptions())
    server._workshop = Workshop()
    yield server
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Arranged:
    """A question that meets a wrong arrangement once."""

    met: list[str] = field(default_factory=list)

    def answer(self, lab: Laboratory) -> object:
        return _met_once(self.met, lab)


def _met_once(met: list[str], lab: Laboratory) -> str:
    met.append(lab.layout.rule)
    if len(met) == 1:
        lab.workshop.layouts.refuse(lab.model, lab.layout.rule)
        raise LayoutRefused(lab.layout.rule, 1.0)
    return lab.layout.rule


def test_a_wrong_arrangement_within_a_table_repeats_none_of_its_rows(
    server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[str] = []

    def run(lab: Laboratory) -> Iterator[Event]:
        for i in range(lab.held.count("numbers"), 4):
            if i == 2:
                _met_once(met, lab)
            yield RowResult("numbers", {"i": i})

    counting = Experiment("probe", "", run, (), (), tables={"numbers": ("i",)})
    monkeypatch.setattr("engine.laboratory.EXPERIMENTS", {"probe": counting})
    server._run(RunRequest(1, RECIPE, Held(rows={"numbers": [{"i": 0}]})))
    sent = server._pipe.sent
    assert [body.values["i"] for body in sent if isinstance(body, RowResult)] == [1, 2, 3]
    assert [body.level for body in sent if isinstance(body, Note)] == ["warning"]
    assert met[0] != met[1]
    assert is_done(sent[-1])


def test_a_question_that_meets_a_wrong_arrangement_is_asked_again(server: _Server) -> None:
    question = _Arranged()
    answer = server._found_out(AskRequest(1, RECIPE, question))
    assert (answer.found, answer.problem) == (question.met[1], "")
    assert question.met[0] != question.met[1]


PARENT = """
import sys
from engine.client import Worker
from engine.protocol import RunRequest
from engine.recipe import parse_recipe
from engine.worker import WorkerOptions
from pathlib import Path
if __name__ == "__main__":
    worker = Worker(WorkerOptions(log=Path(sys.argv[1])))
    worker.start()
    recipe = {"site": {"prompt": "One"}, "population": {"n": 50}, "directions": [{"kind": "isotropic", "count": 9999}]}
    worker.send(RunRequest(1, parse_recipe(recipe)))
    while not (reply := worker.recv(1)) or type(reply.body).__name__ != "CurveResult":
        pass
    print(worker._process.pid, flush=True)
    while True:
        worker.recv(1)
"""


def test_the_worker_dies_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    for _ in range(100):
        if not _running(pid):
            break
        time.sleep(0.1)
    assert not _running(pid)


def _running(pid: int) -> bool:
    """Whether a process runs; one that has ended and only waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
