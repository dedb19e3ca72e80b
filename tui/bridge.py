"""Between the app and the worker: a thread that sends requests, records every event, and posts messages.

Events are written to the session before they are posted, so that nothing is drawn that is not on disk. Runs are
written in this thread; the event loop never waits for that.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from textual.message import Message

from engine.client import AnyWorker, any_worker
from engine.errors import DirscopeError, RunFolderError
from engine.protocol import (
    Alive,
    Answer,
    AskRequest,
    CancelRequest,
    Failed,
    Held,
    Reply,
    RunRequest,
)
from engine.questions import Question
from engine.recipe import Recipe
from engine.results import CurveResult, Draft, Event, Progress, RowResult, RunEnded, Sketches
from engine.silence import WORTH_SAYING, Silence
from engine.worker import WorkerOptions
from sessions.catalogue import Session
from sessions.reader import read_run
from sessions.runner import held_of
from sessions.store import RunWriter
from tui.messages import Answered, EngineDied, RunEvents, RunFailed, RunKept

LISTEN_SECONDS: Final = 0.004
"""How long what the user asks for may wait while the worker is listened to."""
POST_SECONDS: Final = 0.05
"""Events are handed over at most twenty times a second."""
DEATHS_TOO_MANY: Final = 3
DEATHS_WITHIN_SECONDS: Final = 20.0


@dataclass
class _Open:
    """The run being recorded."""

    id: int
    writer: RunWriter
    session: Session
    request: RunRequest
    results: int = 0
    """Curves and rows."""
    begun: bool = False
    """Whether the worker has said anything about it."""


@dataclass(frozen=True)
class _Start:
    id: int
    recipe: Recipe
    session: Session
    stopped: Path | None = None
    """The folder of a stopped run to go on with."""


class Bridge:
    """Owns the worker process and the recording thread.

    Args:
        post: thread-safe; where messages go.
        options: of the worker.
        worker: the first one, where it was started already.
    """

    def __init__(
        self, post: Callable[[Message], object], options: WorkerOptions, worker: AnyWorker | None = None
    ) -> None:
        self._post = post
        self._options = options
        self._orders: queue.SimpleQueue[_Start | AskRequest | CancelRequest | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="dirscope-bridge", daemon=True)
        self._worker = worker or any_worker(options)
        self._open: _Open | None = None
        self._pending: list[Event] = []
        self._posted = 0.0
        self._kept_when_stopped: set[int] = set()
        self._deaths: list[float] = []
        self._started = False
        self._next_id = 0
        self._silence = Silence(options.patience)
        self._told = 0.0
        self._asked: set[int] = set()
        """Questions without an answer yet."""

    def start(self) -> None:
        """Start the thread, which starts the worker."""
        self._thread.start()
        self._started = True

    def run(self, recipe: Recipe, session: Session, keep: bool = False, stopped: Path | None = None) -> int:
        """Compute a recipe into the session, ending whatever runs; gives the run's id.

        Args:
            keep: whether its results are kept when a newer run ends it.
            stopped: the folder of a stopped run of this recipe, which goes on where it was.
        """
        self._next_id += 1
        if keep:
            self._kept_when_stopped.add(self._next_id)
        if self._started and not self._thread.is_alive():
            self._post(RunFailed(self._next_id, "There is no worker any more: leave the app and see dirscope doctor."))
        self._orders.put(_Start(self._next_id, recipe, session, stopped))
        return self._next_id

    def ask(self, recipe: Recipe, question: Question) -> int:
        """Have something found out at the recipe's site; gives the id that its answer will have."""
        self._next_id += 1
        if self._started and not self._thread.is_alive():
            problem = "There is no worker any more: leave the app and see dirscope doctor."
            self._post(Answered(self._next_id, Answer(problem=problem)))
        self._orders.put(AskRequest(self._next_id, recipe, question))
        return self._next_id

    def cancel(self, run_id: int) -> None:
        """Stop a run between two chunks; unlike one that a newer run replaces, its curves are kept."""
        self._kept_when_stopped.add(run_id)
        self._orders.put(CancelRequest(run_id))

    def stop(self) -> None:
        """End the worker and the thread; an unfinished run is closed as stopped if it has results."""
        self._orders.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _loop(self) -> None:
        try:
            if not self._worker.started:
                self._worker.start()
        except (OSError, ValueError, RuntimeError) as error:
            self._post(
                EngineDied(f"The worker process could not be started: {error}. Leave the app and try --batch.", False)
            )
            return
        while True:
            try:
                if not self._take_orders():
                    break
                reply = self._worker.recv(timeout=LISTEN_SECONDS)
                if reply is not None:
                    self._silence.heard(reply.body)
                    self._take(reply)
                elif self._open is not None or self._asked:
                    self._listen_for_life()
            except RunFolderError as error:
                self._give_up_run(str(error))
            except DirscopeError as error:
                if not self._restart(error):
                    return
            except OSError as error:
                self._give_up_run(f"Cannot write ({error.strerror or error}): free some space or open another session.")
            if self._pending and time.monotonic() - self._posted >= POST_SECONDS:
                self._flush()
        with contextlib.suppress(OSError):  # a full disk is no reason not to quit
            self._close("the app was closed")
        self._worker.stop(timeout=0.5)

    def _take_orders(self) -> bool:
        """Send what was asked for; false when the app is closing."""
        while not self._orders.empty():
            order = self._orders.get()
            if order is None:
                return False
            busy = self._open is not None or bool(self._asked)
            if isinstance(order, _Start):
                keep = self._open is not None and self._open.id in self._kept_when_stopped
                kept = self._close("superseded", keep)
                if kept is not None:
                    self._post(kept)
                held = Held()
                try:
                    if order.stopped is None:
                        writer = order.session.new_run(order.recipe)
                    else:
                        held, writer = held_of(read_run(order.stopped)), RunWriter.resume(order.stopped)
                except DirscopeError as error:
                    self._post(RunFailed(order.id, str(error)))
                    continue
                results = len(held.curves) + sum(len(rows) for rows in held.rows.values())
                self._silence.asked(idle=not busy)
                request = RunRequest(order.id, order.recipe, held, live=True)
                self._open = _Open(order.id, writer, order.session, request, results)
                self._worker.send(request)
            else:
                if isinstance(order, AskRequest):
                    if not busy:
                        self._silence.asked(idle=True)
                    self._asked.add(order.id)
                elif self._open is not None and order.id == self._open.id:
                    self._silence.cancelled()
                self._worker.send(order)
        return True

    def _listen_for_life(self) -> None:
        """Say that the worker is silent; raise when it is for too long."""
        self._silence.check()
        now = time.monotonic()
        if self._open is not None and self._silence.seconds > WORTH_SAYING and now - self._told > 1:
            self._told = now
            text = f"no word from the worker for {self._silence.seconds:.0f} s: escape ends it"
            self._post(RunEvents(self._open.id, [Progress(text)]))

    def _take(self, reply: Reply) -> None:
        body = reply.body
        if isinstance(body, Alive):
            return
        if isinstance(body, Answer):
            self._asked.discard(reply.id)
            self._post(Answered(reply.id, body))
            return
        if reply.id == 0 and self._open is not None and isinstance(body, Progress):
            self._post(RunEvents(self._open.id, [body]))  # of the worker itself, before it takes a request
        if self._open is None or reply.id != self._open.id:
            return
        self._open.begun = True
        match body:
            case Failed(_, message):
                self._close(message, status="failed")
                self._post(RunFailed(reply.id, message))
            case RunEnded(status):
                keep = status == "done" or (reply.id in self._kept_when_stopped and self._open.results > 0)
                self._flush()
                if keep:
                    folder = self._open.writer.finish(body).folder
                    self._open = None
                else:
                    self._close("cancelled", keep_results=False)
                self._pending.append(body)
                self._flush(reply.id)
                if keep:
                    self._post(RunKept(reply.id, folder))
            case _:
                self._open.writer.write(body)
                self._open.results += isinstance(body, CurveResult | RowResult)
                self._pending.append(body)
                if isinstance(body, Sketches | Draft):
                    self._flush()  # the first points are what somebody waits for

    def _flush(self, run_id: int | None = None) -> None:
        if run_id is None:
            run_id = self._open.id if self._open else 0
        if self._pending:
            self._post(RunEvents(run_id, self._pending))
        self._pending = []
        self._posted = time.monotonic()

    def _close(
        self, why: str, keep_results: bool = True, status: Literal["stopped", "failed"] = "stopped"
    ) -> RunKept | None:
        """Close the open run: one with results is kept, and told of; an empty or superseded one leaves nothing."""
        self._pending = []
        run, self._open = self._open, None
        if run is None:
            return None
        if keep_results and run.results:
            return RunKept(run.id, run.writer.finish(RunEnded(status, why)).folder)
        run.writer.discard()
        run.session.tidy()
        return None

    def _give_up_run(self, why: str) -> None:
        """The run's folder cannot be written or read back: say so and stay ready for the next run."""
        run, self._open, self._pending = self._open, None, []
        if run is not None:
            run.writer.close()
            with contextlib.suppress(DirscopeError):
                self._worker.send(CancelRequest(run.id))
            self._post(RunFailed(run.id, why))

    def _leave_unanswered(self, why: str) -> None:
        """Whoever waits for answers is told that none come."""
        for asked in sorted(self._asked):
            self._post(Answered(asked, Answer(problem=why)))
        self._asked.clear()

    def _give_up_waiting(self) -> None:
        """No worker comes that could have what waits for one: it is closed with what it had."""
        with contextlib.suppress(OSError):
            self._close("no worker")

    def _restart(self, error: DirscopeError) -> bool:
        """Start another worker in place of a dead one; false when workers die as soon as they are started."""
        self._leave_unanswered(str(error))
        kept, waiting = None, None
        if self._open is not None and not self._open.begun:
            waiting = self._open.request  # nothing that it did: the next worker has it
        else:
            with contextlib.suppress(OSError):
                kept = self._close(str(error))
        self._worker.stop(timeout=0)
        died = time.monotonic()
        self._deaths = [t for t in self._deaths if died - t < DEATHS_WITHIN_SECONDS] + [died]
        if len(self._deaths) >= DEATHS_TOO_MANY:
            self._give_up_waiting()
            self._post(
                EngineDied(f"{error} It died {len(self._deaths)} times: leave the app and see dirscope doctor.", False)
            )
            return False
        self._worker = any_worker(self._options)
        self._silence = Silence(self._options.patience)
        try:
            self._worker.start()
            if waiting is not None:
                self._worker.send(waiting)
        except (OSError, ValueError, DirscopeError) as failure:
            self._give_up_waiting()
            self._post(EngineDied(f"{error} Another could not be started: {failure}.", False))
            return False
        self._post(EngineDied(str(error), True, waiting is not None))
        if kept is not None:
            self._post(kept)
        return True
