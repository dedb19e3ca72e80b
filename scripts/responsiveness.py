"""How soon the app is there, and how late its event loop runs: `python -m scripts.responsiveness`.

Start-up is that of the command itself in a pseudo-terminal, from the call to the first frame, to the model being
ready and to the first whole picture, each with the parts that it is made of. Lateness is that of a timer in the app's
event loop while the worker computes as fast as it can and every curve is drawn as it comes, next to an idle app in the
same process; on a machine of few cores the worker competes with the app, as it does for a user.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from engine.quiet import quiet_libraries
from tui.app import DirscopeApp
from tui.widgets.curve_plot import CurvePlot

TICK: Final = 0.005
"""Seconds between two looks at the clock."""
LOAD: Final = ["path.steps=200", "directions=[{kind='random', count=600}, {kind='real-other', count=600}]"]
MARKS: Final = {
    "first sign": b"dirscope",
    "first frame": b"directions",
    "model is ready": b"typical",
    "run is on disk": b"saved",
}


def _started(home: str) -> dict[str, float]:
    """Seconds from the call until each mark is on the terminal."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = {**os.environ, "DIRSCOPE_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tui"], stdin=side, stdout=side, stderr=side, env=environment, start_new_session=True
    )
    os.close(side)
    seen, found = b"", dict[str, float]()
    try:
        while len(found) < len(MARKS) and time.perf_counter() - began < 120:
            if select.select([main], [], [], 0.05)[0]:
                seen += os.read(main, 65536)
                for name, mark in MARKS.items():
                    if name not in found and mark in seen:
                        found[name] = time.perf_counter() - began
        os.write(main, b"\x11")
        process.wait(10)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        os.close(main)
    return found


def _parts() -> dict[str, float]:
    """Seconds that a fresh interpreter takes for each part of the first frame."""
    code = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
    parts = {
        "python itself": "pass",
        "import textual": "import textual.app",
        "import the app": "import tui.app",
    }
    found = {}
    for name, statement in parts.items():
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code.format(statement)], capture_output=True, text=True, check=True
        )
        found[name] = time.perf_counter() - began if statement == "pass" else float(done.stdout)
    return found


async def _lateness(seconds: float, while_true: DirscopeApp | None = None) -> list[float]:
    """Milliseconds by which a timer of the event loop came late."""
    late, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end and (while_true is None or not while_true.probe.picture.ended):
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        late.append(1000 * (time.perf_counter() - due))
    return late


async def _under_load() -> None:
    app = DirscopeApp.fresh(LOAD)
    async with app.run_test(size=(120, 40)) as pilot:
        while not app.probe.picture.curves:
            await pilot.pause(0.05)
        plot = app.probe.query_one(CurvePlot)
        drawn, began, curves = plot.drawings, time.perf_counter(), len(app.probe.picture.curves)
        busy = await _lateness(60, app)
        took = time.perf_counter() - began
        rate = (len(app.probe.picture.curves) - curves) / took
        redraws = (plot.drawings - drawn) / took
        while app.probe.folder is None:
            await pilot.pause(0.05)
        await asyncio.sleep(2)
        idle = await _lateness(5)
    print(
        f"\nevent loop at 120x40, timer of {1000 * TICK:.0f} ms, {rate:.0f} curves and {redraws:.1f} redraws a second"
    )
    print(f"{'':<14} {'p50':>7} {'p95':>7} {'p99':>7} {'max':>7}   ms late, of n")
    for name, late in (("idle", idle), ("full load", busy)):
        p50, p95, p99 = np.percentile(late, [50, 95, 99])
        print(f"{name:<14} {p50:7.1f} {p95:7.1f} {p99:7.1f} {max(late):7.1f}   {len(late)}")


def _table(rounds: int, home: str) -> None:
    runs: list[dict[str, float]] = [_started(home) for _ in range(rounds + 1)][1:]  # the first fills the caches
    parts = [_parts() for _ in range(rounds)]
    print(f"{'start-up, s':<22} {'median':>7} {'slowest':>8}   of {rounds}, after one that fills caches")
    for name in MARKS:
        _row(name, [run[name] for run in runs if name in run])
    print("parts of the first frame")
    for name in parts[0]:
        _row(f"  {name}", [part[name] for part in parts])


def _row(name: str, values: Sequence[float]) -> None:
    if values:
        print(f"{name:<22} {statistics.median(values):7.2f} {max(values):8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    quiet_libraries()
    with tempfile.TemporaryDirectory() as home:
        os.environ["DIRSCOPE_HOME"] = home
        _table(arguments.rounds, home)
        asyncio.run(_under_load())


if __name__ == "__main__":
    main()
