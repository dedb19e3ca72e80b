"""Hostile files into everything that reads one: `python -m scripts.hardship.fuzz OUT.json [--times 20000] [--seed 0]`.

Sound files of each kind are spoiled at random and read as the program reads them. Whatever comes of it must be a value
or one sentence of ours, within 5 seconds, with no file written but where the reader was told to, no socket, no process,
and nothing printed that a terminal would obey.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a second thread would count twice
SECONDS: Final = 5
"""Of a processor, so that other programs on the machine do not count."""
LONG_SECONDS: Final = 30
"""By the clock, for what waits and computes nothing."""
LONGEST: Final = 1500
"""Characters of a sentence."""


class Outside(Exception):
    """Something was written, run or called that should not be."""


class Watch:
    """Sees every file that is opened to write, every socket and every process."""

    def __init__(self) -> None:
        self.room: Path | None = None
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.room is None:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
            if writes and isinstance(path, str | bytes | os.PathLike):
                self._inside(Path(os.fsdecode(path)))
        elif event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "shutil.rmtree", "os.chmod"):
            if any(type(a) is int and a > 0 for a in arguments[1:]):
                return  # below a directory that is open, by its descriptor
            paths = [a for a in arguments if isinstance(a, str | bytes | os.PathLike)]
            for path in paths[:1] if event != "os.rename" else paths:
                self._inside(Path(os.fsdecode(path)))
        elif event in ("subprocess.Popen", "os.system", "os.exec", "socket.connect", "socket.getaddrinfo"):
            raise Outside(f"{event} {arguments!r:.200}")
        elif event == "import" and str(arguments[0]).startswith("transformers_modules"):
            raise Outside("code that a model brought along")
        elif event == "pickle.find_class":
            raise Outside(f"a pickle of {arguments!r:.200}")

    def _inside(self, path: Path) -> None:
        assert self.room is not None
        full = Path(os.path.realpath(path))
        if not full.is_relative_to(os.path.realpath(self.room)) and str(full) != os.devnull:
            raise Outside(f"wrote {full}")


def tame(text: str) -> bool:
    """Whether a terminal only shows a text."""
    return all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") for c in text)


Target = Callable[[Path, random.Random], str]
"""Reads one spoiled input in an empty directory; gives what a terminal would be shown."""


def check(target: Target, room: Path, draw: random.Random, watch: Watch) -> str:
    """Try one input; gives what is wrong with what came of it."""
    from engine.errors import DirscopeError

    def late(*_: object) -> None:
        raise TimeoutError(f"took longer than {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    signal.signal(signal.SIGPROF, late)
    signal.alarm(LONG_SECONDS)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    watch.room = room
    try:
        said = target(room, draw)
        if not tame(said):
            return f"a terminal would obey {said!r:.300}"
    except DirscopeError as error:
        sentence = str(error)
        if len(sentence.splitlines()) != 1 or len(sentence) > LONGEST or not tame(sentence):
            return f"{type(error).__name__} is no sentence: {sentence!r:.400}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        where = traceback.extract_tb(error.__traceback__)
        ours = [f"{Path(f.filename).name}:{f.lineno}" for f in where if "/site-packages/" not in f.filename]
        return f"{type(error).__name__}: {str(error)[:160]} at {' '.join(ours[-3:])}"
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        watch.room = None
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--times", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    import matplotlib.pyplot  # noqa: F401  (it makes directories of its own, once)

    from scripts.hardship.targets import targets

    watch, draw = Watch(), random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="dirscope-fuzz-") as place:
        found = {n: t for n, t in targets(Path(place) / "sound").items() if n.startswith(arguments.only)}
        shares = [share for _, share in found.values()]
        tried: collections.Counter[str] = collections.Counter()
        wrong: dict[str, list[str]] = {}
        slowest = 0.0
        for number in range(arguments.times):
            (name, (target, _)) = draw.choices(list(found.items()), shares)[0]
            room = Path(place) / "room"
            room.mkdir()
            began = time.monotonic()
            fault = check(target, room, random.Random(f"{arguments.seed}/{number}"), watch)
            slowest = max(slowest, time.monotonic() - began)
            shutil.rmtree(room)
            tried[name] += 1
            if fault:
                seen = wrong.setdefault(f"{name}: {fault[:90]}", [])
                seen.append(f"{number} {fault}")
                if len(seen) == 1:
                    print(number, name, fault, flush=True)
            if number % 1000 == 999 or number == arguments.times - 1:
                print(number + 1, f"slowest {slowest:.2f} s", len(wrong), "sorts of faults", flush=True)
                told = {"tried": tried, "wrong": {k: (len(v), v[0]) for k, v in wrong.items()}, "slowest": slowest}
                arguments.out.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
