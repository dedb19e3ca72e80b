"""Maps, searches and blind tests in the app, on the real worker: refining, looked around in, played, opened again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable

from engine.experiments import EXPERIMENTS
from engine.maps import ternary
from engine.recipe import parse_recipe
from sessions.blind import verdict_of
from sessions.chart import BRIGHT, Mark, Surface
from sessions.maps import MAPS
from sessions.reader import read_run
from sessions.runner import seal_of
from tests.driving import SMALL, frame, play, saved, until
from tui import edits
from tui.app import DirscopeApp
from tui.plotting import draw
from tui.screens.blind import BlindScreen
from tui.screens.guest import GuestScreen
from tui.screens.map import MapScreen
from tui.screens.opening import screen_of
from tui.screens.tables import TablesScreen
from tui.surface import draw_surface

SIZES = [(120, 40), (80, 24), (60, 16)]


async def launched(app: DirscopeApp, pilot: Pilot, name: str, **sections: dict) -> GuestScreen:
    await saved(app, pilot)
    data = edits.experiment_at(app.probe.recipe, name).data()
    for section, value in sections.items():
        data[section] = {**data[section], **value} if isinstance(value, dict) else value
    screen = screen_of(app.probe, parse_recipe(data))
    app.push_screen(screen)
    await pilot.pause()
    return screen


async def done(pilot: Pilot, screen: GuestScreen) -> None:
    await until(pilot, lambda: screen.ended and screen.folder is not None, "the end")


def test_a_plane_is_looked_around_in() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        screen = await launched(app, pilot, "plane", options={"resolution": 8})
        assert isinstance(screen, MapScreen)
        await done(pilot, screen)
        await until(pilot, lambda: "saved" in frame(pilot), "saved")
        await until(pilot, lambda: "aaa" in frame(pilot), "the region of the base")
        start = screen.cursor
        assert start is not None
        for key in ("right", "right", "up"):
            await pilot.press(key)
        assert screen.cursor is not None
        assert screen.cursor[0] > start[0]
        assert screen.cursor[1] > start[1]
        rows = screen.shown
        nearest = min(rows, key=lambda r: (r["u"] - screen.cursor[0]) ** 2 + (r["v"] - screen.cursor[1]) ** 2)
        for size in (*SIZES[1:], SIZES[0]):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda size=size: len(frame(pilot).splitlines()) == size[1], f"a frame of {size}")
            await until(pilot, lambda: repr(nearest["tokens"][0]) in frame(pilot), "the next token there")
            await until(pilot, lambda: "aaa" in frame(pilot), "the region of the base")
        await pilot.press("tab")
        await until(pilot, lambda: "░" in frame(pilot) or "▒" in frame(pilot), "shades of KL")
        await pilot.press("m")
        assert screen.cursor == pytest.approx((0.0, 0.0), abs=2.0), "KL from the base is smallest near the base"
        for _ in range(9):
            await pilot.press("shift+right")
        assert screen.cursor[0] == max(row["u"] for row in rows), "the cursor stays on the map"
        chart = screen.chart
        assert isinstance(chart, Surface)
        assert chart.label.startswith("KL from A"), "what is exported is what is shown"
        await pilot.press("n")
        tables = app.screen
        assert isinstance(tables, TablesScreen)
        await until(pilot, lambda: len(tables.tables.get("anchors", [])) == 3, "the three anchors")
        await pilot.press("escape")
        assert app.screen is screen

    play(story)


def test_triangles_refine_and_a_stopped_one_goes_on_and_opens_again() -> None:
    sessions: list[Path] = []
    first_rows: list[dict] = []
    had_first = 20

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        screen = await launched(app, pilot, "triangle", options={"resolution": 16}, path={"steps": 60})
        assert isinstance(screen, MapScreen)
        await until(pilot, lambda: len(screen.rows) > 20, "some places")
        assert {row["stride"] for row in screen.rows[:6]} == {8}
        await pilot.press("space")
        await done(pilot, screen)
        had = len(screen.rows)
        assert had < 306
        await until(pilot, lambda: "space goes on" in " ".join(frame(pilot).split()), "what is left")
        first = list(screen.rows)
        first_rows.extend(first)
        await pilot.press("space")
        await until(pilot, lambda: len(screen.rows) == 306, "the rest")
        await done(pilot, screen)
        assert screen.rows[:had] == first
        assert screen.folder is not None
        assert read_run(screen.folder).status == "done"
        await until(pilot, lambda: "map 2 of 2" in frame(pilot), "the second triangle")
        await pilot.press("g")
        await until(pilot, lambda: "map 1 of 2" in frame(pilot), "the first one")
        await until(pilot, lambda: "▼" in frame(pilot), "the minimum")
        assert app.probe.session is not None
        sessions.append(app.probe.session.folder)

    play(story)

    async def again(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: isinstance(app.screen, MapScreen), "the map")
        screen = app.screen
        assert isinstance(screen, MapScreen)
        assert len(screen.rows) == 306
        await until(pilot, lambda: "▼" in frame(pilot), "the minimum")

    play(again, DirscopeApp.opening(sessions[0]))

    async def replayed(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: isinstance(app.screen, MapScreen), "the map")
        screen = app.screen
        assert isinstance(screen, MapScreen)
        await until(pilot, lambda: len(screen.rows) == 306 and "replayed" in frame(pilot), "every place again")
        assert screen.rows[:had_first] == first_rows[:had_first]
        await pilot.press("t")
        assert app.screen is screen, "a replay has nothing to compute with"
        await pilot.press("space")
        await until(pilot, lambda: app.screen is not screen and isinstance(app.screen, MapScreen), "it once more")
        assert len(app.screen_stack) == 3, "in place of the one before"

    play(replayed, DirscopeApp.replaying(sessions[0], speed=1000))


@pytest.mark.parametrize("size", SIZES)
def test_a_blind_test_is_played_to_its_score(size: tuple[int, int]) -> None:
    sessions: list[Path] = []

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        screen = await launched(app, pilot, "blind-test", path={"steps": 20})
        assert isinstance(screen, BlindScreen)
        await done(pilot, screen)
        assert screen.folder is not None
        await until(pilot, lambda: "10 to tag" in frame(pilot) or size[1] < 20, "what is left to do")
        await pilot.press("enter")
        assert screen.verdict is None, "an answer needs all tags"
        assert "made up to" not in frame(pilot)
        for key in "rfrfrfrfrf":
            await pilot.press(key)
        assert screen.tags == {name: i % 2 == 0 for i, name in enumerate("ABCDEFGHIJ")}
        await pilot.press("up", "r")
        await pilot.press("m", "m", "m")
        await pilot.press("enter")
        await until(pilot, lambda: "enter again" in frame(pilot), "a question")
        assert verdict_of(screen.folder) is None
        await pilot.press("q")
        assert app.screen is screen, "tags are not thrown away by one key"
        await pilot.press("enter")
        await until(pilot, lambda: "right" in frame(pilot) and "WRONG" in frame(pilot), "the score")
        kept = verdict_of(screen.folder)
        assert kept is not None
        assert kept == screen.verdict
        assert {item.name: item.said_real for item in kept.items} == screen.tags
        assert seal_of(read_run(screen.folder)) is not None
        before = dict(screen.tags)
        await pilot.press("f")
        assert screen.tags == before, "an answer stands"
        assert app.probe.session is not None
        sessions.append(app.probe.session.folder)

    play(story, size=size)

    async def again(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: isinstance(app.screen, BlindScreen), "the test")
        await until(pilot, lambda: "WRONG" in frame(pilot), "the score that stands")

    if size[1] == 40:
        play(again, DirscopeApp.opening(sessions[0]))


def test_what_a_search_finds_becomes_a_direction() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        screen = await launched(
            app, pilot, "search", directions=[{"kind": "isotropic", "count": 2}], options={"steps": 4, "neighbours": 0}
        )
        assert isinstance(screen, TablesScreen)
        await done(pilot, screen)
        await until(pilot, lambda: screen.tables.get("found") is not None, "what was found")
        await pilot.press("a")
        assert not [s for s in app.probe.recipe.directions if s.kind == "vector"], "no vector in this table"
        await until(pilot, lambda: "found 2" in frame(pilot), "the tab of what was found")
        await pilot.press("tab")
        await until(pilot, lambda: "found from isotropic" in frame(pilot), "the table of what was found")
        screen.query_one(DataTable).move_cursor(row=1)
        await pilot.pause()
        await pilot.press("a")
        added = [s for s in app.probe.recipe.data()["directions"] if s["kind"] == "vector"]
        assert [s["label"] for s in added] == ["found from isotropic 1"]
        assert added[0]["data"] == screen.tables["found"][1]["vector"]
        await pilot.press("escape")
        await until(pilot, lambda: any(c.summary.kind == "vector" for c in app.probe.drawn.curves), "its curve")

    play(story)


def test_every_experiment_has_a_screen_that_fits_its_tables() -> None:
    recipe = DirscopeApp.fresh(SMALL).probe.recipe
    kinds = {name: type(screen_of(None, edits.experiment_at(recipe, name))).__name__ for name in EXPERIMENTS}
    assert kinds["triangle"] == kinds["plane"] == kinds["interaction"] == "MapScreen"
    assert kinds["blind-test"] == "BlindScreen"
    assert kinds["mixtures"] == kinds["mechanism"] == "TablesScreen"
    assert kinds["plateaus"] == "ExperimentScreen"


# Surfaces


def test_a_triangle_has_its_corners_where_their_letters_are() -> None:
    rows = [
        {
            "triangle": 0,
            "sort": "real-other random isotropic",
            "corners": "a, b, c",
            "i": p.at[0],
            "j": p.at[1],
            "k": p.at[2],
        }
        | {"threshold": 10.0 * p.at[0] + p.at[1], "distance": 1.0}
        for p in ternary(4)
    ]
    made = MAPS["triangle"].surface(rows, MAPS["triangle"].shades[0])
    there = {mark.character: made.values[made.nearest(mark.x, mark.y)] for mark in made.marks}
    assert there["R"] == 40
    assert there["r"] == 4
    assert there["i"] == there["▼"] == 0


def surface(**changes) -> Surface:
    x, y = (a.ravel().astype(float) for a in np.meshgrid(np.arange(3), np.arange(3)))
    given = {
        "x": x,
        "y": y,
        "values": x,
        "outline": ((0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)),
        "label": "columns",
        "square": False,
    }
    return Surface(**{**given, **changes})


def test_each_cell_is_drawn_like_the_nearest_known_place() -> None:
    lines = draw_surface(surface(), 40, 12).plain.splitlines()
    assert len(lines) == 12 or len(lines) == 11
    # From left to right the weakest shade, the middle one, the strongest: borders half way.
    assert lines[5] == "·" * 10 + "▒" * 20 + "█" * 10
    triangle = surface(outline=((0.0, 0.0), (2.0, 0.0), (1.0, 2.0)))
    lines = draw_surface(triangle, 40, 12).plain.splitlines()
    assert len(lines[9].strip()) > len(lines[4].strip()) > len(lines[0].strip()) > 0


def test_what_is_never_reached_sorts_and_sides_have_signs_of_their_own() -> None:
    values = np.where(surface().x == 2, np.nan, surface().x)
    text = draw_surface(surface(values=values), 40, 12).plain
    assert text.splitlines()[5].endswith("-" * 10)
    assert "- never" in text
    sorts = (("A", "of A", (1, 2, 3)), ("B", "of B", (3, 2, 1)), ("C", "of C", (9, 9, 9)))
    text = draw_surface(surface(sorts=sorts), 40, 12).plain
    assert text.splitlines()[5] == "a" * 10 + "b" * 20 + "c" * 10
    assert "a of A, b of B, c of C" in text
    text = draw_surface(surface(values=surface().x - 1, centre=0.0), 40, 12).plain
    assert text.splitlines()[5] == "=" * 10 + " " * 20 + "#" * 10


def test_marks_and_the_cursor_stand_where_they_are() -> None:
    marked = surface(marks=(Mark(2.0, 2.0, "▼", BRIGHT),), cursor=(0.0, 0.0))
    drawn = draw_surface(marked, 40, 12)
    assert drawn.plain.splitlines()[0][39] == "▼"
    reversed_ = [span for span in drawn.spans if "reverse" in str(span.style)]
    assert len(reversed_) == 1
    assert drawn.plain[: reversed_[0].start].count("\n") == 9
    plain = draw(surface(marks=marked.marks, ascii=True), 40, 12).plain
    assert plain.isascii()
    for width, height in ((5, 5), (16, 3), (0, 0), (200, 60)):
        lines = draw_surface(marked, width, height).plain.splitlines()
        assert len(lines) <= max(1, height)
        assert all(len(line) <= max(width, 0) for line in lines)
