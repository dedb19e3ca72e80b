"""What each `dirscope` command does: imports only what the call needs. Gives exit codes.

`--batch` never imports textual; nothing here imports torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    from sessions.config import Config


def _replay(arguments: argparse.Namespace) -> int:
    from engine.errors import UsageError
    from sessions.catalogue import find, run_folders
    from sessions.paths import places

    where = places()
    if not 0 < arguments.speed < float("inf"):
        raise UsageError(f"--speed must be a finite number above 0; got {arguments.speed:g}.")
    folder = find(arguments.run, where.sessions)
    if not arguments.verify:
        return _open_app(lambda config: _app_for_replay(folder, arguments.speed, config), arguments)
    from engine.client import Worker
    from engine.worker import WorkerOptions
    from sessions.differences import told
    from sessions.verify import HEADER, verify

    worker = Worker(WorkerOptions(cache=where.cache, log=where.log))
    worker.start()
    try:
        ok = True
        for run in run_folders(folder):
            print(f"computing {run} again", file=sys.stderr, flush=True)
            found = verify(run, worker)
            print(HEADER)
            for deviation in found.deviations:
                print(deviation)
            ok = ok and found.ok
            print(told(list(found.differences)))
            over = "NOT verified: at least one deviation is over its tolerance"
            print("verified" if found.ok else over, flush=True)
        return 0 if ok else 1
    finally:
        worker.stop()


def _app_for_replay(folder: Path, speed: float, config: Config) -> Any:
    from tui.app import DirscopeApp

    return DirscopeApp.replaying(folder, speed, config)


def _draw_text(chart: Any, width: int, height: int) -> str:
    from tui.plotting import draw

    return draw(chart, width, height).plain


def _export(arguments: argparse.Namespace) -> int:
    from sessions.catalogue import find, one_run
    from sessions.export import Part, export
    from sessions.paths import places

    folder = one_run(find(arguments.run, places().sessions))
    form = arguments.form or arguments.out.suffix.lstrip(".").lower()
    part = Part(arguments.curve, arguments.table, arguments.view, draw=_draw_text if form == "md" else None)
    export(folder, form, arguments.out, part)
    print(f"wrote {arguments.out}", file=sys.stderr)
    return 0


def _answer(arguments: argparse.Namespace) -> int:
    from engine.errors import UsageError
    from sessions.blind import answer, verdict_of
    from sessions.catalogue import find, one_run
    from sessions.paths import places

    folder = one_run(find(arguments.run, places().sessions))
    verdict = verdict_of(folder)
    if arguments.real is not None:
        names = [name.strip().upper() for part in arguments.real for name in part.split(",") if name.strip()]
        if not names:
            raise UsageError("--real names no item, and a test is answered once: name the real ones, as in A,C.")
        verdict = answer(folder, names)
    if verdict is None:
        raise UsageError(f"{folder} is not answered yet: name the items that you take for real with --real A,C,...")
    print("\n".join(verdict.lines()))
    return 0


def _sessions(arguments: argparse.Namespace) -> int:
    from tui.kept import run

    return run(arguments)


def _vectors(arguments: argparse.Namespace) -> int:
    from tui.vectors import run

    return run(arguments)


def _config(arguments: argparse.Namespace) -> int:
    from sessions.config import explained, settings, told, user_file

    if arguments.themes:
        from textual.theme import BUILTIN_THEMES

        print("\n".join(sorted(BUILTIN_THEMES)))
        return 0
    if arguments.init:
        from sessions.config import write_template

        print(f"wrote {write_template(user_file())}", file=sys.stderr)
        return 0
    found = settings()
    rows = found.rows
    print("\n".join(explained(rows) if arguments.explain else [f"{r.name} = {told(r.value)}" for r in rows]))
    check_settings(found.config)
    return 0


def check_settings(config: Config) -> None:
    """What only the app knows of settings: themes and keys.

    Raises:
        UsageError: A theme or key is not what can be had.
    """
    from textual.theme import BUILTIN_THEMES

    from tui.app import checked_theme
    from tui.keys import keymap

    checked_theme(config.theme, BUILTIN_THEMES)
    keymap(config.keys)


def _paths(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict
    from pathlib import Path

    from sessions.config import project_file, user_file
    from sessions.paths import places

    found = {
        **asdict(places()),
        "config": user_file(),
        "project": project_file(Path.cwd()) or "(no dirscope.toml here)",
    }
    for name, path in found.items():
        print(f"{name:<9} {path}")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from sessions.doctor import examine

    problems = 0
    for finding in examine(check_settings):
        print(finding, flush=True)
        problems += not finding.ok
    return 3 if problems else 0


def _completion(arguments: argparse.Namespace) -> int:
    import shtab

    from tui.arguments import whole_parser

    print(shtab.complete(whole_parser(), arguments.shell))
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from engine.errors import UsageError

    if arguments.rounds < 1:
        raise UsageError(f"--rounds must be at least 1; got {arguments.rounds}.")
    from engine.quiet import quiet_libraries

    quiet_libraries()  # before the first import of torch
    from engine.bench import bench_lines

    for line in bench_lines(arguments.model, arguments.rounds, arguments.device):
        print(line, flush=True)
    return 0


def batch(arguments: argparse.Namespace) -> int:
    from engine.silence import PATIENCE
    from sessions.batch import BatchOptions, run_batch
    from sessions.paths import places

    for flag, seconds in (("--time-limit", arguments.time_limit), ("--patience", arguments.patience)):
        if seconds is not None and not 0 < seconds < float("inf"):
            from engine.errors import UsageError

            raise UsageError(f"{flag} must be a finite number of seconds above 0; got {seconds:g}.")
    if arguments.session is not None:
        from engine.errors import UsageError

        raise UsageError(f"--batch takes its recipe by itself; what is '{arguments.session}' for?")
    for flag in ("theme", "ascii", "mouse"):
        if getattr(arguments, flag) is not None:
            from engine.errors import UsageError

            raise UsageError(f"--{'no-mouse' if flag == 'mouse' else flag} belongs to the app: --batch draws nothing.")
    options = BatchOptions(
        recipe=arguments.batch,
        out=arguments.out,
        overrides=(*shorthand(arguments), *arguments.overrides),
        form=arguments.form,
        time_limit=arguments.time_limit,
        resume=arguments.resume,
        patience=PATIENCE if arguments.patience is None else arguments.patience,
        cluster=arguments.cluster,
    )
    return run_batch(options, places())


def shorthand(arguments: argparse.Namespace) -> list[str]:
    """The command's options as recipe overrides."""
    import tomli_w

    def toml(text: str) -> str:
        return tomli_w.dumps({"v": text}).partition("=")[2].strip()

    keys = {"model": "model.name", "prompt": "site.prompt", "write": "site.write", "device": "model.device"}
    found = [f"{key}={toml(v)}" for name, key in keys.items() if (v := getattr(arguments, name)) is not None]
    if arguments.position is not None:
        found.append(f"site.position={arguments.position}")
    if arguments.sae is not None:
        release, _, sae_id = arguments.sae.partition(":")
        found.append(f"sae.release={toml(release)}")
        if sae_id:
            found.append(f"sae.sae_id={toml(sae_id)}")
    return found


