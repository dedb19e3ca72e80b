"""Experiments in the app, on the real worker: chosen by a key, filling live, stopped, gone on with, exported."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import TextArea

from engine.recipe import parse_recipe
from engine.results import RunEnded, RunStarted
from sessions.reader import read_run
from tests.driving import SMALL, frame, play, saved, until
from tui import edits
from tui.app import DirscopeApp
from tui.screens.dialogs import Choose, EditText, Help
from tui.screens.experiment import ExperimentScreen
from tui.screens.tables import TablesScreen


async def launched(app: DirscopeApp, pilot: Pilot, name: str, **sections: object) -> ExperimentScreen | TablesScreen:
    """The screen of an experiment; with other sections than its own where it would be too large for a test."""
    await saved(app, pilot)
    await pilot.press("E")
    dialog = app.screen
    assert isinstance(dialog, Choose)
    if not sections:
        dialog.dismiss(name)
        await pilot.pause()
    else:
        await pilot.press("escape")
        from tui.screens.menus import screen_of

        data = edits.experiment_at(app.probe.recipe, name).data()
        for section, value in sections.items():
            data[section] = {**data[section], **value} if isinstance(value, dict) else value
        app.push_screen(screen_of(app.probe, parse_recipe(data)))
        await pilot.pause()
    screen = app.screen
    assert isinstance(screen, ExperimentScreen | TablesScreen)
    return screen


FEW = {"bases": [{"kind": "real-other", "count": 4}], "path": {"steps": 20}}


def test_an_experiment_fills_live_and_every_picture_of_it_is_shown() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        screen = await launched(app, pilot, "propagation", **FEW)
        assert isinstance(screen, ExperimentScreen)
        await until(pilot, lambda: screen.ended and screen.folder is not None, "the end")
        assert len(screen.curves) == 16
        await until(pilot, lambda: "saved" in frame(pilot), "saved")
        for size in ((80, 24), (60, 16), (120, 40)):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda size=size: len(frame(pilot).splitlines()) == size[1], f"a frame of {size}")
            await until(pilot, lambda: "random" in frame(pilot) and "real-other" in frame(pilot), "groups")
            if size[1] > 20:
                await until(pilot, lambda: "win rate" in frame(pilot), "contrasts")
            seen = set()
            for _ in range(7):
                await pilot.press("tab")
                await pilot.pause(0.3)
                seen.add(str(screen.query_one("#experiment-plot").border_title))
            assert len(seen) == 7
            assert any("at every layer" in title for title in seen)
            assert "cannot" not in frame(pilot)
        await pilot.press("m")
        assert screen.choice.metric == "margin"
        await pilot.press("k")
        assert screen.choice.scalar.column == "threshold_0_1"
        await pilot.press("g")
        assert screen.choice.group == 1
        await pilot.press("x")
        assert screen.families
        assert "cannot" not in frame(pilot)
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        await pilot.press("escape", "escape")
        assert app.screen is app.probe

    play(story)


def test_an_experiment_is_stopped_and_goes_on_without_computing_anything_again(tmp_path: Path) -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        many = {"bases": [{"kind": "real-other", "count": 50}], "path": {"steps": 100}}
        screen = await launched(app, pilot, "sensitive-directions", **many)
        assert isinstance(screen, ExperimentScreen)
        await until(pilot, lambda: len(screen.curves) >= 20, "some curves")
        await pilot.press("space")
        await until(pilot, lambda: screen.ended and screen.folder is not None, "a stop")
        had = len(screen.curves)
        assert 20 <= had < 1000
        folder = screen.folder
        assert folder is not None
        stopped = read_run(folder)
        assert stopped.status == "stopped"
        assert len(stopped.curves) == had
        await until(pilot, lambda: f"stopped at {had} of 1000" in " ".join(frame(pilot).split()), "what is left")
        await pilot.press("space")
        await until(pilot, lambda: len(screen.curves) > had + 20, "more curves")
        await pilot.press("space")
        await until(pilot, lambda: screen.ended and screen.folder is not None, "another stop")
        numbers = [c.summary.curve for c in screen.curves]
        assert len(set(numbers)) == len(numbers), "nothing twice"
        run = read_run(folder)
        assert len(run.curves) == len(numbers)
        assert sum(isinstance(e, RunStarted) for _, e in run.events) == 2
        assert sum(isinstance(e, RunEnded) for _, e in run.events) == 2
        before = {c.summary.curve: c.kl.tolist() for c in stopped.curves}
        assert all(c.kl.tolist() == before[c.summary.curve] for c in run.curves if c.summary.curve in before)

    play(story, DirscopeApp.fresh(["population.n=120", "path.steps=20"]))


def test_a_run_that_is_left_is_kept_and_the_curves_come_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        many = {"bases": [{"kind": "real-other", "count": 50}], "path": {"steps": 100}}
        screen = await launched(app, pilot, "plateaus", **many)
        assert isinstance(screen, ExperimentScreen)
        await until(pilot, lambda: len(screen.curves) >= 10, "some curves")
        await pilot.press("escape")
        assert app.screen is app.probe
        assert app.probe.session is not None
        runs = app.probe.session.folder / "runs"
        await until(pilot, lambda: any("stopped" in (r / "run.json").read_text() for r in runs.iterdir()), "a kept run")
        kept = next(r for r in runs.iterdir() if "stopped" in (r / "run.json").read_text())
        assert len(read_run(kept).curves) >= 10
        await pilot.press("g")
        await saved(app, pilot)
        assert app.probe.picture.curves

    play(story, DirscopeApp.fresh(["population.n=120", "path.steps=20"]))


def test_its_recipe_is_edited_where_it_is_shown_and_refusals_say_why() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        screen = await launched(app, pilot, "plateaus", **FEW)
        await until(pilot, lambda: screen.ended, "the end")
        await pilot.press("t")
        dialog = app.screen
        assert isinstance(dialog, EditText)
        area = dialog.query_one(TextArea)
        assert "count = 4" in area.text
        right = area.text
        area.text = right.replace("count = 4", "count = 0")
        await pilot.press("ctrl+s")
        refusal = "count must be a whole number from 1 to 1,000,000"
        await until(pilot, lambda: refusal in " ".join(frame(pilot).split()), "the refusal")
        assert app.screen is dialog
        area.text = right + '\n[model]\nname = "x"\n'
        await pilot.press("ctrl+s")
        other = "'model' is not one of the sections"
        await until(pilot, lambda: other in " ".join(frame(pilot).split()), "the other refusal")
        area.text = right.replace("count = 4", "count = 3", 1)
        await pilot.press("ctrl+s")
        await pilot.pause(0.2)
        again = app.screen
        assert isinstance(again, ExperimentScreen)
        assert again is not screen
        await until(pilot, lambda: again.ended and again.folder is not None, "the new run")
        assert again.recipe.directions[0].count == 3 or again.recipe.bases[0].count == 3
        await pilot.press("s")
        await pilot.pause(0.2)
        sphere = app.screen
        assert isinstance(sphere, ExperimentScreen)
        assert sphere.recipe.path.mode == "sphere"
        await until(pilot, lambda: sphere.ended, "the sphere")
        await until(pilot, lambda: "°" in frame(pilot), "degrees")
        await pilot.press("escape")
        assert app.screen is app.probe

    play(story)


def test_it_is_exported_and_reopened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    sessions: list[Path] = []

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        screen = await launched(app, pilot, "plateaus", **FEW)
        await pilot.press("e")
        await until(pilot, lambda: screen.ended and screen.folder is not None, "the end")
        await pilot.press("escape") if isinstance(app.screen, Choose) else None
        await pilot.press("e")
        dialog = app.screen
        assert isinstance(dialog, Choose)
        dialog.dismiss("md")
        await until(pilot, lambda: any(tmp_path.glob("*.md")), "a report")
        assert next(tmp_path.glob("*.md")).read_text().startswith("# plateaus: embedded")
        assert app.probe.session is not None
        sessions.append(app.probe.session.folder)

    play(story)

    async def reopened(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: isinstance(app.screen, ExperimentScreen), "the experiment")
        screen = app.screen
        assert isinstance(screen, ExperimentScreen)
        assert len(screen.curves) == 16
        await until(pilot, lambda: "saved" in frame(pilot) and "quartiles" in frame(pilot), "its numbers")
        await pilot.press("space")
        assert screen.ended, "a whole run has nothing to go on with"
        await pilot.press("escape")
        assert app.screen is app.probe
        assert app.probe.drawn.curves, "the curves of the run before"

    play(reopened, DirscopeApp.opening(sessions[0]))


def test_tables_experiments_stop_and_go_on_too() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        sections = {"bases": [{"kind": "real-other", "count": 12}], "path": {"steps": 60}}
        screen = await launched(app, pilot, "layers", **sections)
        assert isinstance(screen, TablesScreen)
        await until(pilot, lambda: len(screen.tables.get("layers", [])) >= 12, "a layer")
        await pilot.press("space")
        await until(pilot, lambda: screen.ended and screen.folder is not None, "a stop")
        had = len(screen.tables["layers"])
        await pilot.press("space")
        await until(pilot, lambda: len(screen.tables["layers"]) == 84, "the rest", 90)
        await until(pilot, lambda: "saved" in frame(pilot), "saved")
        rows = [(r["layer"], r["base"]) for r in screen.tables["layers"]]
        assert rows == [(layer, base) for layer in range(7) for base in range(12)]
        assert had < 84
        await until(pilot, lambda: "win rate of the first kind" in frame(pilot), "its picture")

    play(story, DirscopeApp.fresh(SMALL))


def test_the_cloud_of_prompts_is_drawn_on_the_plateaus_axis() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        options = {"prompts": ["One day there was a boy who"], "longest": 3}
        screen = await launched(app, pilot, "natural-variation", options=options)
        assert isinstance(screen, TablesScreen)
        await until(pilot, lambda: screen.folder is not None, "the end")
        label = f"cloud {len(screen.tables['cloud'])}"
        await until(pilot, lambda: label in frame(pilot), "the tab of the cloud")
        await pilot.press("tab")
        await until(pilot, lambda: "P prompts, c cut prompts" in frame(pilot), "the cloud")
        assert "P" in frame(pilot).split("╰")[0]

    play(story)
