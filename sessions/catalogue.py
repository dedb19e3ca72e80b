"""The sessions directory: app sessions and batch runs, found by path or by name.

A session is `session.json` and `runs/0001/`, `runs/0002/`, ...; a batch run is a run folder by itself.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from engine.durable import is_folder, make_private, replace_file
from engine.errors import DirscopeError, RunFolderError, UsageError, did_you_mean
from engine.printable import printable
from engine.recipe import Recipe
from sessions.paths import new_folder
from sessions.reader import RECIPE_FILE, RECORD_FILE, Run, is_run, read_run, recorded_status
from sessions.records import read_record
from sessions.schema import SCHEMA_VERSION
from sessions.store import RunWriter

SESSION_FILE: Final = "session.json"
RUNS: Final = "runs"


TITLE_FILE: Final = "title.json"
"""What a session or run is called by its user."""
LONGEST_TITLE: Final = 120
"""Characters."""


@dataclass(frozen=True)
class Entry:
    """One line of `sessions list`."""

    name: str
    folder: Path
    is_session: bool
    runs: int
    changed: datetime
    prompt: str
    status: str
    title: str = ""
    """What it was called by its user; empty where nobody did."""
    model: str = ""
    experiment: str = ""
    """Of its last run."""


class Session:
    """An app session, created on disk with its first run."""

    def __init__(self, parent: Path, title: str, folder: Path | None = None) -> None:
        self._parent = parent
        self._title = title
        self._folder = folder

    @classmethod
    def new(cls, parent: Path, title: str) -> Session:
        """A session that will live below `parent`; nothing is written yet."""
        return cls(parent, title)

    @classmethod
    def existing(cls, folder: Path) -> Session:
        """A session from disk; new runs join it."""
        return cls(folder.parent, folder.name, folder)

    @classmethod
    def growing_from(cls, folder: Path, sessions: Path) -> Session:
        """Where new runs go after opening a folder: the session itself, or a new one beside a batch run."""
        return cls.existing(folder) if run_folders(folder) != [folder] else cls.new(sessions, folder.name)

    @property
    def folder(self) -> Path:
        """Where it lives, made when first asked for."""
        if self._folder is None:
            self._folder = new_folder(self._parent, self._title)
        return self._folder

    def tidy(self) -> None:
        """Leave nothing behind where no run was kept."""
        if self._folder is not None and _without_runs(self._folder):
            (self._folder / SESSION_FILE).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                (self._folder / RUNS).rmdir()
                self._folder.rmdir()

    def remember(self, key: str, value: Any) -> None:
        """Keep something beside the runs, in `session.json`; nothing while there is no run yet or the disk is full."""
        file = None if self._folder is None else self._folder / SESSION_FILE
        with contextlib.suppress(OSError):
            if file is not None and (head := read_record(file)):
                replace_file(file, json.dumps({**head, key: value}, indent=2, ensure_ascii=False) + "\n")

    def recalled(self, key: str) -> Any:
        """What was kept; None where nothing was."""
        return None if self._folder is None else read_record(self._folder / SESSION_FILE).get(key)

    @property
    def on_disk(self) -> Path | None:
        """Where it lives, if it lives anywhere yet."""
        return self._folder

    def new_run(self, recipe: Recipe) -> RunWriter:
        """Open the folder of the next run.

        Raises:
            UsageError: The directory cannot be written.
        """
        make_private(self.folder / RUNS)
        try:
            return self._new_run(recipe)
        except OSError as error:
            raise UsageError(f"Cannot write to {self.folder} ({error.strerror}): free some space.") from None

    def _new_run(self, recipe: Recipe) -> RunWriter:
        if not (self.folder / SESSION_FILE).exists():
            head: dict[str, Any] = {
                "schema_version": SCHEMA_VERSION,
                "title": self._title,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            replace_file(self.folder / SESSION_FILE, json.dumps(head, indent=2) + "\n")
        numbers = [int(p.name) for p in (self.folder / RUNS).glob("[0-9]*") if p.name.isdigit()]
        for number in itertools.count(max(numbers, default=0) + 1):
            run = self.folder / RUNS / f"{number:04d}"
            with contextlib.suppress(FileExistsError):
                run.mkdir(mode=0o700)  # claims the number, even beside another app on this session
                return RunWriter.create(run, recipe)
        raise AssertionError("count has no end")


def _without_runs(folder: Path) -> bool:
    return not any((folder / RUNS).glob("*"))


def run_folders(folder: Path) -> list[Path]:
    """The run folders of a session, or the folder itself when it is a run.

    Raises:
        RunFolderError: It is neither, or a session without runs.
    """
    if (folder / SESSION_FILE).exists() or (folder / RUNS).is_dir():
        runs = sorted(p for p in (folder / RUNS).glob("[0-9]*") if is_run(p))
        if not runs:
            raise RunFolderError(f"The session {folder} holds no runs.")
        return runs
    if is_run(folder):
        return [folder]
    raise RunFolderError(f"{folder} is neither a run folder nor a session: it has no {RECIPE_FILE} or {SESSION_FILE}.")


def find(name: str, sessions: Path) -> Path:
    """A run folder or session by path, or by its name in the sessions directory.

    Raises:
        UsageError: There is none.
    """
    with contextlib.suppress(RuntimeError, ValueError):  # a home that nobody has
        path = Path(name).expanduser()
        if is_folder(path):
            return path
        if is_folder(sessions / name):
            return sessions / name
    known = [p.name for p in sessions.iterdir() if p.is_dir()] if sessions.is_dir() else []
    hint = did_you_mean(name, known) if known else f"; {sessions} holds none yet."
    raise UsageError(f"There is no run or session '{name}'{hint}")


def one_run(folder: Path) -> Path:
    """The run folder itself, or the only run of a session.

    Raises:
        UsageError: The session holds several.
        RunFolderError: It is neither, or holds none.
    """
    runs = run_folders(folder)
    if len(runs) > 1:
        raise UsageError(f"{folder} is a session of {len(runs)} runs: name one, such as {runs[-1]}.")
    return runs[0]


def entries(sessions: Path) -> list[Entry]:
    """What the sessions directory holds, newest first; damaged ones are listed as such."""
    found = [_entry(folder) for folder in (sessions.iterdir() if sessions.is_dir() else [])]
    return sorted((e for e in found if e is not None), key=lambda e: e.changed, reverse=True)


def _entry(folder: Path) -> Entry | None:
    """One line of the list; None for what is neither a session nor a run, or has gone meanwhile."""
    is_session = (folder / SESSION_FILE).exists() or (folder / RUNS).is_dir()
    if folder.name.startswith(".") or not (is_session or is_run(folder)):
        return None
    try:
        changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
    except OSError:
        return None
    try:
        folders = run_folders(folder)
    except DirscopeError:
        folders = []
    record = read_record(folders[-1] / RECORD_FILE) if folders else {}
    site, model = record.get("site"), record.get("model")
    return Entry(
        folder.name,
        folder,
        is_session,
        len(folders),
        changed,
        prompt=printable(str(site.get("prompt", ""))) if isinstance(site, dict) else "",
        status=printable(recorded_status(folders[-1], record)) if folders else "damaged",
        title=title_of(folder),
        model=printable(str(model.get("name", ""))) if isinstance(model, dict) else "",
        experiment=printable(str(record.get("experiment", ""))),
    )


def title_of(folder: Path) -> str:
    """What its user calls it; empty where nobody named it."""
    return printable(str(read_record(folder / TITLE_FILE).get("title", "")))[:LONGEST_TITLE]


def whole_of(folder: Path) -> Path:
    """The session that a run belongs to, or the run itself."""
    return folder.parent.parent if folder.parent.name == RUNS else folder


def show(folder: Path) -> list[str]:
    """A few lines about a run or session."""
    from sessions.blind import EXPERIMENT, told
    from sessions.digest import digest_lines, table_lines

    lines = [str(folder)]
    for path in run_folders(folder):
        run = read_run(path)
        site, unit = run.info["site"], run.info["path"]["unit"]
        if not site["write"]:  # the model never loaded
            site = {"position": run.recipe.site.position, "read": []}
        lines.append("")
        status = recorded_status(path, run.record) if run.status == "running" else run.status
        lines.append(f"{path.name}: {status}, {_size(run)}, {run.recipe.experiment}, {run.recipe.model.name}")
        lines.append(f"prompt    {run.recipe.site.prompt!r}, position {site['position']}")
        lines.append(f"hooks     {run.recipe.site.write} -> {', '.join(['logits', *site['read']])}")
        if run.mended:
            lines.append(f"mended    {', '.join(run.mended)}: lost or damaged, and read from the events")
        if run.curves:
            lines.extend(digest_lines(run.summaries, unit))
        if run.recipe.experiment == EXPERIMENT:
            lines.extend(told(run))
            continue
        for name, rows in run.shown_tables.items():
            lines.extend(table_lines(name, rows))
    return [printable(line) for line in lines]


def _size(run: Run) -> str:
    rows = sum(len(table) for table in run.shown_tables.values())
    return f"{rows} rows" if rows else f"{len(run.curves)} curves"
