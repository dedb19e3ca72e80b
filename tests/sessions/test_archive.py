"""Sharing a session as one file: whole again elsewhere, and nothing else gets in."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import DirscopeError, RunFolderError, UsageError
from sessions.archive import MANIFEST, pack, unpack
from sessions.bookmarks import Bookmark, add, bookmarks
from sessions.catalogue import title_of
from sessions.housekeeping import rename
from sessions.reader import read_run
from tests.sessions.test_catalogue import session_with_runs


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A session of two runs with a title and a bookmark, packed."""
    folder = session_with_runs(tmp_path / "mine", 2)
    rename(folder, "the girl")
    add(folder / "runs" / "0002", Bookmark.now("jumps here", "random 0: 5 L2", 0, 3))
    assert pack(folder, tmp_path / "it.dirscope.zip") == []
    return tmp_path / "it.dirscope.zip"


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_shared_is_opened_byte_for_byte_under_a_name_of_its_own(tmp_path: Path, shared: Path) -> None:
    original = next((tmp_path / "mine").iterdir())
    first = unpack(shared, tmp_path / "theirs")
    second = unpack(shared, tmp_path / "theirs")
    assert first.name == original.name
    assert second.name == f"{original.name}-2"
    assert files_of(first) == files_of(second) == files_of(original)
    assert title_of(first) == "the girl"
    assert [m.note for m in bookmarks(first / "runs" / "0002")] == ["jumps here"]
    assert len(read_run(first / "runs" / "0001").curves) == 1


def test_what_no_session_has_stays_behind(tmp_path: Path) -> None:
    folder = session_with_runs(tmp_path / "mine", 1)
    (folder / "diary.txt").write_text("private")
    (folder / "runs" / "0001" / "tables").mkdir()
    (folder / "runs" / "0001" / "tables" / "x.parquet").symlink_to("/etc/passwd")
    assert pack(folder, tmp_path / "a.zip") == ["diary.txt", "runs/0001/tables/x.parquet"]
    with pytest.raises(UsageError, match="nothing is written over"):
        pack(folder, tmp_path / "a.zip")
    assert "diary.txt" not in files_of(unpack(tmp_path / "a.zip", tmp_path / "theirs"))


def rewritten(shared: Path, change: Callable[[dict[str, bytes], zipfile.ZipFile], None]) -> Path:
    """The same archive with its files changed: `change` gets them and the new archive."""
    bad = shared.with_name("bad.zip")
    with zipfile.ZipFile(shared) as old:
        files = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as new:
        change(files, new)
        for name, data in files.items():
            new.writestr(name, data)
    return bad


def escape(name: str) -> Callable[[dict[str, bytes], zipfile.ZipFile], None]:
    def change(files: dict[str, bytes], new: zipfile.ZipFile) -> None:
        manifest = json.loads(files[MANIFEST])
        manifest["files"][name] = {"sha256": "0" * 64, "bytes": 4}
        files[MANIFEST] = json.dumps(manifest).encode()
        files[name] = b"evil"

    return change


def link(files: dict[str, bytes], new: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("title.json")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    del files["title.json"]
    new.writestr(info, "/etc/passwd")


def edited(files: dict[str, bytes], new: zipfile.ZipFile) -> None:
    name = "runs/0001/run.json"
    files[name] = files[name].replace(b"done", b"lies")


def bomb(files: dict[str, bytes], new: zipfile.ZipFile) -> None:
    files["runs/0001/curves.parquet"] = bytes(60_000_000)


def deep(files: dict[str, bytes], new: zipfile.ZipFile) -> None:
    files[MANIFEST] = b"[" * 200_000


def later(files: dict[str, bytes], new: zipfile.ZipFile) -> None:
    files[MANIFEST] = files[MANIFEST].replace(b'"version": 1', b'"version": 9')


def titled(files: dict[str, bytes], new: zipfile.ZipFile) -> None:
    manifest = json.loads(files[MANIFEST])
    files[MANIFEST] = json.dumps({**manifest, "name": "../../evil"}).encode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (escape("../evil.json"), "no session has a file"),
        (escape("/tmp/evil.json"), "no session has a file"),
        (escape("runs/0001/../../evil.json"), "no session has a file"),
        (escape("runs\\0001\\run.json"), "no session has a file"),
        (escape("runs/0001/hook.pkl"), "no session has a file"),
        (link, "is a link"),
        (edited, "is not what was packed"),
        (bomb, "not as long"),
        (deep, "cannot be read"),
        (later, "later dirscope"),
    ],
)
def test_hostile_archives_are_refused_and_leave_nothing(
    tmp_path: Path, shared: Path, change: Callable[[dict[str, bytes], zipfile.ZipFile], None], said: str
) -> None:
    before = {p for p in tmp_path.rglob("*") if "theirs" not in p.parts}
    bad = rewritten(shared, change)
    with pytest.raises(RunFolderError, match=said):
        unpack(bad, tmp_path / "theirs")
    assert list((tmp_path / "theirs").iterdir()) == []
    assert {p for p in tmp_path.rglob("*") if "theirs" not in p.parts} == before | {bad}


def test_a_title_that_leads_out_does_not(tmp_path: Path, shared: Path) -> None:
    folder = unpack(rewritten(shared, titled), tmp_path / "theirs")
    assert folder.parent == tmp_path / "theirs"
    assert os.sep not in folder.name
    assert folder.name.endswith("evil")


def test_damaged_archives_never_end_in_anything_but_a_sentence(tmp_path: Path, shared: Path) -> None:
    whole, rng, opened = shared.read_bytes(), random.Random(5), 0
    for i in range(300):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 3, 30))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if i % 3 == 0:
            data = data[: rng.randrange(len(data))]
        (tmp_path / "bad.zip").write_bytes(data)
        try:
            opened += unpack(tmp_path / "bad.zip", tmp_path / "theirs").exists()
        except DirscopeError:
            continue
    # What is opened all the same was damaged where nothing of the session is, as in a date.
    original = files_of(next((tmp_path / "mine").iterdir()))
    assert all(files_of(folder) == original for folder in (tmp_path / "theirs").iterdir())
    assert opened < 30
    shutil.rmtree(tmp_path / "theirs")
