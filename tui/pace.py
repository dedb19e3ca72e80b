"""Drawing at most so often, and at once when nothing was drawn lately: what a key brings about is seen without delay.

Knows clocks and timers; not what is drawn.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.timer import Timer
from textual.widget import Widget


class Pace:
    """Calls `draw` after `want`, with at least `seconds` between two calls.

    Args:
        owner: whose timers and message queue are used.
        seconds: between two drawings.
        draw: what to call.
    """

    def __init__(self, owner: Widget, seconds: float, draw: Callable[[], object]) -> None:
        self._owner = owner
        self._seconds = seconds
        self._draw = draw
        self._drawn = float("-inf")
        self._timer: Timer | None = None
        self._called = False

    def want(self, patient: bool = False) -> None:
        """Something changed: draw it as soon as the pace allows.

        Args:
            patient: whether it can wait for what will follow it soon, and must not make that wait for the pace.
        """
        if not self._owner.is_mounted or (self._timer is not None and patient):
            return
        wait = self._seconds if patient else self._drawn + self._seconds - time.monotonic()
        self._stop()
        if wait > 0:
            self._timer = self._owner.set_timer(wait, self.now)
        elif not self._called:
            # After what is being handled, so that several changes are drawn together.
            self._called = True
            self._owner.call_next(self.now)

    def now(self) -> None:
        """Draw at once, as the answer to a key does."""
        self._stop()
        self._called = False
        self._drawn = time.monotonic()
        self._draw()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
