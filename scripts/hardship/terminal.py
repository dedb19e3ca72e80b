"""A program in a terminal of its own, driven by keys: for trials in which the terminal goes away or lies."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Self


class Terminal:
    """A process and the other end of its terminal.

    Args:
        words: the command.
        env: its environment.
        size: columns and rows.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str], size: tuple[int, int]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))

        def own_session() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self._process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(env), preexec_fn=own_session
        )
        os.close(theirs)
        self._open = True
        self.seen = ""
        """Everything it wrote, without the sequences that move the cursor and colour."""
        self.raw = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self.hang_up()

    @property
    def pid(self) -> int:
        return self._process.pid

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._ours, keys.encode())

    def read_for(self, seconds: float) -> None:
        """Take what it writes, for some time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self._open:
            if not select.select([self._ours], [], [], left)[0]:
                return
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                return
            if not data:
                return
            self.raw += data
            self.seen += re.sub(r"\x1b\[[0-9;?<>=]*[a-zA-Z]", "", data.decode(errors="replace"))

    def expect(self, text: str, seconds: float) -> None:
        """Read until it wrote a text.

        Raises:
            AssertionError: It did not.
        """
        end = time.monotonic() + seconds
        while text not in self.seen:
            if time.monotonic() > end or self._process.poll() is not None:
                raise AssertionError(f"{text!r} was not written within {seconds} s: {self.seen[-2000:]}")
            self.read_for(0.2)

    def hang_up(self) -> None:
        """Take the terminal away, as a lost connection does."""
        if self._open:
            self._open = False
            os.close(self._ours)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone."""
        os.kill(self.pid, number)

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None where it does not end in time."""
        end = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < end:
            self.read_for(0.1)
            time.sleep(0.02)
        return self._process.poll()
