"""Make `docs/screens.md` from the running app: `python -m scripts.screens_page [FILE]`.

Every screen at 120x40 and at 80x24 as text, on the bundled model in a temporary home, and the keys that lead from a
fresh start to what people come for. The keys are pressed as they stand in the page, so it shows where they lead.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from textual.pilot import Pilot

from engine.quiet import quiet_libraries
from sessions.config import Config
from tests.driving import frame
from tui.app import DirscopeApp
from tui.screens.guest import GuestScreen
from tui.screens.steering import SteeringScreen

FILE: Final = Path(__file__).parents[1] / "docs" / "screens.md"
SIZES: Final = ((120, 40), (80, 24))


async def _until(pilot: Pilot[None], condition: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s; the screen says:\n{frame(pilot)}")
        await pilot.pause(0.1)
    await pilot.pause(0.6)


async def _frames(size: tuple[int, int]) -> dict[str, str]:
    """Frames by title, keys in the title as they were pressed."""
    shown: dict[str, str] = {}
    app = DirscopeApp.fresh(config=Config(hints=False))
    async with app.run_test(size=size) as pilot:
        probe = app.probe

        async def saved() -> None:
            await _until(pilot, lambda: probe.picture.ended and probe.folder is not None)

        def take(title: str) -> None:
            shown[title] = frame(pilot)

        await saved()
        await _until(pilot, lambda: bool(probe.features.rows))
        take("`1` probe, as it starts: three kinds of direction compared (no key pressed)")
        await pilot.press("P", "left")
        await pilot.pause(0.3)
        await saved()
        await pilot.press("A")
        await pilot.pause(0.6)
        take("`1` probe: the run of the token before pinned behind, over shares of the typical distance (`P` `←` `A`)")
        await pilot.press("S")
        await pilot.pause(0.8)
        take("`1` probe: small multiples (`S`)")
        await pilot.press("S", "U", "A", "A", "A", "A", "right")
        await pilot.pause(0.3)
        await saved()
        await pilot.press("3")
        await _until(pilot, lambda: getattr(app.screen, "card", None) is not None)
        take("`3` features active at the token, and the card of one (`3`)")
        await pilot.press("enter", "1")
        await pilot.pause(0.3)
        await saved()
        take("`1` probe: that feature among the directions (`3` `enter` `1`)")
        await pilot.press("2")
        await pilot.pause(0.5)
        app.screen.dismiss("sensitive-directions")
        await pilot.pause(0.5)
        guest = app.screen
        assert isinstance(guest, GuestScreen)
        await _until(pilot, lambda: guest.ended)
        await pilot.press("tab")
        await pilot.pause(2.0)
        take("`2` experiments: sensitive directions (`2`, choose, `enter`)")
        await pilot.press("4")
        await pilot.pause(0.5)
        lab = app.screen
        assert isinstance(lab, SteeringScreen)
        await _until(pilot, lambda: lab.ended or len(lab.points) > 2)
        await _until(pilot, lambda: bool(lab.texts))
        take("`4` steering: what the model writes (`4`)")
        await pilot.press("1", "5")
        await _until(pilot, lambda: bool(getattr(app.screen, "shown", ())))
        await pilot.pause(1.5)
        take("`5` sessions (`5`)")
        await pilot.press("question_mark")
        await pilot.pause(1.0)
        take("Help of the screen (`?`)")
    return shown


WAYS: Final = """\
| from a fresh start to | keys | how many |
|---|---|---|
| a first comparison of kinds | `dirscope` `enter`: random, real-other and isotropic are compared at once | 0 |
| a saved and verified session | it is saved by itself; `ctrl+q`, then `dirscope replay NAME --verify` | 1 |
| a feature found and probed | `3`, `enter` on one (or `/`, a word, `enter` `enter`), `1` | 3 |
| a steered text | `x`: the model writes on with the direction under the cursor added, and without | 1 |
| a steering sweep | `4`: two prompts in contrast, success against damage; `a` composes another vector | 1 |
"""


def main() -> None:
    quiet_libraries()
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    lines = ["# Screens", "", "Made by `python -m scripts.screens_page` from the running app.", "", WAYS]
    for size in SIZES:
        with tempfile.TemporaryDirectory() as home:
            os.environ["DIRSCOPE_HOME"] = home
            lines += ["", f"## {size[0]} x {size[1]}"]
            for title, text in asyncio.run(_frames(size)).items():
                lines += ["", f"### {title}", "", "```", text.replace(home, "~/dirscope"), "```"]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
