"""The command in a real terminal: a pseudo-terminal with a process of its own, read as a terminal reads it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest


class Terminal:
    """The command, its keyboard and all it ever wrote."""

    def __init__(self, words: list[str], cwd: Path, size: tuple[int, int] = (80, 24)) -> None:
        self.main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.before = termios.tcgetattr(side)
        self.side = side
        self.written = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tui", *words],
            stdin=side,
            stdout=side,
            stderr=side,
            cwd=cwd,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        """All that was written, without the sequences that colour and place it."""
        plain = re.sub(rb"\x1b\[[0-9;?>=]*[A-Za-z$]|\x1b\][^\x07]*\x07|\x1b[()][A-Z0-9]", b" ", self.written)
        return plain.decode(errors="replace")

    def wait(self, what: str, seconds: float = 60) -> None:
        """Read until a text has been written."""
        end = time.monotonic() + seconds
        while what not in self.text:
            assert time.monotonic() < end, (
                f"waited {seconds} s for {what!r}; the end of what came:\n{self.text[-2000:]}"
            )
            self.read(0.1)

    def read(self, seconds: float) -> None:
        if select.select([self.main], [], [], seconds)[0]:
            self.written += os.read(self.main, 65536)

    def type(self, keys: str) -> None:
        os.write(self.main, keys.encode())

    def end(self, seconds: float = 20) -> int:
        """The exit code; what is written meanwhile is read."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, "it does not end"
            self.read(0.05)
        while select.select([self.main], [], [], 0.1)[0]:
            self.read(0)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        os.close(self.main)
        os.close(self.side)


@pytest.fixture
def terminal(tmp_path: Path, request: pytest.FixtureRequest):
    """Starts the command."""
    opened: list[Terminal] = []

    def start(*words: str) -> Terminal:
        opened.append(Terminal([*words], tmp_path))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_start_type_see_curves_quit(terminal) -> None:
    """Start, another prompt, its curves, ctrl+q: the screen and the line settings are as before, exit 0."""
    app = terminal("--set", "population.n=60", "--set", "path.steps=20")
    app.wait("saved 0001")
    app.type("p and a dog\r")  # in one go, as over a slow line
    app.wait("saved 0002")
    app.wait("[dog]", 5)
    app.type("\x11")
    assert app.end() == 0
    assert app.written.count(b"\x1b[?1049h") >= 1
    assert app.written.rindex(b"\x1b[?1049l") > app.written.rindex(b"\x1b[?1049h"), "the screen is given back"
    assert app.written.rindex(b"\x1b[?25h") > app.written.rindex(b"\x1b[?25l"), "with its cursor"
    assert termios.tcgetattr(app.side)[3] == app.before[3], "and its line settings"
    assert "Traceback" not in app.text


def test_an_error_before_the_first_frame_gives_the_screen_back(terminal) -> None:
    app = terminal("--set", "path.steps=0")
    assert app.end() == 2
    said = app.written[app.written.rindex(b"\x1b[?1049l") :]
    assert b"path.steps must be" in said, "the sentence is where it can be read"
