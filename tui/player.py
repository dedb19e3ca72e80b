"""Recorded runs played back: which events are due, at the recorded pace or faster. Needs no model.

Knows run folders and the clock; no widgets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from engine.recipe import Recipe
from engine.results import Event
from sessions.reader import Run, read_run

LONGEST_WAIT: Final = 2.0
"""Seconds: nobody wants to watch a model load again."""


class Player:
    """Plays runs one after the other.

    Args:
        folders: run folders, in order.
        speed: multiple of the recorded pace.
        clock: seconds, monotonic.

    Raises:
        RunFolderError: A folder is no whole run folder.
    """

    def __init__(
        self, folders: Sequence[Path], speed: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._runs = [read_run(f) for f in folders]
        self._speed = speed
        self._clock = clock
        self._schedule = self._make_schedule()
        self.restart()

    def _make_schedule(self) -> list[tuple[float, Run, Event]]:
        schedule, at = [], 0.0
        for run in self._runs:
            before = 0.0
            for seconds, event in run.events:
                at += min(max(0.0, seconds - before), LONGEST_WAIT) / self._speed
                before = seconds
                schedule.append((at, run, event))
        return schedule

    def restart(self) -> None:
        """From the beginning."""
        self._next = 0
        self._started = self._clock()

    @property
    def recipe(self) -> Recipe:
        """Of the run that is playing."""
        return self._current.recipe

    @property
    def folder(self) -> Path:
        """Of the run that is playing."""
        return self._current.folder

    @property
    def _current(self) -> Run:
        return self._schedule[max(0, self._next - 1)][1] if self._schedule else self._runs[0]

    @property
    def finished(self) -> bool:
        """Whether everything was played."""
        return self._next >= len(self._schedule)

    @property
    def caption(self) -> str:
        """Where the playing is, for the status line."""
        total = self._schedule[-1][0] if self._schedule else 0.0
        now = total if self.finished else min(total, self._clock() - self._started)
        word = "replayed" if self.finished else "replay"
        return f"▶ {word} {self.folder.name} {now:.1f}/{total:.1f} s"

    def due(self) -> list[Event]:
        """Events whose time has come since the last call; those of one run at a time."""
        now = self._clock() - self._started
        events: list[Event] = []
        run: Run | None = None
        while self._next < len(self._schedule):
            at, owner, event = self._schedule[self._next]
            if at > now or (run is not None and owner is not run):
                break
            run = owner
            events.append(event)
            self._next += 1
        return events
