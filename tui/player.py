"""Recorded runs played back: which events are due, at the recorded pace, faster, step by step, from any place.

Knows run folders and the clock; no widgets, no model.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from engine.recipe import Recipe
from engine.results import CurveResult, Event, RowResult, RunStarted
from sessions.reader import Run, read_run

LONGEST_WAIT: Final = 2.0
"""Seconds: nobody wants to watch a model load again."""
TICK: Final = 1e-6
SLOWEST: Final = 1 / 16
FASTEST: Final = 256.0
BAR: Final = 8
"""Cells of the bar that shows how far it is."""


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
        self.speed = speed
        self.paused = False
        self._clock = clock
        self._schedule = self._make_schedule()
        self._times = [at for at, _, _ in self._schedule]
        self.restart()

    def _make_schedule(self) -> list[tuple[float, Run, Event]]:
        """Every event with its time since the start, in recorded seconds."""
        schedule, at = [], 0.0
        for run in self._runs:
            before = 0.0
            for seconds, event in run.events:
                at += min(max(0.0, seconds - before), LONGEST_WAIT)
                before = seconds
                # No two at one time, so that a step is one result.
                at += TICK
                schedule.append((at, run, event))
        return schedule

    def restart(self) -> None:
        """From the beginning."""
        self._next = 0
        self._place = 0.0
        self._told = self._clock()
        self.paused = False

    # Where it is

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
    def total(self) -> float:
        """Recorded seconds, long waits cut."""
        return self._times[-1] if self._times else 0.0

    @property
    def place(self) -> float:
        """Recorded seconds played so far."""
        if self.finished:
            return self.total
        running = 0.0 if self.paused else (self._clock() - self._told) * self.speed
        return min(self.total, self._place + running)

    @property
    def caption(self) -> str:
        """Where the playing is, for the status line."""
        word = "replayed" if self.finished else "paused" if self.paused else "replay"
        sign = "■" if self.finished else "‖" if self.paused else "▶"
        speed = "" if self.speed == 1 else f" x{self.speed:g}"
        return f"{sign} {word} {self.folder.name} {self._bar} {self.place:.1f}/{self.total:.1f} s{speed}"

    @property
    def _bar(self) -> str:
        full = round(BAR * self.place / self.total) if self.total else BAR
        return "━" * full + "┄" * (BAR - full)

    # Playing

    def due(self) -> list[Event]:
        """Events whose time has come since the last call; those of one run at a time."""
        now = self.place
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

    def _settle(self, at: float) -> None:
        self._place, self._told = min(max(at, 0.0), self.total), self._clock()

    def pause(self) -> None:
        """Stop, or go on; at the end, from the beginning."""
        if self.finished:
            self.restart()
            return
        self._settle(self.place)
        self.paused = not self.paused

    def faster(self, factor: float) -> None:
        """Another multiple of the recorded pace from here on."""
        self._settle(self.place)
        self.speed = min(FASTEST, max(SLOWEST, self.speed * factor))

    def step(self, by: int) -> bool:
        """Pause one result further or back; whether what is shown has to be built again, as going back needs."""
        self._settle(self.place)
        self.paused = True
        places = [i for i, (_, _, e) in enumerate(self._schedule) if isinstance(e, CurveResult | RowResult)]
        shown = bisect_right(places, bisect_right(self._times, self.place) - 1)
        wanted = shown + by
        if by > 0:
            until = places[wanted - 1] if wanted <= len(places) else len(self._schedule) - 1
        else:
            until = places[wanted - 1] if wanted > 0 else -1
        return self._go_to(until + 1)

    def seek(self, seconds: float) -> bool:
        """Go to a place; whether what is shown has to be built again, as going back needs."""
        at = min(max(seconds, 0.0), self.total)
        return self._go_to(bisect_right(self._times, at), at)

    def _go_to(self, following: int, at: float | None = None) -> bool:
        back = following < self._next
        if back:
            self._next = 0
        place = at if at is not None else self._times[following - 1] if following > 0 else 0.0
        self._settle(place)
        return back

    def skip(self, by: int) -> bool:
        """Go to the start of the run before or after; whether what is shown has to be built again."""
        starts = [at for at, _, event in self._schedule if isinstance(event, RunStarted)]
        now = max(0, bisect_right(starts, self.place) - 1)
        if by > 0 and now + by >= len(starts):
            return self.seek(self.total)
        return self.seek(starts[max(0, now + by)] if starts else 0.0)
