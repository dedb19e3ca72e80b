"""The SAE workbench and what it opens, on the real worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import DataTable, Input

from sessions.reader import read_run
from tests.driving import frame, play, saved, until, worker_pid
from tui import edits
from tui.app import DirscopeApp
from tui.screens.dialogs import Choose, EditText
from tui.screens.tables import TablesScreen
from tui.screens.workbench import Workbench
from tui.widgets.direction_list import DirectionList


async def opened(app: DirscopeApp, pilot: Pilot) -> Workbench:
    """The workbench with its list."""
    await saved(app, pilot)
    await pilot.press("f")
    bench = app.screen
    assert isinstance(bench, Workbench)
    await until(pilot, lambda: len(bench.features.rows) > 3, "features")
    await until(pilot, lambda: "nearest by decoder cosine" in frame(pilot), "the first card")
    return bench


def test_features_are_listed_searched_ticked_and_watched() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        bench = await opened(app, pilot)
        first = bench.features.rows[0]
        assert f"feature {first.index}" in frame(pilot)
        assert f"{first.activation:.3g}" in frame(pilot)
        await pilot.press("down", "enter")
        ticked = bench.features.rows[1].index
        assert edits.ticked_features(app.probe.recipe) == {ticked}
        assert "▣" in frame(pilot)
        await pilot.press("w")
        assert app.probe.watchlist.features == [ticked]
        await pilot.press("slash", *"girl", "enter")
        await until(pilot, lambda: "features that raise 'girl' most" in frame(pilot), "a search")
        assert all(f.raised for f in bench.features.rows)
        await pilot.press("slash", *["backspace"] * 4, *"99999", "enter")
        await until(pilot, lambda: "SAE feature 99999 does not exist" in frame(pilot), "a refusal")
        await pilot.press("escape")
        await until(pilot, lambda: bench.features.rows[0].index == first.index, "the active ones again")
        await pilot.press("W")
        assert isinstance(app.screen, EditText)
        await pilot.press(*"One day", "ctrl+s")
        await until(pilot, lambda: f"#{ticked}" in frame(pilot) and "One day" in frame(pilot), "watched features")
        await pilot.press("escape", "escape")
        assert app.screen is app.probe
        await saved(app, pilot)
        assert "sae-feature" in {s.kind for s in app.probe.picture.summaries}
        assert app.probe.session is not None
        assert app.probe.session.recalled("watch") == {"features": [ticked], "prompts": ["One day"]}

    play(story)


def test_a_decomposition_is_a_run_of_the_session_and_the_curves_come_back() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await opened(app, pilot)
        await pilot.press("d")
        tables = app.screen
        assert isinstance(tables, TablesScreen)
        await until(pilot, lambda: "saved" in frame(pilot), "a saved decomposition")
        rows = tables.tables["parts"]
        assert tables.query_one(DataTable).row_count == len(rows)
        assert "gradient pursuit" in frame(pilot)
        runs = sorted((app.probe.session.folder / "runs").iterdir()) if app.probe.session is not None else []
        run = read_run(runs[-1])
        assert run.recipe.experiment == "decompose"
        assert len(run.tables["parts"]) == len(rows)
        await pilot.press("s", "s")
        await until(pilot, lambda: "↑" in frame(pilot), "the sorted column")
        label = f"scatter {len(tables.tables['scatter'])}"
        await until(pilot, lambda: label in frame(pilot), "the tab of the scatter")
        await pilot.press("tab")
        await until(pilot, lambda: "encoder activation" in frame(pilot), "the scatter")
        await pilot.press("escape", "escape")
        assert app.screen is app.probe
        assert app.probe.picture.ended
        assert app.probe.drawn.curves

    play(story)


def test_a_session_that_ended_with_tables_opens_with_them_over_its_curves() -> None:
    async def first(app: DirscopeApp, pilot: Pilot) -> None:
        await opened(app, pilot)
        await pilot.press("d")
        await until(pilot, lambda: "saved" in frame(pilot), "a saved decomposition")
        assert app.probe.session is not None
        folders.append(app.probe.session.folder)

    async def again(app: DirscopeApp, pilot: Pilot) -> None:
        await until(pilot, lambda: isinstance(app.screen, TablesScreen), "the tables")
        await until(pilot, lambda: "encoder explained" in frame(pilot), "the numbers")
        assert "saved 0002" in frame(pilot)
        await pilot.press("escape")
        assert app.screen is app.probe
        assert app.probe.recipe.experiment == "probe"
        assert len(app.probe.drawn.curves) == 24
        await pilot.press("s")
        await saved(app, pilot)
        assert app.probe.picture.unit == "degrees"

    folders: list[Path] = []
    play(first)
    play(again, DirscopeApp.opening(folders[0]))


def test_a_ranking_fills_live_survives_its_worker_and_leaves_the_curves() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await opened(app, pilot)
        await pilot.press("R")
        tables = app.screen
        assert isinstance(tables, TablesScreen)
        await until(pilot, lambda: len(tables.tables.get("ranking", [])) > 64, "ranked features")
        os.kill(worker_pid(app), signal.SIGKILL)
        await until(pilot, lambda: "killed" in frame(pilot), "a sentence about the worker")
        await pilot.press("escape", "escape")
        assert app.screen is app.probe
        await pilot.press("g")
        await saved(app, pilot)
        assert app.probe.drawn.curves

    play(story)


def test_a_threshold_is_set_against_nulls_and_bases_are_toggled() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await saved(app, pilot)
        await pilot.press("a")
        await until(pilot, lambda: "p = " in frame(pilot), "a p-value")
        assert "of 200 random directions from the same base" in frame(pilot)
        await pilot.press("escape", "b")
        await until(pilot, lambda: len(app.probe.picture.info.get("tables", {})) == 0, "a run")
        await saved(app, pilot)
        assert len({s.base for s in app.probe.picture.summaries}) == 8
        assert "sooner than control" in frame(pilot)
        await pilot.press("b")
        await saved(app, pilot)
        assert len({s.base for s in app.probe.picture.summaries}) == 1

    play(story)


def test_other_kinds_and_their_options_are_one_row_away() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await saved(app, pilot)
        probe = app.probe
        listing = probe.query_one(DirectionList)
        await pilot.press("d", *["down"] * 40, "space")
        assert isinstance(app.screen, Choose)
        kinds = [key for key, _ in app.screen._options]
        await pilot.press(*["down"] * kinds.index("token-embedding"), "enter")
        await until(pilot, lambda: isinstance(app.screen, EditText) and "ctrl+s done" in frame(pilot), "options")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: edits.count_of(probe.recipe, "token-embedding") == 1, "the kind")
        await saved(app, pilot)
        assert "token-embedding" in {s.kind for s in probe.picture.summaries}
        place = next(i for i, row in enumerate(listing.rows) if row.kind == "token-embedding")
        listing.cursor = place
        await pilot.press("o")
        assert isinstance(app.screen, EditText)
        await pilot.press(*"\nplus", "ctrl+s")
        await until(pilot, lambda: "is not TOML" in frame(pilot), "the reason")
        assert isinstance(app.screen, EditText), "what is no TOML stays, with the reason"
        await pilot.press("escape")
        assert edits.count_of(probe.recipe, "token-embedding") == 1

    play(story)


def test_a_hook_without_an_sae_says_so_in_the_workbench() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await saved(app, pilot)
        await pilot.press("right_square_bracket")
        await saved(app, pilot)
        await pilot.press("f")
        await until(pilot, lambda: "There is no bundled SAE" in frame(pilot), "a sentence")
        assert app.screen.query_one(Input) is not None
        await pilot.press("d")  # asks for an SAE that is not there
        await until(pilot, lambda: frame(pilot).count("There is no bundled SAE") >= 1, "a refusal")
        await pilot.press("escape")
        await pilot.press("escape")
        assert app.screen is app.probe

    play(story)
