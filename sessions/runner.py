"""Sending one recipe to a worker and waiting for its end, and what a stopped run need not compute again.

Knows requests and deadlines; does not know what is done with the events.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from engine.client import AnyWorker
from engine.errors import BY_NAME, DirscopeError, InterruptedByUser, RunFailedError, TimeLimitError
from engine.protocol import Alive, Answer, CancelRequest, Failed, Held, RunRequest
from engine.results import Event, RunEnded
from engine.sealing import TABLE, Seal
from engine.shards import Layout
from engine.silence import Silence
from sessions.reader import Run

GRACE_SECONDS: Final = 3.0
"""How long a worker may take to notice a cancel, which it looks for between chunks, before it is ended."""
POLL_SECONDS: Final = 0.1
INTERRUPTED: Final = "Interrupted; what was computed is kept, --resume goes on with it."


def rebuild(failure: Failed) -> DirscopeError:
    """The worker's error as one of ours, its traceback as a note."""
    error = BY_NAME.get(failure.error, RunFailedError)(failure.message)
    if failure.traceback:
        error.add_note(failure.traceback)
    return error


def run_to_end(
    worker: AnyWorker,
    request: RunRequest,
    on_event: Callable[[Event], None],
    deadline: float | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> RunEnded:
    """Run a request; `on_event` gets every event but the last, which is given back.

    Args:
        deadline: `time.monotonic()` after which the run is stopped.
        interrupted: asked ten times a second; true stops the run.

    Raises:
        TimeLimitError: The deadline passed.
        InterruptedByUser: `interrupted` said so.
        RunFailedError: The worker died, or hangs.
        DirscopeError: What the worker reported.
    """
    silence = Silence(worker.patience)
    worker.send(request)
    silence.asked(idle=True)
    stopping: DirscopeError | None = None
    give_up = float("inf")
    while True:
        if stopping is None:
            if interrupted():
                stopping = InterruptedByUser(INTERRUPTED)
            elif deadline is not None and time.monotonic() >= deadline:
                stopping = TimeLimitError("The time limit passed; what was computed is kept, --resume goes on with it.")
            if stopping is not None:
                worker.send(CancelRequest(request.id))
                give_up = time.monotonic() + GRACE_SECONDS
        elif time.monotonic() >= give_up:
            raise stopping
        try:
            reply = worker.recv(POLL_SECONDS)
        except DirscopeError:
            # A signal to the whole group, as from a scheduler, ends the worker too, maybe first.
            if interrupted():
                raise InterruptedByUser(INTERRUPTED) from None
            raise
        if reply is None:
            silence.check()
            continue
        silence.heard(reply.body)
        if reply.id != request.id:
            continue
        match reply.body:
            case Failed() as failure:
                raise rebuild(failure)
            case RunEnded("done") as end:
                return end
            case RunEnded():
                raise stopping or RunFailedError("The run was stopped from elsewhere.")
            case Answer() | Alive():
                continue
            case event:
                on_event(event)


def seal_of(run: Run) -> Seal | None:
    """The seal of a blind test; None of any other run."""
    return Seal.of(run.tables.get(TABLE, ()))


def held_of(run: Run) -> Held:
    """What a stopped run already holds."""
    return Held(
        curves=frozenset(c.summary.curve for c in run.curves),
        bases=frozenset(b.base for b in run.bases),
        rows=run.tables,
        base_vectors={b.base: b.vector for b in run.bases},
        layout=Layout.recorded(run.record.get("layout") or {}),
    )
