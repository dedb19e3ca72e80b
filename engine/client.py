"""The terminal process's side of the worker: starts it, sends requests, yields replies.

Torch-free. One worker at a time; when it dies, `recv` says so and `start` makes another.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from multiprocessing import connection, resource_tracker
from typing import Final, Protocol

from engine.errors import DirscopeError, OutOfMemoryError, RunFailedError
from engine.protocol import Reply, Request, Shutdown
from engine.worker import DEVICE_LOST, WorkerOptions, serve

KILL_SECONDS: Final = 0.2


class AnyWorker(Protocol):
    """What takes requests and gives replies."""

    @property
    def patience(self) -> float:
        """Seconds of silence after which it is taken for hung."""

    @property
    def started(self) -> bool:
        """Whether there is something to speak to."""

    def start(self) -> None:
        """Make it ready for requests."""

    def send(self, request: Request) -> None:
        """Send a request."""

    def recv(self, timeout: float | None = None) -> Reply | None:
        """The next reply, or None after `timeout` seconds without one."""

    def stop(self, timeout: float = 1.0) -> None:
        """End it."""


def any_worker(options: WorkerOptions) -> AnyWorker:
    """A process of this machine, or a cluster."""
    if options.cluster is None:
        return Worker(options)
    from engine.cluster.client import ClusterWorker

    return ClusterWorker(options.cluster, options)


def prepare_spawning() -> None:
    """Call before a terminal app takes over stderr: spawning later needs the resource tracker to be up already."""
    resource_tracker.ensure_running()


class Worker:
    """A spawned worker process and its pipe."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: connection.Connection | None = None

    @property
    def patience(self) -> float:
        """Seconds of silence after which it is taken for hung."""
        return self._options.patience

    @property
    def started(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    def start(self) -> None:
        """Spawn the process; it loads no model until the first request."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._options), daemon=True, name="dirscope-worker")
        self._process.start()
        theirs.close()  # or reading from a dead worker would wait for ever
        self._pipe = ours

    def send(self, request: Request) -> None:
        """Send a request.

        Raises:
            RunFailedError: The worker is gone.
        """
        try:
            assert self._pipe is not None, "start() comes first"
            self._pipe.send(request)
        except OSError:
            raise self._death() from None

    def recv(self, timeout: float | None = None) -> Reply | None:
        """The next reply, or None after `timeout` seconds without one.

        Raises:
            OutOfMemoryError: The system killed the worker.
            RunFailedError: The worker died.
        """
        assert self._pipe is not None, "start() comes first"
        try:
            if not self._pipe.poll(timeout):
                return None
            reply: Reply = self._pipe.recv()
            return reply
        except (EOFError, OSError):
            raise self._death() from None

    def _death(self) -> DirscopeError:
        code = None
        if self._process is not None:
            self._process.join(1)
            code = self._process.exitcode
        if code == -signal.SIGKILL:
            return OutOfMemoryError(
                "The worker was killed, most likely for memory: use a smaller model or free some. What was computed "
                "is kept."
            )
        if code == DEVICE_LOST:
            return RunFailedError("The worker's device failed, so another worker is needed. What was computed is kept.")
        return RunFailedError(f"The worker died (exit code {code}). What was computed is kept; see the log.")

    def stop(self, timeout: float = 1.0) -> None:
        """Ask the worker to end, then make it; one that hangs would not even read that, so 0 seconds ask nothing."""
        if self._process is None:
            return
        if timeout > 0:
            with contextlib.suppress(DirscopeError):
                self.send(Shutdown())
            self._process.join(timeout)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(timeout or KILL_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()  # or it would stay as a zombie
        if self._pipe is not None:
            self._pipe.close()
        self._process.close()
        self._process, self._pipe = None, None
