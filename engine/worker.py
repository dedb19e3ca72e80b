"""The worker process: holds the model, takes recipes, streams results, can be cancelled.

`serve` runs in a spawned process and imports torch there; importing this module imports none of it. Between chunks
the worker looks at its pipe: a newer run request or a cancel ends the current run. It dies with its parent.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.durable import make_private, private
from engine.errors import DirscopeError, Stopped
from engine.failing import failed
from engine.holding import Holder, prepare_process
from engine.memory import free_cached, is_device_lost
from engine.neighbours import neighbours
from engine.protocol import (
    Alive,
    Answer,
    AskRequest,
    CancelRequest,
    Held,
    Reply,
    Request,
    RunRequest,
    Shutdown,
)
from engine.recipe import Recipe
from engine.results import BaseResult, CurveResult, Note, Progress, RowResult, RunEnded, RunStarted
from engine.silence import PATIENCE

if TYPE_CHECKING:
    from engine.crosscheck import SelfCheck
    from engine.laboratory import Laboratory

AHEAD_SECONDS: Final = 2.0
"""Populations are read ahead of being asked for where one takes less than this."""
ALIVE_SECONDS: Final = 1.0
LONGEST_LOG: Final = 1_000_000
"""Bytes; there are at most two such files and what one request adds."""
DEVICE_LOST: Final = 70
"""Exit code of a worker whose GPU failed: only another process can use it again."""
OVERTAKEN: Final = "A newer run came first: ask again."


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker is set up."""

    cache: Path | None = None
    log: Path | None = None
    """Where the libraries' own output goes; None leaves it on stderr."""
    patience: float = PATIENCE
    """Seconds without a word while it computes, after which it is taken for hung."""
    cluster: str | None = None
    """Address of a Ray cluster that takes the place of a process of ours; None computes here."""
    eager: bool = False
    """Whether torch and the model code are imported at once, as a request for them is sure to come."""


def serve(pipe: connection.Connection, options: WorkerOptions) -> None:
    """Answer requests until told to stop or the parent is gone."""
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        # ctrl+c and a lost connection reach the whole process group; the parent decides.
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _redirect_output(options.log)
    prepare_process()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        if options.eager:
            _import_engine(pipe)
        _Server(pipe, options).loop()


