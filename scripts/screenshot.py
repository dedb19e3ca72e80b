"""Make the pictures of the README from the running app: `python scripts/screenshot.py [FOLDER]`.

Starts the app with the bundled model in a temporary home, waits for the curves, saves an SVG; then the SAE workbench,
the curves again with the untrained twin in front, two experiments, maps and a sweep of steering.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from engine.recipe import parse_recipe
from sessions.batch import find_recipe
from sessions.config import Config
from tui import edits
from tui.app import DirscopeApp
from tui.screens.experiment import ExperimentScreen
from tui.screens.opening import screen_of

PICTURES = Path(__file__).parents[1] / "docs"
PLATEAUS: dict[str, Any] = {
    "bases": [
        {"kind": "real-other", "host": "site", "count": 60},
        {"kind": "sae-reconstruction", "of": "real-other", "host": "site", "count": 60},
        {"kind": "synthetic-structured", "count": 60},
        {"kind": "random", "count": 60},
    ],
    "directions": [{"kind": "random", "count": 2}],
    "path": {"mode": "sphere", "steps": 75},
}


async def take(folder: Path) -> None:
    app = DirscopeApp.fresh(config=Config(hints=False))
    async with app.run_test(size=(120, 38)) as pilot:
        deadline = time.monotonic() + 120

        async def settled() -> None:
            while not (app.probe.picture.ended and app.probe.folder is not None):
                if app.probe.problem or time.monotonic() > deadline:
                    raise SystemExit(f"no curves to show: {app.probe.problem or app.probe.picture.status}")
                await pilot.pause(0.1)

        await settled()
        while not app.probe.features.rows and time.monotonic() < deadline:
            await pilot.pause(0.1)
        features = [f.index for f in app.probe.features.rows[:2]]
        for index in features:
            app.probe.change(lambda recipe, index=index: edits.toggled_feature(recipe, index))
        await pilot.pause(0.2)
        await settled()
        await pilot.press("c")
        await pilot.pause(1.0)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dirscope.svg").write_text(app.export_screenshot(title="dirscope"), encoding="utf-8")
        await pilot.press("f")
        while getattr(app.screen, "card", None) is None and time.monotonic() < deadline:
            await pilot.pause(0.1)
        await pilot.press("down", "down", "down")
        await pilot.pause(1.0)
        (folder / "workbench.svg").write_text(app.export_screenshot(title="dirscope"), encoding="utf-8")
        await pilot.press("escape")
        for index in features:  # what the features of an untrained model's activations would be, nobody knows
            app.probe.change(lambda recipe, index=index: edits.toggled_feature(recipe, index))
        await pilot.pause(0.2)
        await settled()
        trained = app.probe.picture.info
        await pilot.press("u")
        while app.probe.picture.info is trained and time.monotonic() < deadline:
            await pilot.pause(0.1)
        await settled()
        await pilot.pause(1.0)
        (folder / "untrained.svg").write_text(app.export_screenshot(title="dirscope"), encoding="utf-8")
        await pilot.press("u")
        await pilot.pause(0.2)
        await settled()
        await experiments(app, pilot, folder)
        await maps(app, pilot, folder)
        await steering(app, pilot, folder)


async def steering(app: DirscopeApp, pilot: Pilot[int], folder: Path) -> None:
    """The built-in recipe, one point of it looked at."""
    screen = screen_of(app.probe, find_recipe("steering", ()))
    app.push_screen(screen)
    while not (screen.ended and screen.folder is not None):
        await pilot.pause(0.2)
    await pilot.press("up", "left", "left")
    await pilot.pause(2.0)
    (folder / "steering.svg").write_text(app.export_screenshot(title="dirscope"), encoding="utf-8")
    await pilot.press("escape")


async def experiments(app: DirscopeApp, pilot: Pilot[int], folder: Path) -> None:
    """Kinds of base on the sphere, cumulative; how much of a push arrives at every layer."""
    for name, changes, tabs, file in (
        ("plateaus", PLATEAUS, 3, "experiment.svg"),
        ("propagation", {"bases": [{"kind": "real-other", "count": 30}]}, 5, "layers.svg"),
    ):
        recipe = parse_recipe({**edits.experiment_at(app.probe.recipe, name).data(), **changes})
        screen = ExperimentScreen(app.probe, recipe)
        app.push_screen(screen)
        while not (screen.ended and screen.folder is not None):
            await pilot.pause(0.2)
        for _ in range(tabs):
            await pilot.press("tab")
            await pilot.pause(0.5)
        await pilot.pause(4.0)
        (folder / file).write_text(app.export_screenshot(title="dirscope"), encoding="utf-8")
        await pilot.press("escape")
        await pilot.pause(0.5)


async def maps(app: DirscopeApp, pilot: Pilot[int], folder: Path) -> None:
    """A triangle toward a real activation and two random ones; a plane; a blind test with some tags."""
    for name, keys, file in (
        ("triangle", ("g", "m"), "triangle.svg"),
        ("plane", (*["right"] * 14, "up", "up", "up"), "plane.svg"),
        ("blind-test", ("r", "f", "f", "r"), "blind-test.svg"),
    ):
        screen = screen_of(app.probe, edits.experiment_at(app.probe.recipe, name))
        app.push_screen(screen)
        while not (screen.ended and screen.folder is not None):
            await pilot.pause(0.2)
        await pilot.press(*keys)
        await pilot.pause(3.0)
        (folder / file).write_text(app.export_screenshot(title="dirscope"), encoding="utf-8")
        await pilot.press("escape")
        await pilot.pause(0.5)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ["DIRSCOPE_HOME"] = home
        asyncio.run(take(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES))
