"""Undo and redo: what was there before each change, and after each one that was taken back.

Knows nothing of what it remembers.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

State = TypeVar("State")
MOST: Final = 500
"""Steps back; older ones are forgotten."""


class History(Generic[State]):
    """Steps of one screen."""

    def __init__(self) -> None:
        self._past: list[State] = []
        self._future: list[State] = []

    def did(self, before: State) -> None:
        """Something was changed; what had been taken back is no longer to be had."""
        self._past = [*self._past[-(MOST - 1) :], before]
        self._future.clear()

    def undo(self, now: State) -> State | None:
        """What was there before the last change; None where nothing was."""
        if not self._past:
            return None
        self._future.append(now)
        return self._past.pop()

    def redo(self, now: State) -> State | None:
        """What was last taken back; None where nothing was."""
        if not self._future:
            return None
        self._past.append(now)
        return self._future.pop()
