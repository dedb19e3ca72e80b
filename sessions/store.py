"""Writing a run folder as the run happens: append-only events, everything else derived or replaced atomically.

A line is acknowledged once it is flushed; the file is synced to disk every second. Knows one run folder; computes
nothing.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from engine.durable import PART, Appended, make_private, replace_file
from engine.errors import RunFolderError, UsageError
from engine.recipe import Recipe
from engine.results import Draft, Event, Progress, RunEnded, RunStarted, Sketches
from sessions.reader import ARRAYS_FILE, EVENTS_FILE, RECIPE_FILE, RECORD_FILE, TABLES, Run, is_written, read_run
from sessions.schema import SCHEMA_VERSION, plain, to_line

SYNC_SECONDS: Final = 1.0
PARQUET_END: Final = b"PAR1"
LOCK_TRIES: Final = 5
LOCK_SECONDS: Final = 0.02
"""Between tries: whoever only looks whether a run is being written holds its lock for less."""
FILES: Final = frozenset(
    {RECIPE_FILE, RECORD_FILE, EVENTS_FILE, ARRAYS_FILE} | {f"{table}.parquet" for table in TABLES}
)
"""All that a run without tables of its own has in its folder."""
SAME_WHEN_RESUMED: Final = (("model", "weights_sha256"), ("population", "hash"), ("sae", "sha256"))


def _open_alone(path: Path) -> Appended:
    """Open for appending, as the only writer.

    Raises:
        UsageError: Another process is writing this run.
    """
    file = Appended(path)
    for attempt in range(LOCK_TRIES):
        if _locked(file):
            return file
        if attempt < LOCK_TRIES - 1:
            time.sleep(LOCK_SECONDS)
    file.close()
    raise UsageError(f"Another dirscope is writing {path.parent}: wait for it, or choose another --out.")


def _locked(file: Appended) -> bool:
    """Whether a file could be locked; the lock goes with the process."""
    if sys.platform != "win32":  # which has no advisory locks of this kind
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _has_only_ours(folder: Path) -> bool:
    """Whether a directory holds nothing but files of a run without tables of its own, whole or half written."""
    return folder.is_dir() and all(f.name in FILES or f.name.endswith(PART) for f in folder.iterdir())


def never_began(folder: Path) -> bool:
    """Whether a run's process died before a line of it was whole, or before there was anything at all."""
    try:
        if not folder.exists():
            return True
        events = folder / EVENTS_FILE
        return (
            _has_only_ours(folder) and not is_written(folder) and not (events.exists() and b"\n" in events.read_bytes())
        )
    except OSError:
        return False


def _cleared(folder: Path) -> bool:
    """Remove a run that failed before it computed anything, as on a mistyped name; nothing else is touched."""
    try:
        if not _has_only_ours(folder):
            return False
        run = read_run(folder)
        if run.record["status"] != "failed" or run.bases or run.curves or run.rows:
            return False
        _empty(folder)
    except (RunFolderError, OSError):
        return False
    return True


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        if file.name in FILES or file.name.endswith(PART):
            file.unlink()


def is_whole(run: Run) -> bool:
    """Whether a finished run has its record and every table, none of them cut short."""
    from safetensors import SafetensorError, safe_open

    names = [f"{table}.parquet" for table in TABLES[:3]] + [f"tables/{table}.parquet" for table in run.tables]
    try:
        with safe_open(run.folder / ARRAYS_FILE, framework="np"):
            pass
        whole = all((run.folder / name).read_bytes()[-4:] == PARQUET_END for name in names)
    except (OSError, SafetensorError):
        return False
    return whole and run.record["status"] == run.status and not run.mended


class RunWriter:
    """Open run folder. Create one with `create` or `resume`."""

    def __init__(self, folder: Path, recipe: Recipe, record: dict[str, Any], before: Run | None = None) -> None:
        self.folder = folder
        self._recipe = recipe
        self._record = record
        self._before = before
        self._offset = before.events[-1][0] if before is not None and before.events else 0.0
        self._started = time.monotonic()
        self._file = _open_alone(folder / EVENTS_FILE)
        self._unsynced = self._closed = False
        self._syncing = threading.Condition()
        threading.Thread(target=self._keep_synced, name="dirscope-sync", daemon=True).start()

    @classmethod
    def create(cls, folder: Path, recipe: Recipe, again: bool = False) -> RunWriter:
        """Start a run in a directory that is empty or not there yet, or holds a run that failed before it had a result.

        Args:
            again: whether what is left of one that never began may make room too.

        Raises:
            UsageError: The directory holds something, or cannot be written.
        """
        try:
            occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        except OSError as error:
            raise UsageError(f"Cannot look into {folder} ({error.strerror}): choose another place.") from None
        if occupied and again and never_began(folder):
            _empty(folder)
        elif occupied and not _cleared(folder):
            if not folder.is_dir():
                raise UsageError(f"{folder} is a file: --out is a directory for the run, so choose another.")
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
            writer = cls(folder, recipe, record)
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
            writer = cls(folder, run.recipe, {**run.record, "status": "running", "why": "", "ended": None}, run)
            try:
                # Read again now that nobody else can write.
                writer._before = run = read_run(folder)
                writer._file.cut(run.good_bytes)
                for left in folder.glob(f"*{PART}"):
                    left.unlink()
                if RECIPE_FILE in run.mended:
                    replace_file(folder / RECIPE_FILE, run.recipe.toml())
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
            # The events are to be enough, should the recipe's own file be lost.
            event = RunStarted({**event.info, "recipe": self._recipe.toml()})
        now = time.monotonic()
        self._file.add((to_line(event, self._offset + now - self._started) + "\n").encode("utf-8"))
        self._unsynced = True
        if isinstance(event, RunEnded):
            self._file.sync()

    def _keep_synced(self) -> None:
        """Have what was written on the disk within a second, also where nothing follows it."""
        with self._syncing:
            while not self._syncing.wait_for(lambda: self._closed, SYNC_SECONDS):
                if self._unsynced:
                    self._unsynced = False
                    with contextlib.suppress(OSError):  # the next write says what is wrong
                        self._file.sync()

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
        with self._syncing:
            self._closed = True
            self._syncing.notify_all()
            self._file.close()

    def discard(self) -> None:
        """Remove the folder: a cancelled preview leaves none."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _save_record(self) -> None:
        replace_file(self.folder / RECORD_FILE, json.dumps(self._record, indent=2, ensure_ascii=False) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
