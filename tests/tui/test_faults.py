"""The app and a worker in which something goes wrong: one sentence, another worker, and the session goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.pilot import Pilot

from sessions.catalogue import entries, run_folders
from sessions.reader import read_run
from tests import faults
from tests.driving import SMALL, play, saved, until, worker_pid
from tui.app import DirscopeApp

pytestmark = pytest.mark.own_worker


@pytest.fixture
def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says what goes wrong next."""
    file = tmp_path / "fault"
    monkeypatch.setenv(faults.VARIABLE, str(file))
    monkeypatch.setattr("engine.client.serve", faults.serve)
    monkeypatch.setattr("tui.bridge.DEATHS_WITHIN_SECONDS", 0.0)
    return file


async def another(app: DirscopeApp, pilot: Pilot, before: int) -> None:
    """Wait for another worker; the one before leaves nothing, not even a zombie."""
    await until(pilot, lambda: app.bridge._worker._process is not None and worker_pid(app) != before, "another worker")
    assert not Path(f"/proc/{before}").exists()


def test_a_worker_that_hangs_is_replaced_and_what_was_asked_for_meanwhile_is_computed(
    fault: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.silence.NEWER_SECONDS", 1.0)

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        before, seed = worker_pid(app), probe.recipe.seed
        fault.write_text("hang")
        await pilot.press("g")
        await until(pilot, lambda: not fault.exists(), "a forward that never returns")
        await pilot.press("g")
        await until(pilot, lambda: "said nothing for" in probe.problem, "the sentence")
        await another(app, pilot, before)
        await until(pilot, lambda: probe.picture.ended and probe.picture.status != "failed", "the newer run")
        await saved(app, pilot)
        assert probe.recipe.seed == seed + 2
        folder = probe.folder
        assert folder is not None
        assert read_run(folder).recipe.seed == seed + 2

    play(story)
    (session,) = entries(home / "sessions")
    assert [read_run(run).status for run in run_folders(session.folder)] == ["done", "done"]


def test_a_failed_device_and_a_crash_are_told_and_the_session_goes_on(fault: Path, home: Path) -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        for what, says, dies in (
            ("bug", "ZeroDivisionError", False),
            ("cuda", "device failed", True),
            ("abort", "exit code -6", True),
        ):
            before = worker_pid(app)
            fault.write_text(what)
            await pilot.press("g")
            await until(pilot, lambda says=says: says in probe.problem, says)
            assert len(probe.problem.splitlines()) == 1
            if dies:
                await another(app, pilot, before)
            else:
                assert worker_pid(app) == before
            await pilot.press("g")
            await until(pilot, lambda: probe.picture.status != "failed", "the next run")
            await saved(app, pilot)
            assert not fault.exists()

    play(story, DirscopeApp.fresh([*SMALL, "directions=[{kind='isotropic',count=4}]"]))
    (session,) = entries(home / "sessions")
    assert {read_run(run).status for run in run_folders(session.folder)} == {"done"}
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and _zombie_of_ours(int(pid))]


def _zombie_of_ours(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return fields[0] == "Z" and int(fields[1]) == os.getpid()
