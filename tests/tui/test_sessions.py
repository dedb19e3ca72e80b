"""Sessions in the app: replayed, opened, grown, exported and copied."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from textual.pilot import Pilot

from sessions.catalogue import entries
from sessions.paths import places
from sessions.reader import read_run
from tests.driving import frame, play, saved, until
from tui.app import DirscopeApp
from tui.screens.probe import ProbeScreen
from tui.screens.sessions import SessionsScreen
from tui.widgets.curve_plot import CurvePlot


def test_the_app_replays_a_run_without_a_worker(run_folder: Path) -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        assert app.bridge is None
        await until(pilot, lambda: probe.picture.ended, "the end of the replay", 20)
        await pilot.pause(0.4)
        stored = read_run(run_folder)
        assert [c.summary for c in probe.drawn.curves] == [c.summary for c in stored.curves]
        assert "replayed out" in frame(pilot)
        await pilot.press("s", "g", "p")
        assert probe.recipe == stored.recipe, "a replay computes nothing"
        await pilot.press("n")
        assert not probe.picture.ended or probe.player is not None

    play(story, DirscopeApp.replaying(run_folder, speed=20))


def test_a_run_can_be_replayed_over_the_live_screen_and_left_again() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await saved(app, pilot)
        await pilot.press("n")
        replay = app.screen
        assert isinstance(replay, ProbeScreen)
        assert replay is not app.probe
        await until(pilot, lambda: replay.picture.ended, "the end of the replay", 20)
        assert len(replay.drawn.curves) == 24
        await pilot.press("escape")
        assert app.screen is app.probe

    play(story)


def test_an_opened_session_shows_its_last_run_and_grows(home: Path) -> None:
    async def first(app: DirscopeApp, pilot: Pilot) -> None:
        await saved(app, pilot)

    play(first)
    folder = entries(home / "sessions")[0].folder

    async def second(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await until(pilot, lambda: len(probe.drawn.curves) == 24 and "[who]" in frame(pilot), "the stored curves", 10)
        assert probe.run_id == 0  # nothing is computed until something changes
        await pilot.press("left")
        await until(pilot, lambda: probe.picture.site.get("position") == 10, "the new run")
        await saved(app, pilot)
        assert probe.folder == folder / "runs" / "0002"

    play(second, DirscopeApp.opening(folder))


def test_sessions_can_be_listed_and_opened_inside_the_app(home: Path, run_folder: Path) -> None:
    shutil.copytree(run_folder, home / "sessions" / "colleague")

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        await pilot.press("5")
        browser = app.screen
        assert isinstance(browser, SessionsScreen)
        await until(pilot, lambda: len(browser.shown) == 2, "the list")
        await pilot.press("slash", *"coll", "enter")
        assert [row.entry.name for row in browser.shown] == ["colleague"]
        await until(pilot, lambda: "R" in browser.query_one(CurvePlot).plain, "the preview")
        await pilot.press("enter")
        await until(pilot, lambda: probe.folder == home / "sessions" / "colleague", "the other run", 5)
        assert probe.recipe == read_run(run_folder).recipe

    play(story)


def test_a_run_can_be_exported_and_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await saved(app, pilot)
        await pilot.press("e")
        await until(pilot, lambda: "export this run as" in frame(pilot), "the question")
        await pilot.press("enter")
        await until(pilot, lambda: any(tmp_path.glob("dirscope-*.csv")), "a file")
        files = list(tmp_path.glob("dirscope-*.csv"))
        assert len(files) == 1
        assert files[0].read_text().startswith("run,curve,base,step")
        await pilot.press("y")
        await until(pilot, lambda: "enter choose" in frame(pilot), "what can be copied")
        await pilot.press("enter")
        assert "| prompt | random | 8 |" in app.clipboard
        assert (places().state / "last-copy.txt").read_text(encoding="utf-8") == app.clipboard

    play(story)
