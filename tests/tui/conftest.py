"""One worker process for all apps of a test process: loading torch and the model again for each takes most of the time.

It is the real worker, handed on: ids of another app's requests are others, so nothing of one is taken for another's. A
test that is about starts and deaths has one of its own: `@pytest.mark.own_worker`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.client import Worker
from engine.protocol import CancelRequest, Reply
from engine.worker import WorkerOptions

APART = 1_000_000
"""More requests than an app makes."""


class Shared:
    """The process, and how many apps had it."""

    worker: Worker | None = None
    lent = 0


class LentWorker:
    """What an app takes for its worker."""

    def __init__(self, options: WorkerOptions) -> None:
        if Shared.worker is None or Shared.worker._process is None or not Shared.worker._process.is_alive():
            Shared.worker = Worker(options)
        self._worker = Shared.worker
        Shared.lent += 1
        self._first = Shared.lent * APART
        self._sent: list[int] = []

    @property
    def started(self) -> bool:
        return self._worker.started

    @property
    def _process(self) -> Any:
        return self._worker._process

    def start(self) -> None:
        if not self._worker.started:
            self._worker.start()

    def send(self, request: Any) -> None:
        if isinstance(request, CancelRequest):
            self._worker.send(CancelRequest(request.id + self._first))
        else:
            self._sent.append(request.id + self._first)
            self._worker.send(replace(request, id=request.id + self._first))

    def recv(self, timeout: float | None = None) -> Reply | None:
        reply = self._worker.recv(timeout)
        if reply is None or not self._first <= reply.id < self._first + APART:
            return None  # of the app before
        return replace(reply, id=reply.id - self._first)

    def stop(self, timeout: float = 1.0) -> None:
        process = self._process
        if process is None or not process.is_alive():
            self._worker.stop(timeout)
            return
        for sent in self._sent:
            self._worker.send(CancelRequest(sent))


@pytest.fixture(autouse=True)
def lent_worker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apps of a test have the shared worker."""
    if request.node.get_closest_marker("own_worker") is None:
        monkeypatch.setattr("tui.bridge.any_worker", LentWorker)


@pytest.fixture(scope="session", autouse=True)
def returned_worker():
    """The process ends with the tests."""
    yield
    if Shared.worker is not None:
        Shared.worker.stop()
