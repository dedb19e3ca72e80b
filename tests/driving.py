"""Driving the app in tests: stories told with Textual's Pilot, and waiting for what the worker brings about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot

from tui.app import DirscopeApp

SMALL = ["population.n=60", "path.steps=20"]
Story = Callable[[DirscopeApp, Pilot], Awaitable[None]]


def play(story: Story, app: DirscopeApp | None = None, size: tuple[int, int] = (120, 40)) -> None:
    """Run a story in an app of its own."""

    async def run() -> None:
        subject = app or DirscopeApp.fresh(SMALL)
        async with subject.run_test(size=size) as pilot:
            await story(subject, pilot)

    asyncio.run(run())


async def until(pilot: Pilot, condition: Callable[[], bool], what: str, seconds: float = 40) -> None:
    """Wait for something that the worker brings about."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}; the screen says:\n{frame(pilot)}")
        await pilot.pause(0.05)


def frame(pilot: Pilot) -> str:
    """The screen as text, one line per row."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def saved(app: DirscopeApp, pilot: Pilot) -> None:
    """Wait until the run on the screen is whole and on disk."""
    await until(pilot, lambda: app.probe.picture.ended and app.probe.folder is not None, "a saved run")
    await pilot.pause(0.4)


def worker_pid(app: DirscopeApp) -> int:
    """The process that holds the model."""
    assert app.bridge is not None
    process = app.bridge._worker._process
    assert process is not None
    assert process.pid is not None
    return process.pid
