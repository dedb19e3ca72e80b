"""Leaving when somebody else says so: a closed connection, a scheduler, a shutdown. What was computed is kept.

Knows signals and the app's bridge.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

from engine.errors import InterruptedByUser

if TYPE_CHECKING:
    from tui.app import DirscopeApp


def watch(app: DirscopeApp) -> None:
    """Leave on SIGTERM and on SIGHUP, which comes when the terminal is gone."""
    if sys.platform == "win32":
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        try:
            loop.add_signal_handler(number, _leave, app)
        except (RuntimeError, ValueError):
            return  # not the main thread, as where the app is embedded: whoever embeds it decides


def _leave(app: DirscopeApp) -> None:
    # At once and here: with the terminal gone, nothing that draws can be relied on any more.
    if app.bridge is not None:
        app.bridge.stop()
    app.exit(return_code=InterruptedByUser.exit_code)
