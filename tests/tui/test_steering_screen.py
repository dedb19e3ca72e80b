"""The steering lab: a sweep as it comes, the knob, composing, the library, and a run from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, OptionList, TextArea

from engine.errors import RecipeError
from engine.recipe import parse_recipe
from engine.steering.interchange import VectorFile, write_vectors
from sessions import saved_vectors
from sessions.paths import places
from sessions.steering_pictures import pareto
from tests.driving import SMALL, frame, play, until
from tui import edits, steer_edits
from tui.app import DirscopeApp
from tui.screens.dialogs import AskLine, Choose, EditText, TwoPrompts
from tui.screens.steering import SteeringScreen
from tui.screens.ticking import TickFeatures

WRITE = ["site.write=blocks.3.hook_resid_pre"]
OPTIONS = {"strengths": [0.5, 1.0], "samples": 3, "tokens": 8, "words": ["she", "wanted"], "texts": 2}


async def opened(app: DirscopeApp, pilot: Pilot, **options: Any) -> SteeringScreen:
    """The steering screen of a small sweep, whole."""
    await until(pilot, lambda: app.probe.picture.ended and app.probe.folder is not None, "curves")
    recipe = edits.edited(edits.experiment_at(app.probe.recipe, "steering"), "options", **{**OPTIONS, **options})
    screen = SteeringScreen(app.probe, recipe)
    app.push_screen(screen)
    await whole(pilot)
    return screen


def on_screen(pilot: Pilot) -> SteeringScreen:
    screen = pilot.app.screen
    assert isinstance(screen, SteeringScreen)
    return screen


async def whole(pilot: Pilot, vectors: int = 1) -> SteeringScreen:
    """Wait for a run with that many vectors, on disk and drawn."""

    def done() -> bool:
        screen = pilot.app.screen
        if not isinstance(screen, SteeringScreen) or len(screen.vectors) != vectors:
            return False
        return screen.folder is not None and "saved" in frame(pilot)

    await until(pilot, done, f"a sweep of {vectors}")
    return on_screen(pilot)


async def composing(pilot: Pilot, way: str) -> None:
    await pilot.press("a")
    await until(pilot, lambda: isinstance(pilot.app.screen, Choose), "ways to compose")
    options = pilot.app.screen.query_one(OptionList)
    options.highlighted = next(i for i in range(options.option_count) if options.get_option_at_index(i).id == way)
    await pilot.press("enter")


def test_a_sweep_is_looked_through_and_turned() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        screen = await opened(app, pilot)
        assert [p["strength"] for p in screen.points] == [0.0, 0.5, 1.0]
        await pilot.press("left")
        assert screen.chosen == (0, 0.5)
        point = screen.point
        assert point is not None
        first = " ".join(str(screen.texts[0, 0.5][0]["steered"]).split())
        for size in ((80, 24), (60, 16), (120, 40)):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda size=size: len(frame(pilot).splitlines()) == size[1], f"a frame of {size}")
            await until(pilot, lambda: f"{point['delta_ce']:+.3g} nats" in frame(pilot), "the point's numbers")
            if size == (60, 16):
                assert "with it" not in frame(pilot)
                await pilot.press("tab")
                await pilot.press("right", "left")  # the arrows go on where the plot is hidden
                assert screen.chosen == (0, 0.5)
            await until(pilot, lambda: first[:20] in frame(pilot), "a completion")
            if size == (60, 16):
                await pilot.press("tab")
        await pilot.press("x")
        assert screen.cost == "kl"
        assert screen.picture == "frontier"
        await pilot.press("right", "right")
        assert screen.chosen == (0, 1.0)
        await pilot.press("plus", "plus")
        assert screen.turned == pytest.approx(1.56)
        await until(pilot, lambda: screen.written is not None, "texts at a strength that the run has not")
        assert screen.written is not None
        assert screen.written.strength == screen.turned
        length = float(screen.points[2]["added_norm"])
        assert screen.written.added_norm == pytest.approx(1.56 * length, rel=1e-5)
        assert len(screen.written.pairs) == 3
        before = screen.folder
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is not screen, "another run")
        kept = await whole(pilot)
        assert kept.folder != before
        assert [p["strength"] for p in kept.points[1:]] == [0.5, 1.0, 1.56]
        assert str(kept.texts[0, 1.56][0]["steered"]).startswith(screen.written.pairs[0][1][:5])

    play(story, DirscopeApp.fresh(SMALL + WRITE))


def test_vectors_are_composed_saved_and_dropped() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await opened(app, pilot, strengths=[0.5], samples=1)
        await composing(pilot, "rebuilt")
        screen = await whole(pilot, 2)
        assert screen.recipe.directions[1].kind == "steering-sae"
        # What is there already is refused, and nothing runs.
        await composing(pilot, "rebuilt")
        await until(pilot, lambda: app.screen is screen, "the sweep that was there")
        await pilot.pause(0.3)
        assert app.screen is screen
        assert not app.probe.is_computing
        await composing(pilot, "features")
        await until(pilot, lambda: isinstance(app.screen, TickFeatures), "features to tick")
        dialog = app.screen
        assert isinstance(dialog, TickFeatures)
        await until(pilot, lambda: "#2136" in frame(pilot), "the features of the pair")
        await pilot.press("space", "down", "space")
        assert dialog.ticked == {2136, 1978}
        assert "▣" in frame(pilot)
        await pilot.press("enter")
        screen = await whole(pilot, 3)
        assert screen.recipe.data()["directions"][2]["features"] == [1978, 2136]
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, AskLine), "a name")
        app.screen.query_one(Input).value = "mine"
        await pilot.press("enter")
        await until(pilot, lambda: saved_vectors.names(places().vectors) == ["mine"], "a vector in the library")
        await until(pilot, lambda: app.screen is screen, "the sweep")
        chosen = screen.chosen
        assert chosen is not None
        await pilot.press("d")
        screen = await whole(pilot, 2)
        await composing(pilot, "saved")
        await until(pilot, lambda: isinstance(app.screen, Choose) and "mine" in frame(pilot), "the library")
        await pilot.press("enter")
        screen = await whole(pilot, 3)
        assert screen.recipe.data()["directions"][2]["label"] == "mine"

    play(story, DirscopeApp.fresh(SMALL + WRITE))


def test_a_refused_change_gives_way_to_the_run_that_was_there_and_a_lab_is_found_again(tmp_path: Path) -> None:
    made = VectorFile({"blocks.5.hook_resid_pre": np.ones((1, 256), np.float32)}, "gpt2")
    write_vectors(tmp_path / "late.safetensors", made)

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        screen = await opened(app, pilot, strengths=[0.5, 0.8], samples=1)
        await pilot.press("left")
        await composing(pilot, "file")
        await until(pilot, lambda: isinstance(app.screen, AskLine), "a file")
        app.screen.query_one(Input).value = str(tmp_path / "late.safetensors")
        await pilot.press("enter")
        await until(pilot, lambda: "set site.write" in frame(pilot), "why not")
        back = await whole(pilot)
        assert back is not screen
        assert back.recipe == screen.recipe
        assert (back.folder, back.chosen, len(back.points)) == (screen.folder, (0, 0.5), 3)
        await pilot.press("plus")
        await until(pilot, lambda: back.written is not None, "the knob still turns")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.probe, "the curves")
        await pilot.press("E")
        await until(pilot, lambda: isinstance(app.screen, Choose), "experiments")
        options = app.screen.query_one(OptionList)
        options.highlighted = next(
            i for i in range(options.option_count) if options.get_option_at_index(i).id == "steering"
        )
        await pilot.press("enter")
        again = await whole(pilot)
        assert (again.folder, again.recipe) == (screen.folder, screen.recipe)

    play(story, DirscopeApp.fresh(SMALL + WRITE))


def test_the_vocabulary_and_another_contrast_are_asked_for() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        screen = await opened(app, pilot, strengths=[0.5], samples=1)
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, EditText), "the words")
        area = app.screen.query_one(TextArea)
        area.text = " \n,"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "vocabulary is empty" in frame(pilot), "a refusal")
        area.text = "cake\ngood dog"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is not screen and isinstance(app.screen, SteeringScreen), "a new run")
        screen = await whole(pilot)
        assert screen.recipe.data()["options"]["words"] == ["cake", "good dog"]
        await composing(pilot, "contrast")
        await until(pilot, lambda: isinstance(app.screen, TwoPrompts), "two prompts")
        app.screen.query_one("#plus", Input).value = "He was angry | She was angry"
        app.screen.query_one("#minus", Input).focus()
        app.screen.query_one("#minus", Input).value = "He was calm"
        await pilot.press("enter")
        screen = await whole(pilot, 2)
        assert screen.recipe.data()["directions"][1]["plus"] == ["He was angry", "She was angry"]
        await composing(pilot, "tokens")
        screen = await whole(pilot, 3)
        assert [row["at"] for row in screen.vectors[2]] == ["1", "2", "3"]
        await pilot.press("n")
        await until(pilot, lambda: "points" in frame(pilot) and app.screen is not screen, "the rows")
        assert app.screen.query_one(DataTable).row_count > 0
        folder = app.probe.session.folder if app.probe.session else None
        assert folder is not None
        folders.append(folder)

    folders: list = []
    play(story, DirscopeApp.fresh(SMALL + WRITE))

    async def again(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: isinstance(app.screen, SteeringScreen), "the sweep from disk")
        await until(pilot, lambda: "on the frontier" in frame(pilot) or "nats" in frame(pilot), "its numbers")
        assert len(on_screen(pilot).points) == 4

    play(again, DirscopeApp.opening(folders[0]))


def test_recipes_change_by_pure_functions() -> None:
    recipe = parse_recipe({"experiment": "steering", "site": {"prompt": "x"}})
    assert steer_edits.with_strength(recipe, 0.7).data()["options"]["strengths"] == [0.25, 0.5, 0.7, 1.0]
    with pytest.raises(RecipeError, match="each entry may stand once"):
        steer_edits.with_strength(recipe, 0.5)
    with pytest.raises(RecipeError, match="at least one vector"):
        steer_edits.without_vector(recipe, 0)
    two = steer_edits.with_vector(recipe, {"kind": "isotropic", "count": 3})
    assert steer_edits.tables_by_number(two) == [0, 1, 1, 1]
    with pytest.raises(RecipeError, match="no contrast of two prompts"):
        steer_edits.rebuilt(two, 1)
    with pytest.raises(RecipeError, match="cannot be a term"):
        steer_edits.summed(two, 0, 1, 1.0)
    more = steer_edits.with_vector(recipe, steer_edits.contrast("a", "b"))
    table = steer_edits.summed(more, 0, 1, -2.0)
    summed = steer_edits.with_vector(more, table)
    lists = steer_edits.with_vector(recipe, steer_edits.contrast("a one | two", "three"))
    assert lists.data()["directions"][1]["plus"] == ["a one", "two"]
    tokens = steer_edits.by_token(recipe, 0)
    assert tokens.data()["options"]["at"] == "aligned"
    assert tokens.data()["directions"][1]["pad"] == " "
    assert [term.get("weight") for term in summed.data()["directions"][2]["terms"]] == [None, -2.0]
    assert steer_edits.projected(recipe, 0, {5, 3})["project_out"] == [3, 5]
    assert [steer_edits.turned(s, by, [1.0]) for s, by in ((1.0, 1), (1.0, -1), (-1.0, 1), (0.0, 1))] == [
        1.25, 0.8, -0.8, 0.25,
    ]  # fmt: skip


def test_the_picture_has_points_frontier_and_the_model_as_it_is() -> None:
    def point(number: int | None, strength: float, success: float | None, delta: float | None) -> dict[str, Any]:
        told = {"number": number, "label": f"vector {number}", "strength": strength, "success": success}
        return {**told, "delta_ce": delta, "kl": None if delta is None else delta / 2}

    points = [
        point(None, 0.0, 0.1, 0.0), point(0, 0.5, 0.3, 0.2), point(1, 0.5, 0.2, 0.3), point(0, 1.0, 0.9, 1.0),
        point(1, 1.0, None, None),
    ]  # fmt: skip
    chart = pareto(points, "kl", points[1])
    marks = {(m.character, round(m.x, 6), m.y) for m in chart.marks}
    assert marks == {("o", 0.0, 0.1), ("a", 0.1, 0.3), ("b", 0.15, 0.2), ("a", 0.5, 0.9), ("◆", 0.1, 0.3)}
    assert [(line.x.tolist(), line.y.tolist()) for line in chart.lines][-1] == ([0.0, 0.1, 0.5], [0.1, 0.3, 0.9])
    assert chart.levels == (0.1,)
    assert pareto(points[:1]).lines == ()