def _import_engine(pipe: connection.Connection) -> None:
    """Import what every run needs; it takes most of the time of a start."""
    pipe.send(Reply(0, Progress("loading torch")))
    gc.disable()  # thousands of modules, and nothing in them is garbage: a sixth of the time
    from engine import crosscheck, laboratory, models, workshop  # noqa: F401

    gc.freeze()
    gc.enable()


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _redirect_output(log: Path | None) -> None:
    """Keep whatever libraries print away from the terminal and from a batch run's stdout."""
    if log is None:
        os.dup2(2, 1)
        return
    try:
        make_private(log.parent)
        _rotate(log)
        descriptor = private(log, os.O_WRONLY | os.O_APPEND)
    except (OSError, DirscopeError):
        descriptor = os.open(os.devnull, os.O_WRONLY)  # a place without room for a log can still compute
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _rotate(log: Path) -> None:
    """A log that has grown long becomes the old one, in place of the one before."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LONGEST_LOG:
            os.replace(log, log.with_suffix(".old.log"))


class _Server:
    def __init__(self, pipe: connection.Connection, options: WorkerOptions) -> None:
        self._pipe = pipe
        self._options = options
        self._queue: deque[Request] = deque()
        self._cancelled: set[int] = set()
        self._current = 0
        self._holder = Holder(options.cache, self._report)
        self._said = 0.0
        self._lost = False
        """Whether the device has failed."""
        self._ahead: deque[Recipe] = deque()
        """What may be asked for next."""

    def loop(self) -> None:
        while True:
            while self._queue or self._pipe.poll():
                self._read_all()
                if not self._queue:
                    continue
                request = self._queue.popleft()
                if isinstance(request, Shutdown):
                    return
                self._answer(request)
                self._look_after_log()
                if self._lost:
                    sys.exit(DEVICE_LOST)
            if not self._ahead:
                self._queue.append(self._pipe.recv())
                self._note(self._queue[-1])
            else:
                self._prepare(self._ahead.popleft())

    def _look_after_log(self) -> None:
        log = self._options.log
        with contextlib.suppress(OSError):
            if log is not None and log.stat().st_size > LONGEST_LOG:
                _redirect_output(log)

    def _prepare(self, recipe: Recipe) -> None:
        """Read the population of what the user may turn to next, as long as nothing is asked."""
        from engine.site import resolve_site

        model = self._holder.model
        if model is None or not self._holder.holds(recipe.model):
            return

        def pause() -> None:
            if self._pipe.poll():
                raise Stopped

        try:
            self._holder.workshop.population(model, recipe.population, resolve_site(recipe, model), pause)
        except Stopped:
            pass
        except Exception:
            # Nobody asked for it: what cannot be prepared will be said when it is.
            self._ahead.clear()
            free_cached()

    def _read_all(self) -> None:
        while self._pipe.poll():
            request = self._pipe.recv()
            self._queue.append(request)
            self._note(request)

    def _note(self, request: Request) -> None:
        if isinstance(request, CancelRequest):
            self._cancelled.add(request.id)

    def _should_stop(self) -> bool:
        now = time.monotonic()
        if now - self._said >= ALIVE_SECONDS:
            self._said = now
            self._send(Alive())
        self._read_all()
        newer = any(isinstance(r, RunRequest | Shutdown) for r in self._queue)
        return newer or self._current in self._cancelled

    def _answer(self, request: Request) -> None:
        if isinstance(request, CancelRequest | Shutdown):
            return
        self._current = request.id
        if isinstance(request, RunRequest):
            self._ahead.clear()
        # A newer run overtakes questions too: it is what the user watches, and will ask its own.
        newer = any(isinstance(r, RunRequest) or _same(r, request) for r in self._queue)
        superseded = newer or request.id in self._cancelled
        if isinstance(request, AskRequest):
            self._send(Answer(problem=OVERTAKEN) if superseded else self._found_out(request))
            return
        if superseded:
            self._send(RunEnded("stopped", "superseded by a newer request"))
            return
        try:
            self._run(request)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Stopped:
            self._send(RunEnded("stopped", "cancelled", self._holder.peak))
        except Exception as error:
            self._lost = is_device_lost(error)
            self._send(failed(error, request.recipe.model.name))

    def _found_out(self, request: AskRequest) -> Answer:
        def answer() -> Answer:
            lab, _ = self._laboratory(request)
            lab.use_threads()
            return Answer(request.question.answer(lab))

        try:
            from engine.layouts import exactly

            return exactly(answer)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Stopped:
            return Answer(problem=OVERTAKEN)
        except Exception as error:
            self._lost = is_device_lost(error)
            failure = failed(error, request.recipe.model.name)
            if not isinstance(error, DirscopeError):
                print(failure.traceback, file=sys.stderr, flush=True)
            return Answer(problem=failure.message)

    def _send(self, body: Any) -> None:
        self._pipe.send(Reply(self._current, body))

    def _report(self, text: str) -> None:
        self._send(Progress(text))

    def _run(self, request: RunRequest) -> None:
        rest: RunRequest | None = request
        while rest is not None:
            rest = self._attempt(rest)
        model = self._holder.model
        if request.live and model is not None and self._holder.workshop.reading_seconds < AHEAD_SECONDS:
            self._ahead.extend(neighbours(request.recipe, model.n_layers))
        self._send(RunEnded("done", peak_bytes=self._holder.peak))

    def _attempt(self, request: RunRequest) -> RunRequest | None:
        """Run a recipe; gives what is left of it when its layout turned out to be wrong for this model."""
        from engine.layouts import LayoutRefused
        from engine.provenance import describe

        lab, check = self._laboratory(request)
        lab.checkpoint()
        lab.use_threads()
        self._send(RunStarted(describe(lab, check)))
        curves, bases = set(request.held.curves), set(request.held.bases)
        rows = {table: list(held) for table, held in request.held.rows.items()}
        try:
            layout = lab.layout
            for event in lab.experiment.run(lab):
                self._send(event)
                if lab.layout != layout:  # memory ran out: whoever computes this again goes by what was used
                    layout = lab.layout
                    self._send(RunStarted(describe(lab, check)))
                if isinstance(event, CurveResult):
                    curves.add(event.summary.curve)
                elif isinstance(event, BaseResult):
                    bases.add(event.base)
                elif isinstance(event, RowResult):
                    rows.setdefault(event.table, []).append(event.values)
        except LayoutRefused as refused:
            self._send(
                Note(
                    f"Passes of '{lab.model.name}' arranged as a {refused.rule} differ from plain ones by "
                    f"{refused.difference:.2g} in log-probability here: going on by the next exact way.",
                    "warning",
                )
            )
            # What came before was checked and found right.
            held = replace(request.held, curves=frozenset(curves), bases=frozenset(bases), rows=rows)
            return replace(request, held=held)
        return None

    def _laboratory(self, request: RunRequest | AskRequest) -> tuple[Laboratory, SelfCheck]:
        held = request.held if isinstance(request, RunRequest) else Held()
        live = isinstance(request, RunRequest) and request.live
        return self._holder.laboratory(request.recipe, held, self._should_stop, live)


def _same(newer: Request, request: Request) -> bool:
    """Whether two requests ask for the same sort of thing, so that the newer one is enough."""
    if isinstance(newer, AskRequest) and isinstance(request, AskRequest):
        return type(newer.question) is type(request.question)
    return False
