"""An experiment of tables in an actor: it runs in a thread here, and others measure along the directions it draws.

Its thread holds the model's lock but where it waits for others, so that this actor measures blocks too. What it comes
to is fetched from outside, and it waits when nobody does. Knows laboratories; no Ray.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from engine.cluster.hand import problem
from engine.cluster.messages import Led, Refused, Wanted, pack
from engine.errors import Stopped
from engine.memory import is_device_lost
from engine.protocol import Failed

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.thresholds import Block, Reached

AHEAD: Final = 64
"""Blocks that are out at once: enough for as many actors, and a bound on memory."""
ROOM: Final = 256
"""Events that wait to be fetched."""
WAIT_SECONDS: Final = 0.2
STOPPED: Final = Failed("RunFailedError", "The run was stopped from elsewhere.")
"""What is never to be taken for the end of a whole run."""


class Problem(Exception):
    """What went wrong with a block elsewhere."""

    def __init__(self, what: Refused | Failed | None) -> None:
        super().__init__(what)
        self.what = what


class Lead:
    """One run of an experiment.

    Args:
        lab: its own.
        lock: of the model.
        rests: called when it waits for others.
    """

    def __init__(self, lab: Laboratory, lock: Any, rests: Callable[[], None]) -> None:
        self._lab, self._lock, self._rests = lab, lock, rests
        self._outbox: queue.Queue[Any] = queue.Queue(ROOM)
        self._arrived = threading.Condition()
        self._found: dict[int, Any] = {}
        self._number = 0
        self._over = False
        self.lost = False
        """Whether the device failed."""
        lab.colleagues = self
        self._thread = threading.Thread(target=self._run, name="dirscope-lead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        led = Led()
        try:
            with self._lock:
                self._lab.checkpoint()
                self._lab.use_threads()
                for event in self._lab.experiment.run(self._lab):
                    self._put(event)
        except Stopped:
            led = Led(STOPPED)
        except Problem as error:
            led = Led(error.what or STOPPED)
        except Exception as error:
            self.lost = is_device_lost(error)
            led = Led(problem(error, self._lab.model.name))
        self._rests()
        self._put(led)

    def _put(self, item: Any) -> None:
        while not self._over:
            try:
                return self._outbox.put(item, timeout=WAIT_SECONDS)
            except queue.Full:
                self._rests()
        if not isinstance(item, Led):
            raise Stopped

    def measured(self, blocks: Iterator[Block]) -> Iterator[list[Reached]]:
        """What others found along each block, in order; up to `AHEAD` of them are out at once."""
        out = [self._want(block) for block in islice(blocks, AHEAD)]
        while out:
            yield self._wait(out.pop(0))
            out += [self._want(block) for block in islice(blocks, 1)]

    def _want(self, block: Block) -> int:
        self._number += 1
        self._put(Wanted(self._number, pack(block)))
        return self._number

    def _wait(self, number: int) -> list[Reached]:
        self._rests()
        self._lock.release()  # this actor measures too
        try:
            with self._arrived:
                while number not in self._found:
                    if self._over:
                        raise Stopped
                    self._arrived.wait(WAIT_SECONDS)
                found = self._found.pop(number)
        finally:
            self._lock.acquire()
        if not isinstance(found, list):
            raise Problem(found)
        return found

    def deliver(self, number: int, found: Any) -> None:
        """What was found along a block, or why nothing was."""
        with self._arrived:
            self._found[number] = found
            self._arrived.notify_all()

    def more(self) -> list[Any]:
        """What came up since the last call; waits a little where nothing has."""
        found = []
        try:
            found.append(self._outbox.get(timeout=WAIT_SECONDS))
            while True:
                found.append(self._outbox.get_nowait())
        except queue.Empty:
            return found

    def stop(self) -> None:
        """End it where it waits; where it computes, the laboratory's checkpoints do."""
        self._over = True
