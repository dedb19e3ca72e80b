"""Who measures how much: for progress by node, and for how busy a member is.

Knows members, names of nodes and seconds; no clock but the one it is given.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from engine.results import Progress

WINDOW_SECONDS: Final = 20.0
"""Over which rates are taken."""
NODES_SHOWN: Final = 3


class Tally:
    """Of one run.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._began: float | None = None
        self._busy: Counter[Any] = Counter()
        self._places: dict[Any, str] = {}
        self._steps: deque[tuple[float, str, int]] = deque()
        self._done = self._total = 0
        self.bytes = 0
        """Of results, as they came over the network."""

    def joined(self, member: Any, node: str) -> None:
        """A member is ready."""
        self._places[member] = node
        if self._began is None:
            self._began = self.clock()

    def forgot(self, member: Any) -> None:
        """A member is gone, or starts anew."""
        self._places.pop(member, None)
        self._busy.pop(member, None)

    def expect(self, done: int, total: int) -> None:
        """How many curves there are already, and in all."""
        self._done, self._total = done, total

    def has(self, member: Any) -> int:
        """Tasks a member has."""
        return self._busy[member]

    def took(self, member: Any) -> None:
        """A member got a task."""
        self._busy[member] += 1

    def gave(self, member: Any, steps: int, size: int) -> None:
        """A member gave a result of so many bytes."""
        self._busy[member] -= 1
        self.bytes += size
        self._steps.append((self.clock(), self._places.get(member, ""), steps))

    def counted(self) -> None:
        """A curve counts."""
        self._done += 1

    def rates(self) -> dict[str, float]:
        """Steps a second by node."""
        now = self.clock()
        while self._steps and self._steps[0][0] < now - WINDOW_SECONDS:
            self._steps.popleft()
        seconds = max(1.0, min(WINDOW_SECONDS, now - (self._began or now)))
        found = dict.fromkeys(sorted(set(self._places.values())), 0.0)
        for _, node, steps in self._steps:
            found[node] = found.get(node, 0.0) + steps / seconds
        return found

    def nodes(self) -> str:
        """Nodes with their actors, and what they do a second, in a few words."""
        actors, rates = Counter(self._places.values()), self.rates()
        if not actors:
            return "waiting for an actor"
        if len(actors) > NODES_SHOWN:
            slowest = min(rates, key=lambda node: rates[node])
            return f"{len(self._places)} actors on {len(actors)} nodes, slowest {slowest} {rates[slowest]:,.0f} steps/s"
        parts = []
        for node, n in sorted(actors.items()):
            rate = f", {rates[node]:,.0f} steps/s" if rates.get(node) else ""
            parts.append(f"{node}: {n} actor{'s' if n > 1 else ''}{rate}")
        return "; ".join(parts)

    def progress(self) -> Progress:
        """How far the run is."""
        return Progress(f"measuring ({self.nodes()})", self._done, self._total, sum(self.rates().values()) or None)
