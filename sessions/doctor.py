"""`dirscope doctor`: what works here, one line each, and below what does not, what to do about it.

Knows directories, the terminal's environment and the worker.
"""

from __future__ import annotations

import locale
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from engine.client import Worker
from engine.errors import DirscopeError
from engine.protocol import RunRequest
from engine.recipe import parse_recipe
from engine.results import Event, RunStarted
from engine.worker import WorkerOptions
from sessions.config import Config, settings
from sessions.paths import places
from sessions.runner import run_to_end

SMALLEST: Final = (60, 16)
"""Columns and rows below which the app cannot be read."""
LOW_DISK: Final = 1e9
"""Bytes free below which a long run may not fit."""
LOW_MEMORY: Final = 2e9
LIBRARIES: Final = ("textual", "rich", "plotext", "numpy", "pyarrow", "pydantic")
"""Of the app's process; the worker names those of the engine."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    ok: bool
    detail: str
    advice: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        line = f"{'ok  ' if self.ok else 'FAIL'}  {self.what:<10} {self.detail}"
        return f"{line}\n      {'':<10} → {self.advice}" if self.advice else line


def examine(check: Callable[[Config], object] = lambda config: None) -> Iterator[Finding]:
    """Look at everything a run needs.

    Args:
        check: raises an error on settings that the app would refuse.
    """
    yield Finding("python", True, f"{sys.version.split()[0]}, {', '.join(_versions())}")
    yield from terminal(os.environ, shutil.get_terminal_size(), sys.stdout.isatty())
    yield _unicode()
    yield _configuration(check)
    where = places()
    for name, path in asdict(where).items():
        folder = path.parent if name in ("log", "config") else path
        if name != "models":
            good = _writable(folder)
            yield Finding(name, good, str(path), "" if good else "choose another place with DIRSCOPE_HOME")
    yield _disk(where.sessions)
    yield _memory()
    yield from _hub(where.models)
    yield from _engine(where.cache, where.log)


def _versions() -> Iterator[str]:
    for name in LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} is not installed"


def terminal(environment: Mapping[str, str], size: os.terminal_size, tty: bool) -> Iterator[Finding]:
    """What the terminal says of itself.

    Args:
        tty: whether there is one at all.
    """
    names = ("TERM", "TERM_PROGRAM", "TMUX", "STY", "SSH_TTY")
    shown = ", ".join(f"{n}={environment[n].split(',')[0]}" for n in names if environment.get(n))
    small = size.columns < SMALLEST[0] or size.lines < SMALLEST[1]
    kind = f"{size.columns}x{size.lines}" if tty else "stdout is no terminal: only --batch works here"
    advice = f"make it at least {SMALLEST[0]}x{SMALLEST[1]}" if tty and small else ""
    yield Finding("terminal", True, f"{kind}; {shown or 'TERM is not set'}", advice)
    depth = colours(environment)
    advice = ""
    if depth == "256" and environment.get("TMUX"):
        advice = "for true colour inside tmux: set -as terminal-features ',*:RGB', and COLORTERM=truecolor"
    elif depth == "16":
        advice = "curves have letters at their ends: dirscope --theme ansi-dark keeps to your terminal's colours"
    yield Finding("colours", True, depth, advice)
    if environment.get("TMUX"):
        yield Finding("clipboard", True, "OSC 52 through tmux", "copies arrive once tmux has: set -s set-clipboard on")
    elif environment.get("STY"):
        yield Finding("clipboard", True, "screen passes no OSC 52 on", "copies are in the state directory as well")


def colours(environment: Mapping[str, str]) -> str:
    """How many colours the environment promises."""
    term = environment.get("TERM", "")
    if environment.get("NO_COLOR"):
        return "none (NO_COLOR is set)"
    if environment.get("COLORTERM", "") in ("truecolor", "24bit") or "direct" in term:
        return "truecolor"
    return "256" if "256" in term or "kitty" in term else "16"


def _unicode() -> Finding:
    encoding = sys.stdout.encoding or locale.getpreferredencoding(False)
    good = encoding.lower().replace("-", "") == "utf8"
    return Finding(
        "unicode",
        True,
        f"{encoding}: {'⡠⠤⠒ braille, ▣ ▢ boxes' if good else 'no braille'}",
        "if dots are missing here, use --ascii" if good else "set LANG to a UTF-8 locale, or use --ascii",
    )


def _configuration(check: Callable[[Config], object]) -> Finding:
    try:
        found = settings()
        check(found.config)
    except DirscopeError as error:
        return Finding("settings", False, str(error), "mend or remove it; dirscope config --explain shows the rest")
    mine = [f"{row.name} ({row.source})" for row in found.rows if row.source != "default"]
    return Finding("settings", True, ", ".join(mine) or "all default")


def _writable(folder: Path) -> bool:
    return os.access(_there(folder), os.W_OK)


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(_there(folder)).free
    low = free < LOW_DISK
    advice = "free some: dirscope sessions trash --empty deletes what was thrown away" if low else ""
    return Finding("disk", not low, f"{free / 1e9:.1f} GB free for sessions", advice)


def _memory() -> Finding:
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return Finding("memory", True, "not known on this system")
    advice = "a model may not fit: close something, or --set model.dtype=bfloat16" if free < LOW_MEMORY else ""
    return Finding("memory", True, f"{free / 1e9:.1f} GB not in use, {os.cpu_count()} processors", advice)


def _hub(models: Path) -> Iterator[Finding]:
    found = sorted(p.name.removeprefix("models--").replace("--", "/") for p in models.glob("models--*"))
    said = f"{len(found)} models: {', '.join(found[:4])}{' ...' if len(found) > 4 else ''}" if found else "empty"
    yield Finding("models", True, f"{models} ({said})")
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    advice = "only models in the cache load; unset HF_HUB_OFFLINE to fetch others" if offline else ""
    said = "HF_HUB_OFFLINE is set" if offline else "allowed, and opened only for a Hub id that you name"
    yield Finding("network", True, said, advice)


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
        yield Finding("engine", False, str(error), f"the worker's log is {log}")
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
