"""`dirscope doctor`: what works here, one line each.

Knows directories, the terminal's environment and the worker.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.client import Worker
from engine.errors import DirscopeError
from engine.protocol import RunRequest
from engine.recipe import parse_recipe
from engine.results import Event, RunStarted
from engine.worker import WorkerOptions
from sessions.paths import places
from sessions.runner import run_to_end


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.what:<10} {self.detail}"


def examine() -> Iterator[Finding]:
    """Look at everything a run needs."""
    yield Finding("python", True, sys.version.split()[0])
    yield _terminal()
    where = places()
    for name, path in asdict(where).items():
        folder = path.parent if name == "log" else path
        if name != "models":
            yield Finding(name, _writable(folder), str(path))
    yield Finding("models", True, f"{where.models} ({'there' if where.models.is_dir() else 'empty'})")
    yield from _engine(where.cache, where.log)


def _terminal() -> Finding:
    size = shutil.get_terminal_size()
    names = ("TERM", "COLORTERM", "TMUX", "NO_COLOR")
    shown = ", ".join(f"{n}={os.environ[n].split(',')[0]}" for n in names if os.environ.get(n))
    tty = sys.stdout.isatty()
    kind = f"{size.columns}x{size.lines}" if tty else "stdout is no terminal: only --batch works here"
    return Finding("terminal", True, f"{kind}; {shown or 'TERM is not set'}")


def _writable(folder: Path) -> bool:
    while not folder.exists():
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)


def _engine(cache: Path, log: Path) -> Iterator[Finding]:
    recipe = parse_recipe({"site": {"prompt": "One day"}, "population": {"n": 50}, "path": {"steps": 5}})
    worker = Worker(WorkerOptions(cache=cache, log=log))
    found: list[RunStarted] = []

    def take(event: Event) -> None:
        if isinstance(event, RunStarted):
            found.append(event)

    started = time.monotonic()
    try:
        worker.start()
        run_to_end(worker, RunRequest(1, recipe), take)
    except DirscopeError as error:
        yield Finding("engine", False, str(error))
        return
    finally:
        worker.stop()
    info = found[0].info
    versions = ", ".join(f"{k} {v}" for k, v in info["versions"].items() if k != "python")
    yield Finding("versions", True, versions)
    yield Finding(
        "engine", True, f"{info['device']} ({info['device_name']}), ran in {time.monotonic() - started:.1f} s"
    )
    check = info["check"]
    bridge = check["log_prob_difference_transformer_lens"]
    said = "not checked" if bridge is None else f"{bridge:.1e}"
    yield Finding(
        "numbers",
        True,
        f"log-probabilities differ by {check['log_prob_difference_full_forward']:.1e} from a plain forward pass, "
        f"{said} from transformer-lens",
    )
