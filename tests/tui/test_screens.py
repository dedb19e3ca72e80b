"""The five screens behind number keys, undo, pins, bookmarks, jumping: what a user does in the first hour."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input
from textual.widgets._footer import FooterKey

from engine.protocol import Answer
from sessions.bookmarks import bookmarks
from sessions.catalogue import entries
from sessions.config import Config
from sessions.reader import read_run
from sessions.report import page
from tests.driving import SMALL, frame, play, saved, until
from tui.app import DirscopeApp
from tui.screens.dialogs import Choose
from tui.screens.experiment import ExperimentScreen
from tui.screens.jumping import Jump
from tui.screens.keeping import behind
from tui.screens.sessions import SessionsScreen
from tui.screens.steering import SteeringScreen
from tui.screens.workbench import Workbench
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.direction_list import DirectionList
from tui.widgets.token_strip import TokenStrip


def test_number_keys_go_everywhere_and_what_is_left_keeps_what_it_has() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, Choose) and "late" in frame(pilot), "the list")
        app.screen.dismiss("sensitive-directions")
        await until(pilot, lambda: isinstance(app.screen, ExperimentScreen), "the experiment")
        first = app.screen
        assert isinstance(first, ExperimentScreen)
        await until(pilot, lambda: len(first.curves) > 30, "some curves")
        await pilot.press("1", "g")  # the worker is wanted here: what there is of the experiment is kept
        await saved(app, pilot)
        await pilot.press("2")
        await until(pilot, lambda: "space goes on" in frame(pilot), "how to go on")
        stopped = app.screen
        assert isinstance(stopped, ExperimentScreen)
        had = len(stopped.curves)
        assert had == len(read_run(stopped.folder).curves) >= 30  # type: ignore[arg-type]
        await pilot.press("space")
        await until(pilot, lambda: len(stopped.curves) > had, "more of it")
        await pilot.press("3")
        assert isinstance(app.screen, Workbench)
        await pilot.press("2")
        again = app.screen
        assert isinstance(again, ExperimentScreen)
        assert again is not first
        assert len(again.curves) >= had
        assert again.recipe == first.recipe
        await until(pilot, lambda: again.ended and "saved" in frame(pilot), "its end: it went on meanwhile")
        assert [c.summary for c in again.curves] == [c.summary for c in read_run(again.folder).curves]  # type: ignore[arg-type]
        await pilot.press("5")
        assert isinstance(app.screen, SessionsScreen)
        await pilot.press("4")
        assert isinstance(app.screen, SteeringScreen)
        await pilot.press("1")
        assert app.screen is probe
        assert len(app.screen_stack) == 2
        await saved(app, pilot)
        await pilot.press("p", "1", "2")
        assert app.screen is probe, "in a text they are digits"
        assert probe.query_one("#prompt", Input).value.endswith("12")

    play(story, DirscopeApp.fresh(["population.n=60", "path.steps=10"]))


def test_changes_are_undone_and_made_again_and_nothing_is_computed_twice() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        before, recipe = [c.summary for c in probe.drawn.curves], probe.recipe
        await pilot.press("A", "left")
        await until(pilot, lambda: probe.picture.site.get("position") == 10 and probe.picture.ended, "another token")
        await saved(app, pilot)
        other = [c.summary for c in probe.drawn.curves]
        runs = len(list(probe.folder.parent.iterdir()))  # type: ignore[union-attr]
        await pilot.press("z")
        await until(pilot, lambda: "[who]" in frame(pilot), "the token before")
        assert probe.recipe == recipe
        assert [c.summary for c in probe.drawn.curves] == before
        assert probe.run_id == 0, "it came from disk"
        assert probe.view.axis == "typical"
        await pilot.press("z")
        assert probe.view.axis == ""
        await pilot.press("z")
        assert "Nothing to undo" in probe.problem
        await pilot.press("Z", "Z")
        await until(pilot, lambda: "[girl]" in frame(pilot), "the other token")
        assert [c.summary for c in probe.drawn.curves] == other
        assert len(list(probe.folder.parent.iterdir())) == runs  # type: ignore[union-attr]
        await pilot.press("p", *"zz")
        assert probe.query_one("#prompt", Input).value.endswith("zz"), "in a text they are letters"
        await pilot.press("enter")
        await saved(app, pilot)
        await pilot.press("z")
        assert probe.query_one("#prompt", Input).value == recipe.site.prompt

    play(story)


def test_a_run_is_pinned_marked_and_told_of_in_the_report() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        pinned, folder = probe.drawn, probe.folder
        assert folder is not None
        await pilot.press("B")
        await until(pilot, lambda: "what is to be seen" in frame(pilot), "the question")
        await pilot.press(*"it jumps [here]", "enter")
        (mark,) = bookmarks(folder)
        assert mark.note == "it jumps [here]"
        selected = pinned.curves[probe.view.curve]
        assert mark.curve == selected.summary.curve
        assert f"kl {selected.kl[mark.step]:.4g}" in mark.place
        assert "it jumps \\[here\\]" in page(read_run(folder))
        await pilot.press("P", "s")
        await until(pilot, lambda: probe.picture.unit == "degrees" and probe.picture.ended, "the sphere")
        await saved(app, pilot)
        assert [pin.picture for pin in behind(probe)] == [pinned]
        await until(pilot, lambda: "1: who/11" in frame(pilot), "what the letter is")
        await pilot.press("S")
        await until(pilot, lambda: "this run" in frame(pilot), "small multiples")
        await pilot.press("S", "L")
        await until(pilot, lambda: "it jumps [here]" in frame(pilot), "the bookmarks")
        await pilot.press("enter")
        await until(pilot, lambda: probe.folder == folder, "its run")
        assert (probe.view.curve, probe.view.step) == (pinned.curves.index(selected), mark.step)
        assert probe.pins, "what was pinned stays pinned"
        assert not behind(probe), "but no run stands behind itself"
        await pilot.press("U")
        assert not probe.pins

    play(story)


def test_jump_mode_puts_a_letter_on_every_panel(run_folder: Path) -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: app.probe.picture.ended, "the end of the replay", 20)
        for letter, kind in {"s": DirectionList, "d": CurvePlot, "a": TokenStrip}.items():
            await pilot.press("f2")
            assert isinstance(app.screen, Jump)
            await pilot.press(letter)
            assert isinstance(app.screen.focused, kind), letter
        await pilot.press("f2", "escape")
        assert isinstance(app.screen.focused, TokenStrip)

    play(story, DirscopeApp.replaying(run_folder, speed=100))


def test_a_replay_goes_on_live_from_where_it_is(home: Path, run_folder: Path) -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        replay = app.probe
        assert app.bridge is None
        await until(pilot, lambda: len(replay.picture.curves) > 1, "some curves", 20)
        await pilot.press("comma")
        await until(pilot, lambda: "paused" in frame(pilot), "the pause")
        n = len(replay.picture.curves)
        await pilot.press("full_stop")
        assert len(replay.picture.curves) == n + 1
        await pilot.press("comma", "comma")
        assert len(replay.picture.curves) == n - 1
        await pilot.press("enter")
        await until(pilot, lambda: app.probe is not replay and app.bridge is not None, "the live screen")
        probe = app.probe
        await until(pilot, lambda: len(probe.drawn.curves) == 8, "the run, whole", 10)
        await pilot.press("left")
        await until(pilot, lambda: probe.picture.site.get("position") == 10, "something new")
        await saved(app, pilot)
        assert [e.runs for e in entries(home / "sessions")] == [1], "in a session of its own: the run was a batch one"

    play(story, DirscopeApp.replaying(run_folder, speed=2))


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark"])
def test_themes_ascii_and_keys_are_what_the_configuration_says(run_folder: Path, theme: str) -> None:
    config = Config(theme=theme, ascii=True, keys={"axis": "f7"}, hints=False)

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: app.probe.picture.ended and "[who]" in frame(pilot), "the end of the replay", 20)
        await until(pilot, lambda: "R real" in frame(pilot), "the kinds")
        text = frame(pilot)
        assert text.isascii(), {c for c in text if not c.isascii()}
        await pilot.press("A")
        assert app.probe.view.axis == ""
        await pilot.press("f7")
        assert app.probe.view.axis == "typical"
        await pilot.press("I")
        await until(pilot, lambda: "╭" in frame(pilot), "frames again")

    play(story, DirscopeApp.replaying(run_folder, speed=100, config=config))


def test_first_steps_are_told_until_they_were_taken(home: Path) -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await saved(app, pilot)
        assert "first steps 1/4" in frame(pilot)
        await pilot.press("left")
        await until(pilot, lambda: "first steps 2/4" in frame(pilot), "the next step")
        await pilot.press("d", "c", "question_mark", "escape")
        await until(pilot, lambda: "first steps" not in frame(pilot), "no more of it")

    play(story)
    assert not DirscopeApp.fresh(SMALL).hints.line
    assert not DirscopeApp.fresh(SMALL, Config(hints=False)).hints.line


def test_the_browser_names_throws_away_and_takes_back(home: Path, run_folder: Path) -> None:
    import shutil

    shutil.copytree(run_folder, home / "sessions" / "colleague")

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await pilot.press("5")
        browser = app.screen
        assert isinstance(browser, SessionsScreen)
        await until(pilot, lambda: len(browser.shown) == 1, "the list")
        await pilot.press("t")
        await until(pilot, lambda: "title of this session" in frame(pilot), "the question")
        await pilot.press(*"mine", "enter")
        await until(pilot, lambda: [row.called for row in browser.shown] == ["mine"], "the title")
        await pilot.press("x")
        await until(pilot, lambda: not browser.shown, "nothing")
        assert (home / "trash" / "colleague").is_dir()
        await pilot.press("u")
        await until(pilot, lambda: len(browser.shown) == 1, "it again")
        assert (home / "sessions" / "colleague").is_dir()

    play(story, DirscopeApp.replaying(run_folder, speed=100))


def test_an_axis_that_a_curve_has_not_is_passed_over(run_folder: Path) -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await until(pilot, lambda: probe.picture.ended, "the end of the replay", 20)
        probe.drawn = replace(probe.drawn, info={**probe.drawn.info, "typical_distance": None})
        await pilot.press("A")
        assert probe.view.axis == "angle"

    play(story, DirscopeApp.replaying(run_folder, speed=100))


def test_answers_that_come_after_a_screen_was_left_harm_nothing() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await saved(app, pilot)
        for _ in range(3):
            await pilot.press("3")
            await until(pilot, lambda: "features active here" in frame(pilot), "features")
            bench = app.screen
            assert isinstance(bench, Workbench)
            await pilot.press("down")
            await pilot.pause(0.13)  # the card under the cursor is asked for, and the screen is left
            await pilot.press("1")
            bench._on_card(Answer(found=bench.card))
            bench._on_list(Answer(found=bench.features))
        await pilot.press("left")
        await saved(app, pilot)
        assert app.is_running

    play(story)


def test_keys_no_longer_shown_are_forgotten() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        def keys() -> int:
            gc.collect()
            return sum(isinstance(o, FooterKey) for o in gc.get_objects())

        await saved(app, pilot)
        at_first = keys()
        for _ in range(8):
            await pilot.press("p")  # typing a prompt has keys of its own
            await pilot.pause()
            app.probe.query_one("#tokens").focus()
            await pilot.pause()
        assert keys() <= 2 * at_first

    play(story)
