"""How long the app takes from a key to the first points and to the whole picture: `python -m scripts.latency`.

Drives the app itself, its worker and its session on disk, with 4 kinds x 8 directions x 100 steps on the bundled model;
each key changes what is computed. Times end when the plot with the points is on the (virtual) terminal.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Final

from textual.pilot import Pilot

from engine.quiet import quiet_libraries
from tui.app import DirscopeApp
from tui.widgets.curve_plot import CurvePlot

KINDS: Final = ("random", "real-other", "isotropic", "random-mixture")
KEYS: Final = {
    "a new draw": "g",
    "another token": "left",
    "back to that token": "right",
    "another layer": "right_square_bracket",
    "back to that layer": "left_square_bracket",
    "sphere": "s",
    "straight": "s",
}


async def _until(pilot: Pilot[int], condition: Callable[[], bool], seconds: float = 60) -> float:
    """Seconds until a condition holds."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > seconds:
            raise TimeoutError(f"waited {seconds:g} s")
        await asyncio.sleep(0.001)
    return time.perf_counter() - began


async def _measure(rounds: int, pause: float) -> None:
    recipe = [f"directions={[{'kind': kind, 'count': 8} for kind in KINDS]!s}".replace(": ", " = ")]
    recipe = [r.replace("'kind'", "kind").replace("'count'", "count") for r in recipe]
    app = DirscopeApp.fresh(recipe)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.probe
        plot = screen.query_one(CurvePlot)
        await _until(pilot, lambda: screen.picture.ended and screen.folder is not None, 120)
        firsts: dict[str, list[float]] = {}
        wholes: dict[str, list[float]] = {}
        for _ in range(rounds):
            for what, key in KEYS.items():
                await asyncio.sleep(pause)
                before, drawn = screen.picture.info, plot.drawings
                began = time.perf_counter()
                pressing = asyncio.create_task(pilot.press(key))  # returns only once the app is idle again
                await _until(
                    pilot,
                    lambda b=before, d=drawn: (  # type: ignore[misc]
                        screen.picture.info is not b
                        and bool(screen.picture.sketches or screen.picture.curves)
                        and plot.drawings > d
                    ),
                )
                firsts.setdefault(what, []).append(time.perf_counter() - began)
                await _until(pilot, lambda b=before: screen.picture.info is not b and screen.picture.ended)  # type: ignore[misc]
                wholes.setdefault(what, []).append(time.perf_counter() - began)
                await _until(pilot, lambda: screen.folder is not None)
                await pressing
    print(f"{'key':<20} {'first points, ms':>20} {'whole picture, ms':>20}   (median, slowest of {rounds})")
    for what in KEYS:
        first, whole = firsts[what], wholes[what]
        print(
            f"{what:<20} {1000 * statistics.median(first):12.0f} {1000 * max(first):7.0f} "
            f"{1000 * statistics.median(whole):12.0f} {1000 * max(whole):7.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds a user looks before the next key")
    arguments = parser.parse_args()
    quiet_libraries()
    with tempfile.TemporaryDirectory() as home:
        os.environ["DIRSCOPE_HOME"] = home
        asyncio.run(_measure(arguments.rounds, arguments.pause))


if __name__ == "__main__":
    main()
