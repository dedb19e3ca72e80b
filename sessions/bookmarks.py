"""Places in a run that somebody marked, with what they thought of them: `bookmarks.json` in the run folder.

They lie with the run, so they travel wherever it goes and a session's are those of its runs. Knows run folders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from engine.durable import replace_file
from engine.errors import UsageError
from sessions.records import read_record

BOOKMARKS_FILE: Final = "bookmarks.json"
LONGEST: Final = 10_000
"""Characters of a note."""


@dataclass(frozen=True)
class Bookmark:
    """One place."""

    note: str
    place: str
    """Where, in words: which direction, how far, what was measured there."""
    curve: int | None = None
    """Number of the curve; None marks the run as a whole."""
    step: int = 0
    made: str = ""
    """UTC, ISO 8601."""

    @classmethod
    def now(cls, note: str, place: str, curve: int | None = None, step: int = 0) -> Bookmark:
        """A bookmark of this second."""
        return cls(note[:LONGEST], place, curve, step, datetime.now(UTC).isoformat(timespec="seconds"))


def bookmarks(folder: Path) -> tuple[Bookmark, ...]:
    """Those of a run, in the order in which they were made; a damaged file has none."""
    found = read_record(folder / BOOKMARKS_FILE).get("bookmarks")
    try:
        return tuple(_read(item) for item in found) if isinstance(found, list) else ()
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return ()


def _read(item: Mapping[str, Any]) -> Bookmark:
    curve = item.get("curve")
    return Bookmark(
        str(item["note"])[:LONGEST],
        str(item["place"])[:LONGEST],
        None if curve is None else int(curve),
        int(item.get("step", 0)),
        str(item.get("made", ""))[:40],
    )


def add(folder: Path, bookmark: Bookmark) -> None:
    """Keep one more.

    Raises:
        UsageError: The run's folder cannot be written, or its bookmarks cannot be read.
    """
    _keep(folder, (*_held(folder), bookmark))


def remove(folder: Path, bookmark: Bookmark) -> None:
    """Forget one.

    Raises:
        UsageError: The run's folder cannot be written, or its bookmarks cannot be read.
    """
    _keep(folder, tuple(b for b in _held(folder) if b != bookmark))


def _held(folder: Path) -> tuple[Bookmark, ...]:
    """What is there; a file that cannot be read is not written over."""
    held, file = bookmarks(folder), folder / BOOKMARKS_FILE
    if not held and file.exists() and read_record(file) != {"bookmarks": []}:
        raise UsageError(f"{file} is damaged: mend it or move it away to add bookmarks.")
    return held


def _keep(folder: Path, marks: tuple[Bookmark, ...]) -> None:
    text = json.dumps({"bookmarks": [asdict(b) for b in marks]}, indent=2, ensure_ascii=False) + "\n"
    try:
        replace_file(folder / BOOKMARKS_FILE, text)
    except OSError as error:
        raise UsageError(f"Cannot write to {folder} ({error.strerror or error}): free some space.") from None
