"""Eight hours of use in compressed form: `python -m scripts.hardship.endurance OUT.json [--edits 2880]`.

The app with its worker, driven by keys as a user would every ten seconds: new draws, other tokens, spheres, metrics,
prompts, undo. Every result is waited for and kept. Memory and open files of both processes are looked at on the way,
and the session is read while it is written.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from textual.pilot import Pilot
from textual.widgets import Input

from sessions.catalogue import entries, run_folders
from sessions.housekeeping import size_of
from sessions.reader import read_run
from tui.app import DirscopeApp

EDITS: Final = 2880
LOOKS: Final = 40
WARM: Final = 600
"""Edits before the first look that counts: caches fill, undo has its 500 steps, and torch takes what it keeps."""
KEYS: Final = ("g", "left", "g", "s", "m", "right", "g", "z", "s", "A", "g", "P", "left", "g", "right", "g")
PROMPTS: Final = (
    "Once upon a time, there was a little girl who",
    "Tom and his mom went to the park. They saw a big",
    "The sun was hot. Ben was very",
)


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def handles(pid: int) -> int:
    """Open files of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def use(app: DirscopeApp, pilot: Pilot[None], edits: int, home: Path) -> list[dict[str, Any]]:
    """Work with the app; gives what was seen at each look."""
    looks = []
    began = time.monotonic()
    for number in range(edits):
        if number % 25 == 24:
            prompt = app.probe.query_one("#prompt", Input)
            await pilot.press("p")
            prompt.value = PROMPTS[number // 25 % len(PROMPTS)]
            await pilot.press("enter")
            app.probe.query_one("#tokens").focus()
        else:
            await pilot.press(KEYS[number % len(KEYS)])
        end = time.monotonic() + 60
        while not (app.probe.picture.ended and app.probe.folder is not None):
            await pilot.pause(0.01)
            if time.monotonic() > end:
                raise SystemExit(f"edit {number} came to nothing: {app.probe.problem or app.probe.picture.status}")
        if number % max(1, edits // LOOKS) == 0:
            gc.collect()
            assert app.bridge is not None
            assert app.bridge._worker._process is not None
            worker = app.bridge._worker._process.pid
            assert worker is not None
            (session,) = entries(home / "sessions")
            runs = run_folders(session.folder)
            whole = read_run(runs[-1] if app.probe.picture.ended else runs[-2])
            looks.append(
                {
                    "edits": number,
                    "seconds": round(time.monotonic() - began, 1),
                    "app MB": resident(os.getpid()) / 1e6,
                    "worker MB": resident(worker) / 1e6,
                    "app files": handles(os.getpid()),
                    "worker files": handles(worker),
                    "runs": len(runs),
                    "curves of the last": len(whole.curves),
                    "session MB": size_of(session.folder) / 1e6,
                }
            )
            print(looks[-1], flush=True)
    return looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--edits", type=int, default=EDITS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dirscope-endurance-") as place:
        os.environ["DIRSCOPE_HOME"] = place

        async def run() -> list[dict[str, Any]]:
            app = DirscopeApp.fresh(["population.n=60", "path.steps=40"])
            async with app.run_test(size=(120, 40)) as pilot:
                return await use(app, pilot, arguments.edits, Path(place))

        looks = asyncio.run(run())
    first, last = next((look for look in looks if look["edits"] >= WARM), looks[-1]), looks[-1]
    growth = {name: last[name] / first[name] - 1 for name in ("app MB", "worker MB", "app files", "worker files")}
    print({name: f"{share:+.1%}" for name, share in growth.items()})
    arguments.out.write_text(json.dumps({"growth": growth, "first": first, "last": last, "looks": looks}, indent=1))


if __name__ == "__main__":
    main()
