"""Kill -9 at random moments, and what is left: `python -m scripts.hardship.kills OUT.json [--times 200] [--seed 0]`.

Four victims in turn: a batch run, the worker of a batch run, the app in a terminal of its own, the app's worker. What
was acknowledged, which for batch is every line that came out on stdout, must be on disk to the last digit, the status
must be honest, no process may stay, and going on must end in the tables of a run that nobody killed.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
from safetensors.numpy import load_file

from engine.errors import DirscopeError
from scripts.hardship.terminal import Terminal
from sessions.catalogue import entries, run_folders
from sessions.reader import EVENTS_FILE, read_run
from sessions.store import is_whole

RECIPE: Final = """
[site]
prompt = "Once upon a time, there was a little girl who"
[population]
n = 60
[path]
steps = 60
[[directions]]
kind = "isotropic"
count = 150
[[directions]]
kind = "random"
count = 150
"""
GONE_SECONDS: Final = 10.0
COMMAND: Final = (sys.executable, "-m", "tui")


def children(pid: int) -> list[int]:
    """Processes below a process that have not ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found += [int(entry.name), *children(int(entry.name))]
    return found


def worker_of(pid: int) -> int | None:
    """The process that holds the model."""
    for child in children(pid):
        try:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
        except OSError:
            continue
    return None


def gone(pids: list[int]) -> list[int]:
    """Processes that are still there after a while."""
    end = time.monotonic() + GONE_SECONDS
    left = pids
    while left and time.monotonic() < end:
        time.sleep(0.1)
        left = [pid for pid in left if Path(f"/proc/{pid}").exists() and not _is_zombie(pid)]
    return left


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


