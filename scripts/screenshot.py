"""Make the pictures of the README from the running app: `python scripts/screenshot.py [FOLDER]`.

Starts the app with the bundled model in a temporary home, waits for the curves, saves an SVG; then the SAE workbench,
and the curves again with the untrained twin in front.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

PICTURES = Path(__file__).parents[1] / "docs"


async def take(folder: Path) -> None:
    from tui.app import DirscopeApp

    app = DirscopeApp.fresh()
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
        from tui import edits

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


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ["DIRSCOPE_HOME"] = home
        asyncio.run(take(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES))
