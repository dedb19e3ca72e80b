"""A cluster in place of the worker process: takes the same requests, gives the same replies.

Nothing is done but while somebody listens: where replies are not fetched, no new work is handed out. Knows courses and
the crew; imports neither torch nor, before `start`, Ray.
"""

from __future__ import annotations

import os
import time
from collections import deque
from importlib.metadata import version
from typing import Any, Final

from engine.cluster.course import Course
from engine.cluster.crew import Crew, Member
from engine.cluster.messages import Setup, Sign
from engine.cluster.tally import Tally
from engine.errors import LoadError, UsageError
from engine.protocol import Alive, Answer, AskRequest, CancelRequest, Reply, Request, RunRequest
from engine.recipe import ClusterSection, Recipe
from engine.results import Note, Progress, RunEnded
from engine.worker import WorkerOptions

SAY_SECONDS: Final = 1.0
SIGN_SECONDS: Final = 2.0
RECRUIT_SECONDS: Final = 10.0
"""How often it is looked whether the cluster has grown."""
OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Variables that whoever starts a run means for all of it."""
STILLBORN: Final = 3
"""Actors that may die before one has had its model."""


class ClusterWorker:
    """Actors of a Ray cluster, spoken to like one worker.

    Args:
        address: `auto`, `local` or HOST:PORT.
        options: of every actor.
    """

    def __init__(self, address: str, options: WorkerOptions) -> None:
        self._address, self._options = address, options
        self._crew: Crew | None = None
        self._section = ClusterSection()
        self._replies: deque[Reply] = deque()
        self._course: Course | None = None
        self._run = 0
        """Of the request that is computed."""
        self._numbers = 0
        self._questions: dict[int, AskRequest] = {}
        self._asking: dict[Member, AskRequest] = {}
        self._signs: dict[Member, float] = {}
        """Who was asked for a sign of life, and when."""
        self._opened = False
        """Whether an actor ever had its model."""
        self._all = False
        """Whether as many actors as fit were asked for."""
        self._deaths = 0
        self._told: dict[str, float] = {}

    @property
    def patience(self) -> float:
        """Seconds of silence after which an actor is taken for hung."""
        return self._options.patience

    @property
    def started(self) -> bool:
        """Whether there is a connection."""
        return self._crew is not None

    @property
    def members(self) -> list[Member]:
        """The actors there are."""
        return [] if self._crew is None else list(self._crew.members)

    @property
    def tally(self) -> Tally | None:
        """Who measured how much of the last run."""
        return None if self._course is None else self._course.tally

    def start(self) -> None:
        """Connect to the cluster; actors are made with the first request.

        Raises:
            LoadError: Ray is not installed, or there is no such cluster.
        """
        crew = Crew(self._address, self._setup(0), self._lost)
        crew.connect()
        self._crew = crew

    def _setup(self, gpus: float) -> Setup:
        variables = {name: value for name in OFFLINE if (value := os.environ.get(name)) is not None}
        if not gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ""  # others have them
        return Setup(self._options.cache, self._section.threads, version("dirscope"), variables)

    def send(self, request: Request) -> None:
        """Send a request.

        Raises:
            UsageError: No node of the cluster is large enough for an actor.
        """
        match request:
            case RunRequest():
                self._begin(request)
            case AskRequest():
                self._questions[request.id] = request
            case CancelRequest(id) if id == self._run and self._course is not None and not self._course.ended:
                self._halt()
                self._say(RunEnded("stopped", "cancelled"))

    def _begin(self, request: RunRequest) -> None:
        if self._course is not None and not self._course.ended:
            self._halt()
            self._say(RunEnded("stopped", "superseded by a newer request"))
        assert self._crew is not None, "start() comes first"
        self._numbers += 1000  # a run that begins anew counts on
        self._run = request.id
        self._course = Course(request, self._numbers, self._crew.call, self._say, Tally())
        self._all = self._course.wants_all
        before = self.members
        self._recruit(request.recipe, self._course.wants_all, anew=True)
        for member in self._crew.members:
            if member in before:
                self._course.join(member)

    def _halt(self) -> None:
        assert self._course is not None
        assert self._crew is not None
        self._course.leave()
        for member in self._crew.members:
            self._crew.call(member, lambda *_: None, "stop", self._course.number)

    def _say(self, body: Any) -> None:
        self._replies.append(Reply(self._run, body))

    def _recruit(self, recipe: Recipe, all_of_them: bool, anew: bool = False) -> None:
        """Have as many actors as fit, or one; only between runs are there ever fewer than before."""
        assert self._crew is not None
        section = recipe.cluster or ClusterSection()
        alike = (section.gpus, section.cpus) == (self._section.gpus, self._section.cpus)
        for member in [] if alike else self.members:
            self._crew.dismiss(member, "")
        self._section = section
        gpus, fit = self._crew.room(section, recipe.model.device not in ("cpu", "mps"))
        self._crew.setup = self._setup(gpus)
        if not fit and not self._opened:
            raise UsageError(
                f"No node of the cluster has {gpus:g} GPUs and {section.cpus:g} CPUs for an actor: ask for less with "
                "cluster.gpus and cluster.cpus, or see 'ray status'."
            )
        for member in self.members[fit:] if anew else []:
            self._crew.dismiss(member, "")
        while len(self._crew.members) < (fit if all_of_them else min(fit, 1)):
            member = self._crew.recruit(section, gpus)
            if self._course is not None and not self._course.ended:
                self._course.join(member)

    def _lost(self, member: Member, why: str) -> None:
        self._signs.pop(member, None)
        unanswered = self._asking.pop(member, None)
        if unanswered is not None:
            self._questions[unanswered.id] = unanswered
        if not why or self._course is None or self._course.ended:
            return
        if not self._opened:
            self._deaths += 1
            if self._deaths >= STILLBORN:
                raise LoadError(f"{STILLBORN} actors died before one had its model: {why}")
        where = f"The actor on {member.node}" if member.node else "An actor"
        self._say(Note(f"{where} was lost ({why}); what it had is done again.", "warning"))
        self._course.lost(member)
        self._course.tally.forgot(member)
        self._told.pop("recruit", None)

    def recv(self, timeout: float | None = None) -> Reply | None:
        """The next reply, or None after `timeout` seconds without one.

        Raises:
            RunFailedError: Actors die of what they are to compute.
            LoadError: They die before they have their model.
        """
        if not self._replies:
            assert self._crew is not None, "start() comes first"
            began = time.monotonic()
            self._look()
            if not self._replies:
                self._crew.step(0.1 if timeout is None else timeout)
            left = 0.0 if timeout is None else timeout - (time.monotonic() - began)
            if not self._replies and not self._crew.busy and left > 0:
                time.sleep(left)
        return self._replies.popleft() if self._replies else None

    def _every(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        due = now - self._told.get(what, -seconds) >= seconds
        if due:
            self._told[what] = now
        return due

    def _look(self) -> None:
        """What is to be done now and then."""
        assert self._crew is not None
        course = self._course
        if course is not None and not course.ended:
            self._opened = self._opened or any(member.node for member in self._crew.members)
            if self._every("alive", SAY_SECONDS):
                self._say(Alive())
                if self._opened and course.counts:
                    self._say(course.tally.progress())
                course.look()
            if course.wants_all and not self._all:
                self._all = True
                self._told.pop("recruit", None)
            if self._every("recruit", RECRUIT_SECONDS):
                self._recruit(course.request.recipe, course.wants_all)
            if self._every("sign", SIGN_SECONDS):
                self._ask_for_signs()
        self._ask()

    def _ask_for_signs(self) -> None:
        assert self._crew is not None
        now = time.monotonic()
        for member in self.members:
            if member not in self._signs:
                self._signs[member] = now
                self._crew.call(member, self._signed, "sign")
            elif member.node and now - self._signs[member] > self.patience:  # one without a place yet is not late
                self._crew.dismiss(member, f"did not answer for {now - self._signs[member]:.0f} seconds")
        if not self._opened and self._every("waiting", 5 * SIGN_SECONDS):
            self._say(Progress(f"loading on {len(self._crew.members)} actors"))

    def _signed(self, member: Member, sign: Sign) -> None:
        self._signs.pop(member, None)
        if sign.silent > self.patience:
            assert self._crew is not None
            self._crew.dismiss(member, f"said nothing for {sign.silent:.0f} seconds")
        elif sign.text and not self._opened:
            self._say(Progress(sign.text))

    def _ask(self) -> None:
        """Put questions to an actor that has none."""
        assert self._crew is not None
        for number, request in list(self._questions.items()):
            if not self._crew.members:
                self._recruit(request.recipe, all_of_them=False)
            free = [member for member in self._crew.members if member not in self._asking]
            if not free:
                return
            self._asking[free[0]] = self._questions.pop(number)

            def answered(member: Member, answer: Answer) -> None:
                self._replies.append(Reply(self._asking.pop(member).id, answer))

            self._crew.call(free[0], answered, "ask", request.recipe, request.question)

    def stop(self, timeout: float = 1.0) -> None:
        """End the actors and the connection."""
        if self._crew is not None:
            self._crew.leave()
            self._crew = None
