"""The line of hints of a first start: what to press first; it goes once those keys are known.

Remembers in a small file of the state directory. Knows files; no widgets.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from engine.durable import make_private, replace_file
from engine.errors import DirscopeError

FILE: Final = "hints.json"
LINES: Final = (
    ("left", "first steps 1/4: ← → on the tokens pick where the model is pushed"),
    ("directions", "first steps 2/4: d goes to the directions, space ticks one, + and - change how many"),
    ("plot", "first steps 3/4: c goes to the plot, arrows move the cursor, the next tokens there stand below"),
    ("help", "first steps 4/4: ? has every key, 2 to 5 the other screens, ctrl+p every command, ctrl+q quits"),
)
"""What each line waits for, and the line."""


class Hints:
    """Which hint is shown.

    Args:
        state: the directory that remembers.
        wanted: false shows none.
    """

    def __init__(self, state: Path, wanted: bool) -> None:
        self._file = state / FILE
        self._at = self._recalled() if wanted else len(LINES)

    def _recalled(self) -> int:
        try:
            return min(len(LINES), max(0, int(json.loads(self._file.read_text(encoding="utf-8"))["seen"])))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
            return 0

    @property
    def line(self) -> str:
        """The hint to show; empty when all were followed."""
        return LINES[self._at][1] if self._at < len(LINES) else ""

    def did(self, what: str) -> bool:
        """Something was done; whether that was what the hint was about."""
        if self._at >= len(LINES) or LINES[self._at][0] != what:
            return False
        self._at += 1
        try:
            make_private(self._file.parent)
            replace_file(self._file, json.dumps({"seen": self._at}))
        except (DirscopeError, OSError):
            pass  # it will be shown once more
        return True
