"""A cluster spoken to like a worker, with a crew whose actors are written here: who is asked, ended and replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.cluster import client as module
from engine.cluster.client import STILLBORN, ClusterWorker
from engine.cluster.crew import Member
from engine.cluster.messages import Opened, Sign
from engine.errors import LoadError, UsageError
from engine.protocol import Alive, Answer, AskRequest, CancelRequest, RunRequest
from engine.questions.features import ActiveFeatures
from engine.recipe import parse_recipe
from engine.results import Note, Progress, RunEnded, RunStarted
from engine.worker import WorkerOptions
from tests.engine.test_course import INFO, LAYOUT, RECIPE


class FakeCrew:
    """As a crew, but that calls come back when a test says so."""

    def __init__(self, address: str, setup: Any, on_loss: Callable[[Member, str], None]) -> None:
        self.setup, self.on_loss = setup, on_loss
        self.members: list[Member] = []
        self.calls: list[tuple[Member, Any, str, tuple[Any, ...]]] = []
        self.fits, self.born = 2, 0

    busy = False

    def connect(self) -> None: ...

    def leave(self) -> None: ...

    def step(self, timeout: float) -> None: ...

    def room(self, section: Any, cuda: bool) -> tuple[float, int]:
        return 0.0, self.fits

    def recruit(self, section: Any, gpus: float) -> Member:
        self.members.append(Member(self.born, None))
        self.born += 1
        return self.members[-1]

    def call(self, member: Member, then: Any, method: str, *arguments: Any) -> None:
        self.calls.append((member, then, method, arguments))

    def dismiss(self, member: Member, why: str) -> None:
        self.members.remove(member)
        self.calls = [call for call in self.calls if call[0] is not member]
        self.on_loss(member, why)

    def answer(self, method: str, value: Any) -> Member:
        call = next(call for call in self.calls if call[2] == method)
        self.calls.remove(call)
        call[1](call[0], value)
        return call[0]


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def worker(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterWorker]:
    monkeypatch.setattr(module, "Crew", FakeCrew)
    worker = ClusterWorker("auto", WorkerOptions(patience=30))
    assert not worker.started
    worker.start()
    assert worker.started
    yield worker
    worker.stop()


def crew_of(worker: ClusterWorker) -> FakeCrew:
    assert isinstance(worker._crew, FakeCrew)
    return worker._crew


def opened(worker: ClusterWorker) -> Member:
    return crew_of(worker).answer("open", Opened(INFO, LAYOUT, 1.0, "node", 7))


def said(worker: ClusterWorker) -> list[Any]:
    found = []
    while (reply := worker.recv(0)) is not None:
        found.append(reply.body)
    return found


def test_a_run_has_as_many_actors_as_fit_and_says_that_it_is_alive(worker: ClusterWorker, clock: Clock) -> None:
    worker.send(RunRequest(1, RECIPE))
    assert len(worker.members) == 2
    assert [type(body) for body in said(worker)] == [Alive, Progress]
    opened(worker)
    assert any(isinstance(body, RunStarted) for body in said(worker))
    crew_of(worker).fits = 5  # nodes came
    clock.now += module.RECRUIT_SECONDS
    said(worker)
    assert len(worker.members) == 5


def test_an_actor_that_does_not_answer_is_replaced(worker: ClusterWorker, clock: Clock) -> None:
    worker.send(RunRequest(1, RECIPE))
    late = opened(worker)
    said(worker)
    clock.now += 29
    said(worker)
    assert late in worker.members
    clock.now += 2
    told = said(worker)
    assert late not in worker.members
    assert any(isinstance(body, Note) and "did not answer for 31 seconds" in body.text for body in told)
    assert len(worker.members) == 2  # the other has no place yet, which is no fault of its own


def test_an_actor_that_hangs_is_replaced(worker: ClusterWorker) -> None:
    worker.send(RunRequest(1, RECIPE))
    hangs = opened(worker)
    said(worker)
    crew_of(worker).answer("sign", Sign("", 31.0))
    assert hangs not in worker.members
    assert any(isinstance(body, Note) and "said nothing for 31 seconds" in body.text for body in said(worker))


def test_actors_that_die_before_they_have_a_model_end_the_run(worker: ClusterWorker) -> None:
    worker.send(RunRequest(1, RECIPE))
    crew = crew_of(worker)
    for _ in range(STILLBORN - 1):
        crew.dismiss(crew.members[0], "no such module")
        said(worker)
    with pytest.raises(LoadError, match="no such module"):
        crew.dismiss(crew.members[0], "no such module")


def test_a_question_of_a_dead_actor_goes_to_another(worker: ClusterWorker) -> None:
    worker.send(AskRequest(5, RECIPE, ActiveFeatures()))
    said(worker)
    first = worker.members[0]
    assert len(worker.members) == 1  # one is enough
    crew_of(worker).dismiss(first, "died")
    said(worker)
    assert worker.members != [first]
    crew_of(worker).answer("ask", Answer(found=1))
    reply = worker.recv(0)
    assert reply is not None
    assert (reply.id, reply.body) == (5, Answer(found=1))


def test_cancelled_and_overtaken_runs_end_and_their_members_are_told(worker: ClusterWorker) -> None:
    worker.send(RunRequest(1, RECIPE))
    opened(worker)
    worker.send(RunRequest(2, RECIPE))
    ends = [
        (reply.id, reply.body.why) for reply in iter(lambda: worker.recv(0), None) if isinstance(reply.body, RunEnded)
    ]
    assert ends == [(1, "superseded by a newer request")]
    worker.send(CancelRequest(2))
    ends = [
        (reply.id, reply.body.why) for reply in iter(lambda: worker.recv(0), None) if isinstance(reply.body, RunEnded)
    ]
    assert ends == [(2, "cancelled")]
    stops = [call[3] for call in crew_of(worker).calls if call[2] == "stop"]
    assert stops == [(1000,)] * 2 + [(2000,)] * 2


def test_actors_are_kept_for_the_next_run_unless_it_asks_for_others(worker: ClusterWorker) -> None:
    worker.send(RunRequest(1, RECIPE))
    before = worker.members
    data = RECIPE.data()
    worker.send(RunRequest(2, parse_recipe({**data, "cluster": {"actors": 7}})))
    assert worker.members == before
    worker.send(RunRequest(3, parse_recipe({**data, "cluster": {"cpus": 2.0}})))
    assert not set(worker.members) & set(before)
    assert crew_of(worker).setup.threads == 2
    assert crew_of(worker).setup.environment["CUDA_VISIBLE_DEVICES"] == ""


def test_where_nothing_fits_the_run_is_refused(worker: ClusterWorker) -> None:
    crew_of(worker).fits = 0
    with pytest.raises(UsageError, match="No node of the cluster"):
        worker.send(RunRequest(1, RECIPE))