def app(arguments: argparse.Namespace) -> int:
    from engine.errors import UsageError

    batch_only = {"--out": arguments.out, "--time-limit": arguments.time_limit, "--resume": arguments.resume or None}
    if arguments.form != "text":
        batch_only["--format"] = arguments.form
    for flag, value in batch_only.items():
        if value is not None:
            raise UsageError(f"{flag} belongs to --batch RECIPE.")
    typed = [*shorthand(arguments), *arguments.overrides]
    if arguments.session is not None and typed:
        raise UsageError(f"A session brings its own recipe: change {typed[0].partition('=')[0]} in the app.")

    def make(config: Config) -> Any:
        import gc

        gc.disable()  # until the first frame: nothing of what is imported is garbage
        from engine.client import any_worker
        from engine.worker import WorkerOptions
        from sessions.paths import places

        where = places()
        # Before anything of the app is imported: the worker's own imports take longest, and go on beside ours.
        options = WorkerOptions(
            cache=where.cache, log=where.log, eager=True, patience=config.patience, cluster=config.cluster
        )
        worker = any_worker(options)
        worker.start()
        try:
            from tui.app import DirscopeApp

            if arguments.session is not None:
                from sessions.catalogue import find

                return DirscopeApp.opening(find(arguments.session, where.sessions), config, worker)
            started = argparse.Namespace(**vars(arguments))
            started.model, started.device, started.sae = config.model, config.device, config.sae
            return DirscopeApp.fresh([*shorthand(started), *arguments.overrides], config, worker)
        except BaseException:
            worker.stop(timeout=0)
            raise

    return _open_app(make, arguments)


def _open_app(make: Callable[[Config], Any], arguments: argparse.Namespace) -> int:
    from tui.splash import splash

    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        from engine.errors import UsageError

        raise UsageError("The app needs a terminal and this is none: use dirscope --batch RECIPE, or replay --verify.")
    with splash(getattr(arguments, "prompt", None)):
        from sessions.config import settings

        flags = {
            name: getattr(arguments, name, None)
            for name in ("model", "device", "sae", "mouse", "ascii", "theme", "patience", "cluster")
        }
        config = settings(flags).config
        app = make(config)
    app.run(mouse=config.mouse)
    return int(app.return_code or 0)


COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "replay": _replay,
    "export": _export,
    "answer": _answer,
    "sessions": _sessions,
    "vectors": _vectors,
    "config": _config,
    "paths": _paths,
    "doctor": _doctor,
    "bench": _bench,
    "completion": _completion,
}
"""By the first word of the command."""
