"""What is kept: run folders, sessions, where files live, batch runs, verifying and exporting.

Stands on `engine`; knows nothing of terminals. Importing it imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessions.frames import open_run as open_run


def __getattr__(name: str) -> Any:
    if name != "open_run":
        raise AttributeError(f"module 'sessions' has no attribute {name!r}")
    from sessions.frames import open_run

    return open_run
