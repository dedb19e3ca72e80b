"""Who does which task next, so that a slow or dead member holds nobody and no result counts twice.

Tasks are handed out one by one as members come free. What a dead member had is done again by others; when there is
nothing new, what somebody has had for long is given to a second member as well, and the first result counts. Knows
tasks and members by their keys; no processes, no clock of its own.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from engine.errors import RunFailedError

T = TypeVar("T")

LOSSES: Final = 3
"""Members that one task may take down: it is the task, then, not the members."""
SLOW: Final = 2.0
"""Times the median of what tasks take, after which one is given to a second member too."""
COPIES: Final = 2


@dataclass
class _Out(Generic[T]):
    """A task that was given out."""

    task: T
    since: dict[Hashable, float] = field(default_factory=dict)
    """By member."""


class Sharing(Generic[T]):
    """Tasks of one run.

    Args:
        tasks: taken from as members come free.
    """

    def __init__(self, tasks: Iterator[T]) -> None:
        self._fresh = enumerate(tasks)
        self._again: deque[tuple[int, T]] = deque()
        self._out: dict[int, _Out[T]] = {}
        self._losses: dict[int, int] = {}
        self._took: deque[float] = deque(maxlen=101)
        self._exhausted = False
        self.done = 0
        """Tasks whose result counted."""
        self.redone = 0
        """Tasks that were given out again since their member was lost."""

    @property
    def over(self) -> bool:
        """Whether every task is done."""
        return self._exhausted and not self._again and not self._out

    def next(self, member: Hashable, now: float) -> tuple[int, T] | None:
        """What a member does next, by number; None when there is nothing for it now."""
        found = self._again.popleft() if self._again else next(self._fresh, None)
        if found is None:
            self._exhausted = True
            found = self._late(member, now)
        if found is not None:
            number, task = found
            self._out.setdefault(number, _Out(task)).since[member] = now
        return found

    def _late(self, member: Hashable, now: float) -> tuple[int, T] | None:
        """What another member has had for longest, where that is too long."""
        if not self._took:
            return None
        patience = SLOW * statistics.median(self._took)
        waiting = [
            (min(out.since.values()), number)
            for number, out in self._out.items()
            if member not in out.since and len(out.since) < COPIES
        ]
        if not waiting:
            return None
        since, number = min(waiting)
        return (number, self._out[number].task) if now - since > patience else None

    def finished(self, number: int, member: Hashable, now: float) -> bool:
        """Take note of a result; whether it is the first for its task, and counts."""
        out = self._out.pop(number, None)
        if out is None:
            return False
        self._took.append(now - out.since.get(member, now))
        self.done += 1
        return True

    def lost(self, member: Hashable) -> None:
        """A member is gone: what only it had is done again.

        Raises:
            RunFailedError: A task took several members down.
        """
        for number, out in list(self._out.items()):
            if out.since.pop(member, None) is None:
                continue
            self._losses[number] = self._losses.get(number, 0) + 1
            if self._losses[number] >= LOSSES:
                raise RunFailedError(
                    f"{LOSSES} actors died while they had the same shard ({number}): it may need more memory than they "
                    "have. See the cluster's logs; what was computed is kept."
                )
            if not out.since:
                del self._out[number]
                self._again.append((number, out.task))
                self.redone += 1
