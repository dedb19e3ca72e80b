"""What a terminal and its user do to an app: resizes, long pastes, other scripts, a worker that dies anywhere."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Input

from tests.driving import frame, play, saved, until, worker_pid
from tui.app import DirscopeApp
from tui.screens.dialogs import Help
from tui.screens.sessions import SessionsScreen
from tui.screens.workbench import Workbench

SIZES = ((40, 10), (200, 60), (20, 5), (80, 24), (10, 3), (60, 16), (120, 40))


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (60, 16)])
def test_every_screen_of_a_replay_keeps_to_its_edges(home: Path, run_folder: Path, size: tuple[int, int]) -> None:
    shutil.copytree(run_folder, home / "sessions" / "colleague")

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        def whole() -> bool:
            lines = frame(pilot).splitlines()
            return len(lines) <= size[1] and max(map(len, lines), default=0) <= size[0]

        await until(pilot, lambda: app.probe.picture.ended and "[who]" in frame(pilot), "the end of the replay", 20)
        for keys, sign in {
            ("S",): "real-other",
            ("S", "A"): "over typical",
            ("question_mark",): "Tokens",
            ("escape", "f2"): "press a letter",
            ("escape", "y"): "the recipe as TOML",
            ("escape", "5"): "colleague",
            ("f1",): "Sessions",
        }.items():
            await pilot.press(*keys)
            await until(pilot, lambda sign=sign: sign in frame(pilot), f"{keys}: {sign}", 10)
            assert whole(), frame(pilot)
        for width, height in SIZES:
            await pilot.resize_terminal(width, height)
        await pilot.resize_terminal(*size)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, SessionsScreen) and "colleague" in frame(pilot), "it again")
        await pilot.press("1")
        await until(pilot, lambda: "[who]" in frame(pilot) and whole(), "the main screen")

    play(story, DirscopeApp.replaying(run_folder, speed=100), size)


@pytest.mark.own_worker
def test_long_pastes_and_other_scripts_do_no_harm_and_a_worker_may_die_anywhere() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        prompt = probe.query_one("#prompt", Input)
        await until(pilot, lambda: app.bridge is not None and app.bridge._worker.started, "a process")
        await pilot.pause(0.5)
        os.kill(worker_pid(app), signal.SIGKILL)  # before it has a model
        await until(pilot, lambda: "killed" in probe.problem, "the sentence")
        await pilot.press("left", "g")  # there are no tokens yet; another draw starts a run
        await saved(app, pilot)
        await pilot.press("p")
        prompt.post_message(Paste("word " * 2000))
        await until(pilot, lambda: len(prompt.value) > 10_000, "the paste")
        await until(pilot, lambda: "context" in probe.problem, "that it is too long")
        prompt.value = ""
        for text in ("🐱 a cat 🐕", "שלום עולם", "e\u0301a\u200bb \x1b[31mred"):
            prompt.value = text
            await pilot.press("enter")
            await until(pilot, lambda text=text: probe.recipe.site.prompt == text, "the prompt")
            await saved(app, pilot)
            assert not probe.problem
            assert probe.picture.site["prompt"] == text
            assert "\x1b" not in frame(pilot)
        await pilot.press("3")
        await until(pilot, lambda: "features active here" in frame(pilot), "features")
        os.kill(worker_pid(app), signal.SIGKILL)
        await pilot.press("x")  # asks the dead one
        await until(pilot, lambda: "killed" in probe.problem, "that it died", 20)
        await until(pilot, lambda: "saved" in frame(pilot), "the table, by another worker")
        assert not isinstance(app.screen, Workbench)
        await pilot.press("1")
        assert app.screen is probe
        await pilot.press("g")
        await saved(app, pilot)

    play(story)


def test_help_can_be_read_to_its_end_on_the_smallest_terminal(run_folder: Path) -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: app.probe.picture.ended, "the end of the replay", 20)
        await pilot.press("question_mark")
        await until(pilot, lambda: "Tokens" in frame(pilot), "the help")
        await pilot.press("end")
        await until(pilot, lambda: "superposition" in frame(pilot), "its end")
        assert isinstance(app.screen, Help)

    play(story, DirscopeApp.replaying(run_folder, speed=100), (60, 16))
