"""Writing a run folder as the run happens: append-only events, everything else derived or replaced atomically.

A line is acknowledged once it is flushed; the file is synced to disk every second. Knows one run folder; computes
nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from engine.errors import RunFolderError, UsageError
from engine.recipe import Recipe
from engine.results import Draft, Event, Progress, RunEnded, RunStarted, Sketches
from sessions.paths import make_private
from sessions.reader import EVENTS_FILE, RECIPE_FILE, RECORD_FILE, Run, read_run
from sessions.schema import SCHEMA_VERSION, plain, to_line

SYNC_SECONDS: Final = 1.0
FILES: Final = frozenset(
    {RECIPE_FILE, RECORD_FILE, EVENTS_FILE, "arrays.safetensors"}
    | {f"{table}.parquet" for table in ("curves", "summary", "bases", "tokens")}
)
"""All that a run without tables of its own has in its folder."""
SAME_WHEN_RESUMED: Final = (("model", "weights_sha256"), ("population", "hash"), ("sae", "sha256"))


def replace_file(path: Path, text: str) -> None:
    """Replace a file's text so that a reader sees the old or the new one, never half."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _open_alone(path: Path) -> IO[bytes]:
    """Open for appending, as the only writer.

    Raises:
        UsageError: Another process is writing this run.
    """
    file = path.open("ab")
    if sys.platform != "win32":  # which has no advisory locks of this kind
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise UsageError(
                f"Another dirscope is writing {path.parent}: wait for it, or choose another --out."
            ) from None
    return file


def _cleared(folder: Path) -> bool:
    """Remove a run that failed before it computed anything, as on a mistyped name; nothing else is touched."""
    try:
        if not folder.is_dir() or not {f.name for f in folder.iterdir()} <= FILES:
            return False
        run = read_run(folder)
        if run.record["status"] != "failed" or run.bases or run.curves or run.rows:
            return False
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
    except (RunFolderError, OSError):
        return False
    return True


class RunWriter:
    """Open run folder. Create one with `create` or `resume`."""

    def __init__(self, folder: Path, record: dict[str, Any], before: Run | None = None) -> None:
        self.folder = folder
        self._record = record
        self._before = before
        self._offset = before.events[-1][0] if before is not None and before.events else 0.0
        self._started = self._synced = time.monotonic()
        self._file = _open_alone(folder / EVENTS_FILE)

    @classmethod
    def create(cls, folder: Path, recipe: Recipe) -> RunWriter:
        """Start a run in a directory that is empty or not there yet, or holds a run that failed before it had a result.

        Raises:
            UsageError: The directory holds something, or cannot be written.
        """
        try:
            occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        except OSError as error:
            raise UsageError(f"Cannot look into {folder} ({error.strerror}): choose another place.") from None
        if occupied and not _cleared(folder):
            raise UsageError(f"{folder} is not empty: choose another --out, or go on with that run with --resume.")
        make_private(folder)
        record: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "status": "running",
            "why": "",
            "started": _now(),
            "ended": None,
        }
        try:
            replace_file(folder / RECIPE_FILE, recipe.toml())
            writer = cls(folder, record)
            writer._save_record()
        except OSError as error:
            raise UsageError(f"Cannot write to {folder} ({error.strerror}): choose another place.") from None
        return writer

    @classmethod
    def resume(cls, folder: Path) -> RunWriter:
        """Go on with a run, after cutting off a last line that was never finished.

        Raises:
            RunFolderError: The folder is not a whole run folder.
            UsageError: It cannot be written, or another process is writing it.
        """
        run = read_run(folder)
        try:
            writer = cls(folder, {**run.record, "status": "running", "why": "", "ended": None}, run)
            try:
                # Read again now that nobody else can write.
                writer._before = run = read_run(folder)
                writer._file.truncate(run.good_bytes)
                writer._save_record()
            except BaseException:
                writer.close()
                raise
        except OSError as error:
            raise UsageError(f"Cannot write to {folder} ({error.strerror}): copy the run to another place.") from None
        return writer

    @classmethod
    def repair(cls, folder: Path) -> Run:
        """Make what is derived of a run whose events are whole: the writer may have died before its last lines."""
        writer = cls.resume(folder)
        end = next(e for _, e in reversed(read_run(folder).events) if isinstance(e, RunEnded))
        return writer._conclude(end)

    def write(self, event: Event) -> None:
        """Append an event; progress, sketches and drafts are not kept.

        Raises:
            RunFolderError: A resumed run would mix two models or populations.
        """
        if isinstance(event, Progress | Sketches | Draft):
            return
        if isinstance(event, RunStarted):
            self._refuse_other(event.info)
            self._record = {**self._record, **plain(event.info)}
            self._save_record()
        now = time.monotonic()
        self._file.write((to_line(event, self._offset + now - self._started) + "\n").encode("utf-8"))
        self._file.flush()
        if now - self._synced >= SYNC_SECONDS or isinstance(event, RunEnded):
            os.fsync(self._file.fileno())
            self._synced = now

    def _refuse_other(self, info: Mapping[str, Any]) -> None:
        old = self._before.info if self._before is not None else {}
        for section, key in SAME_WHEN_RESUMED:
            was, now = ((tree.get(section) or {}).get(key) for tree in (old, info))
            if was is not None and was != now:
                raise RunFolderError(
                    f"The {section}'s {key} was {was[:12]}... and is {str(now)[:12]}... now, so this run cannot go on: "
                    "run its recipe into a new folder."
                )

    def finish(self, end: RunEnded) -> Run:
        """Write the last event, the derived tables and the final record; gives the run as it now stands."""
        self.write(end)
        return self._conclude(end)

    def _conclude(self, end: RunEnded) -> Run:
        self.close()
        run = read_run(self.folder)
        from sessions.tables import write_tables  # Arrow takes long to import, and a start needs none of it

        columns = write_tables(run)
        self._record.update(status=end.status, why=end.why, ended=_now(), peak_bytes=end.peak_bytes, tables=columns)
        self._save_record()
        return run

    def close(self) -> None:
        """Let go of the file as it stands; the folder can be resumed."""
        self._file.close()

    def discard(self) -> None:
        """Remove the folder: a cancelled preview leaves none."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _save_record(self) -> None:
        replace_file(self.folder / RECORD_FILE, json.dumps(self._record, indent=2, ensure_ascii=False) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
