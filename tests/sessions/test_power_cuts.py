"""What a crash or a power cut leaves of a run: what was acknowledged is read, what can be derived is derived again."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import stat
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.errors import RunFolderError, UsageError
from engine.results import Note, RunEnded, RunStarted
from sessions.catalogue import entries, show
from sessions.reader import read_run, recorded_status
from sessions.store import RunWriter, is_whole, never_began
from tests.conftest import command
from tests.sessions.test_store import INFO, RECIPE, base, curve, finished

LEFT = (b"", b"\0" * 4096, b"{", b"\xff\xfe garbage")
"""What a file may hold after a power cut: nothing, zeros, part of what was written, another file's block."""


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("name", ["recipe.toml", "run.json"])
def test_the_events_are_enough(tmp_path: Path, name: str, left: bytes) -> None:
    folder = finished(tmp_path / "run")
    whole = read_run(folder)
    (folder / name).write_bytes(left)
    run = read_run(folder)
    assert run.mended == (name,)
    assert (run.recipe, run.status, run.record["status"]) == (whole.recipe, "done", "done")
    assert [c.summary for c in run.curves] == [c.summary for c in whole.curves]
    assert f"mended    {name}" in "\n".join(show(folder))
    assert not is_whole(run)
    RunWriter.repair(folder)
    again = read_run(folder)
    assert is_whole(again)
    assert (again.recipe, again.record["status"]) == (whole.recipe, "done")


@pytest.mark.parametrize("name", ["recipe.toml", "run.json"])
def test_what_the_events_do_not_say_is_asked_for(tmp_path: Path, name: str) -> None:
    writer = RunWriter.create(tmp_path / "run", RECIPE)
    writer.write(Note("the model never loaded"))
    writer.close()
    (tmp_path / "run" / name).unlink()
    with pytest.raises(RunFolderError, match=f"lacks {name}"):
        read_run(tmp_path / "run")


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("name", ["curves.parquet", "arrays.safetensors", "tables/grid.parquet"])
def test_derived_files_are_derived_again(tmp_path: Path, name: str, left: bytes) -> None:
    folder = finished(tmp_path / "run")
    whole = (folder / name).read_bytes()
    assert is_whole(read_run(folder))
    (folder / name).write_bytes(left)
    assert not is_whole(read_run(folder))
    RunWriter.repair(folder)
    assert (folder / name).read_bytes() == whole
    assert is_whole(read_run(folder))


def test_a_tail_of_anything_at_all_costs_only_itself(tmp_path: Path) -> None:
    """The file system may have kept less than was written since the last sync, or zeros, or old blocks."""
    draw = random.Random(0)
    folder = finished(tmp_path / "run")
    file = folder / "events.jsonl"
    whole = file.read_bytes()
    ends = [i + 1 for i, c in enumerate(whole) if c == 10]
    for _ in range(300):
        cut = draw.randrange(len(whole) + 1)
        tail = draw.choice([b"", b"\0" * 700, b"\0\n", b"\x80\n{}\n", draw.randbytes(200), b'{"v":1}\n', b"[]\n"])
        file.write_bytes(whole[:cut] + tail)
        run = read_run(folder)
        kept = max((end for end in ends if end <= cut), default=0)
        assert run.good_bytes in {kept, *[end for end in ends if end == cut + 1 and tail.startswith(b"\n")]}
        assert len(run.curves) == sum(b'"type": "curve"' in line for line in whole[:kept].split(b"\n"))
    writer = RunWriter.resume(folder)
    writer.close()
    assert file.read_bytes() == whole[: run.good_bytes]


