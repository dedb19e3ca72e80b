"""The sessions directory: listing, showing, removing, and names that do not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import RunFolderError, UsageError
from engine.recipe import parse_recipe
from engine.results import RunEnded, RunStarted
from sessions.catalogue import Session, entries, find, run_folders
from sessions.housekeeping import empty, remove, rename, restore
from tests.conftest import command
from tests.sessions.test_store import INFO, SITE, base, curve

RECIPE = parse_recipe({"site": {"prompt": "One day"}})


def session_with_runs(parent: Path, runs: int) -> Path:
    session = Session.new(parent, "embedded")
    for _ in range(runs):
        writer = session.new_run(RECIPE)
        for event in (RunStarted({**INFO, "site": {**SITE, "prompt": "One day"}}), base(), curve()):
            writer.write(event)
        writer.finish(RunEnded("done"))
    return session.folder


def test_a_session_numbers_its_runs(tmp_path: Path) -> None:
    folder = session_with_runs(tmp_path, 2)
    assert [p.name for p in run_folders(folder)] == ["0001", "0002"]
    more = Session.existing(folder).new_run(RECIPE)
    assert more.folder.name == "0003"
    more.discard()
    assert len(run_folders(folder)) == 2


def test_a_session_without_runs_is_not_on_disk(tmp_path: Path) -> None:
    Session.new(tmp_path, "embedded")
    assert list(tmp_path.iterdir()) == []


def test_damaged_sessions_are_listed_as_such(tmp_path: Path) -> None:
    folder = session_with_runs(tmp_path, 1)
    (folder / "runs" / "0001" / "run.json").unlink()
    (tmp_path / "notes.txt").write_text("not a session")
    listed = entries(tmp_path)
    assert [(e.name, e.status) for e in listed] == [(folder.name, "damaged")]


def test_find_takes_paths_and_names(tmp_path: Path) -> None:
    folder = session_with_runs(tmp_path, 1)
    assert find(folder.name, tmp_path) == folder
    assert find(str(folder), tmp_path / "elsewhere") == folder
    with pytest.raises(UsageError, match="did you mean"):
        find(folder.name[:-1], tmp_path)


def test_only_runs_and_sessions_of_the_directory_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = tmp_path / "sessions"
    (sessions / "photos").mkdir(parents=True)
    (sessions / "photos" / "recipe.toml").write_text("cake")
    with pytest.raises(RunFolderError, match="left alone"):
        remove("photos", sessions, tmp_path / "trash")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "recipe.toml").write_text("mine")
    monkeypatch.chdir(tmp_path)
    for name in ("project", "~", "..", "../project", str(tmp_path / "project")):
        with pytest.raises(UsageError):
            remove(name, sessions, tmp_path / "trash")
    assert (tmp_path / "project" / "recipe.toml").read_text() == "mine"
    assert (sessions / "photos" / "recipe.toml").exists()


def test_what_is_thrown_away_can_be_taken_back_until_the_trash_is_emptied(tmp_path: Path) -> None:
    sessions, trash = tmp_path / "sessions", tmp_path / "trash"
    folder = session_with_runs(sessions, 1)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    gone = remove(folder.name, sessions, trash)
    assert not folder.exists()
    assert restore(gone.name, sessions, trash) == folder
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    remove(folder.name, sessions, trash)
    session_with_runs(sessions, 1).rename(folder)  # the name is taken meanwhile
    assert restore(gone.name, sessions, trash).name == f"{folder.name}-2"
    (trash / "photos").mkdir()
    remove(folder.name, sessions, trash)
    assert empty(trash) == 1
    assert [p.name for p in trash.iterdir()] == ["photos"], "nothing but sessions is deleted"


def test_a_title_is_listed_and_leaves_the_folder_where_it_is(tmp_path: Path) -> None:
    folder = session_with_runs(tmp_path, 1)
    rename(folder, "  the \x1b[31mgirl\n who ")
    assert [(e.title, e.folder) for e in entries(tmp_path)] == [("the ·[31mgirl who", folder)]
    for title in ("", " \n", "x" * 200):
        with pytest.raises(UsageError, match="characters"):
            rename(folder, title)
    batch = run_folders(folder)[0].rename(tmp_path / "batch")
    rename(batch, "a run by itself")
    assert run_folders(batch) == [batch]


def test_two_sessions_of_one_second_do_not_share_a_folder(tmp_path: Path) -> None:
    first, second = Session.new(tmp_path, "embedded"), Session.new(tmp_path, "embedded")
    assert first.folder != second.folder


def test_the_command_lists_shows_and_removes(home: Path, tmp_path: Path) -> None:
    folder = session_with_runs(home / "sessions", 2)
    listed = command("sessions", "list", cwd=tmp_path)
    assert folder.name in listed.stdout
    assert "2 runs" in listed.stdout
    shown = command("sessions", "show", folder.name, cwd=tmp_path)
    assert "0002: done, 1 curves" in shown.stdout
    assert command("sessions", "rm", "../home", cwd=tmp_path).returncode == 2
    assert command("sessions", "rm", folder.name, cwd=tmp_path).returncode == 0
    assert not folder.exists()
    assert command("sessions", "restore", folder.name, cwd=tmp_path).returncode == 0
    assert len(run_folders(folder)) == 2


def test_paths_are_below_the_home_that_is_set(home: Path, tmp_path: Path) -> None:
    shown = command("paths", cwd=tmp_path)
    assert str(home / "sessions") in shown.stdout
