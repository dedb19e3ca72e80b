"""Where files live. `DIRSCOPE_HOME` puts everything but models below one directory (tests, containers).

Knows platform conventions only.
"""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from engine.durable import FOLDER_MODE, make_private
from engine.errors import UsageError


@dataclass(frozen=True)
class Places:
    """Directories of this user; none need exist yet."""

    sessions: Path
    trash: Path
    """Sessions that were thrown away, to be taken back or deleted for good."""
    vectors: Path
    """The library of saved steering vectors."""
    config: Path
    """The user's configuration, a file."""
    state: Path
    """What the app remembers between starts: the last copy, whether hints are still wanted."""
    cache: Path
    log: Path
    """The worker's log file."""
    models: Path
    """Hugging Face's own cache, where Hub models and SAEs are."""


def places() -> Places:
    """The directories in force now."""
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "hub")
    home = os.environ.get("DIRSCOPE_HOME")
    if home:
        root = Path(home).expanduser()
        return Places(
            sessions=root / "sessions",
            trash=root / "trash",
            vectors=root / "vectors",
            config=root / "config.toml",
            state=root / "state",
            cache=root / "cache",
            log=root / "log" / "worker.log",
            models=hub.expanduser(),
        )
    return Places(
        sessions=platformdirs.user_data_path("dirscope") / "sessions",
        trash=platformdirs.user_data_path("dirscope") / "trash",
        vectors=platformdirs.user_data_path("dirscope") / "vectors",
        config=platformdirs.user_config_path("dirscope") / "config.toml",
        state=platformdirs.user_state_path("dirscope"),
        cache=platformdirs.user_cache_path("dirscope"),
        log=platformdirs.user_log_path("dirscope") / "worker.log",
        models=hub.expanduser(),
    )


def new_folder(parent: Path, title: str) -> Path:
    """Make a new directory below `parent`: UTC time and a slug of the title.

    Raises:
        UsageError: It cannot be created.
    """
    make_private(parent)
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:32].strip("-") or "run"
    stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{slug}"
    for name in itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2))):
        # Making it is what claims the name: another dirscope may be choosing one this second.
        try:
            (parent / name).mkdir(mode=FOLDER_MODE)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"Cannot create {parent / name} ({error.strerror}): free some space.") from None
        return parent / name
    raise AssertionError("count has no end")
