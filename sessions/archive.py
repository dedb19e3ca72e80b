"""A session or run as one file that another machine opens: a zip of known files and a manifest of their hashes.

Nothing is believed of a file that comes from elsewhere: names are matched against those that runs have, so no path
leads out; sizes and hashes are those of the manifest; no entry is a link; nothing in it is ever run or unpickled.
Knows zips and the names of a session's files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from engine.durable import make_private, private
from engine.errors import DirscopeError, RunFolderError, UsageError
from sessions.catalogue import run_folders
from sessions.housekeeping import is_ours
from sessions.reader import read_run

MANIFEST: Final = "manifest.json"
VERSION: Final = 1
SUFFIX: Final = ".dirscope.zip"
_OF_RUN: Final = (
    r"(recipe\.toml|run\.json|events\.jsonl|bookmarks\.json|title\.json|answer\.json|arrays\.safetensors|"
    r"[a-z]+\.parquet|tables/[a-z0-9_-]+\.parquet)"
)
_NAMES: Final = re.compile(rf"(session\.json|(runs/[0-9]{{4,6}}/)?{_OF_RUN})")
MOST_BYTES: Final = 8 * 2**30
MOST_FILES: Final = 100_000
LONGEST_MANIFEST: Final = 32 * 2**20
CHUNK: Final = 1 << 20


def pack(folder: Path, file: Path) -> list[str]:
    """Write a session or run as one file; gives the names of files that stay behind, as no run has them.

    Raises:
        RunFolderError: The folder is neither a session nor a run.
        UsageError: The file exists, or cannot be written.
    """
    runs = run_folders(folder)
    if file.exists():
        raise UsageError(f"{file} exists: choose another name, nothing is written over.")
    inside: list[str] = []
    behind: list[str] = []
    for path in sorted(p for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()):
        name = path.relative_to(folder).as_posix()
        (inside if _NAMES.fullmatch(name) and path.is_file() and not path.is_symlink() else behind).append(name)
    for run in runs:
        read_run(run)  # what cannot be read here cannot be read there
    try:
        handle, made = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    except OSError as error:
        raise UsageError(f"Cannot write {file} ({error.strerror or error}): choose another place.") from None
    part = Path(made)
    try:
        with os.fdopen(handle, "wb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            files = {}
            for name in inside:
                digest = _copy_in(archive, folder / name, name)
                files[name] = {"sha256": digest, "bytes": archive.getinfo(name).file_size}
            manifest = {"version": VERSION, "name": folder.resolve().name, "files": files}
            archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
        os.link(part, file)  # unlike renaming, never over another file
    except FileExistsError:
        raise UsageError(f"{file} exists: choose another name, nothing is written over.") from None
    except OSError as error:
        raise UsageError(f"Cannot write {file} ({error.strerror or error}): choose another place.") from None
    finally:
        part.unlink(missing_ok=True)
    return behind


def _copy_in(archive: zipfile.ZipFile, source: Path, name: str) -> str:
    """Copy a file, which may grow meanwhile, and hash what was copied."""
    seen = hashlib.sha256()
    with source.open("rb") as read, archive.open(name, "w", force_zip64=True) as write:
        while chunk := read.read(CHUNK):
            seen.update(chunk)
            write.write(chunk)
    return seen.hexdigest()


def unpack(file: Path, sessions: Path) -> Path:
    """Open a shared file into the sessions directory; gives the new folder, whose name is not taken yet.

    Raises:
        UsageError: It cannot be read or written.
        RunFolderError: It is no archive of a session, or one that is damaged or does what no session does.
    """
    make_private(sessions)
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = _manifest(archive, file)
            room = Path(tempfile.mkdtemp(prefix=".incoming-", dir=sessions))
            try:
                for name, said in manifest["files"].items():
                    _copy_out(archive, name, said, room, file)
                _check(room, file)
                return _claim(room, sessions, manifest["name"])
            finally:
                shutil.rmtree(room, ignore_errors=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, OverflowError) as error:
        raise RunFolderError(f"{file} is no archive of a session, or a damaged one ({error}).") from None
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or packed in an unknown way
        raise RunFolderError(
            f"{file} cannot be opened: {error}. Share it again with dirscope sessions share."
        ) from None
    except OSError as error:
        raise UsageError(f"Cannot open {file} ({error.strerror or error}).") from None


def _check(room: Path, file: Path) -> None:
    """Refuse what would be no session that can be read and, one day, thrown away."""
    try:
        for run in run_folders(room):
            read_run(run)
    except DirscopeError as error:
        said = str(error).replace(f"{room}{os.sep}", "").replace(str(room), "the session")
        raise RunFolderError(f"{file} is refused: {said}") from None
    if not is_ours(room):
        raise RunFolderError(f"{file} is refused: nothing in it says that it is a session.")


def _manifest(archive: zipfile.ZipFile, file: Path) -> dict[str, Any]:
    """What the archive says it holds, once it is what a session may hold."""
    infos = archive.infolist()
    names = [info.filename for info in infos]
    for problem in _problems(infos, names):
        raise RunFolderError(f"{file} is refused: {problem}.")
    if MANIFEST not in names:
        raise RunFolderError(f"{file} is no archive of a session: it has no {MANIFEST}.")
    try:
        manifest = json.loads(archive.read(MANIFEST))
        files = {str(n): (str(f["sha256"]), int(f["bytes"])) for n, f in manifest["files"].items()}
        version, title = int(manifest["version"]), str(manifest["name"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise RunFolderError(f"{file} is refused: its {MANIFEST} cannot be read.") from None
    if version > VERSION:
        raise RunFolderError(
            f"{file} was written by a later dirscope (version {str(version)[:12]}): update to open it."
        )
    if set(files) != set(names) - {MANIFEST}:
        raise RunFolderError(f"{file} is refused: it holds other files than its {MANIFEST} says.")
    wrong = next(
        (info.filename for info in infos if info.filename in files and info.file_size != files[info.filename][1]), ""
    )
    if wrong:
        raise RunFolderError(f"{file} is refused: {wrong} is not as long as its {MANIFEST} says.")
    return {"name": title, "files": files}


def _problems(infos: list[zipfile.ZipInfo], names: list[str]) -> Iterator[str]:
    if len(names) != len(set(names)):
        yield "two of its files have one name"
    if len(names) > MOST_FILES:
        yield f"it holds {len(names)} files, more than {MOST_FILES}"
    for info in infos:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            yield f"{info.filename[:80]!r} is packed in a way that sharing does not use"
        if info.filename != MANIFEST and not _NAMES.fullmatch(info.filename):
            yield f"no session has a file {info.filename[:80]!r}"
        if stat.S_ISLNK(info.external_attr >> 16):
            yield f"{info.filename[:80]!r} is a link"
        if info.filename == MANIFEST and info.file_size > LONGEST_MANIFEST:
            yield f"its {MANIFEST} is {info.file_size} bytes long"
    if sum(info.file_size for info in infos) > MOST_BYTES:
        yield f"it would unpack to more than {MOST_BYTES // 2**30} GiB"


def _copy_out(archive: zipfile.ZipFile, name: str, said: tuple[str, int], room: Path, file: Path) -> None:
    target = room / name
    make_private(target.parent)
    seen, length = hashlib.sha256(), 0
    with archive.open(name) as read, os.fdopen(private(target, os.O_WRONLY | os.O_EXCL), "wb") as write:
        while chunk := read.read(CHUNK):
            length += len(chunk)
            if length > said[1]:
                raise RunFolderError(f"{file} is refused: {name} is longer than it says.")
            seen.update(chunk)
            write.write(chunk)
    if seen.hexdigest() != said[0]:
        raise RunFolderError(f"{file} is damaged: {name} is not what was packed; have it sent again.")


def _claim(room: Path, sessions: Path, title: str) -> Path:
    """Give what was unpacked a name of its own."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-.")[:80] or "shared"
    names = (stem if n == 1 else f"{stem}-{n}" for n in range(1, MOST_FILES))
    target = next(sessions / name for name in names if not (sessions / name).exists())
    room.chmod(0o700)
    room.rename(target)
    return target
