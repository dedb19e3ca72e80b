"""The `dirscope` command: parses arguments, then imports only what the call needs.

`--help` and argument errors pay for argparse alone; `--batch` never imports textual; nothing here imports torch.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

EPILOG: Final = """\
commands:
  dirscope replay RUN|SESSION [--verify]        play a run back (no model needed), or compute it again and compare
  dirscope answer RUN --real A,C,...            answer a blind test: opens its seal and scores you
  dirscope export RUN --format FORMAT --out FILE    csv, parquet, jsonl, md, svg, png or py
  dirscope sessions list|show|rm                what is kept
  dirscope vectors list|show|save|import|export|rm  the library of steering vectors
  dirscope paths | doctor | bench               where files live, what works here, the engine against naive ways

examples:
  dirscope --prompt "Once upon a time, there was a little girl who"
  dirscope --batch quickstart
  dirscope --batch recipe.toml --out run --set directions.0.count=4 --format json
  dirscope vectors export mine --out mine.gguf

built-in recipes: base-kinds, blind-test, combine-features, decompose, gpt2-plateaus, gpt2-sae-error,
  gpt2-sensitive, gpt2-synthetic, gpt2-xl-anger, gpt2-xl-wedding, interaction, kinds, ladder, late-layer,
  layers, local-optimum, mechanism, mixtures, natural-variation, plane, plateaus, plateaus-untrained,
  propagation, quickstart, rank-features, sae-error, sae-fidelity, search, sensitive-directions, steering,
  synthetic, triangle
exit codes: 0 done, 1 the run or an expectation failed, 2 wrong usage or recipe, 3 model, device or SAE not loaded,
  4 time limit, 5 out of memory, 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"dirscope: {message}. See dirscope --help.", file=sys.stderr)
        raise SystemExit(2)


def _main_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dirscope",
        description="An oscilloscope for directions in a language model's activation space.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("session", nargs="?", metavar="SESSION", help="open this session or run in the app")
    app = parser.add_argument_group("the terminal app")
    app.add_argument("--model", metavar="M", help="'embedded', a Hugging Face directory or id (default: embedded)")
    app.add_argument("--prompt", metavar="TEXT", help="the prompt to start with")
    app.add_argument("--position", metavar="N", type=int, help="token index of the base, negative from the end")
    app.add_argument("--write", metavar="HOOK", help="where to perturb (default: blocks.1.hook_resid_pre)")
    app.add_argument("--sae", metavar="S", help="RELEASE[:SAE_ID]: 'bundled', a directory or a sae-lens release")
    app.add_argument("--device", metavar="D", help="auto, cpu, cuda, cuda:N or mps")
    app.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")
    batch = parser.add_argument_group("without a terminal")
    batch.add_argument("--batch", metavar="RECIPE", help="run a TOML file, a run folder's recipe or a built-in recipe")
    batch.add_argument("--out", metavar="DIR", type=Path, help="the run folder (default: a new one)")
    batch.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
                       help="override a recipe value, such as path.steps=50 or directions.0.count=4")  # fmt: skip
    batch.add_argument("--format", choices=["text", "csv", "json", "jsonl"], default="text", dest="form",
                       help="what goes to stdout: the summary, or the events (jsonl)")  # fmt: skip
    batch.add_argument("--time-limit", metavar="S", type=float, help="stop after S seconds, keeping what is done")
    batch.add_argument("--resume", action="store_true", help="go on with the stopped run in --out")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    return parser


def _sub_parser(command: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"dirscope {command}", allow_abbrev=False)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    match command:
        case "replay":
            parser.description = "Play a run back in the app, or compute it again and compare."
            parser.add_argument("run", metavar="RUN|SESSION")
            parser.add_argument("--verify", action="store_true", help="compute again, print the largest deviations")
            parser.add_argument("--speed", type=float, default=1.0, metavar="X", help="multiple of the recorded pace")
            parser.add_argument("--no-mouse", action="store_true", help="leave the mouse to the terminal")
        case "export":
            parser.description = "Write a run as csv, parquet, jsonl, md, svg, png or py (transformer-lens code)."
            parser.add_argument("run", metavar="RUN")
            parser.add_argument(
                "--format",
                dest="form",
                metavar="FORMAT",
                help="csv, parquet, jsonl, md, svg, png or py (default: the suffix's)",
            )
            parser.add_argument("--curve", type=int, default=0, metavar="N", help="which curve py computes again")
            parser.add_argument("--table", metavar="NAME", help="which table, of a run with several")
            parser.add_argument("--view", metavar="NAME", help="which picture svg and png draw, such as bands or cdf")
            parser.add_argument("--out", type=Path, required=True, metavar="FILE")
        case "answer":
            parser.description = "Answer a blind test: open its seal, score the answer, keep both with the run."
            parser.add_argument("run", metavar="RUN")
            parser.add_argument(
                "--real",
                metavar="A,C,...",
                action="append",
                help="the items taken for real features; without it, what was answered",
            )
        case "sessions":
            parser.description = "List, show or remove what is kept."
            parser.add_argument("action", choices=["list", "show", "rm"])
            parser.add_argument("name", nargs="?", metavar="NAME")
        case "vectors":
            from tui.vectors import fill

            fill(parser)
        case "paths":
            parser.description = "Print where files live."
        case "doctor":
            parser.description = "Check what works here."
        case "bench":
            parser.description = "Time the engine against the naive ways, side by side in one run."
            parser.add_argument(
                "--model",
                default="embedded",
                metavar="M",
                help="'embedded', a directory, or the name of a size with random weights: gpt2-small, gpt2-xl, ...",
            )
            parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:N or mps")
            parser.add_argument("--rounds", type=int, default=3, metavar="N", help="interleaved rounds (default: 3)")
    return parser


