"""A sample of hostile files; `scripts.hardship.fuzz` tries tens of thousands."""

from __future__ import annotations

import random
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot  # noqa: F401  (it makes directories of its own, once)
import pytest

from engine.errors import DirscopeError
from engine.models import load_model
from engine.recipe import ModelSection
from scripts.hardship.fuzz import Watch, check, tame
from scripts.hardship.targets import targets
from sessions.archive import unpack
from tui.cli import main
from tui.commands import COMMANDS

TRIALS = {"recipe": 60, "override": 60, "expectation": 60, "run folder": 60, "session": 40, "archive": 30} | {
    "vector file": 40, "SAE": 2, "model": 1, "settings": 40, "texts": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def watch() -> Iterator[Watch]:
    watch = Watch()
    before = signal.getsignal(signal.SIGALRM)
    yield watch
    watch.room = None
    signal.signal(signal.SIGALRM, before)


def test_hostile_files_end_in_a_sentence_or_nothing(
    tmp_path: Path, watch: Watch, embedded: object, recwarn: pytest.WarningsRecorder
) -> None:
    found = targets(tmp_path / "sound")
    assert found.keys() == TRIALS.keys()
    wrong = []
    for name, (target, _) in found.items():
        for number in range(TRIALS[name]):
            room = tmp_path / f"{name} {number}"
            room.mkdir()
            fault = check(target, room, random.Random(f"{name}/{number}"), watch)
            wrong += [f"{name} {number}: {fault}"] if fault else []
    assert not wrong


def test_the_watch_sees_what_it_is_for(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "room").mkdir()
    import socket
    import subprocess

    def outside(room: Path, draw: random.Random) -> str:
        (room.parent / "escaped").write_text("x")
        return ""

    def call(room: Path, draw: random.Random) -> str:
        socket.getaddrinfo("example.org", 80)
        return ""

    def run(room: Path, draw: random.Random) -> str:
        subprocess.run(["true"], check=True)
        return ""

    def late(room: Path, draw: random.Random) -> str:
        signal.raise_signal(signal.SIGALRM)
        return ""

    def shout(room: Path, draw: random.Random) -> str:
        return "a\x1b[2J"

    def crash(room: Path, draw: random.Random) -> str:
        raise KeyError("x")

    for target, says in (
        (outside, "wrote"),
        (call, "getaddrinfo"),
        (run, "Popen"),
        (late, "longer than"),
        (shout, "would obey"),
        (crash, "KeyError"),
    ):
        assert says in check(target, tmp_path / "room", random.Random(0), watch), says
    assert not (tmp_path / "escaped").exists()


def test_what_an_error_quotes_cannot_drive_a_terminal() -> None:
    said = str(DirscopeError("got \x1b]0;owned\x07\n\u202e" + "x" * 100_000))
    assert tame(said)
    assert "\n" not in said
    assert len(said) < 1100


def test_code_that_a_model_brings_along_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}'
    )
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    with pytest.raises(DirscopeError) as raised:
        load_model(ModelSection(name=str(tmp_path), device="cpu"))
    assert raised.value.exit_code == 3
    assert not (tmp_path / "ran").exists()


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    file = tmp_path / "bomb.dirscope.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("events.jsonl", b"0" * 50_000_000)
        archive.writestr(
            "manifest.json", '{"version": 1, "name": "b", "files": {"events.jsonl": {"sha256": "", "bytes": 5}}}'
        )
    with pytest.raises(DirscopeError, match="not as long"):
        unpack(file, tmp_path / "sessions")
    assert not [p for p in (tmp_path / "sessions").iterdir()]


def test_whatever_the_command_is_given_ends_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["--batch", "x" * 5000],
        ["--batch", "quickstart", "--set", f"seed={'9' * 5000}"],
        ["--batch", "quickstart", "--set", f"seed={'[' * 3000}"],
        ["--batch", "quickstart", "--set", "directions.².count=3"],
        ["--batch", "quickstart", "--set", "expect=3"],
        ["sessions", "show", "\x1b[2J"],
        ["sessions", "rm", "x" * 5000],
        ["export", "~nobody/x", "--out", "x.csv"],
    ):
        code = main(words)
        said = capsys.readouterr().err
        assert (code, "Traceback" in said) == (2, False), said
        assert len(said.splitlines()) == 1
        assert tame(said)


def test_a_mistake_of_ours_is_a_sentence_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(arguments: object) -> int:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setitem(COMMANDS, "paths", broken)
    assert main(["paths"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert main(["paths", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
