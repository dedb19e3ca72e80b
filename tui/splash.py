"""What stands on the terminal while the app itself is being imported: that it is coming, and how.

Written by hand, since importing what could draw it is what takes the time. Imports nothing.
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ENTER: Final = "\x1b[?1049h\x1b[H\x1b[2J\x1b[?25l"
LEAVE: Final = "\x1b[?25h\x1b[?1049l"


@contextmanager
def splash(prompt: str | None) -> Iterator[None]:
    """Show it, on the screen that the app will take over; on an error the terminal is as it was before."""
    width = max(20, shutil.get_terminal_size().columns)
    plain = "".join(c if c.isprintable() else " " for c in prompt or "")
    lines = [
        "\x1b[1;7m dirscope \x1b[0m starting",
        f"prompt  {plain}"[:width] if plain else "",
        "",
        "  loading the app",
    ]
    sys.stdout.write(ENTER + "\r\n".join(lines))
    sys.stdout.flush()
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    except BaseException:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