class Campaign:
    """Trials in a directory of their own.

    Args:
        place: an empty directory.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.env = {
            **os.environ,
            "DIRSCOPE_HOME": str(place / "home"),
            "OMP_NUM_THREADS": "1",
            "TERM": "xterm-256color",
        }
        (place / "r.toml").write_text(RECIPE)
        started = time.monotonic()
        self.batch("--out", "whole", check=True)
        self.seconds = time.monotonic() - started
        self.whole = self.tables(place / "whole")

    def batch(self, *words: str, check: bool = False, source: str = "r.toml") -> subprocess.CompletedProcess[str]:
        """A batch run to its end."""
        return subprocess.run(
            [*COMMAND, "--batch", source, *words], cwd=self.place, env=self.env, capture_output=True, text=True,
            check=check,
        )  # fmt: skip

    def tables(self, folder: Path) -> dict[str, Any]:
        """All numbers of a run."""
        found: dict[str, Any] = {n: pq.read_table(folder / f"{n}.parquet") for n in ("curves", "summary", "bases")}
        return found | {n: a.tobytes() for n, a in load_file(folder / "arrays.safetensors").items()}

    def batch_killed(self, draw: random.Random, of_worker: bool) -> list[str]:
        """One trial: a batch run, or its worker, killed at a random moment; gives what was wrong."""
        out = self.place / "out"
        shutil.rmtree(out, ignore_errors=True)
        lines = self.place / "lines.jsonl"
        wait = draw.uniform(0, self.seconds * 1.05)
        with lines.open("wb") as stdout:
            process = subprocess.Popen(
                [*COMMAND, "--batch", "r.toml", "--out", "out", "--format", "jsonl"], cwd=self.place, env=self.env,
                stdout=stdout, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            time.sleep(wait)
            below = children(process.pid)
            victim = worker_of(process.pid) if of_worker else process.pid
            if victim is not None:
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    victim = None
            code = process.wait()
        wrong = [f"process {pid} stayed" for pid in gone(below)]
        if of_worker and victim is not None and code not in (0, 5):
            wrong.append(f"exit code {code} after the worker was killed")
        acknowledged = [json.loads(line) for line in lines.read_bytes().split(b"\n")[:-1]]
        wrong += self._kept(out, acknowledged)
        ended = bool(acknowledged) and acknowledged[-1]["type"] == "end"
        if (out / EVENTS_FILE).exists() and (out / "run.json").exists():
            status = json.loads((out / "run.json").read_text())["status"]
            if status == "done" and not is_whole(read_run(out)):
                wrong.append("done, but not whole")
            if not of_worker and not ended and status == "stopped":
                wrong.append("stopped, which nobody said")
        resumed = self.batch("--out", "out", "--resume")
        if resumed.returncode != 0:
            return [*wrong, f"resuming gave {resumed.returncode}: {resumed.stderr[-300:]}"]
        if {f.name for f in out.iterdir()} != {f.name for f in (self.place / "whole").iterdir()}:
            wrong.append(f"files {sorted(f.name for f in out.iterdir())}")
        again = self.tables(out)
        return wrong + [f"{name} differs" for name, table in self.whole.items() if again[name] != table]

    def _kept(self, out: Path, acknowledged: list[dict[str, Any]]) -> list[str]:
        stored = collections.defaultdict(list)
        if (out / EVENTS_FILE).exists():
            for line in (out / EVENTS_FILE).read_bytes().split(b"\n")[:-1]:
                event = json.loads(line)
                stored[event["type"], event.get("curve", event.get("base"))].append(event)
        if acknowledged:
            read_run(out)
        lost = []
        for event in acknowledged:
            key = event["type"], event.get("curve", event.get("base"))
            if event["type"] in ("curve", "base") and not any(_same(event, s) for s in stored[key]):
                lost.append(f"lost {key}")
        return lost

    def app_killed(self, draw: random.Random, of_worker: bool) -> list[str]:
        """One trial: the app, or its worker, killed while somebody draws new directions."""
        home = self.place / "app-home"
        shutil.rmtree(home, ignore_errors=True)
        (home / "sessions").mkdir(parents=True)
        (home / "cache").symlink_to(self.place / "home" / "cache")
        env = {**self.env, "DIRSCOPE_HOME": str(home)}
        wrong = []
        with Terminal([*COMMAND, "--set", "population.n=60", "--set", "path.steps=40"], env, (120, 40)) as app:
            app.expect(" L2, kl ", 60)
            until = time.monotonic() + draw.uniform(0, 6)
            while time.monotonic() < until:
                app.press("g")
                app.read_for(draw.uniform(0, 0.6))
            below = children(app.pid)
            victim = worker_of(app.pid) if of_worker else app.pid
            assert victim is not None
            os.kill(victim, signal.SIGKILL)
            if of_worker:
                app.expect("killed", 20)
                app.press("g")
                app.read_for(1)
                before = self._whole_runs(home / "sessions")
                end = time.monotonic() + 40
                while self._whole_runs(home / "sessions") <= before and time.monotonic() < end:
                    app.press("g")
                    app.read_for(2)
                if self._whole_runs(home / "sessions") <= before:
                    wrong.append("no run came after the worker was killed")
                app.press("\x11")  # ctrl+q
                code = app.wait(20)
                if code != 0:
                    wrong.append(f"the app left with {code}")
            else:
                app.wait(10)
            wrong += [f"process {pid} stayed" for pid in gone(below)]
        for entry in entries(home / "sessions"):
            if entry.status in ("running", "damaged"):
                wrong.append(f"{entry.name} says {entry.status}")
            for run in run_folders(entry.folder) if entry.runs else []:
                wrong += self._readable(run)
        return wrong

    def _whole_runs(self, sessions: Path) -> int:
        return len([p for p in sessions.glob("*/runs/*/summary.parquet")])

    def _readable(self, folder: Path) -> list[str]:
        """A run of a killed app, which can be read and, where it began, gone on with."""
        try:
            run = read_run(folder)
        except DirscopeError as error:
            return [] if not (folder / EVENTS_FILE).exists() else [f"{folder.name}: {error}"]
        if run.record["status"] == "done":
            return [] if is_whole(run) else [f"{folder.name} is done but not whole"]
        return []


def _same(said: dict[str, Any], stored: dict[str, Any]) -> bool:
    return {**said, "t": 0} == {**stored, "t": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="dirscope-kills-") as place:
        campaign = Campaign(Path(place))
        victims: dict[str, Callable[[], list[str]]] = {
            "batch run": lambda: campaign.batch_killed(draw, False),
            "worker of a batch run": lambda: campaign.batch_killed(draw, True),
            "app": lambda: campaign.app_killed(draw, False),
            "worker of the app": lambda: campaign.app_killed(draw, True),
        }
        shares = ("batch run", "batch run", "worker of a batch run", "app", "worker of the app")
        tried: collections.Counter[str] = collections.Counter()
        wrong: list[str] = []
        for number in range(arguments.times):
            victim = shares[number % len(shares)]
            found = victims[victim]()
            tried[victim] += 1
            wrong += [f"{number} {victim}: {w}" for w in found]
            print(number, victim, found or "ok", flush=True)
            arguments.out.write_text(json.dumps({"tried": tried, "wrong": wrong}, indent=1))


if __name__ == "__main__":
    main()
