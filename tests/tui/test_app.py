"""The app, driven with Textual's Pilot over the real worker and the bundled model."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from sessions.catalogue import run_folders
from sessions.reader import read_run
from tests.driving import SMALL, frame, play, saved, until, worker_pid
from tui.app import DirscopeApp
from tui.screens.dialogs import Help, TwoPrompts
from tui.screens.painting import paint
from tui.screens.probe import ProbeScreen
from tui.screens.sessions import SessionsScreen
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.direction_list import DirectionList
from tui.widgets.lines import Lines
from tui.widgets.token_strip import TokenStrip


def test_curves_come_by_themselves_and_the_run_is_on_disk() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: "Once upon a time" in frame(pilot), "the first frame")
        assert not app.probe.picture.curves  # it does not wait for the worker
        await saved(app, pilot)
        text = frame(pilot)
        assert len(app.probe.picture.curves) == 24
        assert "saved 0001" in text
        assert "[who]" in text
        assert "threshold" in text
        assert all(letter in text for letter in "rRi")
        folder = app.probe.folder
        assert folder is not None
        run = read_run(folder)
        for drawn, stored in zip(app.probe.drawn.curves, run.curves, strict=True):
            assert np.array_equal(drawn.kl, stored.kl)

    play(story)


def test_everything_that_shapes_the_picture_can_be_changed_by_key() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        first_run = probe.run_id

        await pilot.press("left")
        await until(pilot, lambda: probe.picture.site.get("position") == 10 and probe.picture.ended, "position 10")
        assert "[girl]" in frame(pilot)
        assert probe.run_id > first_run

        await pilot.press("s")
        await until(pilot, lambda: probe.picture.unit == "degrees" and probe.picture.ended, "a sphere")
        assert probe.recipe.path.mode == "sphere"

        await pilot.press("right_square_bracket")
        await until(pilot, lambda: probe.picture.site.get("write") == "blocks.2.hook_resid_pre", "the next layer")

        await pilot.press("m")
        assert probe.view.metric == "l2"
        await pilot.press("m", "m", "m")
        assert probe.view.metric == "kl"

        await pilot.press("d", "down", "down", "space")
        await until(pilot, lambda: {s.kind for s in probe.picture.summaries} == {"random", "real-other"}, "two kinds")
        await pilot.press("up", "plus")
        await until(pilot, lambda: sum(s.kind == "real-other" for s in probe.picture.summaries) == 9, "nine")

        await pilot.press("p")
        prompt = probe.query_one("#prompt", Input)
        assert prompt.has_focus
        prompt.value = ""
        await pilot.press(*"One day a dog", "enter")
        await until(pilot, lambda: "dog" in "".join(probe.picture.site.get("tokens", [])), "the new prompt")
        assert probe.query_one(TokenStrip).has_focus
        await saved(app, pilot)
        assert probe.recipe.site.prompt == "One day a dog"
        folder = probe.folder
        assert folder is not None
        assert read_run(folder).recipe == probe.recipe

    play(story)


def test_features_of_the_token_can_be_ticked() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        await until(pilot, lambda: bool(probe.features.rows), "active features")
        rows = probe.query_one(DirectionList).rows
        place = next(i for i, row in enumerate(rows) if row.feature is not None)
        feature = rows[place].feature
        assert feature == probe.features.rows[0].index
        await pilot.press("d", *["down"] * place, "space")
        await until(pilot, lambda: any(s.kind == "sae-feature" for s in probe.picture.summaries), "a feature curve")
        assert [s.label for s in probe.picture.summaries if s.kind == "sae-feature"] == [f"#{feature}"]
        assert f"▣ #{feature}" in frame(pilot)

    play(story)


def test_steering_asks_for_two_prompts_that_differ() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        await until(pilot, lambda: bool(probe.features.rows), "active features")
        rows = probe.query_one(DirectionList).rows
        place = next(i for i, row in enumerate(rows) if row.kind == "steering")
        await pilot.press("d", *["down"] * place, "space")
        assert isinstance(app.screen, TwoPrompts)
        app.screen.query_one("#plus", Input).value = "She was happy"
        app.screen.query_one("#minus", Input).value = "She was happy"
        await pilot.press("enter")
        assert isinstance(app.screen, TwoPrompts)  # identical prompts are not taken
        app.screen.query_one("#minus", Input).value = "She was sad"
        await pilot.press("enter")
        await until(pilot, lambda: any(s.kind == "steering" for s in probe.picture.summaries), "a steering curve")
        assert "✎ She was happy − She was" in frame(pilot)
        await pilot.press("down", "enter")  # the row of its prompts asks for them again
        assert isinstance(app.screen, TwoPrompts)
        assert app.screen.query_one("#minus", Input).value == "She was sad"

    play(story)


def test_brackets_in_prompts_and_names_are_no_markup(home: Path) -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await saved(app, pilot)
        await pilot.press("o")
        assert isinstance(app.screen, SessionsScreen)
        await until(pilot, lambda: "x [/b] [bold] a" in frame(pilot), "the list")
        await pilot.press("escape")
        app.probe.complain("no such thing: [/bad]")
        await until(pilot, lambda: "[/bad]" in frame(pilot), "the sentence", 5)

    play(story, DirscopeApp.fresh([*SMALL, "site.prompt=x [/b] [bold] a"]))


def test_quick_moves_are_not_taken_back_by_a_late_picture() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        strip = probe.query_one(TokenStrip)
        await pilot.press("left")
        paint(probe)  # the picture is still that of the run before
        await pilot.press("left")
        assert probe.recipe.site.position == 9
        await until(pilot, lambda: probe.picture.site.get("position") == 9, "position 9")
        await saved(app, pilot)
        assert strip._position == 9

    play(story)


def test_keys_typed_after_p_go_into_the_prompt() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await saved(app, pilot)
        await pilot.press(*"pmz")
        assert app.probe.query_one("#prompt", Input).value.endswith("whomz")
        assert app.probe.view.metric == "kl"

    play(story)


def test_a_run_stopped_by_hand_is_kept_and_says_so() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await until(pilot, lambda: len(probe.picture.curves) > 3, "some curves")
        await pilot.press("escape")
        await saved(app, pilot)
        folder = probe.folder
        assert folder is not None
        run = read_run(folder)
        assert run.status == "stopped"
        assert 3 < len(run.curves) < 300
        assert f"stopped 0001, {len(run.curves)}/300" in frame(pilot)

    play(story, DirscopeApp.fresh([*SMALL, "directions=[{kind='isotropic', count=300}]", "path.steps=300"]))


def test_a_session_directory_that_vanishes_is_said_and_the_app_goes_on(home: Path) -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        shutil.rmtree(home / "sessions")
        (home / "sessions").write_text("in the way")
        await pilot.press("y", "enter")
        assert "no run folder" in probe.problem
        await pilot.press("left")
        await until(pilot, lambda: "Cannot create" in frame(pilot), "the sentence")
        assert "previous run" in frame(pilot)
        (home / "sessions").unlink()
        await pilot.press("left")
        await until(pilot, lambda: probe.picture.site.get("position") == 9 and probe.folder is not None, "a new run")

    play(story)


def test_the_cursor_reads_values_and_next_tokens() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        await pilot.press("c")
        assert probe.query_one(CurvePlot).has_focus
        probe.view = type(probe.view)(step=3, curve=0)
        await pilot.press("right", "right", "down")
        assert (probe.view.step, probe.view.curve) == (5, 1)
        await pilot.pause(0.4)
        curve = probe.drawn.curves[1]
        assert f"kl {curve.kl[5]:.4g}" in frame(pilot)
        assert curve.tokens is not None
        top = curve.tokens.strings[int(curve.tokens.ids[5][0])].strip()
        assert top in frame(pilot)
        await pilot.press("left", "left", "left", "left", "left", "left")
        assert probe.view.step == 0

    play(story)


def test_mistakes_are_said_where_they_stay_and_nothing_is_lost() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        before = probe.recipe
        await pilot.press("p")
        probe.query_one("#prompt", Input).value = ""
        await until(pilot, lambda: "prompt is empty" in frame(pilot), "the sentence")
        assert probe.recipe == before
        probe.query_one("#prompt", Input).value = "word " * 300
        await until(pilot, lambda: "context of 256" in frame(pilot), "the other sentence")
        assert len(probe.drawn.curves) == 24  # the last good picture stays
        probe.query_one("#prompt", Input).value = "One day"
        await until(pilot, lambda: not probe.problem and probe.picture.ended and probe.folder is not None, "recovery")
        await pilot.press("escape", "d", "space", "down", "space", "down", "space")
        await until(pilot, lambda: "at least one kind" in probe.problem, "the refusal to clear the last kind")

    play(story)


def test_a_newer_change_leaves_no_trace_of_the_cancelled_run() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        await pilot.press("left", "left", "left", "left")
        await until(pilot, lambda: probe.picture.site.get("position") == 7, "the last position")
        await saved(app, pilot)
        assert app.probe.session is not None
        runs = [read_run(f) for f in run_folders(app.probe.session.folder)]
        assert all(run.status == "done" for run in runs)
        assert runs[-1].recipe.site.position == 7
        assert len(runs) <= 5

    play(story)


def test_a_dead_worker_is_replaced_and_said() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        os.kill(worker_pid(app), signal.SIGKILL)
        await until(pilot, lambda: "killed" in probe.problem, "the sentence")
        assert "saved" in frame(pilot).splitlines()[0], "what was whole stays so"
        await pilot.press("left")
        await until(pilot, lambda: probe.picture.site.get("position") == 10 and probe.picture.ended, "a new run", 120)
        assert not probe.problem

    play(story)


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (60, 16), (200, 60)])
def test_the_screen_is_whole_at_every_size(run_folder: Path, size: tuple[int, int]) -> None:
    def counted(pilot: Pilot) -> bool:
        """Whether the row of real-other ends with its two curves, whatever became of the name."""
        row = next((line for line in frame(pilot).splitlines() if "R real" in line), "")
        return row.split("││")[0].rstrip().endswith("2")

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: app.probe.picture.ended, "the end of the replay", 20)
        await until(pilot, lambda: counted(pilot) and "[who]" in frame(pilot), "everything drawn")
        await until(pilot, lambda: len(frame(pilot).splitlines()) == size[1], "every line")
        lines = frame(pilot).splitlines()
        assert max(len(line) for line in lines) <= size[0]
        text = "\n".join(lines)
        assert "dirscope" in lines[0]
        assert "[who]" in text
        assert "real-other" in text
        assert "╰" in text
        plot = app.probe.query_one(CurvePlot)
        assert plot.size.height >= 6

    play(story, DirscopeApp.replaying(run_folder, speed=100), size)


def test_a_storm_of_resizes_leaves_the_app_alive(run_folder: Path) -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: app.probe.picture.ended, "the end of the replay", 20)
        for size in ((40, 10), (200, 60), (20, 5), (80, 24), (10, 3), (120, 40)):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.05)
        await pilot.pause(0.5)
        assert "[who]" in frame(pilot)

    play(story, DirscopeApp.replaying(run_folder, speed=100))


def test_help_names_every_key_and_the_palette_every_action(run_folder: Path) -> None:
    from tui.actions import ACTIONS
    from tui.everywhere import EVERYWHERE
    from tui.help import help_of

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: app.probe.picture.ended, "the end of the replay", 20)
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        await pilot.press("escape")
        assert isinstance(app.screen, ProbeScreen)
        commands = {c.help for c in app.get_system_commands(app.screen)}
        text = help_of(app.screen)
        for action in [*ACTIONS.values(), *EVERYWHERE.values()]:
            on_offer = action.when != "live"
            assert (action.help in commands) == on_offer, "a replay has no model"
            assert (action.help in text) == on_offer
        await pilot.press("ctrl+q")
        assert not app.is_running or app._exit

    play(story, DirscopeApp.replaying(run_folder, speed=100))


def test_a_damaged_number_does_not_take_the_app_down(run_folder: Path, tmp_path: Path) -> None:
    """NaN in a stored curve is a gap in the plot, nothing more."""
    shutil.copytree(run_folder, tmp_path / "run")
    events = tmp_path / "run" / "events.jsonl"
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    for line in lines:
        if line["type"] == "curve":
            line["values"]["logits"]["kl"][4:9] = [None] * 5
    events.write_text("".join(json.dumps(line) + "\n" for line in lines))

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: app.probe.picture.ended, "the end of the replay", 20)
        await pilot.pause(0.5)
        assert "cannot draw" not in frame(pilot)
        assert isinstance(app.probe.query_one("#status"), Lines)

    play(story, DirscopeApp.replaying(tmp_path / "run", speed=100))
