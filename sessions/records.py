"""Small JSON files that somebody may have damaged or written on purpose: read as a table, or not at all.

Knows JSON; not what the files say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_record(file: Path) -> dict[str, Any]:
    """The table that a file holds; an empty one where it is missing, damaged, nested without end or something else."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
