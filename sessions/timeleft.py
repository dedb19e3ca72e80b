"""How long something will go on, from how far it came in which time.

Knows counts and clocks; not what is counted.
"""

from __future__ import annotations

from typing import Final

LEAST_SECONDS: Final = 3.0
"""Before that a guess would jump."""


class TimeLeft:
    """Guesses from the mean pace since counting began, or began anew with another total."""

    def __init__(self) -> None:
        self._since: tuple[float, int, int] | None = None

    def after(self, done: int, total: int, now: float) -> str:
        """What is left, such as `2 min left`; nothing while it cannot be told.

        Args:
            done: so far.
            total: in all.
            now: seconds of any clock that goes on.
        """
        if self._since is None or self._since[2] != total or done < self._since[1]:
            self._since = now, done, total
        began, first, _ = self._since
        if now - began < LEAST_SECONDS or done <= first or done >= total:
            return ""
        seconds = (now - began) / (done - first) * (total - done)
        if seconds < 90:
            return f"{max(1, round(seconds))} s left"
        return f"{round(seconds / 60)} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"
