"""Files that are there whole or not at all, after a crash and after a power cut, and that their owner alone can read.

Knows the file system; nothing of what the files hold.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.errors import UsageError

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
PART: Final = ".tmp"
"""How the names of files end that are still being written; one that is left behind belongs to a process that died."""


@contextlib.contextmanager
def replacing(path: Path, synced: bool = True) -> Iterator[Path]:
    """A file to write, which takes the place of `path` at the end: a reader sees the old one or the new one.

    Args:
        synced: whether it has to outlive a power cut from here on; what can be derived again need not.

    Raises:
        OSError: It cannot be written; `path` is as it was.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    os.close(private(part, os.O_WRONLY | os.O_TRUNC))
    try:
        yield part
        if synced:
            sync(part)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    if synced:
        sync(path.parent)


def replace_file(path: Path, text: str) -> None:
    """Replace a file's text.

    Raises:
        OSError: It cannot be written; the file is as it was.
    """
    with replacing(path) as part:
        # Half of a character, which only a damaged file holds, is written as JSON writes it.
        part.write_bytes(text.encode("utf-8", "backslashreplace"))


def private(path: Path, flags: int) -> int:
    """Open a file that is its owner's alone, made where it is not there; gives a descriptor."""
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), FILE_MODE)


class Appended:
    """A private file of lines, to which whole lines are added or none: nothing is held back to be written later.

    Args:
        path: made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._raw = os.fdopen(private(path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0)

    def add(self, line: bytes) -> None:
        """Add a line with its end.

        Raises:
            OSError: It does not fit; the file is as it was.
        """
        length = os.fstat(self.fileno()).st_size
        left = memoryview(line)
        try:
            while left:
                left = left[self._raw.write(left) or 0 :]
        except OSError:
            with contextlib.suppress(OSError):
                self.cut(length)
            raise

    def cut(self, length: int) -> None:
        """Take away what is behind a length."""
        os.ftruncate(self.fileno(), length)

    def sync(self) -> None:
        """Have everything on the disk."""
        os.fsync(self.fileno())

    def fileno(self) -> int:
        """Its descriptor."""
        return self._raw.fileno()

    def close(self) -> None:
        """Let go of it."""
        self._raw.close()


def is_folder(path: Path) -> bool:
    """Whether there is such a directory; false too for names that none can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def sync(path: Path) -> None:
    """Have a file, or the names in a directory, on the disk before anything else is done."""
    if path.is_dir() and sys.platform == "win32":
        return  # which has no such thing
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(folder: Path) -> None:
    """Create a directory, and those above it, readable by its owner alone.

    Raises:
        UsageError: It cannot be created or written to.
    """
    try:
        for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
            missing.mkdir(exist_ok=True, mode=FOLDER_MODE)
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"Cannot create {folder} ({error.strerror}): choose another place.") from None
    if not os.access(folder, os.W_OK):
        raise UsageError(f"No permission to write to {folder}: choose another place.")
