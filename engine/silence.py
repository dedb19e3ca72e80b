"""Telling a worker that hangs from one that is busy: by how long it has said nothing.

Between two chunks a worker says at least every second that it is alive; a forward that never returns says nothing any
more. Loading is not judged: it takes as long as disks and networks take, and its length is not known. Knows replies
and seconds; ends nothing itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from engine.errors import RunFailedError
from engine.results import Progress

PATIENCE: Final = 300.0
"""Seconds, unless somebody says otherwise: far more than a chunk takes, on a CPU too."""
LONG: Final = ("loading", "hashing", "booting", "reading")
"""How a worker begins to tell of what takes as long as it takes."""
CANCEL_SECONDS: Final = 10.0
"""After a cancel, which is looked for between two chunks."""
NEWER_SECONDS: Final = 60.0
"""After a newer request, which ends a run between two chunks as well."""
WORTH_SAYING: Final = 15.0
"""Silence that a user should know of, seconds."""


class Silence:
    """Watches one worker; only asked about while something is expected of it.

    Args:
        patience: seconds of silence, while something is computed, after which the worker is taken for hung.
        clock: seconds that only grow.
    """

    def __init__(self, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._since = clock()
        self._loading = True  # a process that starts imports torch first
        self._give_up = float("inf")

    def heard(self, body: object) -> None:
        """The worker said something."""
        self._since, self._give_up = self._clock(), float("inf")
        self._loading = isinstance(body, Progress) and body.total == 0 and body.text.startswith(LONG)

    def asked(self, idle: bool) -> None:
        """A request was sent, to a worker that had nothing to do or in place of what it does."""
        if idle:
            self._since = self._clock()
        else:
            self._answer_within(NEWER_SECONDS)

    def cancelled(self) -> None:
        """What runs was cancelled."""
        self._answer_within(CANCEL_SECONDS)

    def _answer_within(self, seconds: float) -> None:
        self._give_up = min(self._give_up, self._clock() + seconds)

    @property
    def seconds(self) -> float:
        """How long it has said nothing; 0 where it loads."""
        return 0.0 if self._loading else self._clock() - self._since

    def check(self) -> None:
        """See whether it still answers.

        Raises:
            RunFailedError: It was silent for too long.
        """
        if self.seconds > self._patience or (self.seconds and self._clock() > self._give_up):
            raise RunFailedError(
                f"The worker said nothing for {self.seconds:.0f} seconds: it hangs, and is ended. What was computed is "
                "kept."
            )
