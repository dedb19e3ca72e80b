"""Nothing is asked of a network, nothing is left readable for others, and no log holds what was typed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.durable import make_private, replace_file
from engine.worker import LONGEST_LOG
from sessions.differences import differences, told
from sessions.reader import read_run
from tests.conftest import command
from tests.sessions.test_batch import SHORT

GUARD = """
import os, sys
def guard(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind", "socket.sendto"):
        place = arguments[1] if event in ("socket.connect", "socket.bind", "socket.sendto") else arguments[0]
        if event in ("socket.connect", "socket.bind") and (isinstance(place, (str, bytes)) or place[0] in ("::1",)):
            return  # of this machine: between processes, or seeing whether there is IPv6
        with open(os.environ["CALLS"], "a") as file:
            file.write(f"{event} {place}\\n")
        raise OSError(101, "Network is unreachable")
sys.addaudithook(guard)
"""
"""Imported by every Python process before anything else: refuses the network, and writes down who asked for it."""


@pytest.fixture
def guarded(tmp_path: Path) -> dict[str, str]:
    """An environment in which nobody reaches a network, with the libraries' own switches as a user has them."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(GUARD)
    return {
        "PYTHONPATH": str(tmp_path / "site"),
        "CALLS": str(tmp_path / "calls"),
        **dict.fromkeys(("HF_HUB_OFFLINE", "WANDB_MODE", "OTEL_SDK_DISABLED", "HF_HUB_DISABLE_TELEMETRY"), ""),
    }


def test_only_a_hub_id_opens_a_socket(tmp_path: Path, guarded: dict[str, str]) -> None:
    (tmp_path / "r.toml").write_text(SHORT + '[[directions]]\nkind = "sae-feature"\n')
    began = time.monotonic()
    hub = ThreadPoolExecutor(1).submit(  # the Hub's own retries wait for half a minute
        command,
        "--batch",
        "r.toml",
        "--set",
        "model.name=gpt2",
        cwd=tmp_path,
        env=guarded | {"CALLS": str(tmp_path / "hub")},
    )
    for words in (
        ("--batch", "r.toml", "--out", "out"),
        ("replay", "out", "--verify"),
        ("sessions", "list"),
        ("export", "out", "--out", "x.md"),
    ):
        done = command(*words, cwd=tmp_path, env=guarded)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "calls").exists(), (tmp_path / "calls").read_text()
    done = hub.result()
    assert (done.returncode, "Hub cannot be reached" in done.stderr) == (3, True), done.stderr
    assert "huggingface.co" in (tmp_path / "hub").read_text()
    assert time.monotonic() - began < 120  # and does not hang


def test_everything_of_a_users_is_its_owners_alone_and_no_log_holds_a_prompt(home: Path, tmp_path: Path) -> None:
    secret = "Zanzibar pomegranate"
    before = os.umask(0o022)
    shutil.rmtree(home)
    try:
        make_private(home / "log")
        for name, text in (("worker.log", "x" * (LONGEST_LOG + 1)), ("worker.old.log", "older")):
            replace_file(home / "log" / name, text)
        (tmp_path / "r.toml").write_text(SHORT.replace("One day a cat", secret))
        env = {"HF_HUB_OFFLINE": "1"}
        for words, code in (
            (("--batch", "r.toml"), 0),
            (("--batch", "r.toml", "--set", "site.position=77"), 2),
            (("config", "--init"), 0),
        ):
            done = command(*words, cwd=tmp_path, env=env)
            assert done.returncode == code, done.stderr
    finally:
        os.umask(before)
    seen = [home, *home.rglob("*")]
    assert {p.relative_to(home).parts[0] for p in seen[1:]} >= {"sessions", "log", "config.toml", "cache"}
    for path in seen:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    sizes = {f.name: f.stat().st_size for f in (home / "log").iterdir()}
    assert sizes.keys() == {"worker.log", "worker.old.log"}  # two at most, and short
    assert sizes["worker.old.log"] == LONGEST_LOG + 1
    assert sizes["worker.log"] < LONGEST_LOG
    assert secret.split()[0] not in (home / "log" / "worker.log").read_text()


def test_verify_says_what_is_not_as_it_was(run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    info = read_run(copy).info
    assert differences(info, info) == []
    assert told([]).startswith("same as recorded")
    other = {
        **info,
        "versions": {**info["versions"], "torch": "1.0", "textual": "0.1"},
        "device_name": "a larger machine",
        "model": {**info["model"], "weights_sha256": "f" * 64},
    }
    found = differences(info, other)
    assert len(found) == 3
    assert f"torch {info['versions']['torch']} -> 1.0" in found
    assert any(line.startswith("weights ") and "ffffffffffff..." in line for line in found)


def test_another_number_of_threads_stays_within_tolerance_and_is_told(run_folder: Path, tmp_path: Path) -> None:
    """The tolerances of `sessions/verify.py`: float32 sums in another order."""
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    record = json.loads((copy / "run.json").read_text())
    assert record["threads"] == 1
    record["layout"]["threads"] = 2  # what it is computed again with, where there are as many
    (copy / "run.json").write_text(json.dumps(record))
    events = (copy / "events.jsonl").read_text().replace(record["versions"]["torch"], "9.9.9", 1)
    (copy / "events.jsonl").write_text(events)
    done = command("replay", str(copy), "--verify", cwd=tmp_path, env={"OMP_NUM_THREADS": "2"})
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "verified"), done.stdout
    threads = "threads 1 -> 2, " if len(os.sched_getaffinity(0)) > 1 else ""
    assert f"not as recorded: {threads}torch 9.9.9 -> " in done.stdout