def test_damage_before_whole_lines_is_no_power_cut(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    lines = (folder / "events.jsonl").read_bytes().split(b"\n")
    lines[1] = b"\0" * len(lines[1])
    (folder / "events.jsonl").write_bytes(b"\n".join(lines))
    with pytest.raises(RunFolderError, match="Line 2"):
        read_run(folder)


def test_a_run_that_nobody_writes_any_more_is_not_said_to_run(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    writer = RunWriter.create(folder, RECIPE)
    for event in (RunStarted(INFO), base(), curve()):
        writer.write(event)
    assert (recorded_status(folder), entries(tmp_path / "runs")[0].status) == ("running", "running")
    writer.close()
    assert (recorded_status(folder), entries(tmp_path / "runs")[0].status) == ("cut off", "cut off")
    assert "one: cut off, 1 curves" in "\n".join(show(folder))


def test_files_that_are_half_written_go_when_the_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    RunWriter.create(folder, RECIPE).close()
    (folder / "run.json.4711.tmp").write_text("{")
    RunWriter.resume(folder).close()
    assert sorted(f.name for f in folder.iterdir()) == ["events.jsonl", "recipe.toml", "run.json"]


BORN = {
    "nothing": {},
    "its recipe, half written": {"recipe.toml.1.tmp": b"ex"},
    "its recipe": {"recipe.toml": b""},
    "no record": {"recipe.toml": b"x", "events.jsonl": b""},
    "half a line": {"recipe.toml": b"x", "events.jsonl": b'{"v":1,"t"', "run.json": b"{}"},
}


@pytest.mark.parametrize("files", BORN.values(), ids=BORN.keys())
def test_what_never_began_begins_with_resume_and_only_then(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name, left in files.items():
        (folder / name).write_bytes(left)
    assert never_began(folder)
    if files:
        with pytest.raises(UsageError, match="not empty"):
            RunWriter.create(folder, RECIPE)
    RunWriter.create(folder, RECIPE, again=True).close()
    assert read_run(folder).recipe == RECIPE


def test_nothing_of_anybody_else_makes_room(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    RunWriter.create(folder, RECIPE).close()
    (folder / "notes.txt").write_text("mine")
    assert not never_began(folder)
    (folder / "notes.txt").unlink()
    writer = RunWriter.resume(folder)
    assert not never_began(folder)  # another process is writing it
    writer.close()
    assert never_began(folder)
    finished(tmp_path / "done")
    assert not never_began(tmp_path / "done")


def test_all_of_a_run_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = finished(tmp_path / "sessions" / "run")
    finally:
        os.umask(before)
    for path in [folder.parent, folder, *folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_finished_batch_run_with_torn_files_is_mended_by_resume(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    for name in ("recipe.toml", "run.json", "curves.parquet"):
        (folder / name).write_bytes(b"")
    done = command("--batch", str(folder), "--out", str(folder), "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr
    assert pq.read_table(folder / "curves.parquet").equals(pq.read_table(run_folder / "curves.parquet"))
    assert (folder / "recipe.toml").read_text() == (run_folder / "recipe.toml").read_text()
    was, now = (json.loads((f / "run.json").read_text()) for f in (run_folder, folder))
    assert now["model"] == was["model"]
    assert (now["status"], was["status"]) == ("done", "done")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    from engine.durable import replacing

    file = tmp_path / "title.json"
    file.write_text("old")

    def write() -> None:
        with replacing(file) as part:
            part.write_text("ne")
            raise OSError(28, "disk full")

    with pytest.raises(OSError, match="full"):
        write()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_line_that_does_not_fit_leaves_no_part_of_itself(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk that is full for a moment."""
    writer = RunWriter.create(tmp_path / "run", RECIPE)
    for event in (RunStarted(INFO), base(), curve(0)):
        writer.write(event)
    file = tmp_path / "run" / "events.jsonl"
    before, limits = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
        with pytest.raises(OSError, match="large"):
            writer.write(curve(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert file.read_bytes() == before
    writer.write(curve(1))
    assert [c.summary.curve for c in writer.finish(RunEnded("done")).curves] == [0, 1]


def test_an_end_that_was_lost_is_not_made_up(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    lines = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(b"".join(lines[:-1]))
    (folder / "run.json").write_bytes(b"")
    run = read_run(folder)
    assert (run.status, run.record["status"]) == ("running", "running")
    writer = RunWriter.resume(folder)
    assert writer.finish(RunEnded("done")).status == "done"
