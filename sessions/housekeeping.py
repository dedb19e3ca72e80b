"""What is done to kept sessions: named, thrown away, taken back. Nothing is deleted but what is in the trash.

Knows the names of a session's files.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from pathlib import Path

from engine.durable import is_folder, make_private, replace_file
from engine.errors import RunFolderError, UsageError
from engine.printable import printable
from sessions.catalogue import LONGEST_TITLE, SESSION_FILE, TITLE_FILE
from sessions.reader import RECORD_FILE
from sessions.records import read_record


def size_of(folder: Path) -> int:
    """Bytes on disk of everything below a folder."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # what is being written comes and goes
            total += path.lstat().st_size if path.is_file() else 0
    return total


def rename(folder: Path, title: str) -> None:
    """Give a session or run a title; its folder keeps its name, so that whatever refers to it still finds it.

    Raises:
        UsageError: The title is empty or long, or cannot be written.
    """
    title = " ".join(printable(title).split())
    if not 0 < len(title) <= LONGEST_TITLE:
        raise UsageError(f"A title has 1 to {LONGEST_TITLE} characters; got {len(title)}.")
    try:
        replace_file(folder / TITLE_FILE, json.dumps({"title": title}, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UsageError(f"Cannot rename {folder} ({error.strerror or error}): is it read-only?") from None


def _checked_name(name: str, sessions: Path) -> Path:
    """The folder of a session or batch run in the sessions directory, and nothing else."""
    folder = sessions / name
    if not name or name.startswith(".") or name == "~" or "/" in name or os.sep in name:
        raise UsageError(f"'{name}' is not the name of a session: see dirscope sessions list.")
    if not is_folder(folder):
        raise UsageError(f"There is no session '{name}' in {sessions}: see dirscope sessions list.")
    if not is_ours(folder):
        raise RunFolderError(f"{folder} is neither a run folder nor a session, so it is left alone.")
    return folder


def remove(name: str, sessions: Path, trash: Path) -> Path:
    """Move a session or batch run of the sessions directory to the trash, and nothing else; gives its place there.

    Raises:
        UsageError: The name is a path, or nothing there has it, or it cannot be moved.
        RunFolderError: What has it is neither a run nor a session.
    """
    folder = _checked_name(name, sessions)
    make_private(trash)
    return _moved(folder, trash)


def restore(name: str, sessions: Path, trash: Path) -> Path:
    """Take a session out of the trash again; gives its place.

    Raises:
        UsageError: The trash has no such session, or it cannot be moved.
        RunFolderError: What has the name is neither a run nor a session.
    """
    return _moved(_checked_name(name, trash), sessions)


def _moved(folder: Path, where: Path) -> Path:
    names = itertools.chain([folder.name], (f"{folder.name}-{n}" for n in itertools.count(2)))
    target = next(where / name for name in names if not (where / name).exists())
    try:
        shutil.move(folder, target)
    except OSError as error:
        raise UsageError(f"Cannot move {folder} to {where} ({error.strerror or error}).") from None
    return target


def empty(trash: Path) -> int:
    """Delete what is in the trash for good; gives how many sessions there were."""
    gone = [folder for folder in trash.iterdir() if folder.is_dir() and is_ours(folder)] if trash.is_dir() else []
    for folder in gone:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise UsageError(f"Cannot delete {folder} ({error.strerror or error}).") from None
    return len(gone)


def is_ours(folder: Path) -> bool:
    """Whether a file of ours says so: a name that others use too, like recipe.toml, is not enough."""
    return any("schema_version" in read_record(folder / name) for name in (SESSION_FILE, RECORD_FILE))