def _replay(arguments: argparse.Namespace) -> int:
    from engine.errors import UsageError
    from sessions.catalogue import find, run_folders
    from sessions.paths import places

    where = places()
    if not 0 < arguments.speed < float("inf"):
        raise UsageError(f"--speed must be a finite number above 0; got {arguments.speed:g}.")
    folder = find(arguments.run, where.sessions)
    if not arguments.verify:
        return _open_app(lambda: _app_for_replay(folder, arguments.speed), mouse=not arguments.no_mouse)
    from engine.client import Worker
    from engine.worker import WorkerOptions
    from sessions.verify import HEADER, verify

    worker = Worker(WorkerOptions(cache=where.cache, log=where.log))
    worker.start()
    try:
        ok = True
        for run in run_folders(folder):
            print(f"computing {run} again", file=sys.stderr, flush=True)
            deviations = verify(run, worker)
            print(HEADER)
            for deviation in deviations:
                print(deviation)
            good = all(d.ok for d in deviations)
            ok = ok and good
            print("verified" if good else "NOT verified: at least one deviation is over its tolerance", flush=True)
        return 0 if ok else 1
    finally:
        worker.stop()


def _app_for_replay(folder: Path, speed: float) -> Any:
    from tui.app import DirscopeApp

    return DirscopeApp.replaying(folder, speed)


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
    from engine.errors import UsageError
    from sessions.catalogue import entries, find, remove, show
    from sessions.paths import places

    where = places()
    if arguments.action == "list":
        for e in entries(where.sessions):
            kind = f"session, {e.runs} runs" if e.is_session else "batch run"
            print(f"{e.name:<44} {e.changed:%Y-%m-%d %H:%M}  {kind:<18} {e.status:<8} {e.prompt}")
        return 0
    if not arguments.name:
        raise UsageError(f"dirscope sessions {arguments.action} needs a NAME: see dirscope sessions list.")
    if arguments.action == "show":
        print("\n".join(show(find(arguments.name, where.sessions))))
        return 0
    remove(arguments.name, where.sessions)
    print(f"removed {arguments.name}", file=sys.stderr)
    return 0


def _vectors(arguments: argparse.Namespace) -> int:
    from tui.vectors import run

    return run(arguments)


def _paths(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from sessions.paths import places

    for name, path in asdict(places()).items():
        print(f"{name:<9} {path}")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from sessions.doctor import examine

    problems = 0
    for finding in examine():
        print(finding, flush=True)
        problems += not finding.ok
    return 3 if problems else 0


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


COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "replay": _replay,
    "export": _export,
    "answer": _answer,
    "sessions": _sessions,
    "vectors": _vectors,
    "paths": _paths,
    "doctor": _doctor,
    "bench": _bench,
}


def _batch(arguments: argparse.Namespace) -> int:
    from sessions.batch import BatchOptions, run_batch
    from sessions.paths import places

    if arguments.time_limit is not None and not 0 < arguments.time_limit < float("inf"):
        from engine.errors import UsageError

        raise UsageError(f"--time-limit must be a finite number of seconds above 0; got {arguments.time_limit:g}.")
    if arguments.session is not None:
        from engine.errors import UsageError

        raise UsageError(f"--batch takes its recipe by itself; what is '{arguments.session}' for?")
    options = BatchOptions(
        recipe=arguments.batch,
        out=arguments.out,
        overrides=(*_shorthand(arguments), *arguments.overrides),
        form=arguments.form,
        time_limit=arguments.time_limit,
        resume=arguments.resume,
    )
    return run_batch(options, places())


def _shorthand(arguments: argparse.Namespace) -> list[str]:
    """The app's options as recipe overrides."""
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


def _app(arguments: argparse.Namespace) -> int:
    from engine.errors import UsageError

    batch_only = {"--out": arguments.out, "--time-limit": arguments.time_limit, "--resume": arguments.resume or None}
    if arguments.form != "text":
        batch_only["--format"] = arguments.form
    for flag, value in batch_only.items():
        if value is not None:
            raise UsageError(f"{flag} belongs to --batch RECIPE.")
    overrides = [*_shorthand(arguments), *arguments.overrides]
    if arguments.session is not None and overrides:
        raise UsageError(f"A session brings its own recipe: change {overrides[0].partition('=')[0]} in the app.")

    def make() -> Any:
        from tui.app import DirscopeApp

        if arguments.session is not None:
            from sessions.catalogue import find
            from sessions.paths import places

            return DirscopeApp.opening(find(arguments.session, places().sessions))
        return DirscopeApp.fresh(overrides)

    return _open_app(make, mouse=not arguments.no_mouse)


def _open_app(make: Callable[[], Any], mouse: bool) -> int:
    from engine.errors import UsageError

    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise UsageError("The app needs a terminal and this is none: use dirscope --batch RECIPE, or replay --verify.")
    app = make()
    app.run(mouse=mouse)
    return int(app.return_code or 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        arguments = _sub_parser(words[0]).parse_args(words[1:])
        run = COMMANDS[words[0]]
    else:
        arguments = _main_parser().parse_args(words)
        if arguments.version:
            from importlib.metadata import version

            print(f"dirscope {version('dirscope')}")
            return 0
        run = _batch if arguments.batch is not None else _app
    from engine.errors import DirscopeError

    try:
        return run(arguments)
    except DirscopeError as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"dirscope: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("dirscope: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output left, as `| head` does; nothing more can be said to it.
        sys.stderr.close()
        return 0


def entry() -> None:
    """The console script."""
    raise SystemExit(main())
